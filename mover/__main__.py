"""The ``mover`` command; ``python -m mover`` is the same."""

import gc
import signal
import sys

from mover import __version__

IMPORTED_OBJECTS = 50_000


def main() -> int:
    """Run the command line of this process and return its exit code."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        # Asked for by scripts and probes, so it is answered before anything else is imported.
        sys.stdout.write(f"mover {__version__}\n")
        return 0
    # In the middle of an import an interrupt may get lost, and nothing has begun: it ends the process.
    # Whoever begins something asks for interrupts again (scheduler.signals).
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is imported stays: to look through it for garbage is a tenth of a short command's time.
    gc.set_threshold(IMPORTED_OBJECTS)
    from mover.cli import run

    code = run(arguments)
    # What the process is made of goes with it: to look through all of it once more takes 0.1 s.
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
