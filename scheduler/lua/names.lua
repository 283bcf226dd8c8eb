-- Every key of a job but "meta" and the pools' queues.
local NAMES = {
  "task", "payload", "result", "key", "group", "member", "tally", "delayed", "done", "discarded",
  "pools", "control", "beat", "beat_at", "budget", "event",
}

-- Empty the job; ids go on from where they were, so that an old lease never fits a new task.
local function clear()
  seen_pools, changes = {}, {}
  for _, pool in ipairs(redis.call("SMEMBERS", key("pools"))) do
    redis.call("UNLINK", key("queue:" .. pool))
  end
  for _, name in ipairs(NAMES) do
    redis.call("UNLINK", key(name)) -- DEL would free a million fields while everybody waits
  end
  redis.call("HDEL", KEYS[1], "intake_closed", "checkpoint")
  redis.call("PERSIST", KEYS[1])
end
