"""The ``mover`` command; ``python -m mover`` is the same."""

import gc
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
    # What is imported stays: to look through it for garbage is a tenth of a short command's time.
    gc.set_threshold(IMPORTED_OBJECTS)
    from mover.cli import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
