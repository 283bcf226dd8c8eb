-- Gives the tally as a flat list, and 1 when the intake is closed: both of one moment, or a planner
-- that enqueues its last tasks and closes in between would look like a drained job.
return {redis.call("HGETALL", key("tally")), redis.call("HEXISTS", KEYS[1], "intake_closed")}
