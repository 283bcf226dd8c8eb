"""Listing a bucket in the order of keys, page by page, with the next page always under way.

Two kinds of stores. Most sort all keys as text. Some (SeaweedFS) walk directory by directory: all
of ``a/`` comes where ``a`` stands, before ``a-b``, although "-" sorts before "/". For those
``TreeOrder`` puts the entries right without holding the listing: see there.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import islice, pairwise
from operator import attrgetter, lt
from typing import Final

from transports.errors import Invalid, TransportError, Unavailable
from transports.model import Entry
from transports.s3_pages import Page, parse_page
from transports.s3_paging import Course
from transports.s3_requests import S3Client
from transports.s3_xml import GarbledAnswer

PAGE_KEYS: Final = 1000

SORTED_SERVERS: Final = ("AmazonS3",)
"""Servers whose documentation promises the order of keys, and that no page is the last too early."""

HELD_KEYS_MAX: Final = 2 * PAGE_KEYS
"""So many entries of a directory walk are held back before a request asks what may precede them."""

_by_key: Final = attrgetter("key")


class Lister:
    """Lists one bucket. ``order`` is ``key``, ``tree`` or ``auto``, which asks the server's name."""

    def __init__(self, client: S3Client, *, order: str = "auto") -> None:
        self._client = client
        self._order = order

    async def in_key_order(
        self, prefix: str, start_after: str, stop_at: str | None
    ) -> AsyncGenerator[Sequence[Entry], None]:
        """Yield pages of entries by full keys; see ``Transport.list`` for the bounds.

        Raises ``Invalid`` when the store's order is not the one expected.
        """
        after = start_after if start_after >= prefix else ""
        if after and not after.startswith(prefix):
            return  # every key with the prefix sorts before it
        pages = self._ordered(prefix, after)
        async with aclosing(pages):
            async for entries in pages:
                if stop_at is not None and entries[-1].key >= stop_at:
                    within = [entry for entry in entries if entry.key < stop_at]
                    if within:
                        yield within
                    return
                yield entries

    async def first_after(self, key: str, prefix: str) -> str | None:
        """The first full key after ``key`` with the prefix: one request, or a page for some walks.

        Raises ``Invalid`` as ``in_key_order`` does.
        """
        after = key if key >= prefix else ""
        if after and not after.startswith(prefix):
            return None
        page = await self._fetch(prefix, after, "", keys_max=1)
        while page.token and not page.entries:
            page = await self._fetch(prefix, "", page.token, keys_max=1)
        found = page.entries[0].key if page.entries else ""
        late = bool(found) and found <= after
        if await self._walks(prefix) and (
            late or _directories(found, prefix) or await self._left_behind(prefix, after)
        ):
            # What a walk brings first need not be the first key where directories are around.
            pages = self.in_key_order(prefix, after, None)
            async with aclosing(pages):
                async for entries in pages:
                    return entries[0].key
            return None
        if late:
            raise self._backwards(after, found)
        return found or None

    async def children(self, prefix: str, after: str, limit: int) -> list[str]:
        """The full names directly under a prefix, after a key, from one page of a listing."""
        after = after if after >= prefix else ""
        keys_max = min(limit, PAGE_KEYS)
        page = await self._fetch(prefix, after, "", delimiter="/", keys_max=keys_max)
        names = sorted([*(entry.key for entry in page.entries), *page.prefixes])
        return [name for name in names if name > after and name.startswith(prefix)][:limit]

    async def _walks(self, prefix: str) -> bool:
        """Whether the store lists in the order of a directory walk."""
        if self._order == "auto" and not self._client.server:
            await self._fetch(prefix, "", "", keys_max=1)  # only to learn the server's name
        return self._order == "tree" or (
            self._order == "auto" and self._client.server.startswith("SeaweedFS")
        )

    async def _ordered(self, prefix: str, after: str) -> AsyncGenerator[Sequence[Entry], None]:
        walks = await self._walks(prefix)
        pages = TreeOrder(self).pages(prefix, after) if walks else self._plain(prefix, after)
        surely_sorted = walks or self._client.server.startswith(SORTED_SERVERS)
        due = [] if surely_sorted else await self._left_behind(prefix, after)
        last = after
        async with aclosing(pages):
            async for entries in pages:
                self._check_order(entries, last)
                last = entries[-1].key
                if due and due[0] <= last:
                    await self._check_due([key for key in due if key <= last], entries, after)
                    due = [key for key in due if key > last]
                yield entries
        await self._check_due(due, (), after)

    async def _left_behind(self, prefix: str, after: str) -> list[str]:
        """First keys of the directories that a walk has behind it at ``after``, in order.

        They sort after it, so a listing from there has to bring them. A store that walks although
        nobody knew would leave them out, and what ended before them never saw them either.
        """
        found: list[str] = []
        for directory in _walked_before(prefix, after):
            page = await self._fetch(directory, "", "", keys_max=1)
            found += [entry.key for entry in page.entries]
        return found

    async def _check_due(self, due: Sequence[str], entries: Sequence[Entry], after: str) -> None:
        """Raise ``Invalid`` for keys that should be among the entries, and are still there."""
        for key in set(due).difference(entry.key for entry in entries):
            page = await self._fetch(key, "", "", keys_max=1)
            if any(entry.key == key for entry in page.entries):
                raise self._backwards(key, after)

    async def _plain(self, prefix: str, after: str) -> AsyncGenerator[list[Entry], None]:
        pages = self.pages(prefix, after, to_end=True)
        async with aclosing(pages):
            async for page in pages:
                if page.entries:
                    yield page.entries

    def _check_order(self, entries: Sequence[Entry], last: str) -> None:
        """Raise ``Invalid`` where a key does not sort after the one before it."""
        keys = list(map(_by_key, entries))
        if keys[0] <= last and last:
            raise self._backwards(last, keys[0])
        if all(map(lt, keys, islice(keys, 1, None))):
            return
        for before, key in pairwise(keys):
            if key <= before:
                raise self._backwards(before, key)

    def _backwards(self, before: str, after: str) -> Invalid:
        return Invalid(
            self._client.location_of(None),
            f"the store does not list in the order of keys: {after!r} comes after {before!r}; "
            "where it walks directories, ?list_order=tree puts that right",
        )

    async def pages(
        self, prefix: str, after: str = "", *, delimiter: str = "", to_end: bool = False
    ) -> AsyncGenerator[Page, None]:
        """Pages in the store's own order; the next one is fetched while this one is used.

        Whoever wants it ``to_end`` does not take the store's word for which page is the last: see ``s3_paging``.
        """
        failure: TransportError | None = None
        async with asyncio.TaskGroup() as group:
            is_sure = self._client.server.startswith(SORTED_SERVERS)
            course = Course(trusts=is_sure or not to_end)
            ahead = group.create_task(self._caught(prefix, after, "", delimiter), name="list")
            while True:
                page = await ahead
                if isinstance(page, Page) and course.repeats(page):
                    page = self._repeats(prefix)
                if isinstance(page, TransportError):
                    failure = page
                    break
                if course.is_over(page):
                    return
                following = course.follow(page)
                if following is not None:
                    ahead = group.create_task(
                        self._caught(prefix, *following, delimiter), name="list"
                    )
                try:
                    yield page
                except GeneratorExit:
                    # Left early: end in the plain way, or the group wraps this exception.
                    ahead.cancel()
                    return
                if following is None:
                    return
        if failure is not None:  # raised here, since the group would wrap it as well
            raise failure

    def _repeats(self, prefix: str) -> Unavailable:
        return Unavailable(
            self._client.location_of(prefix),
            "the listing repeats itself: the same continuation token came twice",
        )

    async def _caught(
        self, prefix: str, after: str, token: str, delimiter: str
    ) -> Page | TransportError:
        """A page or the failure as a value: a child that raises would cancel our consumer."""
        try:
            return await self._fetch(prefix, after, token, delimiter=delimiter)
        except TransportError as error:
            return error

    async def _fetch(
        self,
        prefix: str,
        after: str,
        token: str,
        *,
        delimiter: str = "",
        keys_max: int = PAGE_KEYS,
    ) -> Page:
        query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", str(keys_max))]
        query += [
            (name, value)
            for name, value in (
                ("prefix", prefix),
                ("start-after", after),
                ("continuation-token", token),
                ("delimiter", delimiter),
            )
            if value
        ]
        reply = await self._client.send("GET", None, query)
        location = self._client.location_of(prefix)
        try:
            page = parse_page(reply.body)
        except GarbledAnswer as error:
            kind = Invalid if error.hostile else Unavailable
            raise kind(location, f"the listing cannot be read: {error}") from error
        keys = list(map(_by_key, page.entries)) if prefix else []
        # What sorts between two texts that begin alike begins alike too.
        if keys and not (min(keys).startswith(prefix) and max(keys).startswith(prefix)):
            foreign = next(key for key in keys if not key.startswith(prefix))
            raise Invalid(location, f"the listing holds a foreign key: {foreign!r}")
        return page


