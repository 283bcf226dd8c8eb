"""Listing and reading: order, bounds, pins, and errors as values."""

import contextlib
import itertools

import pytest

from transports.base import Transport
from transports.errors import Changed, Invalid, NoSpace, NotFound, Truncated
from transports.model import Blob, ByteRange, Entry, Kind, Proof
from transports.testing.support import (
    Gathering,
    Subject,
    listed,
    pinned,
    some_bytes,
)

# No key here is a prefix of another up to a slash, so that real directories can hold them all.
# The directory "b" must come after "b-" and "b." and before "b0": it sorts as "b/".
TREE = {
    key: key.encode()
    for key in (
        "B",
        "a/deep/er/one",
        "a/deep/er/two",
        "a/deep.txt",
        "a0",
        "b-",
        "b.",
        "b/1",
        "b/10",
        "b/2",
        "b0",
        "ba/x",
        "z/é",
        "z/\uff21",
        "z/\U0001f600",
    )
}

PREFIXES = ("", "a", "a/", "a/deep/", "b", "b/", "b/1", "nothing", "z/\U0001f600", "z/é/x")
BOUNDS = ("", "A", "a/deep/er/one", "b/", "b/1", "b/1/", "b0", "z/\uff21", "zz")


class ListingContract(Subject):
    """A listing is ordered, bounded, complete or an error."""

    async def test_listing_is_in_the_order_of_keys(self, transport: Transport) -> None:
        await self.seed(transport, TREE)
        assert [entry.key for entry in await listed(transport)] == sorted(TREE)

    async def test_listing_tells_size_time_and_kind(self, transport: Transport) -> None:
        await self.seed(transport, {"d/one": b"12345", "d/empty": b""})
        empty, one = await listed(transport)
        assert (one.key, one.size, one.kind) == ("d/one", 5, Kind.OBJECT)
        assert (empty.key, empty.size, empty.kind) == ("d/empty", 0, Kind.OBJECT)
        assert one.mtime_ns >= 0

    async def test_an_empty_store_lists_nothing(self, transport: Transport) -> None:
        assert await listed(transport) == []

    async def test_listing_by_any_prefix(self, transport: Transport) -> None:
        await self.seed(transport, TREE)
        for prefix in PREFIXES:
            expected = [key for key in sorted(TREE) if key.startswith(prefix)]
            assert [entry.key for entry in await listed(transport, prefix)] == expected, prefix

    async def test_listing_between_any_two_bounds(self, transport: Transport) -> None:
        await self.seed(transport, TREE)
        for start_after, stop_at in itertools.product(BOUNDS, (*BOUNDS[1:], None)):
            keys = [
                entry.key
                for entry in await listed(transport, start_after=start_after, stop_at=stop_at)
            ]
            assert keys == [
                key
                for key in sorted(TREE)
                if key > start_after and (stop_at is None or key < stop_at)
            ], (start_after, stop_at)

    async def test_prefix_and_bounds_together(self, transport: Transport) -> None:
        await self.seed(transport, TREE)
        entries = await listed(transport, "b", start_after="b/1", stop_at="b0")
        assert [entry.key for entry in entries] == ["b/10", "b/2"]

    async def test_a_long_listing_comes_whole(self, transport: Transport) -> None:
        keys = [f"{number % 7}/{number:05}" for number in range(self.many)]
        await self.seed(transport, dict.fromkeys(keys, b"x"))
        assert [entry.key for entry in await listed(transport)] == sorted(keys)

    async def test_the_first_key_after_another(self, transport: Transport) -> None:
        await self.seed(transport, TREE)
        for key, prefix in itertools.product(BOUNDS, PREFIXES):
            found = await transport.first_after(key, prefix)
            after = [each for each in sorted(TREE) if each > key and each.startswith(prefix)]
            assert found == (after[0] if after else None), (key, prefix)

    async def test_every_key_is_the_first_after_the_one_before(self, transport: Transport) -> None:
        await self.seed(transport, TREE)
        for before, key in itertools.pairwise(["", *sorted(TREE)]):
            assert await transport.first_after(before) == key
        assert await transport.first_after(max(TREE)) is None

    async def test_children_are_folded_at_the_next_slash(self, transport: Transport) -> None:
        await self.seed(transport, TREE)
        for prefix, start_after in itertools.product(PREFIXES, BOUNDS):
            names = {
                prefix + before + slash
                for key in TREE
                if key.startswith(prefix)
                for before, slash, _ in [key.removeprefix(prefix).partition("/")]
            }
            expected = sorted(names) if self.folds else []
            later = [name for name in expected if name > start_after]
            found = await transport.children(prefix, start_after=start_after)
            assert list(found) == later, (prefix, start_after)

    async def test_children_are_limited(self, transport: Transport) -> None:
        """A store that walks directories may choose others, but they are names that are there."""
        await self.seed(transport, TREE)
        names = list(await transport.children(limit=3))
        assert names == sorted(names)
        assert len(names) == (3 if self.folds else 0)
        assert all(any(key.startswith(name) for key in TREE) for name in names)

    async def test_an_empty_store_has_no_first_key_and_no_children(
        self, transport: Transport
    ) -> None:
        assert await transport.first_after("") is None
        assert list(await transport.children()) == []

    async def test_a_prefix_that_is_a_key(self, transport: Transport) -> None:
        await self.seed(transport, {"d": b"1", "d-": b"2", "e/x": b"3"})
        assert await transport.first_after("", "d") == "d"
        assert await transport.first_after("d", "d") == "d-"
        assert await transport.first_after("d-", "d") is None
        if self.folds:
            assert list(await transport.children("d")) == ["d", "d-"]

    @pytest.mark.parametrize("prefix", ["../", "/", "a//", "./", "b/\0/", "nothing/at/all/"])
    async def test_no_look_leaves_the_root(self, transport: Transport, prefix: str) -> None:
        await self.seed(transport, {"a/x": b"x"})
        with contextlib.suppress(Invalid):
            names = await transport.children(prefix)
            # SeaweedFS makes up names behind a double slash, which it cannot keep anyway.
            assert all(name.startswith(prefix) for name in names)
            assert not (names and transport.capabilities.has_directories)
        with contextlib.suppress(Invalid):
            assert await transport.first_after("", prefix) is None

    async def test_a_listing_may_be_left_early(self, transport: Transport) -> None:
        await self.seed(transport, TREE)
        pages = transport.list()
        async with contextlib.aclosing(pages) as stream:  # type: ignore[type-var]
            async for page in stream:
                assert page
                break
        assert len(await listed(transport)) == len(TREE)


