"""Where this host keeps what outlives a process: jobs, and uploads of delta commands."""

from collections.abc import Mapping
from pathlib import Path


def state_directory(environment: Mapping[str, str]) -> Path:
    """Where jobs live: ``MOVER_STATE``, else the XDG base directory specification's state home."""
    if explicit := environment.get("MOVER_STATE"):
        return Path(explicit)
    home = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "mover"
