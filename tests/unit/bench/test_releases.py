"""The bench of two releases, on two small tars."""

import argparse
import random
from pathlib import Path

from bench import releases


def test_all_ways_make_the_next_release(tmp_path: Path) -> None:
    old = random.Random(1).randbytes(300_000)
    (tmp_path / "1.tar").write_bytes(old)
    (tmp_path / "2.tar").write_bytes(old[:100_000] + b"changed" + old[100_000:])
    arguments = argparse.Namespace(
        old=tmp_path / "1.tar", new=tmp_path / "2.tar", directory=tmp_path
    )
    told: list[str] = []
    text = releases.run(arguments, told.append)
    assert told == ["  1.tar to 2.tar"]
    for way in ("rsync -z", "mover rsync ", "mover rsync --base"):
        assert way in text
    assert not list(tmp_path.glob("mover-bench-*"))
