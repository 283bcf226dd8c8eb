"""The meter weighs real processes here: it is made of kernel calls, and nothing else shows them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.metering import METER, Command, MeterFailed, Weight, weigh

BURN = "import time\nwhile time.process_time() < {}: pass"


def weigh_python(code: str, directory: Path, *, timeout_s: float = 20, secret: str = "") -> Weight:
    return weigh(
        Command(argv=(sys.executable, "-I", "-S", "-c", code), environment={"SECRET": secret}),
        cwd=directory,
        stdout=directory / "out",
        stderr=directory / "err",
        timeout_s=timeout_s,
    )


def test_exit_code_streams_directory_and_environment(tmp_path: Path) -> None:
    code = (
        "import os, sys; print(os.getcwd(), os.environ['SECRET']); "
        "print('woe', file=sys.stderr); sys.exit(7)"
    )
    weight = weigh_python(code, tmp_path, secret="s3cr3t")
    assert weight.exit_code == 7
    assert (tmp_path / "out").read_text().split() == [str(tmp_path), "s3cr3t"]
    assert (tmp_path / "err").read_text() == "woe\n"
    assert not weight.timed_out


def test_cpu_of_children_and_of_orphans_counts(tmp_path: Path) -> None:
    # The child burns and is waited for; its own child is left behind, burns, and ends by itself.
    code = (
        "import os, time\n"
        "def burn():\n"
        "    while time.process_time() < 0.15: pass\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    if os.fork() == 0: burn(); os._exit(0)\n"
        "    burn(); os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
    )
    weight = weigh_python(code, tmp_path)
    assert weight.cpu_user_s + weight.cpu_system_s > 0.29
    assert weight.left_behind == 0


def test_peak_memory_of_one_process_is_the_kernels(tmp_path: Path) -> None:
    weight = weigh_python("x = bytearray(64_000_000); del x", tmp_path)
    assert 64e6 < weight.rss_peak_bytes < 96e6
    assert weight.processes_peak == 1


def test_memory_of_several_processes_is_summed_and_shared_pages_count_once(tmp_path: Path) -> None:
    # 60 MB are shared by three processes; each has 20 MB of its own.
    code = (
        "import os, time\n"
        "shared = bytearray(60_000_000)\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0: own = bytearray(20_000_000); time.sleep(0.6); os._exit(0)\n"
        "time.sleep(0.1); os.wait(); os.wait()\n"
    )
    weight = weigh_python(code, tmp_path)
    assert 100e6 < weight.rss_peak_bytes < 140e6
    assert weight.processes_peak == 3


def test_a_late_command_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0: os.setsid()\n"
        "open(f'pid-{os.getpid()}', 'w').close()\n"
        "time.sleep(60)\n"
    )
    weight = weigh_python(code, tmp_path, timeout_s=0.5)
    assert weight.timed_out
    assert weight.exit_code == -signal.SIGKILL
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    assert len(pids) == 2
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)


def test_a_command_that_cannot_start_is_a_failed_run(tmp_path: Path) -> None:
    weight = weigh(
        Command(argv=("/no/such/program",)),
        cwd=tmp_path,
        stdout=tmp_path / "out",
        stderr=tmp_path / "err",
        timeout_s=5,
    )
    assert weight.exit_code == 127


def test_a_broken_meter_is_not_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.metering.METER", tmp_path / "absent.py")
    with pytest.raises(MeterFailed, match="left with"):
        weigh_python("pass", tmp_path)


def test_the_command_dies_with_a_killed_meter(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(METER)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as meter:
        assert meter.stdin is not None
        code = "import os, time; open(f'pid-{os.getpid()}', 'w').close(); time.sleep(60)"
        order = {
            "argv": [sys.executable, "-I", "-S", "-c", code],
            "cwd": str(tmp_path),
            "stdout": os.devnull,
            "stderr": os.devnull,
            "timeout_s": 60,
        }
        meter.stdin.write(json.dumps(order).encode())
        meter.stdin.close()
        pid = wait_for_pid(tmp_path)
        os.kill(meter.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path("/proc", str(pid)).exists() and not is_zombie(pid):
        assert time.monotonic() < deadline, "the command outlived its meter"
        time.sleep(0.01)


def wait_for_pid(directory: Path) -> int:
    deadline = time.monotonic() + 5
    while True:
        for path in directory.glob("pid-*"):
            return int(path.name.removeprefix("pid-"))
        assert time.monotonic() < deadline, "the command never started"
        time.sleep(0.01)


def is_zombie(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