class ReadingContract(Subject):
    """Reads are exact, pinned, and report errors for each object."""

    async def test_head_agrees_with_the_listing(self, transport: Transport) -> None:
        await self.seed(transport, {"d/one": b"12345"})
        info, entry = await transport.head("d/one"), await pinned(transport, "d/one")
        assert (info.entry.key, info.entry.size) == ("d/one", 5)
        assert (info.entry.etag, info.entry.kind) == (entry.etag, entry.kind)

    async def test_head_of_what_is_not_there(self, transport: Transport) -> None:
        await self.seed(transport, {"d/one": b"12345"})
        for key in ("missing", "d", "d/one/below", "d/on", "d/one/"):
            with pytest.raises(NotFound):
                await transport.head(key)

    async def test_head_of_a_directory(self, transport: Transport) -> None:
        await self.seed(transport, {"d/one": b"12345"})
        if transport.capabilities.has_directories:
            assert (await transport.head("d/")).entry.kind is Kind.DIRECTORY
            return
        with pytest.raises(NotFound):
            await transport.head("d/")

    async def test_small_reads_come_in_order_with_errors_as_values(
        self, transport: Transport
    ) -> None:
        objects = {"a": b"A", "d/empty": b"", "d/large": some_bytes(300_000)}
        await self.seed(transport, objects)
        entries = await listed(transport)
        missing = Entry("d/missing", 3, 0)
        results = await transport.read_small([missing, *entries, missing])
        assert isinstance(results[0], NotFound)
        assert isinstance(results[-1], NotFound)
        for entry, result in zip(entries, results[1:-1], strict=True):
            assert isinstance(result, Blob)
            assert bytes(result.data) == objects[entry.key]
            assert result.entry.key == entry.key
            assert result.proof is not Proof.NONE
            assert (result.proof is Proof.STRONG) == (result.checksum is not None)

    async def test_reading_nothing(self, transport: Transport) -> None:
        assert list(await transport.read_small([])) == []

    async def test_ranges_at_every_edge(self, transport: Transport) -> None:
        data = some_bytes(200_001)
        await self.seed(transport, {"d/x": data})
        entry = await pinned(transport, "d/x")
        edges = (0, 1, 65_535, 65_536, 200_000, 200_001)
        for start, stop in itertools.combinations_with_replacement(edges, 2):
            buffer = bytearray(stop - start)
            await transport.read_into(entry, ByteRange(start, stop), memoryview(buffer))
            assert bytes(buffer) == data[start:stop], (start, stop)

    async def test_a_range_is_poured_in_order_and_on_from_where_the_sink_stands(
        self, transport: Transport
    ) -> None:
        if not transport.capabilities.pours:
            return
        data = some_bytes(1_200_000)
        await self.seed(transport, {"x": data})
        entry = await pinned(transport, "x")
        sink = Gathering()
        await transport.read_to(entry, ByteRange(100, 700_000), sink)
        assert sink.data == data[100:700_000]
        await transport.read_to(entry, ByteRange(100, 1_200_000), sink)
        assert sink.data == data[100:]
        await transport.read_to(entry, ByteRange(100, 1_200_000), sink)  # nothing is left
        assert sink.taken_bytes == len(data) - 100

    async def test_a_sink_that_refuses_ends_the_read_with_its_error(
        self, transport: Transport
    ) -> None:
        if not transport.capabilities.pours:
            return
        await self.seed(transport, {"x": some_bytes(900_000)})
        entry = await pinned(transport, "x")
        sink = Gathering(room_bytes=1_000)
        with pytest.raises(NoSpace):
            await transport.read_to(entry, ByteRange(0, 900_000), sink)
        again = Gathering()
        await transport.read_to(entry, ByteRange(0, 900_000), again)
        assert again.taken_bytes == 900_000

    async def test_a_pour_is_pinned(self, transport: Transport) -> None:
        if not (transport.capabilities.pours and self.pins_content):
            return
        await self.seed(transport, {"x": b"before"})
        entry = await pinned(transport, "x")
        await self.seed(transport, {"x": b"after, and longer"})
        sink = Gathering()
        with pytest.raises(Changed):
            await transport.read_to(entry, ByteRange(0, 6), sink)
        assert sink.taken_bytes == 0

    async def test_an_empty_object_has_an_empty_range(self, transport: Transport) -> None:
        await self.seed(transport, {"empty": b""})
        entry = await pinned(transport, "empty")
        await transport.read_into(entry, ByteRange(0, 0), memoryview(bytearray()))

    async def test_ranges_of_all_sizes_are_dropped(self, transport: Transport) -> None:
        data = some_bytes(1_200_000)
        await self.seed(transport, {"x": data, "empty": b""})
        entry = await pinned(transport, "x")
        for start, stop in (
            (0, 1),
            (0, 1_200_000),
            (70_000, 1_100_000),
            (5, 5),
            (1_199_999, 1_200_000),
        ):
            await transport.drop(entry, ByteRange(start, stop))
        await transport.drop(await pinned(transport, "empty"), ByteRange(0, 0))
        buffer = bytearray(1_000)
        await transport.read_into(entry, ByteRange(500_000, 501_000), memoryview(buffer))
        assert bytes(buffer) == data[500_000:501_000]

    async def test_dropping_counts_what_comes_and_is_pinned(self, transport: Transport) -> None:
        await self.seed(transport, {"x": some_bytes(1_000)})
        entry = await pinned(transport, "x")
        with pytest.raises((Truncated, Changed)):
            await transport.drop(entry, ByteRange(800, 1_300))
        with pytest.raises(NotFound):
            await transport.drop(Entry("missing", 3, 0), ByteRange(0, 3))
        if self.pins_content:
            await self.seed(transport, {"x": some_bytes(2_000)})
            with pytest.raises(Changed):
                await transport.drop(entry, ByteRange(0, 1_000))

    async def test_what_is_dropped_comes_with_the_headers_of_its_answer(
        self, transport: Transport
    ) -> None:
        await self.seed(transport, {"x": some_bytes(1_000), "empty": b""})
        for key, at in (("x", 0), ("x", 999), ("empty", 0)):
            entry = await pinned(transport, key)
            size = min(1, entry.size)
            told = await transport.drop(entry, ByteRange(at, at + size), cached_only=True)
            if told:  # a disk has none
                assert told[b":status"] in {b"200", b"206"}
                assert told[b"content-length"] == b"%d" % size

    async def test_a_range_beyond_the_end_is_truncated(self, transport: Transport) -> None:
        data = some_bytes(1_000)
        await self.seed(transport, {"x": data})
        entry = await pinned(transport, "x")
        buffer = bytearray(500)
        with pytest.raises(Truncated) as caught:
            await transport.read_into(entry, ByteRange(800, 1_300), memoryview(buffer))
        assert (caught.value.received_bytes, caught.value.expected_bytes) == (200, 500)
        assert bytes(buffer[:200]) == data[800:]

    async def test_a_missing_object_has_no_ranges(self, transport: Transport) -> None:
        with pytest.raises(NotFound):
            await transport.read_into(
                Entry("missing", 3, 0), ByteRange(0, 3), memoryview(bytearray(3))
            )

    async def test_an_object_that_moved_is_changed(self, transport: Transport) -> None:
        if not self.pins_content:
            return
        await self.seed(transport, {"x": b"before"})
        entry = await pinned(transport, "x")
        await self.seed(transport, {"x": b"after, and longer"})
        (result,) = await transport.read_small([entry])
        assert isinstance(result, Changed)
        with pytest.raises(Changed):
            await transport.read_into(entry, ByteRange(0, 6), memoryview(bytearray(6)))
