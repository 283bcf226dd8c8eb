"""The small disk: it fills, and it goes."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import disks

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_small_disk_takes_what_it_should_and_no_more(
    small_disk: Callable[[int], Path],
) -> None:
    place = small_disk(1 << 20)
    (place / "fits").write_bytes(b"x" * 500_000)
    with pytest.raises(OSError, match="No space") as caught:
        (place / "too-much").write_bytes(b"x" * 2_000_000)
    assert caught.value.errno == errno.ENOSPC


def test_it_is_unmounted_after_a_failure_with_a_file_still_open() -> None:
    places: list[Path] = []

    def fail(left_open: contextlib.ExitStack) -> None:
        with disks.small_disk(1 << 20) as place:
            places.append(place)
            left_open.enter_context((place / "open").open("wb"))
            raise ZeroDivisionError

    with contextlib.ExitStack() as left_open:
        with pytest.raises(ZeroDivisionError):
            fail(left_open)
        assert not places[0].exists()
        assert str(places[0]) not in Path("/proc/mounts").read_text()


def test_a_refused_mount_is_a_failure_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(disks.CannotMount, match="SYS_ADMIN"), disks.small_disk(1 << 20):
        pass
