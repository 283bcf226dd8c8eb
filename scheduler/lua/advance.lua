-- ARGV: id, generation, step, payload, then tasks and groups.
local task = load(ARGV[1])
local step = tonumber(ARGV[3])
if not task or task[STATE] ~= "leased" or task[GENERATION] ~= tonumber(ARGV[2]) then
  return {"lost"}
end
if task[STEP] == step + 1 then
  return {"ok", task[STEP]}
end
if task[STEP] ~= step then
  return {"lost"}
end
local misused, fresh, opened = check_intake(read_intake(5))
if misused then
  return misused
end
admit(fresh, opened)
write_tally()
task[STEP] = step + 1
save(ARGV[1], task)
redis.call("HSET", key("payload"), ARGV[1], ARGV[4])
return {"ok", task[STEP]}
