-- ARGV: seconds until all keys of the job go, or -1 to keep them.
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
    redis.call("EXPIRE", key(name), ARGV[1])
  end
end
return #names
