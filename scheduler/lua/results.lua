-- ARGV: after_task_id, limit, then states. Gives rows of finished tasks in the order of ids.
-- A page ends early when it has grown to 4 MiB: discarded tasks still have their payloads.
local PAGE_BYTES = 4194304
local limit, ids = tonumber(ARGV[2]), {}
for at = 3, #ARGV do
  local found = redis.call("ZRANGEBYSCORE", key(ARGV[at]), "(" .. ARGV[1], "+inf", "LIMIT", 0, limit)
  for _, id in ipairs(found) do
    ids[#ids + 1] = tonumber(id)
  end
end
table.sort(ids)
local rows, bytes = {}, 0
for at = 1, math.min(limit, #ids) do
  local id = string.format("%.0f", ids[at])
  local task = load(id)
  rows[at] = {
    ids[at], task[STATE], redis.call("HGET", key("result"), id) or "", task[REASON], task[ATTEMPTS],
    task[WEIGHT], redis.call("HGET", key("payload"), id) or "",
  }
  bytes = bytes + string.len(rows[at][3]) + string.len(rows[at][7])
  if bytes >= PAGE_BYTES then
    break
  end
end
return rows
