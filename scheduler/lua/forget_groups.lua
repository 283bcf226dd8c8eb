-- ARGV: a cursor of HSCAN. Drops the groups of a page that are over: their task has finished or is
-- gone. Gives the next cursor.
local page = redis.call("HSCAN", key("group"), ARGV[1], "COUNT", 500)
local found = page[2]
for at = 1, #found, 2 do
  local waiting = load(cmsgpack.unpack(found[at + 1])[2])
  if not waiting or waiting[STATE] == "done" or waiting[STATE] == "discarded" then
    redis.call("HDEL", key("group"), found[at])
  end
end
return page[1]
