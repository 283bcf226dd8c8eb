"""A process that has imported the mover and turns into any of its programs, over and over.

``python -m tests.servers.ready_main FD``: over the socket ``FD`` comes what to run. A fork of this
process runs it, and ends as an interpreter of its own does; this one says how it ended.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import socket
import sys
import threading
from dataclasses import dataclass
from typing import IO, Any, TextIO

FLOORS = ("mover", "transports", "scheduler")
REQUEST_BYTES_MAX = 200_000
"""What a socket takes as one message; an environment and arguments are a few KiB."""
STREAMS = ("stdin", "stdout", "stderr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to run, on which descriptors: three streams, and where to say how it goes."""

    program: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    leads_a_session: bool
    descriptors: list[int]


def import_all() -> None:
    for floor in FLOORS:
        for module in pkgutil.walk_packages([floor], f"{floor}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    # Children that look through it for garbage would each copy all its pages.
    gc.freeze()


def receive(channel: socket.socket) -> Request | None:
    """The next request; None when nobody asks any more."""
    message, descriptors, _, _ = socket.recv_fds(channel, REQUEST_BYTES_MAX, len(STREAMS) + 1)
    if not message:
        return None
    asked: dict[str, Any] = json.loads(message)
    return Request(**asked, descriptors=descriptors)


def serve(channel: socket.socket) -> Request | None:
    """Fork at each request. Returns in a child with what it is to run, and at the end with None."""
    with selectors.PollSelector() as waiting:
        waiting.register(channel, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not channel:
                    tell_end(waiting, *key.data)
                elif (request := receive(channel)) is None:
                    return None
                elif pid := os.fork():
                    *streams, status = request.descriptors
                    close(streams)
                    waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, status))
                else:
                    close(others_of(waiting))
                    return request


def others_of(waiting: selectors.BaseSelector) -> list[int]:
    """What a child must not keep open: its siblings' descriptors."""
    siblings = [key for key in waiting.get_map().values() if key.data is not None]
    return [descriptor for key in siblings for descriptor in (key.fd, key.data[1])]


def close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def tell_end(waiting: selectors.BaseSelector, pid: int, status: int) -> None:
    (key,) = [key for key in waiting.get_map().values() if key.data == (pid, status)]
    waiting.unregister(key.fd)
    _, ended = os.waitpid(pid, 0)
    say(status, os.waitstatus_to_exitcode(ended))
    close([key.fd, status])


def say(status: int, number: int) -> None:
    """Who asked may have died meanwhile."""
    try:
        os.write(status, array.array("q", [number]).tobytes())
    except BrokenPipeError:
        return


def become(request: Request) -> None:
    """Run the program as ``python -m`` does."""
    *streams, status = request.descriptors
    if request.leads_a_session:
        os.setsid()
    for number, (name, descriptor) in enumerate(zip(STREAMS, streams, strict=True)):
        os.dup2(descriptor, number)
        setattr(sys, name, reopened(getattr(sys, name), number))
    say(status, os.getpid())
    close(request.descriptors)
    os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.path[0] = request.directory
    sys.argv[1:] = request.arguments
    try:
        runpy.run_module(request.program, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        leave(left.code)


def leave(code: str | int | None) -> None:
    """End as an interpreter does, but for taking apart all that is imported: half of the time."""
    assert isinstance(code, int), code
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing does in its children
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def reopened(stream: TextIO, number: int) -> IO[str]:
    """The stream as an interpreter opens it: whether one can seek in it is asked at once."""
    return open(
        number,
        stream.mode,
        buffering=1 if stream.line_buffering else -1,
        encoding=stream.encoding,
        errors=stream.errors,
        closefd=False,
    )


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    import_all()
    assert len(os.listdir("/proc/self/task")) == 1, "a fork would have lost the other threads"
    with channel:
        request = serve(channel)
    if request is not None:
        become(request)


if __name__ == "__main__":
    main()
