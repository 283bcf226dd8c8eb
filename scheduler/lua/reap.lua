-- ARGV: now_s, attempts_max, then the workers known to be dead. Gives {reclaimed, discarded}.
local now_ms, attempts_max = tonumber(ARGV[1]) * 1000, tonumber(ARGV[2])
local time = redis.call("TIME")
local redis_now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Leases end by the clock of whoever asks; XAUTOCLAIM goes by the server's.
local idle_ms = math.max(0, LEASE_MAX_MS + redis_now_ms - now_ms)
local reclaimed, discarded = 0, 0

local function reap(id)
  local task = load(id)
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

for _, pool in ipairs(redis.call("SMEMBERS", key("pools"))) do
  local stream = key("queue:" .. pool)
  local cursor = "0-0"
  repeat
    local page = redis.call(
      "XAUTOCLAIM", stream, GROUP, "reaper", string.format("%.0f", idle_ms), cursor, "COUNT", 100
    )
    cursor = page[1]
    for _, entry in ipairs(page[2]) do
      if entry then
        reap(entry[2][2])
      end
    end
  until cursor == "0-0"
  for at = 3, #ARGV do
    local held = redis.call("XPENDING", stream, GROUP, "-", "+", 10000, ARGV[at])
    for _, pending in ipairs(held) do
      local entry = redis.call("XRANGE", stream, pending[1], pending[1])[1]
      if entry then
        reap(entry[2][2])
      end
    end
  end
end
return {reclaimed, discarded}
