-- ARGV: a hash, a field, "1" to set it and "0" to remove it, the value. For what steers a job, which
-- must also be said to a server whose memory is full.
even_when_full()
if ARGV[3] == "1" then
  redis.call("HSET", key(ARGV[1]), ARGV[2], ARGV[4])
else
  redis.call("HDEL", key(ARGV[1]), ARGV[2])
end
return 0
