-- ARGV: description, submitted_at_s, then the first tasks. Gives 1 for a job that begins now, and 0
-- for one that is under way. What is left of a job that has ended is removed first.
local open_tasks = 0
for _, state in ipairs({"pending", "leased", "delayed"}) do
  open_tasks = open_tasks + tonumber(redis.call("HGET", key("tally"), "tasks:" .. state) or 0)
end
if redis.call("HEXISTS", KEYS[1], "description") == 1 and open_tasks > 0 then
  return 0
end
clear()
redis.call(
  "HSET", KEYS[1], "description", ARGV[1], "submitted_at_s", ARGV[2], "intake_closed", 1
)
local _, fresh, opened = check_intake(read_intake(3))
admit(fresh, opened)
write_tally()
return 1
