"""The steps that the embedded queue's transactions are made of: rows in, values out.

Each runs on the store's thread, inside a transaction that its caller has begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scheduler import sqlite_schema, states
from scheduler.errors import GroupMisused
from scheduler.model import FINAL_STATES, FinishedTask, Lease, StoreStats, TaskId, TaskState
from scheduler.states import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scheduler.model import NewGroup, NewTask
    from scheduler.sqlite_file import Connection


class TaskRow(NamedTuple):
    """A task as its small row has it."""

    task_id: TaskId
    standing: Standing
    weight: int
    group: str | None


def is_intake_closed(connection: Connection) -> bool:
    """Whether no more tasks come from outside."""
    (is_closed,) = connection.execute("SELECT intake_closed FROM progress").fetchone()
    return bool(is_closed)


def read_stats(connection: Connection) -> StoreStats:
    """Counts and weights by state, from the tally that triggers keep."""
    rows = connection.execute("SELECT state, tasks, weight FROM tally").fetchall()
    return StoreStats(
        tasks={TaskState(state): tasks for state, tasks, _ in rows},
        weight={TaskState(state): weight for state, _, weight in rows},
        intake_closed=is_intake_closed(connection),
    )


def admit(connection: Connection, tasks: Sequence[NewTask], groups: Sequence[NewGroup]) -> int:
    """Add groups with their waiting tasks, then tasks; return how many tasks were new."""
    if not tasks and not groups:
        return 0
    (last_id,) = connection.execute("SELECT last_task_id FROM progress").fetchone()
    thens: list[NewTask] = []
    for group in groups:
        known = "SELECT 1 FROM task_group WHERE name = ?"
        if connection.execute(known, (group.name,)).fetchone():
            continue
        thens.append(group.then)
        connection.execute(
            "INSERT INTO task_group (name, size, then_id) VALUES (?, ?, ?)",
            (group.name, group.size, last_id + len(thens)),
        )
    new_tasks = _without_known_keys(connection, tasks)
    waiting = Standing(state=TaskState.WAITING)
    newcomers = [(task, waiting) for task in thens]
    newcomers += [(task, states.admit(task)) for task in new_tasks]
    _insert(connection, newcomers, first_id=last_id + 1)
    connection.execute(
        "UPDATE progress SET last_task_id = ?", (last_id + len(thens) + len(new_tasks),)
    )
    for task in (*thens, *new_tasks):
        if task.group is not None:
            _join(connection, task.group)
    return len(new_tasks)


def _without_known_keys(connection: Connection, tasks: Sequence[NewTask]) -> list[NewTask]:
    new_tasks = []
    seen: set[str] = set()
    for task in tasks:
        if task.key is not None:
            known = connection.execute("SELECT 1 FROM task WHERE key = ?", (task.key,)).fetchone()
            if known or task.key in seen:
                continue
            seen.add(task.key)
        new_tasks.append(task)
    return new_tasks


def _insert(
    connection: Connection, tasks: Sequence[tuple[NewTask, Standing]], *, first_id: int
) -> None:
    connection.executemany(
        "INSERT INTO task (task_id, state, attempts, reason, weight, group_name, key, pool)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                task_id,
                at.state,
                at.attempts,
                at.reason,
                task.weight,
                task.group,
                task.key,
                task.pool,
            )
            for task_id, (task, at) in enumerate(tasks, first_id)
        ],
    )
    connection.executemany(
        "INSERT INTO payload (task_id, payload) VALUES (?, ?)",
        [(task_id, task.payload) for task_id, (task, _) in enumerate(tasks, first_id)],
    )
    connection.executemany(
        "INSERT INTO result VALUES (?, ?)",
        [
            (task_id, task.result)
            for task_id, (task, _) in enumerate(tasks, first_id)
            if task.discarded and task.result
        ],
    )


def _join(connection: Connection, group: str) -> None:
    joined = connection.execute(
        "UPDATE task_group SET members = members + 1 WHERE name = ? RETURNING members, size",
        (group,),
    ).fetchall()
    if not joined:
        raise GroupMisused(group=group, detail="it was never opened")
    members, size = joined[0]
    if members > size:
        raise GroupMisused(group=group, detail=f"{members} members for a size of {size}")


def load(connection: Connection, task_id: int) -> TaskRow | None:
    """A task without its payload, or None if it was forgotten."""
    row = connection.execute(sqlite_schema.STANDING, (task_id,)).fetchone()
    if row is None:
        return None
    standing = Standing(
        state=TaskState(row[0]),
        generation=row[1],
        attempts=row[2],
        not_before_s=row[3],
        expires_at_s=row[4],
        worker_id=row[5],
        reason=row[6],
        step=row[7],
    )
    return TaskRow(task_id=TaskId(task_id), standing=standing, weight=row[8], group=row[9])


def move(connection: Connection, task: TaskRow, standing: Standing, *, result: bytes = b"") -> None:
    """Save a task's new standing, with all that follows from it."""
    connection.execute(
        sqlite_schema.MOVE,
        (
            standing.state,
            standing.generation,
            standing.attempts,
            standing.not_before_s,
            standing.expires_at_s,
            standing.worker_id,
            standing.reason,
            standing.step,
            task.task_id,
        ),
    )
    if standing.state not in FINAL_STATES:
        return
    if result:
        connection.execute("INSERT INTO result VALUES (?, ?)", (task.task_id, result))
    if standing.state is TaskState.DONE:
        connection.execute("DELETE FROM payload WHERE task_id = ?", (task.task_id,))
    if task.group is not None:
        _settle_member(connection, task.group)


