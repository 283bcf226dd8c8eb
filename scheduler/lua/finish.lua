-- ARGV: id, generation, entry, what (done, discard, release or retry), after_s, reason, attempts_max,
-- now_s, result; then, if there are any, follow-ups and groups. Only then "intake" stands before this.
local id, what, after_s = ARGV[1], ARGV[4], tonumber(ARGV[5])
local task = load(id)
if not task or task[GENERATION] ~= tonumber(ARGV[2]) then
  return {"lost"}
end
-- An equal generation on a task that is not leased can only be this lease's: it has settled it.
if task[STATE] ~= "leased" then
  return {"ok"}
end
if not holds(task, 1) then
  return {"lost"}
end
local misused, fresh, opened
if #ARGV > 9 then
  misused, fresh, opened = check_intake(read_intake(10))
  if misused then
    return misused
  end
end
-- First of all, because this is let through when memory is full (see "even_when_full").
leave_stream(task)
if #ARGV > 9 then
  admit(fresh, opened)
end
-- Admitting may have added to the group, never to this task: what was loaded is still right.
local state = what == "done" and "done" or "pending"
if what == "discard" then
  state = "discarded"
  task[ATTEMPTS] = task[ATTEMPTS] + 1
elseif what == "retry" or after_s > 0 then
  state = "delayed"
  task[NOT_BEFORE] = tonumber(ARGV[8]) + after_s
end
if what == "done" then
  task[REASON] = ""
elseif what ~= "release" then
  task[REASON] = ARGV[6]
end
if what == "retry" then
  state = count_attempt(task, state, tonumber(ARGV[7]))
end
local is_final = state == "done" or state == "discarded"
move(id, task, state, is_final and ARGV[9] or "")
write_tally()
return {"ok"}
