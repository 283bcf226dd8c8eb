"""Any tree lists in the order of its full keys, whatever the bounds; any name moves or is refused."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from transports.local_files import Root
from transports.local_listing import Bounds, Walk
from transports.local_parts import solid_runs
from transports.local_reading import Reader
from transports.local_staging import Stage
from transports.local_writing import Writer
from transports.model import Blob, Receipt
from transports.testing import blob

# Characters around "/" (0x2F) decide where a directory sorts; the others are what names are made of
# at their worst: no ASCII, beyond the plane, not even UTF-8.
CHARACTERS = "a.-/0 \n~é\uffff\U00010000\udc80"
names = st.text(alphabet=CHARACTERS.replace("/", ""), min_size=1, max_size=3).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
bounds = st.builds(
    Bounds,
    prefix=st.text(alphabet=CHARACTERS, max_size=3),
    start_after=st.text(alphabet=CHARACTERS, max_size=5),
    stop_at=st.none() | st.text(alphabet=CHARACTERS, max_size=5),
)


@contextmanager
def temporary_root() -> Iterator[Root]:
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    path = tempfile.mkdtemp(prefix="fluid-mover-property-", dir=base)
    root = Root(path, create=False)
    try:
        yield root
    finally:
        root.close()
        shutil.rmtree(path)


def make_tree(root: Root, keys: list[str]) -> set[str]:
    """Make as many of the files as can stand beside each other; return their keys."""
    made = set()
    for key in keys:
        try:
            os.makedirs(os.path.dirname(root.path + key), exist_ok=True)
            with open(root.path + key, "xb"):
                made.add(key)
        except OSError:
            continue
    # makedirs may have left a directory whose file could not be made.
    for directory, inner, files in os.walk(root.path):
        if not inner and not files and directory != root.path:
            made.add(os.path.relpath(directory, root.path) + "/")
    return made


@settings(max_examples=150, deadline=None)
@given(keys=st.lists(paths, max_size=12), bound=bounds)
def test_a_tree_lists_in_the_order_of_keys_within_any_bounds(
    keys: list[str], bound: Bounds
) -> None:
    with temporary_root() as root:
        made = make_tree(root, keys)
        everything = [e.key for page in Walk(root, Bounds(), "skip").pages() for e in page]
        assert everything == sorted(made)
        some = [e.key for page in Walk(root, bound, "skip").pages() for e in page]
        assert some == [key for key in everything if bound.has(key)]


@settings(max_examples=100, deadline=None)
@given(
    objects=st.dictionaries(
        st.text(alphabet=CHARACTERS + "\0\ud800", min_size=1, max_size=8),
        st.binary(max_size=4),
        min_size=1,
        max_size=12,
    )
)
def test_any_key_moves_exactly_or_is_refused(objects: dict[str, bytes]) -> None:
    with temporary_root() as root:
        writer, stage = Writer(root), Stage(root, "job", nonce="n")
        blobs = [blob(key, data) for key, data in objects.items()]
        results = writer.write(stage, blobs)
        landed = {
            one.entry.key: bytes(one.data)
            for one, result in zip(blobs, results, strict=True)
            if isinstance(result, Receipt)
        }
        entries = [e for page in Walk(root, Bounds(), "preserve").pages() for e in page]
        read = [item for item in Reader(root, "preserve").read(entries) if isinstance(item, Blob)]
        found = {item.entry.key: bytes(item.data) for item in read}
        shadowed = {
            key
            for key in landed
            if key.endswith("/") and any(k != key and k.startswith(key) for k in landed)
        }
        assert found == {key: data for key, data in landed.items() if key not in shadowed}
        stage.close()


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.booleans(), st.integers(1, 100_000)), max_size=8),
    offset=st.integers(0, 200_000),
)
def test_solid_runs_leave_out_nothing_but_zeros(
    pieces: list[tuple[bool, int]], offset: int
) -> None:
    data = b"".join(bytes(size) if zero else b"\1" * size for zero, size in pieces)
    rebuilt = bytearray(len(data))
    last = -1
    for run in solid_runs(memoryview(data), offset):
        assert run.start > last
        last = run.stop
        rebuilt[run.start : run.stop] = data[run.start : run.stop]
    assert rebuilt == data
