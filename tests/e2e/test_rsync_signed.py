"""``--sign-on-write`` again and again: each sync finds the signature that the one before has left."""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import TYPE_CHECKING

from mover.delta import kernel
from mover.delta.signature_format import SignatureReader
from mover.delta_stored import stored_signature
from tests.e2e.support import MIB, Mover, assert_equal_trees, read_tree, write_tree
from transports.local import LocalTransport

if TYPE_CHECKING:
    from pathlib import Path

    from mover.delta.signature_format import SignatureFile
    from tests.servers.buckets import Bucket

OLD = random.Random(4).randbytes(17 * MIB + 4321)
WISHES = ("--delta", "always", "--sign-on-write", "--no-server-copy", "--delete", "-y")


def edited(data: bytes, step: int) -> bytes:
    """Five bytes changed in place, and some more at the end."""
    at = step * 7 * MIB + 77
    return data[:at] + bytes(5) + data[at + 5 :] + b"tail" * step


def kept_on_disk(root: Path, key: str) -> SignatureFile | None:
    async def look() -> SignatureFile | None:
        store = LocalTransport(root, token="look")
        try:
            return await stored_signature(store, (await store.head(key)).entry)
        finally:
            await store.close()

    return asyncio.run(look())


def test_on_a_disk(mover: Mover, tmp_path: Path) -> None:
    """A file is signed while it is copied, while it is patched, and goes with its directory."""
    source, target = tmp_path / "in", tmp_path / "out"
    data = OLD
    for step in range(2):
        data = edited(data, step) if step else data
        write_tree(source, {"d/big": data, "d/small": b"s"})
        ended = mover.rsync(f"{source}/", f"{target}/", *WISHES)
        assert (ended.code, ended.report["objects"]["patched"]) == (0, step), ended
        kept = kept_on_disk(target, "d/big")
        assert kept is not None
        assert kept.signature == kernel.sign(data, kept.signature.head)
    os.utime(target / "d/big")
    assert kept_on_disk(target, "d/big") is None
    (source / "d/big").unlink()
    (source / "d/small").unlink()
    (source / "d").rmdir()
    write_tree(source, {"other": b"o"})
    ended = mover.rsync(f"{source}/", f"{target}/", *WISHES)
    assert ended.code == 0, ended
    assert os.listdir(target) == ["other"]
    assert_equal_trees(read_tree(target), {"other": b"o"})


def test_at_a_store(mover: Mover, seaweed_bucket: Bucket, tmp_path: Path) -> None:
    """The store copies parts itself and tells no checksums of them: they are read, and signed so."""
    source, data = tmp_path / "in", OLD
    for step in range(2):
        data = edited(data, step) if step else data
        write_tree(source, {"d/big": data})
        ended = mover.rsync(f"{source}/", seaweed_bucket.location("t/"), *WISHES)
        assert (ended.code, ended.report["objects"]["patched"]) == (0, step), ended
    assert seaweed_bucket.get("t/d/big") == data
    big, sig = seaweed_bucket.location("t/d/big"), tmp_path / "sig"
    told = json.loads(mover.run("delta", "sign", big, str(sig), "--json").stdout)
    assert told["read_bytes"] == 0
    reader = SignatureReader()
    reader.feed(sig.read_bytes())
    kept = reader.finish().signature
    assert kept == kernel.sign(data, kept.head)
