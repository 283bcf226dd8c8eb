-- ARGV: expires_at_s, then id, generation and entry of each lease. XCLAIM would take a task back from
-- whoever has it now, so these are compared first. Gives the places of those that were prolonged.
even_when_full()
local extended = {}
for at = 2, #ARGV, 3 do
  local task = load(ARGV[at])
  if holds(task, at) then
    redis.call(
      "XCLAIM", key("queue:" .. task[POOL]), GROUP, task[WORKER], 0, task[ENTRY],
      "TIME", delivered_at_ms(ARGV[1]), "JUSTID"
    )
    extended[#extended + 1] = (at + 1) / 3
  end
end
return extended
