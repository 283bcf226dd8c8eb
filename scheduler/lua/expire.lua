-- ARGV: milliseconds until all keys of the job go, in one moment, or -1 to keep them; then "1" to do
-- so only for a job that is drained. Gives 1, and 0 for a job that goes on.
if ARGV[2] == "1" then
  for _, state in ipairs({"pending", "leased", "delayed"}) do
    if tonumber(redis.call("HGET", key("tally"), "tasks:" .. state) or 0) > 0 then
      return 0
    end
  end
end
local time = redis.call("TIME")
local at_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(ARGV[1])
local names = {"meta"}
for _, name in ipairs(NAMES) do
  names[#names + 1] = name
end
for _, pool in ipairs(redis.call("SMEMBERS", key("pools"))) do
  names[#names + 1] = "queue:" .. pool
end
for _, name in ipairs(names) do
  if ARGV[1] == "-1" then
    redis.call("PERSIST", key(name))
  else
    redis.call("PEXPIREAT", key(name), string.format("%.0f", at_ms))
  end
end
return 1
