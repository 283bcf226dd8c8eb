-- ARGV: milliseconds until all keys of the job go, in one moment, or -1 to keep them.
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
return #names