class TreeOrder:
    """Turns a directory walk into the order of keys.

    In a walk, what comes after the last key seen is greater than it, with one exception: while the
    walk is inside a directory ``p/``, siblings ``p`` + (a character below "/") still come, and
    they sort before all of ``p/``. So entries are held back while the walk is in a directory, and
    given out, sorted, once it has left. A directory that is too large to hold is settled by one
    request: list the names that begin with ``p`` at its level, up to ``p/``. Where there are such
    siblings (rarely), they are listed first and skipped when the walk comes to them.

    A listing that starts after a key has to look back as well: where the key is ``p`` + (a
    character below "/"), all of ``p/`` sorts after it but was walked before it.
    """

    def __init__(self, lister: Lister) -> None:
        self._lister = lister

    async def pages(self, prefix: str, after: str) -> AsyncGenerator[list[Entry], None]:
        """Yield non-empty, sorted runs of entries."""
        behind = _walked_before(prefix, after)
        walk = self._walk(prefix, after)
        async with aclosing(walk):
            async for entries in walk:
                while behind and behind[0] < entries[-1].key:
                    # Entries that sort before the directory left behind go out before it.
                    cut = next(n for n, entry in enumerate(entries) if entry.key > behind[0])
                    if cut:
                        yield entries[:cut]
                    entries = entries[cut:]
                    async for inner in self.pages(behind.pop(0), ""):
                        yield inner
                yield entries
        for directory in behind:
            async for inner in self.pages(directory, ""):
                yield inner

    async def _walk(self, prefix: str, after: str) -> AsyncGenerator[list[Entry], None]:
        held: list[Entry] = []
        settled: list[str] = []  # directories (without slash) around the walk, siblings all known
        given: list[str] = []  # siblings given out already: the walk will come to them again
        raw = self._lister.pages(prefix, after, to_end=True)
        async with aclosing(raw):
            async for page in raw:
                # Siblings of the directories around ``after`` come late here too, and sort before it.
                entries = [e for e in page.entries if e.key > after] if after else page.entries
                if given:
                    entries = [e for e in entries if not _is_of(e.key, given)]
                if not page.entries:
                    continue
                held += entries
                last = page.entries[-1].key
                around = _directories(last, prefix)
                settled = [directory for directory in settled if directory in around]
                given = [name for name in given if not _is_past(name, last)]
                if len(held) > HELD_KEYS_MAX:
                    for directory in around:
                        if directory not in settled:
                            settled.append(directory)
                            names = await self._siblings(directory)
                            given += names
                            async for entries in self._all_of(names):
                                held += entries
                held.sort(key=_by_key)
                out, held = _split(held, last, around, settled)
                if out:
                    yield out
        held.sort(key=_by_key)
        if held:
            yield held

    async def _siblings(self, directory: str) -> list[str]:
        """Names beside a directory that sort before it: objects, or directories with a slash."""
        names: list[str] = []
        raw = self._lister.pages(directory, delimiter="/")
        async with aclosing(raw):
            async for page in raw:
                level = sorted([*(entry.key for entry in page.entries), *page.prefixes])
                names += [n for n in level if n[len(directory) : len(directory) + 1] < "/"]
                if level and level[-1][len(directory) : len(directory) + 1] > "/":
                    break
        return [name for name in names if name != directory]

    async def _all_of(self, names: list[str]) -> AsyncGenerator[list[Entry], None]:
        for name in names:
            if name.endswith("/"):
                async for entries in self.pages(name, ""):
                    yield entries
            else:
                async for page in self._lister.pages(name):
                    yield [entry for entry in page.entries if entry.key == name]
                    break


