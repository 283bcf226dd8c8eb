-- ARGV: after, last, state. Drops a page of finished tasks that no open group needs. Gives how many,
-- and where to go on.
local ids, next_after, last = read_page(ARGV[3], ARGV[1], ARGV[2])
local forgotten, weight, is_open = 0, 0, {[""] = false}

local function look(group)
  local kept = redis.call("HGET", key("group"), group)
  local waiting = kept and load(cmsgpack.unpack(kept)[2])
  is_open[group] = waiting and waiting[STATE] ~= "done" and waiting[STATE] ~= "discarded" or false
end

for _, id in ipairs(ids) do
  local task = load(id)
  local group = task[MEMBER_OF]
  if is_open[group] == nil then
    look(group)
  end
  if not is_open[group] then
    redis.call("HDEL", key("task"), id)
    redis.call("HDEL", key("payload"), id)
    redis.call("HDEL", key("result"), id)
    redis.call("ZREM", key(ARGV[3]), id)
    if task[KEY] ~= "" then
      redis.call("HDEL", key("key"), task[KEY])
    end
    if group ~= "" then
      redis.call("ZREM", key("member"), group .. "\0" .. string.format("%016d", id))
    end
    forgotten, weight = forgotten + 1, weight + task[WEIGHT]
  end
end
count_many(ARGV[3], -forgotten, -weight)
write_tally()
return {forgotten, next_after, last}
