-- What every script begins with: the keys of a job, and how a task moves between states.
-- The decisions are those of scheduler/states.py, and the same contract suite holds both to them.
-- KEYS[1] is the job's "meta" key; all other keys share its hash tag, so they are in its slot.

-- What a script did is replicated, not the script: a 6.2 that is set to do otherwise would refuse
-- to write after TIME or XADD. Newer servers know nothing else.
redis.replicate_commands()

local prefix = string.sub(KEYS[1], 1, -string.len("meta") - 1)

local function key(name)
  return prefix .. name
end

local GROUP = "crew"
local LEASE_MAX_MS = 3600000

-- A server whose memory is full refuses the first write of a script if that may need memory. What
-- ends work or steers it must get through, or nothing would ever free memory again and leases would
-- run out meanwhile: such a script begins with a write that needs none.
local function even_when_full()
  redis.call("HDEL", key("meta"), "")
end

-- A task is one field of the hash "task": an array, because a name per value would double it.
local STATE, GENERATION, ATTEMPTS, NOT_BEFORE, ENTRY, WORKER = 1, 2, 3, 4, 5, 6
local REASON, STEP, WEIGHT, MEMBER_OF, KEY, POOL = 7, 8, 9, 10, 11, 12

local function load(id)
  local packed = redis.call("HGET", key("task"), id)
  return packed and cmsgpack.unpack(packed)
end

-- Whether a lease still holds a task: its id, generation and entry are ARGV[at] and the next two. The
-- entry's id is of the server's clock, so it differs where a server that lost its last writes gives an
-- id and a generation again.
local function holds(task, at)
  return task and task[STATE] == "leased" and task[GENERATION] == tonumber(ARGV[at + 1])
    and task[ENTRY] == ARGV[at + 2]
end

local function save(id, task)
  redis.call("HSET", key("task"), id, cmsgpack.pack(task))
end

-- Note that so many tasks, of so much weight together, have come to a state (or left it: negative).
-- The tally itself is written by "write_tally", once at the end of every script that notes changes.
local changes = {}
local function count_many(state, tasks, weight)
  local change = changes[state] or {0, 0}
  changes[state] = {change[1] + tasks, change[2] + weight}
end

local function count(state, weight, by)
  count_many(state, by, by * weight)
end

local function write_tally()
  for state, change in pairs(changes) do
    if change[1] ~= 0 then
      redis.call("HINCRBY", key("tally"), "tasks:" .. state, change[1])
    end
    if change[2] ~= 0 then
      redis.call("HINCRBY", key("tally"), "weight:" .. state, string.format("%.0f", change[2]))
    end
  end
end

-- The tally as a flat list, and 1 when the intake is closed: both of one moment, or a planner that
-- enqueues its last tasks and closes in between would look like a drained job.
local function read_tally()
  return redis.call("HGETALL", key("tally")), redis.call("HEXISTS", KEYS[1], "intake_closed")
end

-- Put a task into the stream of its pool; the entry is what a worker is given.
local seen_pools = {}
local function push(id, task)
  local stream = key("queue:" .. task[POOL])
  if not seen_pools[task[POOL]] then
    seen_pools[task[POOL]] = true
    if redis.call("SADD", key("pools"), task[POOL]) == 1 then
      redis.call("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
    end
  end
  task[ENTRY] = redis.call("XADD", stream, "*", "task", id)
end

local function drop_entry(stream, entry)
  redis.call("XACK", stream, GROUP, entry)
  redis.call("XDEL", stream, entry)
end

local function leave_stream(task)
  if task[ENTRY] ~= "" then
    drop_entry(key("queue:" .. task[POOL]), task[ENTRY])
    task[ENTRY] = ""
  end
end

local move

local function settle_member(name)
  local group = cmsgpack.unpack(redis.call("HGET", key("group"), name))
  group[4] = group[4] + 1
  redis.call("HSET", key("group"), name, cmsgpack.pack(group))
  if group[4] == group[1] then
    local waiting = load(group[2])
    if waiting and waiting[STATE] == "waiting" then
      move(group[2], waiting, "pending", "")
    end
  end
end

-- Give a task its new state, with all that follows from it. A leased task leaves its stream, unless
-- it has left it already.
move = function(id, task, state, result)
  count(task[STATE], task[WEIGHT], -1)
  count(state, task[WEIGHT], 1)
  if task[STATE] == "leased" then
    leave_stream(task)
    task[WORKER] = ""
  elseif task[STATE] == "discarded" then
    redis.call("ZREM", key("discarded"), id)
    redis.call("HDEL", key("result"), id)
  end
  task[STATE] = state
  if state == "pending" then
    push(id, task)
  elseif state == "delayed" then
    redis.call("ZADD", key("delayed"), task[NOT_BEFORE], id)
  elseif state == "done" or state == "discarded" then
    redis.call("ZADD", key(state), id, id)
    if result ~= "" then
      redis.call("HSET", key("result"), id, result)
    end
    if state == "done" then
      redis.call("HDEL", key("payload"), id)
    end
  end
  save(id, task)
  if (state == "done" or state == "discarded") and task[MEMBER_OF] ~= "" then
    settle_member(task[MEMBER_OF])
  end
end

-- Count a failed attempt, and give the task up when it was the last: the state it goes to.
local function count_attempt(task, state, attempts_max)
  task[ATTEMPTS] = task[ATTEMPTS] + 1
  if task[ATTEMPTS] < attempts_max then
    return state
  end
  local reason = task[REASON] ~= "" and task[REASON] or "no reason given"
  task[REASON] = "Gave up after " .. task[ATTEMPTS] .. " attempts: " .. reason
  task[NOT_BEFORE] = 0
  return "discarded"
end

-- When an entry was "delivered" so that its idle time tells the end of the lease: an hour before
-- that end. Only XAUTOCLAIM's clock counts then, whatever the length of the lease.
local function delivered_at_ms(expires_at_s)
  return string.format("%.0f", tonumber(expires_at_s) * 1000 - LEASE_MAX_MS)
end

-- Finished tasks after an id up to a last one ("0" is the newest there is), at most 500: one script
-- for all of them would stop the server for seconds. Gives their ids, the id after which the next
-- page begins (-1 when there is none), and the last id.
local function read_page(state, after, last)
  if last == "0" then
    last = redis.call("HGET", KEYS[1], "last_task_id") or "0"
  end
  local ids = redis.call("ZRANGEBYSCORE", key(state), "(" .. after, last, "LIMIT", 0, 500)
  local is_end = #ids < 500
  return ids, is_end and -1 or tonumber(ids[#ids]), tonumber(last)
end
