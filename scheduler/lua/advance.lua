-- ARGV: id, generation, entry, step, payload, then tasks and groups. Gives the new step, and the tally
-- as "stats" does.
local task = load(ARGV[1])
local step = tonumber(ARGV[4])
if not holds(task, 1) then
  return {"lost"}
end
if task[STEP] == step + 1 then
  return {"ok", task[STEP], read_tally()}
end
if task[STEP] ~= step then
  return {"lost"}
end
local misused, fresh, opened = check_intake(read_intake(6))
if misused then
  return misused
end
admit(fresh, opened)
write_tally()
task[STEP] = step + 1
task[ATTEMPTS] = 0
save(ARGV[1], task)
redis.call("HSET", key("payload"), ARGV[1], ARGV[5])
return {"ok", task[STEP], read_tally()}
