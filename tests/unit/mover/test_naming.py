"""Names are moved exactly, or refused by name with a reason."""

import pytest

from mover.model import Links
from mover.naming import refusal
from transports.model import Capabilities, Entry, Kind

DISK = Capabilities(scheme="file", has_directories=True, has_symlinks=True, keeps_attributes=False)
STORE = Capabilities(scheme="s3")


def why(key: str, target: Capabilities, kind: Kind = Kind.OBJECT, size: int = 1) -> str:
    return refusal(Entry(key, size, 0, kind=kind), STORE, target, Links.PRESERVE)


@pytest.mark.parametrize(
    "key", ["a", "a/b", "a.b/..c", "a/...", "ü/ß", " ", "a\nb", "%2F", "a/b.", "d/"]
)
def test_names_that_fit_a_file_system(key: str) -> None:
    assert why(key, DISK, size=0) == ""


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("..", "dots"), ("a/../b", "dots"), ("./a", "dots"), ("a/.", "dots"), ("/a", "absolute"),
        ("a//b", "empty segment"), ("a\0b", "NUL"), ("d/", "slash"),
    ],
)  # fmt: skip
def test_names_that_do_not_fit_a_file_system(key: str, word: str) -> None:
    assert word in why(key, DISK)
    assert why(key, STORE) == ""


def test_stray_bytes_fit_file_systems_only() -> None:
    assert "Unicode" in why("a\udcff", STORE)
    assert why("a\udcff", DISK) == ""


def test_kinds() -> None:
    assert "socket" in why("s", DISK, Kind.SPECIAL)
    assert why("l", DISK, Kind.SYMLINK) == ""
    assert why("l", STORE, Kind.SYMLINK) == ""
