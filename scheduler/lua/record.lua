-- ARGV: now_s, text, how many events stay.
even_when_full()
local id = redis.call("HINCRBY", key("meta"), "last_event_id", 1)
redis.call(
  "XADD", key("event"), "MAXLEN", ARGV[3], id .. "-0", "at_s", ARGV[1], "text", ARGV[2]
)
return id
