"""The walk: what symlinks, odd files, pruning and change do to a listing."""

import os
import shutil
from pathlib import Path

import pytest

from transports.errors import Invalid, NotFound
from transports.local import open_local
from transports.local_files import Root
from transports.local_listing import PAGE_ENTRIES, Bounds, Links, Walk
from transports.model import Kind
from transports.testing import contents, listed, put


def walk(path: Path, links: Links = "preserve", bounds: Bounds | None = None) -> list[str]:
    root = Root(str(path), create=False)
    keys = [e.key for page in Walk(root, bounds or Bounds(), links).pages() for e in page]
    root.close()
    return keys


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A tree with every kind of symlink; ``a`` and ``z`` lie outside of it as well as inside."""
    tree = tmp_path / "tree"
    (tree / "dir" / "sub").mkdir(parents=True)
    (tree / "dir" / "file").write_bytes(b"file")
    (tree / "dir" / "sub" / "deep").write_bytes(b"deep")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "o").write_bytes(b"outside")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "circle").symlink_to("circle")
    (tree / "to-file").symlink_to("dir/file")
    (tree / "to-outside").symlink_to(tmp_path / "outside")
    (tree / "dir" / "sub" / "up").symlink_to("../..")
    (tree / "dir" / "sub" / "here").symlink_to(".")
    return tree


PLAIN = ["dir/file", "dir/sub/deep"]


def test_links_are_skipped(linked: Path) -> None:
    assert walk(linked, "skip") == PLAIN


def test_links_are_preserved(linked: Path) -> None:
    links = ["circle", "dangling", "dir/sub/here", "dir/sub/up", "to-file", "to-outside"]
    assert walk(linked, "preserve") == sorted(PLAIN + links)


async def test_links_are_followed_and_those_that_cannot_be_are_named(linked: Path) -> None:
    transport = open_local(linked, links="follow")
    entries = await listed(transport)
    assert [(entry.key, entry.kind) for entry in entries] == [
        ("circle", Kind.SYMLINK),
        ("dangling", Kind.SYMLINK),
        ("dir/file", Kind.OBJECT),
        ("dir/sub/deep", Kind.OBJECT),
        ("dir/sub/here", Kind.SYMLINK),
        ("dir/sub/up", Kind.SYMLINK),
        ("to-file", Kind.OBJECT),
        ("to-outside/o", Kind.OBJECT),
    ]
    results = await transport.read_small(entries)
    for entry, result in zip(entries, results, strict=True):
        assert isinstance(result, Invalid) == (entry.kind is Kind.SYMLINK), result
    assert (await transport.head("to-file")).entry.size == 4
    assert (await transport.head("dangling")).entry.kind is Kind.SYMLINK
    await transport.close()


def test_a_ring_of_links_between_directories_ends(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / other).symlink_to(f"../{other}")
    assert walk(tmp_path, "follow") == ["a/b/a", "b/a/b"]


def test_empty_directories_are_listed_and_full_ones_are_not(tmp_path: Path) -> None:
    for name in ("empty", "full/inner", "only-ours/.mover-stage-x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".mover-stage-job").mkdir()
    (tmp_path / ".mover-stage-job" / "x").write_bytes(b"half")
    assert walk(tmp_path) == ["empty/", "full/inner/", "only-ours/"]
    (tmp_path / "full" / "inner" / "x").write_bytes(b"1")
    assert walk(tmp_path) == ["empty/", "full/inner/x", "only-ours/"]


def test_every_kind_of_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x").write_bytes(b"1")
    root = Root(str(tmp_path), create=False)
    (page,) = Walk(root, Bounds(), "preserve").pages()
    assert [(entry.key, entry.kind) for entry in page] == [
        ("pipe", Kind.SPECIAL),
        ("x", Kind.OBJECT),
    ]
    root.close()


def test_pruned_directories_are_not_opened(tmp_path: Path) -> None:
    for name in ("keep", "leave", "keep/leave"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"1")
    asked: list[str] = []

    def wants(key: str) -> bool:
        asked.append(key)
        return not key.endswith("leave/")

    root = Root(str(tmp_path), create=False)
    keys = [e.key for page in Walk(root, Bounds(), "skip", wants).pages() for e in page]
    assert keys == ["keep/x"]
    assert asked == ["keep/", "keep/leave/", "leave/"]
    root.close()


def test_directories_out_of_bounds_are_not_opened(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"1")
    asked: list[str] = []

    def wants(key: str) -> bool:
        asked.append(key)
        return True

    root = Root(str(tmp_path), create=False)
    for bounds in (
        Bounds(prefix="b/"),
        Bounds(start_after="b", stop_at="c"),
        Bounds(start_after="a/x", stop_at="b/y"),
    ):
        asked.clear()
        pages = list(Walk(root, bounds, "skip", wants).pages())
        assert [entry.key for page in pages for entry in page] == ["b/x"]
        assert "c/" not in asked
    root.close()


def test_pages_are_bounded_also_by_empty_directories(tmp_path: Path) -> None:
    for number in range(PAGE_ENTRIES + 5):
        (tmp_path / f"{number:05}").mkdir()
    root = Root(str(tmp_path), create=False)
    sizes = [len(page) for page in Walk(root, Bounds(), "skip").pages()]
    assert sizes == [PAGE_ENTRIES, 5]
    root.close()


def test_what_vanishes_during_the_walk_is_left_out(tmp_path: Path) -> None:
    for number in range(PAGE_ENTRIES + 5):
        (tmp_path / f"a{number:05}").write_bytes(b"")
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "x").write_bytes(b"")
    root = Root(str(tmp_path), create=False)
    pages = Walk(root, Bounds(), "skip").pages()
    assert len(next(pages)) == PAGE_ENTRIES
    (tmp_path / f"a{PAGE_ENTRIES + 1:05}").unlink()
    (tmp_path / "z" / "x").unlink()
    (tmp_path / "z").rmdir()
    assert [len(page) for page in pages] == [4]
    root.close()


def test_a_directory_swapped_for_a_link_is_not_gone_into(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x").write_bytes(b"secret")
    for number in range(PAGE_ENTRIES + 1):
        (tree / f"a{number:05}").write_bytes(b"")
    (tree / "z").mkdir()
    root = Root(str(tree), create=False)
    pages = Walk(root, Bounds(), "skip").pages()
    next(pages)
    (tree / "z").rmdir()
    (tree / "z").symlink_to(tmp_path / "secret")
    assert [entry.key for page in pages for entry in page] == [f"a{PAGE_ENTRIES:05}"]
    root.close()


def test_a_walk_that_is_left_closes_its_directories(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for number in range(PAGE_ENTRIES + 1):
        (tmp_path / "d" / f"{number:05}").write_bytes(b"")
    root = Root(str(tmp_path), create=False)
    before = len(os.listdir("/proc/self/fd"))
    pages = Walk(root, Bounds(), "skip").pages()
    next(pages)
    assert len(os.listdir("/proc/self/fd")) > before
    pages.close()
    root.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_two_listings_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    for number in range(3 * PAGE_ENTRIES):
        (tmp_path / f"{number:05}").write_bytes(b"")
    transport = open_local(tmp_path)
    one, two = transport.list(), transport.list()
    seen_one, seen_two = [], []
    async for page in one:
        seen_one += [entry.key for entry in page]
        seen_two += [entry.key for entry in await anext(two)]
    assert seen_one == seen_two == sorted(os.listdir(tmp_path))
    with pytest.raises(StopAsyncIteration):
        await anext(two)
    await transport.close()


async def test_a_missing_root_is_not_an_empty_listing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("missing", "file"):
        transport = open_local(tmp_path / name)
        with pytest.raises(NotFound):
            await contents(transport)
        await transport.close()


async def test_a_root_that_was_removed_is_not_an_empty_listing(tmp_path: Path) -> None:
    transport = open_local(tmp_path / "root", create=True)
    await put(transport, {"x": b"1"})
    shutil.rmtree(tmp_path / "root")
    with pytest.raises(NotFound):
        await listed(transport)
    await transport.close()
