-- Makes discarded tasks claimable again, but for members of groups; gives how many.
local requeued = 0
for _, id in ipairs(redis.call("ZRANGE", key("discarded"), 0, -1)) do
  local task = load(id)
  if task[MEMBER_OF] == "" then
    task[GENERATION] = task[GENERATION] + 1
    task[ATTEMPTS], task[NOT_BEFORE], task[REASON] = 0, 0, ""
    move(id, task, "pending", "")
    requeued = requeued + 1
  end
end
return requeued
