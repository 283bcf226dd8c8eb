"""The native part of the build; everything else stands in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("mover/delta/native")

setup(
    ext_modules=[
        Extension(
            "mover.delta._native",
            ["mover/delta/_native.pyx", *sorted(str(path) for path in NATIVE.glob("*.c"))],
            include_dirs=["mover/delta", str(NATIVE)],
            depends=[str(path) for path in NATIVE.glob("*.h")],
            # No -march: the levels in the C files are chosen when the program runs.
            extra_compile_args=["-O3", "-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra"],
        )
    ]
)
