"""Which nodes have left, by what is heard of them. Pure.

A sign of life that is old says as much of its node as of whoever looks for it: a host that was suspended, or had no
queue for a minute, finds old signs of everybody, its own among them. So a node has left when somebody who kept looking
has seen no new sign of it for long enough. Clocks of other hosts are only compared with themselves.
"""

from collections.abc import Collection, Mapping
from typing import Final

AWAY_S: Final = 5.0
"""Whoever has not looked for so long was away, and begins anew."""


class Absences:
    """Watches some nodes for one observer. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._looked_s = 0.0
        self._last: dict[
            str, tuple[float | None, float]
        ] = {}  # its sign, and since when there is no newer

    def lost(
        self, nodes: Collection[str], signs: Mapping[str, float], *, now_s: float, after_s: float
    ) -> set[str]:
        """Those of the nodes of which nothing new was seen for ``after_s``, while looks came often.

        ``signs`` has the newest sign of life of each node that has ever given one.
        """
        if now_s - self._looked_s > AWAY_S:
            self._last.clear()
        self._looked_s = now_s
        for node in nodes:
            sign = signs.get(node)
            if node not in self._last or self._last[node][0] != sign:
                self._last[node] = (sign, now_s)
        return {node for node in nodes if now_s - self._last[node][1] >= after_s}
