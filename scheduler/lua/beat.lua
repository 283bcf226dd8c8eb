-- ARGV: worker, at_s, note, how long signs of life are kept, and how old those may be that are
-- counted for the answer. A full server must not make
-- everybody look dead, so this is let through.
even_when_full()
local worker, at_s, kept_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
redis.call("HSET", key("beat"), worker, ARGV[3])
redis.call("ZADD", key("beat_at"), ARGV[2], worker)
local before_s = string.format("%.17g", at_s - kept_s)
for _, gone in ipairs(redis.call("ZRANGEBYSCORE", key("beat_at"), "-inf", before_s, "LIMIT", 0, 100)) do
  redis.call("HDEL", key("beat"), gone)
  redis.call("ZREM", key("beat_at"), gone)
end
return redis.call("ZCOUNT", key("beat_at"), string.format("%.17g", at_s - tonumber(ARGV[5])), "+inf")
