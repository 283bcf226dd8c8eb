"""Run one command and weigh all of its processes. Standard library only; run as a script.

A fresh small interpreter (`python -I -S`) does the weighing, for three reasons. Its own children
are the measured ones and nobody else's, so RUSAGE_CHILDREN is the tool's whole CPU. The kernel
carries the peak memory of a forking parent over into the child, so the parent must be small. And
sampling runs here, where its cost is not charged to the tool.

In: one JSON object on stdin with `argv`, `cwd`, `stdout`, `stderr` (files), `timeout_s`.
Out: one JSON object on stdout. The environment is handed through, secrets included.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
SAMPLE_EVERY_S = 0.05
LINGER_S = 5.0  # for processes that outlive the command: they are waited for, then killed


def descendants(root: int) -> list[int]:
    """Return the living processes below ``root``, itself included."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as reader:
                    queue.extend(int(child) for child in reader.read().split())
        except OSError:  # it ended while we looked
            continue
    return found


def proportional_bytes(pid: int) -> int:
    """Return a process's memory with shared pages divided among their users (PSS)."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as reader:
            for line in reader:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def busy_ticks() -> int:
    """Return the working ticks of the whole machine; `bench.machine` explains the fields."""
    with open("/proc/stat", "rb") as reader:
        numbers = [int(number) for number in reader.readline().split()[1:]]
    return sum(numbers[:8]) - numbers[3] - numbers[4]


def start(argv: list[str], *, cwd: str, stdout: str, stderr: str) -> int:
    """Fork the command into a session of its own; it dies with us, even by SIGKILL."""
    libc = ctypes.CDLL(None)
    meter_pid = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != meter_pid:
            os._exit(127)
        os.chdir(cwd)
        create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(stdout, create, 0o600), 1)
        os.dup2(os.open(stderr, create, 0o600), 2)
        os.execv(argv[0], argv)
    finally:  # exec does not return: this is the failed start
        os._exit(127)


def watch(pid: int, timeout_s: float) -> tuple[int, int, bool]:
    """Sample until the command ends or its time is up: (peak bytes, peak processes, late)."""
    poller = select.poll()
    poller.register(os.pidfd_open(pid), select.POLLIN)
    deadline = time.monotonic() + timeout_s
    peak_bytes, peak_processes = 0, 1
    while not poller.poll(SAMPLE_EVERY_S * 1000):
        if time.monotonic() > deadline:
            return peak_bytes, peak_processes, True
        family = descendants(pid)
        peak_processes = max(peak_processes, len(family))
        # One process needs no sampling: the kernel itself keeps its exact peak (ru_maxrss).
        if len(family) > 1:
            peak_bytes = max(peak_bytes, sum(map(proportional_bytes, family)))
    return peak_bytes, peak_processes, False


def reap_rest() -> int:
    """Wait for processes that the command left behind; return how many had to be killed."""
    killed, deadline = 0, time.monotonic() + LINGER_S
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return killed
        if pid:
            continue
        if time.monotonic() > deadline:
            killed += len(descendants(os.getpid())) - 1
            kill_all()
            deadline += LINGER_S
        time.sleep(0.01)


def kill_all() -> None:
    """Kill everything below this process, in whatever session it is."""
    for pid in descendants(os.getpid())[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def weigh(
    argv: list[str], *, cwd: str, stdout: str, stderr: str, timeout_s: float
) -> dict[str, float]:
    """Run the command to its end and return what it cost. Kills all of it if interrupted."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    busy_before, started = busy_ticks(), time.perf_counter()
    pid = start(argv, cwd=cwd, stdout=stdout, stderr=stderr)
    try:
        sampled_bytes, processes, late = watch(pid, timeout_s)
        if late:
            kill_all()
        _, status = os.waitpid(pid, 0)
    except BaseException:
        kill_all()
        raise
    wall_s = time.perf_counter() - started
    busy = busy_ticks() - busy_before
    killed = reap_rest()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": wall_s,
        "cpu_user_s": usage.ru_utime,
        "cpu_system_s": usage.ru_stime,
        "rss_peak_bytes": max(usage.ru_maxrss * 1024, sampled_bytes),
        "processes_peak": processes,
        "machine_busy_s": busy / os.sysconf("SC_CLK_TCK"),
        "exit_code": os.waitstatus_to_exitcode(status),
        "timed_out": late,
        "left_behind": killed,
    }


def main() -> None:
    """Read the order, weigh the command, write the answer."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout.write(json.dumps(weigh(**json.load(sys.stdin))))


if __name__ == "__main__":
    main()
