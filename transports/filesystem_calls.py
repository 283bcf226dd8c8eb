"""The door to fsspec: a filesystem of any kind, called from one event loop, its answers read.

Only methods for single objects are called. fsspec's bulk calls leave their children running when
they are cancelled, and its blocking facade of asynchronous filesystems turns a cancel into a
success; neither comes in here.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeGuard

import fsspec
from fsspec.spec import AbstractFileSystem

from transports.filesystem_answers import Info
from transports.location import BadLocation, Location
from transports.model import Capabilities

THREADS: Final = {"file": 4, "local": 4, "memory": 4}
"""Threads for blocking filesystems, by protocol. Others get one: many hold one connection, which
two threads must not use at once, and none says whether it does."""

FLAT: Final = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "r2"}
)
"""Object stores: prefixes come and go with their objects, and a write of a whole object is atomic."""

EXTRAS: Final = {
    "s3": "fluid-mover[s3fs]",
    "s3a": "fluid-mover[s3fs]",
    "gs": "fluid-mover[gcs]",
    "gcs": "fluid-mover[gcs]",
    "az": "adlfs",
    "abfs": "adlfs",
}

NATIVE: Final = ("file", "http", "https", "memory", "s3")


class FileSystem(Protocol):
    """The part of fsspec's ``AbstractFileSystem`` that is needed to recognise one."""

    protocol: str | tuple[str, ...]
    async_impl: bool


class Calls:
    """Calls of one filesystem's methods, whichever way it runs.

    1. Asynchronous and made for our loop: awaited.
    2. Asynchronous, made by the caller in fsspec's own loop: run there, so that its sessions stay
       where they are. A cancel reaches it.
    3. Blocking: run in a thread. A thread cannot be cancelled, so a cancelled call waits for it to
       end: the caller's buffer is then really free.
    """

    def __init__(self, filesystem: FileSystem) -> None:
        self._fs = filesystem
        self.protocol = protocol_of(filesystem)
        self.is_flat = self.protocol in FLAT
        renames = any(
            "mv" in vars(kind) or "mv_file" in vars(kind)
            for kind in type(filesystem).__mro__
            if kind is not AbstractFileSystem
        )
        self.renames = renames and not filesystem.async_impl
        self.composes = self.protocol in {"gs", "gcs"} and hasattr(filesystem, "_call")
        self.merges = filesystem.async_impl and hasattr(filesystem, "_merge")
        self.is_async = filesystem.async_impl
        self._executor: ThreadPoolExecutor | None = None
        if not filesystem.async_impl:
            threads = THREADS.get(self.protocol, 1)
            self._executor = ThreadPoolExecutor(threads, thread_name_prefix="fsspec")

    async def call(self, method: str, *arguments: object, **options: object) -> object:
        """Call a method by its public name; its errors are the filesystem's own."""
        if self._executor is not None:
            blocking = getattr(self._fs, method)
            return await self.run(lambda: blocking(*arguments, **options))
        coroutine = getattr(self._fs, f"_{method}")(*arguments, **options)
        if getattr(self._fs, "asynchronous", False):
            return await coroutine
        other_loop = getattr(self._fs, "loop")  # noqa: B009 - of async filesystems only
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, other_loop))

    async def run(self, work: Callable[[], object]) -> object:
        """Run work in a thread. For blocking filesystems only."""
        job = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            while not job.done():
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await asyncio.wait([job])
            if not job.cancelled():
                job.exception()  # seen, so that nothing complains about it later
            raise

    async def info(self, path: str) -> Info:
        self._forget(path)
        found = await self.call("info", path)
        if not isinstance(found, Mapping):
            raise FileNotFoundError(path)
        return found

    async def exists(self, path: str) -> bool:
        """Whether anything is there. A store that cannot be reached is taken for nothing."""
        self._forget(path)
        return bool(await self.call("exists", path))

    async def ls(self, path: str) -> list[Info]:
        self._forget(path)
        found = await self.call("ls", path, detail=True)
        return [info for info in found if isinstance(info, Mapping)] if _is_list(found) else []

    def _forget(self, path: str) -> None:
        """What others wrote must show, also in an instance that keeps its listings."""
        getattr(self._fs, "invalidate_cache")(path)  # noqa: B009 - not in the protocol

    def encodes(self, key: str) -> bool:
        """Whether the key can be put into bytes; only local names may be other than UTF-8."""
        escaping = "surrogateescape" if self.protocol in {"file", "local"} else "strict"
        try:
            key.encode("utf-8", escaping)
        except UnicodeEncodeError:
            return False
        return True

    def strip(self, path: str) -> str:
        """The path as the filesystem would understand it."""
        return str(getattr(type(self._fs), "_strip_protocol")(path))  # noqa: B009

    def reads_exactly(self, path: str) -> bool:
        """Whether the filesystem means by a path what stands there."""
        if self.strip(path) != path:
            return False
        split = getattr(self._fs, "split_path", None)  # bucket, key, version; of s3fs and gcsfs
        return split is None or tuple(split(path)) == (*path.split("/", 1), None)

    def open(self, path: str, mode: str) -> "contextlib.AbstractContextManager[File]":
        """Open a file of a blocking filesystem, in a thread."""
        opened: contextlib.AbstractContextManager[File] = getattr(self._fs, "open")(path, mode)  # noqa: B009
        return opened

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)


