"""What a delta is to be small in."""

from enum import StrEnum


class Optimise(StrEnum):
    """What is to be small."""

    TIME = "time"
    COST = "cost"
