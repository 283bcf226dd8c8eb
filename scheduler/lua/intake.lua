-- How tasks come in: for the scripts that admit some. Making these functions costs as much as a few
-- commands do, so the others go without.

-- Tasks and groups to admit, read from ARGV[at] on: counts, then seven values a task, and for a
-- group its name, its size and the seven values of the task that waits for it.
local function read_intake(at)
  local tasks, groups = {}, {}
  local task_count, group_count = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local next_at = at + 2
  local function read_task()
    local task = {
      payload = ARGV[next_at], weight = tonumber(ARGV[next_at + 1]), group = ARGV[next_at + 2],
      key = ARGV[next_at + 3], pool = ARGV[next_at + 4], discarded = ARGV[next_at + 5],
      result = ARGV[next_at + 6],
    }
    next_at = next_at + 7
    return task
  end
  for _ = 1, task_count do
    tasks[#tasks + 1] = read_task()
  end
  for _ = 1, group_count do
    local group = {name = ARGV[next_at], size = tonumber(ARGV[next_at + 1])}
    next_at = next_at + 2
    group.waiting = read_task()
    groups[#groups + 1] = group
  end
  return tasks, groups
end

local function without_known_keys(tasks)
  local fresh, seen = {}, {}
  for _, task in ipairs(tasks) do
    local is_known = task.key ~= ""
      and (seen[task.key] or redis.call("HEXISTS", key("key"), task.key) == 1)
    if not is_known then
      seen[task.key] = true
      fresh[#fresh + 1] = task
    end
  end
  return fresh
end

-- The complaint about a group that is misused, or nil: {"misused", name, detail}.
local function complaint(joining, sizes)
  for name, members in pairs(joining) do
    local known = redis.call("HGET", key("group"), name)
    if not known and not sizes[name] then
      return {"misused", name, "it was never opened"}
    end
    local size, there = sizes[name], 0
    if known then
      local group = cmsgpack.unpack(known)
      size, there = group[1], group[3]
    end
    if there + members > size then
      return {"misused", name, (there + members) .. " members for a size of " .. size}
    end
  end
  return nil
end

local function add(task, state)
  local id = redis.call("HINCRBY", key("meta"), "last_task_id", 1)
  local kept = {
    state, 0, 0, 0, "", "", task.discarded, 0, task.weight, task.group, task.key, task.pool,
  }
  redis.call("HSET", key("payload"), id, task.payload)
  count(state, task.weight, 1)
  if task.key ~= "" then
    redis.call("HSET", key("key"), task.key, id)
  end
  if task.group ~= "" then
    local group = cmsgpack.unpack(redis.call("HGET", key("group"), task.group))
    group[3] = group[3] + 1
    redis.call("HSET", key("group"), task.group, cmsgpack.pack(group))
    redis.call("ZADD", key("member"), 0, task.group .. "\0" .. string.format("%016d", id))
  end
  if state == "pending" then
    push(id, kept)
  elseif state == "discarded" then
    kept[ATTEMPTS] = 1
    redis.call("ZADD", key("discarded"), id, id)
    if task.result ~= "" then
      redis.call("HSET", key("result"), id, task.result)
    end
  end
  save(id, kept)
  return id
end

-- Check what read_intake has read, before anything is written: a script that stops half way is not
-- undone. Gives {added, tasks, groups} for admit, or a complaint.
local function check_intake(tasks, groups)
  local fresh, opened, sizes, joining = without_known_keys(tasks), {}, {}, {}
  local function join(task)
    if task.group ~= "" then
      joining[task.group] = (joining[task.group] or 0) + 1
    end
  end
  for _, group in ipairs(groups) do
    if redis.call("HEXISTS", key("group"), group.name) == 0 and not sizes[group.name] then
      opened[#opened + 1] = group
      sizes[group.name] = group.size
      join(group.waiting)
    end
  end
  for _, task in ipairs(fresh) do
    join(task)
  end
  return complaint(joining, sizes), fresh, opened
end

local function admit(fresh, opened)
  -- All groups are there before the first task that waits, because that may be a member of another.
  for _, group in ipairs(opened) do
    redis.call("HSET", key("group"), group.name, cmsgpack.pack({group.size, 0, 0, 0}))
  end
  for _, group in ipairs(opened) do
    local id = add(group.waiting, "waiting")
    local kept = cmsgpack.unpack(redis.call("HGET", key("group"), group.name))
    kept[2] = id
    redis.call("HSET", key("group"), group.name, cmsgpack.pack(kept))
  end
  for _, task in ipairs(fresh) do
    add(task, task.discarded ~= "" and "discarded" or "pending")
  end
  return #fresh
end
