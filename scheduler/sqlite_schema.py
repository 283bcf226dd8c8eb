"""The tables of the embedded queue, as text. ``docs/state-machine.md`` says what the states mean.

A task's small row (``task``) is apart from its payload and its result: claim, extend and finish
rewrite the row, and a shard of a thousand objects has a payload of a hundred kilobytes.
The payload of a done task is deleted with its finish, so the file grows with what is left to do.
``tally`` is kept by triggers: stats cost the same with ten tasks and with a million.
"""

from __future__ import annotations

VERSION = 2

APPLICATION_ID = 0x6D6F7665
"""Marks the file as ours for file(1) and for ``open``; the bytes spell "move"."""

TABLES = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE task (
    task_id INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before_s REAL NOT NULL DEFAULT 0,
    expires_at_s REAL NOT NULL DEFAULT 0,
    worker_id TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    weight INTEGER NOT NULL,
    group_name TEXT,
    key TEXT,
    pool TEXT NOT NULL DEFAULT 'any',
    step INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX task_key ON task (key) WHERE key IS NOT NULL;
CREATE INDEX task_group_name ON task (group_name) WHERE group_name IS NOT NULL;
CREATE INDEX task_pending ON task (pool, task_id) WHERE state = 'pending';
CREATE INDEX task_delayed ON task (not_before_s) WHERE state = 'delayed';
CREATE INDEX task_leased ON task (expires_at_s) WHERE state = 'leased';
CREATE INDEX task_discarded ON task (task_id) WHERE state = 'discarded';
CREATE TABLE payload (task_id INTEGER PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE result (task_id INTEGER PRIMARY KEY, result BLOB NOT NULL);
CREATE TABLE task_group (
    name TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    then_id INTEGER NOT NULL,
    members INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE tally (state TEXT PRIMARY KEY, tasks INTEGER NOT NULL, weight INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE progress (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last_task_id INTEGER NOT NULL,
    intake_closed INTEGER NOT NULL,
    checkpoint BLOB
);
CREATE TABLE control (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE worker_beat (worker_id TEXT PRIMARY KEY, note BLOB NOT NULL, at_s REAL NOT NULL)
    WITHOUT ROWID;
CREATE TABLE budget (
    bucket TEXT PRIMARY KEY,
    arrival_s REAL NOT NULL,
    booked_at_s REAL NOT NULL,
    rate_per_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE event (event_id INTEGER PRIMARY KEY AUTOINCREMENT, at_s REAL NOT NULL, text TEXT NOT NULL);
CREATE TRIGGER tally_added AFTER INSERT ON task BEGIN
    UPDATE tally SET tasks = tasks + 1, weight = weight + NEW.weight WHERE state = NEW.state;
END;
CREATE TRIGGER tally_moved AFTER UPDATE OF state ON task WHEN OLD.state <> NEW.state BEGIN
    UPDATE tally SET tasks = tasks - 1, weight = weight - OLD.weight WHERE state = OLD.state;
    UPDATE tally SET tasks = tasks + 1, weight = weight + NEW.weight WHERE state = NEW.state;
END;
CREATE TRIGGER tally_forgotten AFTER DELETE ON task BEGIN
    UPDATE tally SET tasks = tasks - 1, weight = weight - OLD.weight WHERE state = OLD.state;
END;
"""

UPGRADES = {
    1: """
ALTER TABLE task ADD COLUMN pool TEXT NOT NULL DEFAULT 'any';
ALTER TABLE task ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
DROP INDEX task_pending;
CREATE INDEX task_pending ON task (pool, task_id) WHERE state = 'pending';
CREATE TABLE event (event_id INTEGER PRIMARY KEY AUTOINCREMENT, at_s REAL NOT NULL, text TEXT NOT NULL);
""",
}
"""By version: what makes a file of that version one of the next."""

EMPTIED_BY_CLEAR = (
    "task",
    "payload",
    "result",
    "task_group",
    "control",
    "worker_beat",
    "budget",
    "event",
)

CLAIMABLE = """
SELECT task_id FROM (
    SELECT task_id FROM task INDEXED BY task_pending
    WHERE state = 'pending' AND pool = :pool
    ORDER BY task_id LIMIT :limit
)
UNION ALL
SELECT task_id FROM (
    SELECT task_id FROM task INDEXED BY task_delayed
    WHERE state = 'delayed' AND not_before_s <= :now_s AND pool = :pool
    ORDER BY task_id LIMIT :limit
)
ORDER BY task_id LIMIT :limit
"""

STANDING = """
SELECT state, generation, attempts, not_before_s, expires_at_s, worker_id, reason, step,
    weight, group_name
FROM task WHERE task_id = ?
"""

MOVE = """
UPDATE task SET state = ?, generation = ?, attempts = ?, not_before_s = ?, expires_at_s = ?,
    worker_id = ?, reason = ?, step = ?
WHERE task_id = ?
"""

FINISHED = """
SELECT task.task_id, state, coalesce(result, x''), reason, attempts, weight, coalesce(payload, x'')
FROM task LEFT JOIN result USING (task_id) LEFT JOIN payload USING (task_id)
"""

FORGETTABLE = """
state IN ('done', 'discarded') AND (group_name IS NULL OR group_name NOT IN (
    SELECT name FROM task_group JOIN task AS follower ON follower.task_id = then_id
    WHERE follower.state NOT IN ('done', 'discarded')
))
"""
