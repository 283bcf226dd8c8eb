-- Empties the job; ids go on from where they were, so that an old lease never fits a new task.
for _, pool in ipairs(redis.call("SMEMBERS", key("pools"))) do
  redis.call("DEL", key("queue:" .. pool))
end
for _, name in ipairs({
  "task", "payload", "result", "key", "group", "member", "tally", "delayed", "done", "discarded",
  "pools", "control", "beat", "budget", "event",
}) do
  redis.call("DEL", key(name))
end
redis.call("HDEL", key("meta"), "intake_closed", "checkpoint")
return 0
