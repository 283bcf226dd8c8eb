"""The native part of the build; everything else stands in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("mover/delta/native")

# No -march: the levels in the C files are chosen when the program runs.
FLAGS = ["-O3", "-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra"]

setup(
    ext_modules=[
        Extension("transports._pages", ["transports/_pages.pyx"], extra_compile_args=FLAGS),
        Extension(
            "mover.delta._native",
            ["mover/delta/_native.pyx", *sorted(str(path) for path in NATIVE.glob("*.c"))],
            include_dirs=["mover/delta", str(NATIVE)],
            depends=[str(path) for path in NATIVE.glob("*.h")],
            extra_compile_args=FLAGS,
        ),
    ]
)
