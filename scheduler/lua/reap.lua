-- ARGV: now_s, attempts_max, then the workers known to be dead. Gives {reclaimed, discarded, 1 when
-- there may be more}: one call takes back about 500 tasks, so that it stops nobody for long.
even_when_full()
local now_ms, attempts_max = tonumber(ARGV[1]) * 1000, tonumber(ARGV[2])
local time = redis.call("TIME")
local redis_now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Leases end by the clock of whoever asks; XAUTOCLAIM goes by the server's. A clock that runs far
-- ahead of the server's would find that every lease has run out.
if now_ms > redis_now_ms + LEASE_MAX_MS / 2 then
  return redis.error_reply("CLOCK " .. string.format("%.0f", (now_ms - redis_now_ms) / 1000))
end
local idle_ms = string.format("%.0f", LEASE_MAX_MS + redis_now_ms - now_ms)
local PAGE, PRUNE_MS, CONSUMER_KEPT_MS = 500, 600000, 2 * LEASE_MAX_MS
local reclaimed, discarded = 0, 0

local function reap(stream, entry)
  local id = entry[2][2]
  local task = load(id)
  if not task or task[STATE] ~= "leased" or task[ENTRY] ~= entry[1] then
    drop_entry(stream, entry[1]) -- not a lease; it would come up here again and again
    return
  end
  task[REASON] = "Lease of worker " .. task[WORKER] .. " ran out"
  task[GENERATION] = task[GENERATION] + 1
  local state = count_attempt(task, "pending", attempts_max)
  move(id, task, state, "")
  if state == "discarded" then
    discarded = discarded + 1
  else
    reclaimed = reclaimed + 1
  end
end

local function reap_expired(stream)
  local cursor = "0-0"
  repeat
    local page = redis.call("XAUTOCLAIM", stream, GROUP, "reaper", idle_ms, cursor, "COUNT", 100)
    cursor = page[1]
    for _, entry in ipairs(page[2]) do
      if entry then -- Redis 6.2 has a nil for an entry that was deleted
        reap(stream, entry)
      end
    end
  until cursor == "0-0" or reclaimed + discarded >= PAGE
end

local function reap_dead(stream, worker)
  local held = redis.call("XPENDING", stream, GROUP, "-", "+", PAGE, worker)
  for _, pending in ipairs(held) do
    local entry = redis.call("XRANGE", stream, pending[1], pending[1])[1]
    if entry then
      reap(stream, entry)
    else
      redis.call("XACK", stream, GROUP, pending[1])
    end
  end
  if #held < PAGE then -- the consumer's pending entries go with it, so there must be none
    redis.call("XGROUP", "DELCONSUMER", stream, GROUP, worker)
  end
end

-- Workers come and go for as long as a job lives; each leaves a consumer in every stream it read.
local function prune(stream)
  for _, row in ipairs(redis.call("XINFO", "CONSUMERS", stream, GROUP)) do
    local consumer = {}
    for at = 1, #row, 2 do
      consumer[row[at]] = row[at + 1]
    end
    if consumer.pending == 0 and consumer.idle > CONSUMER_KEPT_MS then
      redis.call("XGROUP", "DELCONSUMER", stream, GROUP, consumer.name)
    end
  end
end

local pruned_ms = tonumber(redis.call("HGET", KEYS[1], "pruned_ms") or 0)
local is_prune_due = redis_now_ms > pruned_ms + PRUNE_MS
local pools = redis.call("SMEMBERS", key("pools"))
for _, pool in ipairs(pools) do
  local stream = key("queue:" .. pool)
  reap_expired(stream)
  for at = 3, #ARGV do
    if reclaimed + discarded < PAGE then
      reap_dead(stream, ARGV[at])
    end
  end
  if is_prune_due then
    prune(stream)
  end
end
if is_prune_due and #pools > 0 then
  redis.call("HSET", KEYS[1], "pruned_ms", string.format("%.0f", redis_now_ms))
end
write_tally()
return {reclaimed, discarded, reclaimed + discarded >= PAGE and 1 or 0}
