"""What a plan is made of: one action for each pair that is not equal. Plain data.

Printing the actions of a plan is the dry run.
"""

from typing import NamedTuple

from transports.model import Entry


class Copy(NamedTuple):
    """Bring one object over. ``basis`` is the target's version, if it may help; or it ``seeks`` one."""

    entry: Entry
    basis: Entry | None = None
    seeks: bool = False

    def __str__(self) -> str:
        return f"copy {self.entry.key} ({max(self.entry.size, 0)} bytes)"


class Probe(NamedTuple):
    """Listings could not tell whether these two are equal: ask the stores, then copy or skip."""

    source: Entry
    target: Entry

    def __str__(self) -> str:
        return f"compare {self.source.key}, then copy if it differs ({self.source.size} bytes)"


class Refuse(NamedTuple):
    """Do not move a name that the target cannot hold, and say why. It counts as failed."""

    key: str
    reason: str

    def __str__(self) -> str:
        return f"refuse {self.key}: {self.reason}"


class Delete(NamedTuple):
    """Remove one extra object of the target."""

    entry: Entry

    def __str__(self) -> str:
        return f"delete {self.entry.key} ({max(self.entry.size, 0)} bytes)"


Action = Copy | Probe | Refuse | Delete
"""What a plan is made of; a pair that needs nothing makes no action and is only counted."""
