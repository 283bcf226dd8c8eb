"""The benchmarks of a fleet, small: they run, count what was asked, and leave nothing behind."""

from __future__ import annotations

import pytest

from bench.__main__ import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    monkeypatch.setattr("bench.fleet_rig.IDLE_S", 0.1)
    return main()


def test_a_small_fleet_copies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--objects", "60", "--large-mib", "12", "--latency", "2")
    loads = ("small", "large", "large-to-disk", "floor")
    assert run(monkeypatch, "fleet", *loads, "--workers", "1", *sizes) == 0
    text = capsys.readouterr().out
    assert "60 objects of 16 KiB" in text
    assert "one object of 0.0117188 GiB, 1 parts of 5,120 KiB at a time, to the store" in text
    assert "1 parts of 512 KiB at a time, to disk" in text
    assert text.count("100 %") == 3
    assert "CPU s: processes" in text


def test_a_small_fleet_lists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--keys", "3000", "--ranges", "1,2", "--workers", "1", "--latency", "2")
    assert run(monkeypatch, "listing", *sizes) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 3,000")]
    assert len(rows) == 2
