-- ARGV: after, last. Makes a page of discarded tasks claimable again, but for members of groups.
-- Gives how many, and where to go on.
even_when_full()
local ids, next_after, last = read_page("discarded", ARGV[1], ARGV[2])
local requeued = 0
for _, id in ipairs(ids) do
  local task = load(id)
  if task[MEMBER_OF] == "" then
    task[GENERATION] = task[GENERATION] + 1
    task[ATTEMPTS], task[NOT_BEFORE], task[REASON] = 0, 0, ""
    move(id, task, "pending", "")
    requeued = requeued + 1
  end
end
write_tally()
return {requeued, next_after, last}
