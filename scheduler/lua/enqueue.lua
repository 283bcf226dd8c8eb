-- ARGV: "1" with a checkpoint, the checkpoint, then tasks and groups.
local tasks, groups = read_intake(3)
if #tasks > 0 and redis.call("HGET", key("meta"), "intake_closed") then
  return {"closed", #tasks}
end
local misused, fresh, opened = check_intake(tasks, groups)
if misused then
  return misused
end
local added = admit(fresh, opened)
write_tally()
if ARGV[1] == "1" then
  redis.call("HSET", key("meta"), "checkpoint", ARGV[2])
end
return {"ok", added}