def capabilities_of(calls: Calls, bucket: str) -> Capabilities:
    """What a filesystem can do, as far as fsspec tells."""
    is_async = calls.is_async
    return Capabilities(
        scheme=calls.protocol,
        multipart=calls.merges or not is_async,
        part_size_min=5 * 1024 * 1024 if calls.merges else 1,
        part_count_max=32 if calls.composes else 10_000,
        whole_size_max=256 * 1024 * 1024,
        small_batch_count=1 if is_async else 16,
        concurrency_start=16 if is_async else 2,
        concurrency_max=64 if is_async else 4,
        keeps_attributes=False,
        keeps_mtime=False,
        has_directories=not calls.is_flat,
        has_etags=calls.is_flat,
        composes=calls.composes,
        conditional_finish=calls.composes,
        copy_domain=f"gs|{bucket}" if calls.composes else "",
    )


class File(Protocol):
    """An open file, as far as it is needed here."""

    def read(self, size: int, /) -> bytes: ...

    def write(self, data: bytes, /) -> object: ...


def _is_list(found: object) -> "TypeGuard[list[object]]":
    return isinstance(found, list)


def protocol_of(filesystem: FileSystem) -> str:
    """The first of a filesystem's names."""
    names = filesystem.protocol
    return names if isinstance(names, str) else names[0]


def make_filesystem(location: Location, environment: Mapping[str, str]) -> tuple[FileSystem, str]:
    """Make a filesystem of this location's own, and the path in it. Raises ``BadLocation``."""
    scheme = location.scheme
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        extra = EXTRAS.get(scheme, error.name or "its package")
        raise BadLocation(
            f"{scheme}:// needs a package that is not installed: pip install '{extra}'"
        ) from error
    except ValueError as error:
        known = sorted({*NATIVE, *fsspec.available_protocols()} - {"blockcache", "cached"})
        raise BadLocation(
            f"unknown scheme {scheme!r}; known are {', '.join(known)}"
            " (some need a package: s3fs and gcs are extras of fluid-mover)"
        ) from error
    url = location.path if scheme == "file" else location.text
    options = _ambient(scheme, environment) | dict(kind._get_kwargs_from_urls(url))
    options |= {name: _value(text) for name, text in location.options.items()}
    _translate_s3(scheme, options)
    if getattr(kind, "async_impl", False):
        options["asynchronous"] = True
    try:
        made: FileSystem = kind(skip_instance_cache=True, use_listings_cache=False, **options)
    except (TypeError, ValueError) as error:
        raise BadLocation(f"{scheme}://: {error}") from error
    if hasattr(made, "retries"):
        # Tries are the retry decorator's: two loops, one inside the other, would multiply.
        setattr(made, "retries", 1)  # noqa: B010 - s3fs reads it; gcsfs has it fixed
    return made, str(kind._strip_protocol(url))


def _value(text: str) -> object:
    """Options come as text; filesystems expect truth values and numbers."""
    lowered = text.lower()
    if lowered in {"true", "false"}:
        return lowered == "true"
    return int(text) if text.isdecimal() and len(text) < 10 else text


def _ambient(scheme: str, environment: Mapping[str, str]) -> dict[str, object]:
    """What one side's environment says: fsspec's ``FSSPEC_<SCHEME>_<NAME>``, and the usual names."""
    prefix = f"FSSPEC_{scheme.upper()}_"
    found: dict[str, object] = {
        name.removeprefix(prefix).lower(): _value(text)
        for name, text in environment.items()
        if name.startswith(prefix)
    }
    names = {
        "s3": {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_SESSION_TOKEN": "token",
            "AWS_PROFILE": "profile",
            "AWS_ENDPOINT_URL": "endpoint_url",
            "AWS_ENDPOINT_URL_S3": "endpoint_url",
            "AWS_REGION": "region",
            "AWS_CA_BUNDLE": "ca_file",
        },
        "gs": {"GOOGLE_APPLICATION_CREDENTIALS": "token"},
        "az": {
            "AZURE_STORAGE_CONNECTION_STRING": "connection_string",
            "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
            "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
        },
    }
    alias = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
    for name, option in names.get(alias.get(scheme, scheme), {}).items():
        if environment.get(name):
            found[option] = environment[name]
    return found


def _translate_s3(scheme: str, options: dict[str, object]) -> None:
    """The names that the native S3 transport uses, in s3fs's words."""
    if scheme not in {"s3", "s3a"}:
        return
    client: dict[str, object] = {}
    if region := options.pop("region", None):
        client["region_name"] = region
    ca_file, verify = options.pop("ca_file", None), options.pop("verify", True)
    if ca_file or verify is False:
        client["verify"] = ca_file if verify else False
    if options.pop("unsigned", False):
        options["anon"] = True
    if client:
        options["client_kwargs"] = client
