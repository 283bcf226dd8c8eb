"""``mover worker --parcels``: what is refused before anything is begun, and what is told of it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from mover import cli
from mover.depots import KeepWish
from mover.errors import Rejected
from mover.wiring_peers import open_peers

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = {"MOVER_PARCELS_SECRET": "0123456789abcdef"}
WORKER = ("worker", "--queue", "redis://127.0.0.1:1/0")


def wish(host: str = "127.0.0.1", port: int = 0, told: str = "") -> KeepWish:
    return KeepWish(host=host, port=port, told=told, room_bytes=1 << 20)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("--parcels", "127.0.0.1:0"), {}, "set MOVER_PARCELS_SECRET"),
        (("--parcels", "127.0.0.1:0"), {"MOVER_PARCELS_SECRET": "short"}, "16 characters"),
        ((), {"MOVER_PARCELS_SECRET": "short"}, "16 characters"),
        (("--parcels", "8378"), SECRET, "write HOST:PORT"),
        (("--parcels", "h:70000"), SECRET, "write HOST:PORT"),
        (("--parcels", "0.0.0.0:8378"), SECRET, "--parcels-at where others"),
        (("--parcels", "h:1", "--parcels-at", "h:2"), SECRET, "write http://HOST:PORT"),
        (("--parcels", "h:1", "--parcels-room", "much"), SECRET, "--parcels-room"),
        (("--parcels-at", "http://h:1"), SECRET, "say with --parcels"),
        (("--parcels-room", "1GiB"), SECRET, "say with --parcels"),
    ],
)
def test_what_makes_no_sense(
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mover.cli_fleet_running.configure_logs", lambda **_: None)
    monkeypatch.delenv("MOVER_PARCELS_SECRET", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.run([*WORKER, *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert all(value not in lines[0] for value in environment.values())


async def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Rejected, match=rf"--parcels 127.0.0.1:{port}: .*in use"):
            async with open_peers(wish(port=port), SECRET, lambda line: None):
                pass


@pytest.mark.parametrize("told", ["", "https://outside:443"])
async def test_what_others_are_told(told: str) -> None:
    said: list[str] = []
    async with open_peers(wish(told=told), SECRET, said.append) as peering:
        assert peering is not None
        own = peering.seen_from(near_source=True).own
        assert own is not None
        assert own.near_source
        assert own.address.startswith(told or "http://127.0.0.1:")
        assert said == [f"keeps parcels for others at {own.address}"]
        assert peering.seen_from().own is None


async def test_without_a_wish() -> None:
    async with open_peers(None, {}, lambda line: None) as peering:
        assert peering is None
    async with open_peers(None, SECRET, lambda line: None) as peering:
        assert peering is not None
        assert peering.seen_from(near_source=False).own is None
