-- ARGV: expires_at_s, then id and generation of each lease. XCLAIM would take a task back from
-- whoever has it now, so the generation is compared first. Gives the ids that were prolonged.
even_when_full()
local extended = {}
for at = 2, #ARGV, 2 do
  local task = load(ARGV[at])
  if task and task[STATE] == "leased" and task[GENERATION] == tonumber(ARGV[at + 1]) then
    redis.call(
      "XCLAIM", key("queue:" .. task[POOL]), GROUP, task[WORKER], 0, task[ENTRY],
      "TIME", delivered_at_ms(ARGV[1]), "JUSTID"
    )
    extended[#extended + 1] = tonumber(ARGV[at])
  end
end
return extended
