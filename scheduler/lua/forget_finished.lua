-- Drops finished tasks that no open group needs, and the groups that are over; gives how many.
local is_open = {}
local groups = redis.call("HGETALL", key("group"))
local over = {}
for at = 1, #groups, 2 do
  local waiting = load(cmsgpack.unpack(groups[at + 1])[2])
  if waiting and waiting[STATE] ~= "done" and waiting[STATE] ~= "discarded" then
    is_open[groups[at]] = true
  else
    over[#over + 1] = groups[at]
  end
end
local forgotten = 0
for _, state in ipairs({"done", "discarded"}) do
  for _, id in ipairs(redis.call("ZRANGE", key(state), 0, -1)) do
    local task = load(id)
    if not is_open[task[MEMBER_OF]] then
      redis.call("HDEL", key("task"), id)
      redis.call("HDEL", key("payload"), id)
      redis.call("HDEL", key("result"), id)
      redis.call("ZREM", key(state), id)
      if task[KEY] ~= "" then
        redis.call("HDEL", key("key"), task[KEY])
      end
      if task[MEMBER_OF] ~= "" then
        local member = task[MEMBER_OF] .. "\0" .. string.format("%016d", id)
        redis.call("ZREM", key("member"), member)
      end
      count(state, task[WEIGHT], -1)
      forgotten = forgotten + 1
    end
  end
end
for _, name in ipairs(over) do
  redis.call("HDEL", key("group"), name)
end
return forgotten
