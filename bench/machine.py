"""The machine behind a number: what it is, and whether two results may be compared at all."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts that a measured time depends on."""

    cpu_model: str
    cores: int
    memory_gib: int
    kernel: str
    architecture: str
    python: str

    @classmethod
    def here(cls) -> Machine:
        """Look at this machine. Raises ``OSError`` where /proc is missing."""
        return cls(
            cpu_model=_cpu_model(Path("/proc/cpuinfo").read_text()),
            # What this process may use, not what the board has: a container gets its share.
            cores=len(os.sched_getaffinity(0)),
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            kernel=platform.release(),
            architecture=platform.machine(),
            python=platform.python_version(),
        )

    def differences(self, other: Machine) -> tuple[str, ...]:
        """Name every fact in which two machines differ, with both values."""
        return tuple(
            f"{field.name}: {getattr(self, field.name)} and {getattr(other, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        )


def _cpu_model(cpuinfo: str) -> str:
    """Return the first processor's name, or ``unknown`` (ARM kernels give none)."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown"


def busy_ticks(stat: str) -> int:
    """Return the ticks that all cores together have spent working, from the text of /proc/stat.

    Idle and waiting for a disk (fields 4 and 5) are not work; guest time (9, 10) is already in
    user time. Source: proc_stat(5).
    """
    numbers = [int(number) for number in stat.splitlines()[0].split()[1:]]
    return sum(numbers[:8]) - numbers[3] - numbers[4]
