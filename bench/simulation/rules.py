"""The rules that docs/scaling.md proposes for large fleets, beside those that the product has."""

from __future__ import annotations

from bench.simulation.scenario import Rules

PROPOSED = Rules()
