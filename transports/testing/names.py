"""Hostile names: each moves exactly or is refused by name, and nothing outside the root changes."""

import contextlib
from typing import NamedTuple

import pytest

from transports.base import Transport
from transports.errors import Invalid
from transports.model import Receipt
from transports.testing.support import Subject, blob, contents, put


class NameCase(NamedTuple):
    """Objects that are written together, under names that some stores fold or cannot hold."""

    label: str
    objects: dict[str, bytes]


def _case(label: str, *keys: str) -> NameCase:
    return NameCase(label, {key: b"%d:" % n + label.encode() for n, key in enumerate(keys)})


_LONG_PATH = "/".join(["n" * 204] * 5)  # 1,024 bytes
CASES = (
    _case("parent", ".."),
    _case("self", "."),
    _case("climbing", "../escaped"),
    _case("climbing-inside", "a/../b"),
    _case("climbing-out", "a/../../escaped"),
    _case("climbing-last", "a/.."),
    _case("absolute", "/abs"),
    _case("absolute-tmp", "/tmp/fluid-mover-escaped"),
    _case("double-slash", "a//b", "a/b"),
    _case("only-slash", "/"),
    _case("dot-first", "./a", "a"),
    _case("dot-inside", "a/./b"),
    NameCase("marker", {"d/": b""}),
    NameCase("marker-with-content", {"d/": b"has bytes"}),
    NameCase("marker-and-child", {"d/": b"", "d/x": b"child"}),
    _case("by-case", "Name", "name", "NAME"),
    _case("prefix-first", "a", "a/b"),
    _case("prefix-last", "a/b", "a"),
    _case("marker-and-object", "a", "a/"),
    _case("newline", "a\nb"),
    _case("tab-and-return", "a\tb\rc"),
    _case("control", "a\x01b\x1f\x7fc"),
    _case("nul", "a\0b"),
    _case("segment-255", "s" * 255),
    _case("segment-256", "s" * 256),
    _case("segment-255-wide", "é" * 127 + "x"),
    _case("key-1024", _LONG_PATH),
    _case("key-1024-flat", "k" * 1_024),
    _case("invalid-utf8", "bad\udcff", "d\udc80/x"),
    _case("lone-surrogate", "bad\ud800"),
    _case("normal-forms", "caf\u00e9", "cafe\u0301"),
    _case("percent", "a%2Fb", "a%2fb", "a%", "%00", "a%25b"),
    _case("plus-and-space", "a+b", "a b", "a%20b"),
    _case("space-around", " a", "a ", " "),
    _case("trailing-dot", "a.", "a..", "..."),
    _case("dot-file", ".a", "..a", "a/..b"),
    _case("url-signs", "a?b", "a#b", "a&b", "a;b", "a=b", "a:b", "a@b"),
    _case("shell-signs", "a*", "a[b]", "~", "-rf", "a\\b", "$(a)", "a|b", "<a>", "a\"b'"),
    _case("emoji", "\U0001f600/\U0001f468\u200d\U0001f469"),
    _case("order-beyond-the-plane", "\uffee", "\U00010000", "\uffff", "\ue000"),
    _case("right-to-left", "\u202eabc", "\ufeffbom"),
)


def _names(error: Invalid, key: str) -> bool:
    """Tell whether the message names the key, as it is or escaped for a terminal."""
    escaped = key.encode("unicode_escape", "surrogatepass").decode("ascii")
    text = str(error)
    return any(form in text for form in (key, escaped, repr(key)[1:-1], ascii(key)[1:-1]))


class NamesContract(Subject):
    """Either a name round-trips exactly or it is refused with ``Invalid``."""

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
    async def test_a_name_moves_exactly_or_is_refused(
        self, transport: Transport, case: NameCase
    ) -> None:
        if self.unfaithful_names.isdisjoint(case.objects):
            await self._round_trip(transport, case.objects)
            return
        with pytest.raises(AssertionError):
            await self._round_trip(transport, case.objects)

    async def _round_trip(self, transport: Transport, objects: dict[str, bytes]) -> None:
        before = self.outside(transport)
        await put(transport, {"bystander": b"stays"})
        results = await transport.write_small([blob(key, data) for key, data in objects.items()])
        kept = {"bystander": b"stays"}
        for (key, data), result in zip(objects.items(), results, strict=True):
            if isinstance(result, Receipt):
                assert (result.key, result.size) == (key, len(data))
                kept[key] = data
            else:
                assert isinstance(result, Invalid), result
                assert _names(result, key), str(result)
        # A real directory is listed as a marker only while it is empty.
        seen = {key for key in kept if not self._is_shadowed(transport, key, kept)}
        found = await contents(transport)
        assert found == {key: kept[key] for key in seen}
        assert list(found) == sorted(found)
        for key in seen:
            assert (await transport.head(key)).entry.key == key
        await self._delete(transport, list(objects), kept)
        assert self.outside(transport) == before

    async def _delete(self, transport: Transport, keys: list[str], kept: dict[str, bytes]) -> None:
        """Delete deepest first: a directory goes only when it is empty."""
        for key in sorted(keys, reverse=True):
            (result,) = await transport.delete([key])
            assert result is None or (key not in kept and isinstance(result, Invalid)), result
        left = set(await contents(transport))
        if transport.capabilities.has_directories:
            left = {key for key in left if not key.endswith("/")}
        assert left == {"bystander"}

    @staticmethod
    def _is_shadowed(transport: Transport, key: str, kept: dict[str, bytes]) -> bool:
        return (
            transport.capabilities.has_directories
            and key.endswith("/")
            and any(other != key and other.startswith(key) for other in kept)
        )

    @pytest.mark.parametrize("key", ["../escaped", "a/../../escaped", "/abs", "a\0b", "..", ""])
    async def test_no_verb_leaves_the_root(self, transport: Transport, key: str) -> None:
        """Uploads and deletes take the same names as whole writes do, or refuse as well."""
        before = self.outside(transport)
        await put(transport, {"bystander": b"stays"})
        with contextlib.suppress(Invalid):
            upload_id = await transport.begin_upload(key, 1, token="names")
            await transport.abort_upload(key, upload_id)
        (result,) = await transport.delete([key])
        assert result is None or isinstance(result, Invalid)
        assert await contents(transport) == {"bystander": b"stays"}
        assert self.outside(transport) == before
