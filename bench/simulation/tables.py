"""A run's figures as Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.simulation.outcome import Outcome


def times(runs: Sequence[tuple[str, Outcome]]) -> str:
    """How long the runs took, and where the time went, a row each."""
    head = (
        "run",
        "makespan",
        "ideal",
        "efficiency",
        "starved",
        "tail",
        "last 1 %",
        "balance",
        "queue busy",
        "limit",
    )
    rows = [
        [
            name,
            f"{one.makespan_s:.1f} s",
            f"{one.ideal_s:.1f} s",
            f"{one.efficiency:.1%}",
            f"{one.starved_s:.1f} s",
            f"{one.tail_s:.2f} s",
            f"{one.last_percent_s:.2f} s",
            f"{one.balance_max:.3f} / {one.balance_deviation:.3f}",
            f"{one.server_busy:.1%}",
            one.limit,
        ]
        for name, one in runs
    ]
    return table(head, rows)


def load(one: Outcome) -> str:
    """What was asked of the queue's server, by verb."""
    seconds = one.makespan_s
    rows = [
        [
            verb,
            f"{calls:,}",
            f"{calls / seconds:,.0f}",
            f"{one.load.peak_calls[verb]:,}",
            f"{one.load.busy_us[verb] * 1e-6 / seconds:.2%}",
        ]
        for verb, calls in sorted(one.load.calls.items())
    ]
    calls = one.load.calls.total()
    total = ["all", f"{calls:,}", f"{calls / seconds:,.0f}", f"{one.load.peak_calls_all:,}"]
    rows.append([*total, f"{one.server_busy:.2%}"])
    return table(("verb", "calls", "per second", "peak", "of the server"), rows)


def details(one: Outcome) -> str:
    """The figures that fit no column, as lines."""
    lines = [
        f"objects {one.moved_objects:,}, tasks done {one.tasks_done:,}, discarded {one.tasks_discarded:,}",
        (
            f"all keys planned after {one.planned_s:.1f} s, first idle worker then at {one.first_idle_s:.1f} s"
            f" ({one.makespan_s - one.first_idle_s:.2f} s before the end)"
        ),
        (
            f"open tasks at most {one.open_max:,}; their payloads {one.queue_bytes_max / 1e6:,.0f} MB;"
            f" {one.load.bytes_in / 1e9:,.2f} GB in, {one.load.bytes_out / 1e9:,.2f} GB out"
        ),
        (
            f"taken back {one.reclaimed:,} tasks; again: {one.objects_again:,.0f} objects,"
            f" {one.bytes_again / 1e6:,.0f} MB, {one.listed_again:,} pages"
        ),
        (
            f"busiest second of the queue's server {one.load.peak_busy_us * 1e-6:.0%};"
            f" as loaded as here it is full at {one.saturated_at:,.0f} workers"
        ),
        f"{one.events:,} events",
    ]
    return "\n".join(f"- {line}" for line in lines)
