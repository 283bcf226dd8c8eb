"""The floor as one more tool of the benchmark, called like the others."""

import platform
import sys
from pathlib import Path

from bench.metering import Command
from bench.scenarios import Direction, Scenario
from bench.tools import Errand, Folder, Setting, Tool

FLOOR_DIRECTIONS = (Direction.DOWN, Direction.UP, Direction.ACROSS)
_SCRIPT = Path(__file__).with_name("floor.py")


class Floor(Tool):
    """`bench/floor.py` as the client of its own server, which the scene has started."""

    name = "floor"
    writes_to_store = False

    def version(self) -> str:
        return f"Python {platform.python_version()}"

    def refusal(self, scenario: Scenario) -> str | None:
        if scenario.direction not in FLOOR_DIRECTIONS:
            return "no bytes are moved"
        return "measured without TLS only" if scenario.tls else None

    def settings(self, scenario: Scenario) -> tuple[Setting, ...]:
        return (Setting(label="one connection"),)

    def command(self, errand: Errand, setting: Setting) -> Command:
        place = {
            Direction.DOWN: errand.target,
            Direction.UP: errand.source,
        }.get(errand.direction)
        return Command(
            argv=(
                *(sys.executable, "-I", "-S", str(_SCRIPT)),
                *(errand.direction.value, str(errand.floor_port)),
                *((str(place.path),) if isinstance(place, Folder) else ()),
            )
        )
