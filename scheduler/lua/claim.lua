-- ARGV: worker, limit, expires_at_s, now_s, then the pools. Delayed tasks that are due go into
-- their streams first; they stay "delayed" until a worker is given them.
local worker, limit = ARGV[1], tonumber(ARGV[2])
local due = redis.call("ZRANGEBYSCORE", key("delayed"), "-inf", ARGV[4], "LIMIT", 0, 100)
for _, id in ipairs(due) do
  redis.call("ZREM", key("delayed"), id)
  local task = load(id)
  push(id, task)
  save(id, task)
end

local leases = {}
for at = 5, #ARGV do
  local left = limit - #leases
  if left > 0 and redis.call("SISMEMBER", key("pools"), ARGV[at]) == 1 then
    local stream = key("queue:" .. ARGV[at])
    local reply = redis.call("XREADGROUP", "GROUP", GROUP, worker, "COUNT", left, "STREAMS", stream, ">")
    for _, entry in ipairs(reply and reply[1][2] or {}) do
      local id = entry[2][2]
      local task = load(id)
      redis.call(
        "XCLAIM", stream, GROUP, worker, 0, entry[1], "TIME", delivered_at_ms(ARGV[3]), "JUSTID"
      )
      count(task[STATE], task[WEIGHT], -1)
      count("leased", task[WEIGHT], 1)
      task[STATE], task[ENTRY], task[WORKER] = "leased", entry[1], worker
      task[GENERATION] = task[GENERATION] + 1
      save(id, task)
      leases[#leases + 1] = {
        tonumber(id), task[GENERATION], task[ATTEMPTS] + 1, redis.call("HGET", key("payload"), id),
        task[WEIGHT], task[MEMBER_OF], task[STEP],
      }
    end
  end
end
return leases
