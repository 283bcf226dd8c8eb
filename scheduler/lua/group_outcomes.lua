-- ARGV: the group's name. Gives rows, as results.lua does, of its members that are finished.
local rows = {}
local first, last = "[" .. ARGV[1] .. "\0", "(" .. ARGV[1] .. "\1"
for _, member in ipairs(redis.call("ZRANGEBYLEX", key("member"), first, last)) do
  local id = string.format("%.0f", tonumber(string.sub(member, string.len(ARGV[1]) + 2)))
  local task = load(id)
  if task and (task[STATE] == "done" or task[STATE] == "discarded") then
    rows[#rows + 1] = {
      tonumber(id), task[STATE], redis.call("HGET", key("result"), id) or "", task[REASON],
      task[ATTEMPTS], task[WEIGHT], redis.call("HGET", key("payload"), id) or "",
    }
  end
end
return rows
