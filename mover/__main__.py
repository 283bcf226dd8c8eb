"""The ``mover`` command; ``python -m mover`` is the same."""

import sys

from mover import __version__


def main() -> int:
    """Run the command line of this process and return its exit code."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        # Asked for by scripts and probes, so it is answered before anything else is imported.
        sys.stdout.write(f"mover {__version__}\n")
        return 0
    from mover.cli import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