def _directories(key: str, prefix: str) -> list[str]:
    """The directories around a key, outermost first, without slash; none above the prefix."""
    return [key[:n] for n, character in enumerate(key) if character == "/" and n >= len(prefix)]


def _walked_before(prefix: str, after: str) -> list[str]:
    """Directories that sort after ``after`` and that a walk has behind it there, in order."""
    return sorted(
        f"{after[:n]}/"
        for n, character in enumerate(after)
        if character < "/" and n >= len(prefix) and n and after[n - 1] != "/"
    )


def _is_of(key: str, names: list[str]) -> bool:
    return any(key == name or (name[-1] == "/" and key.startswith(name)) for name in names)


def _is_past(name: str, last: str) -> bool:
    """Whether a walk that has reached ``last`` is through with ``name``."""
    return _walk_key(last) > _walk_key(name) and not (name.endswith("/") and last.startswith(name))


def _walk_key(key: str) -> list[str]:
    return key.split("/")


def _split(
    held: list[Entry], last: str, around: list[str], settled: list[str]
) -> tuple[list[Entry], list[Entry]]:
    """Divide sorted entries into those that nothing to come can precede, and the rest.

    What comes is greater than ``last``, or begins with a directory around it that is not settled.
    """
    bound = next((directory for directory in around if directory not in settled), last)
    cut = len(held)
    while cut and held[cut - 1].key > bound:
        cut -= 1
    return held[:cut], held[cut:]