def _settle_member(connection: Connection, group: str) -> None:
    ((settled, size, then_id),) = connection.execute(
        "UPDATE task_group SET settled = settled + 1 WHERE name = ? "
        "RETURNING settled, size, then_id",
        (group,),
    ).fetchall()
    then = load(connection, then_id) if settled == size else None
    opened = then and states.settle(then.standing)
    if then is not None and opened is not None:
        move(connection, then, opened)


def replace_payload(connection: Connection, task_id: int, payload: bytes) -> None:
    """Give a task another payload."""
    connection.execute("UPDATE payload SET payload = ? WHERE task_id = ?", (payload, task_id))


def requeue(connection: Connection) -> int:
    """Make the discarded tasks that are in no group claimable again; return how many."""
    query = "SELECT task_id FROM task WHERE state = 'discarded' AND group_name IS NULL"
    found = connection.execute(query).fetchall()
    for (task_id,) in found:
        task = load(connection, task_id)
        standing = task and states.requeue(task.standing)
        if task is not None and standing is not None:
            connection.execute("DELETE FROM result WHERE task_id = ?", (task_id,))
            move(connection, task, standing)
    return len(found)


def read_lease(connection: Connection, task: TaskRow, standing: Standing) -> Lease:
    """The lease on a task that was just claimed, with its payload."""
    query = "SELECT payload FROM payload WHERE task_id = ?"
    (payload,) = connection.execute(query, (task.task_id,)).fetchone()
    return states.lease_of(
        task.task_id, standing, payload=bytes(payload), weight=task.weight, group=task.group
    )


def read_finished(
    rows: Iterable[tuple[int, str, bytes, str, int, int, bytes]],
) -> list[FinishedTask]:
    """What a query that begins with ``FINISHED`` found."""
    return [
        FinishedTask(
            task_id=TaskId(task_id),
            state=TaskState(state),
            result=bytes(result),
            reason=reason,
            attempts=attempts,
            weight=weight,
            payload=bytes(payload),
        )
        for task_id, state, result, reason, attempts, weight, payload in rows
    ]


def forget(connection: Connection) -> int:
    """Drop finished tasks that no open group needs; return how many."""
    # Which groups are over must be seen while their last tasks are still there.
    over = connection.execute(
        "SELECT name FROM task_group JOIN task ON task_id = then_id "
        "WHERE state IN ('done', 'discarded')"
    ).fetchall()
    forgettable = f"SELECT task_id FROM task WHERE {sqlite_schema.FORGETTABLE}"
    for table in ("payload", "result"):
        connection.execute(f"DELETE FROM {table} WHERE task_id IN ({forgettable})")
    forgotten = connection.execute(f"DELETE FROM task WHERE {sqlite_schema.FORGETTABLE}").rowcount
    connection.executemany("DELETE FROM task_group WHERE name = ?", over)
    return forgotten
