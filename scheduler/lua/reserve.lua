-- ARGV: bucket, amount, rate_per_s, burst, now_s, clock_step_s. The arithmetic is that of
-- scheduler/budgets.py. Gives the seconds to wait, as text.
even_when_full()
local amount, rate = tonumber(ARGV[2]), tonumber(ARGV[3])
local burst, now = tonumber(ARGV[4]), tonumber(ARGV[5])
local ahead, booked_at = 0, now
local kept = redis.call("HGET", key("budget"), ARGV[1])
if kept then
  local arrival, last_at, last_rate = unpack(cmsgpack.unpack(kept))
  ahead = arrival - now
  if now < last_at - tonumber(ARGV[6]) then
    ahead = arrival - last_at
  else
    booked_at = math.max(now, last_at)
  end
  ahead = math.max(0, ahead) * math.min(1, last_rate / rate)
end
ahead = math.max(0, ahead + amount / rate)
redis.call("HSET", key("budget"), ARGV[1], cmsgpack.pack({now + ahead, booked_at, rate}))
return string.format("%.17g", amount < 0 and 0 or math.max(0, ahead - burst / rate))
