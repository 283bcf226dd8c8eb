"""The floor below ``python -m bench fleet large``: the same requests by bare sockets.

Every process has one connection to read by and one to write by, one part in one buffer, no queue, no
checksum, no event loop. Its speed-up is what the machine's cores leave of the ideal: where it is below
the number of workers, no mover reaches that number there.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from bench import report
from bench.processes import script_server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PIECE_BYTES = 256 * 1024
HEAD_BYTES_MAX = 4096


class FloorRun(NamedTuple):
    """Seconds of the wall and of all processes' processor time, the store's not counted."""

    wall_s: float
    cpu_s: float


def floor(
    object_bytes: int,
    *,
    part_bytes: int,
    crews: Sequence[int],
    latency_ms: float,
    tell: Callable[[str], None],
) -> str:
    """Move as many parts with each number of processes, and return a table."""
    runs: dict[int, FloorRun] = {}
    with script_server("latent_store.py", "1", "1", str(latency_ms)) as port:
        for crew in crews:
            runs[crew] = _run(port, object_bytes, part_bytes, crew)
            tell(f"  floor, {crew} processes: {runs[crew].wall_s:.2f} s")
    base = runs[min(crews)].wall_s * min(crews)
    rows = [
        [str(crew), f"{run.wall_s:.2f}", f"{base / run.wall_s:.2f}", f"{run.cpu_s:.2f}"]
        for crew, run in runs.items()
    ]
    return report.table(("processes", "wall s", "speed-up", "CPU s: processes"), rows) + "\n"


def _run(port: int, object_bytes: int, part_bytes: int, crew: int) -> FloorRun:
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(crew + 1)
    spent = context.Value("d", 0.0)
    processes = [
        context.Process(
            target=_move, args=(port, object_bytes, part_bytes, range(n, parts, crew), gate, spent)
        )
        for parts in [object_bytes // part_bytes]
        for n in range(crew)
    ]
    for process in processes:
        process.start()
    gate.wait()
    began_s = time.monotonic()
    for process in processes:
        process.join()
    wall_s = time.monotonic() - began_s
    failed = [process.exitcode for process in processes if process.exitcode]
    if failed:
        raise RuntimeError(f"a process of the floor ended with {failed[0]}")
    return FloorRun(wall_s, spent.value)


def _move(port: int, object_bytes: int, part_bytes: int, parts: range, gate, spent) -> None:  # type: ignore[no-untyped-def]  # typeshed has no public names for them
    reading, writing = (socket.create_connection(("127.0.0.1", port)) for _ in range(2))
    buffer = memoryview(bytearray(part_bytes))
    gate.wait()
    before = os.times()
    for part in parts:
        start = part * part_bytes
        reading.sendall(
            f"GET /source/large-{object_bytes}.bin HTTP/1.1\r\nHost: floor\r\n"
            f"Range: bytes={start}-{start + part_bytes - 1}\r\n\r\n".encode()
        )
        _receive(reading, buffer)
        writing.sendall(
            f"PUT /sink/large.bin?partNumber={part + 1}&uploadId=floor HTTP/1.1\r\nHost: floor\r\n"
            f"Content-Length: {part_bytes}\r\n\r\n".encode()
        )
        writing.sendall(buffer)
        _receive(writing, memoryview(b""))
    after = os.times()
    with spent.get_lock():
        spent.value += after.user + after.system - before.user - before.system


def _receive(link: socket.socket, buffer: memoryview) -> None:
    """Read an answer's head, and its body into the buffer. Raises ``EOFError`` if it ends before."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = link.recv(HEAD_BYTES_MAX)
        if not piece:
            raise EOFError("the store hung up")
        received += piece
    body = received.partition(b"\r\n\r\n")[2]
    if not buffer:
        return
    buffer[: len(body)] = body
    filled = len(body)
    while filled < len(buffer):
        count = link.recv_into(buffer[filled : filled + PIECE_BYTES])
        if not count:
            raise EOFError("the store hung up")
        filled += count
