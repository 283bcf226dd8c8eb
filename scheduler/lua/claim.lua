-- ARGV: worker, limit, expires_at_s, now_s, then the pools. Delayed tasks that are due go into
-- their streams first; they stay "delayed" until a worker is given them.
local worker, limit, delivered_ms = ARGV[1], tonumber(ARGV[2]), delivered_at_ms(ARGV[3])
local PAGE = 500 -- "unpack" takes some thousands of values at most
local due = redis.call("ZRANGEBYSCORE", key("delayed"), "-inf", ARGV[4], "LIMIT", 0, 100)
for _, id in ipairs(due) do
  redis.call("ZREM", key("delayed"), id)
  local task = load(id)
  push(id, task)
  save(id, task)
end

local leases = {}

local function lease(entry, packed, payload)
  local id, task = entry[2][2], cmsgpack.unpack(packed)
  count(task[STATE], task[WEIGHT], -1)
  count("leased", task[WEIGHT], 1)
  task[STATE], task[ENTRY], task[WORKER] = "leased", entry[1], worker
  task[GENERATION] = task[GENERATION] + 1
  leases[#leases + 1] = {
    tonumber(id), task[GENERATION], task[ATTEMPTS] + 1, payload, task[WEIGHT], task[MEMBER_OF],
    task[STEP], entry[1],
  }
  return id, cmsgpack.pack(task)
end

-- Each command is for all entries of a page: a call costs more than what it does for one of them.
local function lease_all(stream, entries)
  local times, ids, saves = {"XCLAIM", stream, GROUP, worker, 0}, {}, {"HSET", key("task")}
  for at, entry in ipairs(entries) do
    times[#times + 1], ids[at] = entry[1], entry[2][2]
  end
  times[#times + 1], times[#times + 2], times[#times + 3] = "TIME", delivered_ms, "JUSTID"
  redis.call(unpack(times))
  local packed = redis.call("HMGET", key("task"), unpack(ids))
  local payloads = redis.call("HMGET", key("payload"), unpack(ids))
  for at, entry in ipairs(entries) do
    if packed[at] then
      saves[#saves + 1], saves[#saves + 2] = lease(entry, packed[at], payloads[at] or "")
    else
      drop_entry(stream, entry[1]) -- of a task that is not there; nobody puts such an entry in
    end
  end
  if #saves > 2 then
    redis.call(unpack(saves))
  end
end

for at = 5, #ARGV do
  local is_known = redis.call("SISMEMBER", key("pools"), ARGV[at]) == 1
  while is_known and #leases < limit do
    local stream, most = key("queue:" .. ARGV[at]), math.min(limit - #leases, PAGE)
    local reply = redis.call("XREADGROUP", "GROUP", GROUP, worker, "COUNT", most, "STREAMS", stream, ">")
    if not reply then
      break
    end
    lease_all(stream, reply[1][2])
  end
end
write_tally()
return leases
