-- ARGV: since when, in seconds. Gives name, time (as text) and note of every worker heard of since.
local rows = {}
local heard = redis.call("ZRANGEBYSCORE", key("beat_at"), ARGV[1], "+inf", "WITHSCORES")
for at = 1, #heard, 2 do
  rows[#rows + 1] = {heard[at], heard[at + 1], redis.call("HGET", key("beat"), heard[at]) or ""}
end
return rows
