"""``mover delta`` as processes: files, pipes and stores; and what is left when something is wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.support import environment_for
from tests.servers import ready
from tests.servers.ready import ReadyProcess

if TYPE_CHECKING:
    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket

BLOCK = 2048
OLD = random.Random(1).randbytes(40 * BLOCK + 17)
NEW = OLD[: 9 * BLOCK] + b"inserted" + OLD[9 * BLOCK : 30 * BLOCK] + bytes(5000) + b"the end"

MADE: dict[str, bytes] = {}


class Delta:
    """Runs ``mover delta`` in a directory of its own, and counts what is in it."""

    def __init__(self, place: Path, *servers: SeaweedServer) -> None:
        self.place = place
        self.environment = environment_for(place.parent / "state", *servers)

    def __call__(
        self, *arguments: str, stdin: bytes = b"", code: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        done = ready.run(("delta", *arguments), cwd=self.place, env=self.environment, input=stdin)
        assert done.returncode == code, done.stderr.decode()
        return done

    def start(self, *arguments: str) -> ReadyProcess:
        return ReadyProcess(
            ("delta", *arguments),
            cwd=self.place,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )

    def refused(self, *arguments: str, code: int, stdin: bytes = b"") -> str:
        """The one line of a command that fails."""
        line = self(*arguments, code=code, stdin=stdin).stderr.decode()
        assert line.startswith("mover: error: ")
        assert line.count("\n") == 1
        return line

    def names(self) -> list[str]:
        return sorted(os.listdir(self.place))

    def write(self, name: str, data: bytes) -> None:
        (self.place / name).write_bytes(data)

    def read(self, name: str) -> bytes:
        return (self.place / name).read_bytes()

    def make(self, old: bytes = OLD, new: bytes = NEW) -> None:
        """Files old, new, sig and delta; those of ``OLD`` and ``NEW`` are made once."""
        made = MADE if (old, new) == (OLD, NEW) else {}
        for name, data in {"old": old, "new": new, **made}.items():
            self.write(name, data)
        if not made:
            self("sign", "old", "sig")
            self("diff", "sig", "new", "delta")
        if (old, new) == (OLD, NEW):
            MADE.update(sig=self.read("sig"), delta=self.read("delta"))


@pytest.fixture
def delta(tmp_path: Path) -> Delta:
    place = tmp_path / "place"
    place.mkdir()
    return Delta(place)


@pytest.fixture
def stored(tmp_path: Path, seaweed: SeaweedServer) -> Delta:
    place = tmp_path / "place"
    place.mkdir()
    return Delta(place, seaweed)


# The sizes around a block's are the kernel's properties to try; here three processes do each.
SIZES = [(0, 0), (0, 1), (1, 0), (BLOCK, BLOCK + 1), (3 * BLOCK + 1, BLOCK)]


@pytest.mark.parametrize(
    ("old", "new"),
    [(OLD, NEW), (NEW, OLD), *((OLD[:a], OLD[:b]) for a, b in SIZES)],
    ids=lambda data: str(len(data)),
)
def test_round_trip(delta: Delta, old: bytes, new: bytes) -> None:
    delta.make(old, new)
    delta("patch", "old", "delta", "out")
    assert delta.read("out") == new
    assert delta.read("old") == old
    assert delta.names() == ["delta", "new", "old", "out", "sig"]


def test_little_travels(delta: Delta) -> None:
    delta.make()
    assert len(delta.read("sig")) < 40 * 24 + 200
    assert len(delta.read("delta")) < 2 * BLOCK + 300


@pytest.mark.parametrize("strong", ["sha256", "xxh3-128"])
def test_options_of_sign(delta: Delta, strong: str) -> None:
    delta.make()
    delta("sign", "old", "sig", "--block-size", "1KiB", "--strong", strong, "--threads", "2")
    delta("diff", "sig", "new", "delta", "--threads", "2")
    delta("patch", "old", "delta", "out")
    assert delta.read("out") == NEW


def test_what_was_appended_travels_alone(delta: Delta) -> None:
    delta.write("old", OLD)
    delta.write("new", OLD + NEW)
    delta("sign", "old", "sig", "--append")
    assert len(delta.read("sig")) < 120
    told = json.loads(delta("diff", "sig", "new", "delta", "--json").stdout)
    assert (told["matched_bytes"], told["literal_bytes"]) == (len(OLD), len(NEW) - 5000)
    assert told["filled_bytes"] == 5000
    assert told["ops"] == 4
    delta("patch", "old", "delta", "out")
    assert delta.read("out") == OLD + NEW


def test_pipes(delta: Delta) -> None:
    signature = delta("sign", "-", "-", stdin=OLD).stdout
    delta.write("sig", signature)
    delta.write("new", NEW)
    delta.write("old", OLD)
    from_pipe = delta("diff", "sig", "-", "-", stdin=NEW).stdout
    assert delta("patch", "old", "-", "-", stdin=from_pipe).stdout == NEW
    through = delta("diff", "-", "new", "-", stdin=signature).stdout
    assert delta("patch", "old", "-", "-", stdin=through).stdout == NEW


def test_a_file_as_standard_input_is_a_file(delta: Delta) -> None:
    delta.make()
    with (delta.place / "old").open("rb") as old:
        done = subprocess.run(
            [sys.executable, "-m", "mover", "delta", "patch", "-", "delta", "out"],
            cwd=delta.place,
            env=delta.environment,
            stdin=old,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    assert delta.read("out") == NEW


def test_in_its_own_place(delta: Delta) -> None:
    delta.make()
    (delta.place / "old").chmod(0o640)
    delta("patch", "old", "delta", "old")
    assert delta.read("old") == NEW
    assert (delta.place / "old").stat().st_mode & 0o777 == 0o640


def test_json(delta: Delta) -> None:
    delta.make()
    signed = json.loads(delta("sign", "old", "sig", "--json").stdout)
    assert signed["command"] == "delta sign"
    assert signed["state"] == "done"
    assert (signed["read_bytes"], signed["blocks"]) == (len(OLD), 41)
    assert (signed["block_bytes"], signed["wire_bytes"]) == (BLOCK, len(delta.read("sig")))
    compared = json.loads(delta("diff", "sig", "new", "delta", "--json").stdout)
    parts = [compared[f"{name}_bytes"] for name in ("literal", "matched", "filled")]
    assert sum(parts) == compared["new_bytes"] == compared["read_bytes"] == len(NEW)
    assert compared["wire_bytes"] == len(delta.read("delta"))
    made = json.loads(delta("patch", "old", "delta", "out", "--json").stdout)
    assert [made[f"{name}_bytes"] for name in ("literal", "matched", "filled")] == parts
    piped = delta("sign", "old", "-", "--json")
    assert json.loads(piped.stderr)["wire_bytes"] == len(piped.stdout)


def test_a_summary_for_people(delta: Delta) -> None:
    delta.write("old", OLD)
    line = delta("sign", "old", "sig").stderr.decode()
    assert line.startswith("mover: signed 80.0 KiB in 41 blocks of 2.0 KiB; the signature has ")


def test_a_torn_delta_changes_nothing(delta: Delta) -> None:
    delta.make()
    delta.write("out", b"as it was")
    whole = delta.read("delta")
    for torn in (whole[:-1], whole[: len(whole) // 2], whole[:300] + b"?" + whole[301:]):
        delta.write("torn", torn)
        assert "the delta cannot be used: at byte" in delta.refused(
            "patch", "old", "torn", "out", code=3
        )
    assert delta.read("out") == b"as it was"
    assert delta.names() == ["delta", "new", "old", "out", "sig", "torn"]
    assert delta("patch", "old", "-", "-", stdin=whole[:-1], code=3).stdout == b""


def test_a_torn_signature_is_refused(delta: Delta) -> None:
    delta.make()
    delta.write("sig", delta.read("sig")[:-3])
    assert "the signature cannot be used: at byte" in delta.refused(
        "diff", "sig", "new", "d", code=3
    )
    assert "d" not in delta.names()


def test_another_basis_changes_nothing(delta: Delta) -> None:
    delta.make()
    delta.write("out", b"as it was")
    delta.write("old", bytes(len(OLD)))
    line = delta.refused("patch", "old", "delta", "out", code=3)
    assert "is not the object that was signed, or has changed since" in line
    delta.write("old", OLD[:-1])
    line = delta.refused("patch", "old", "delta", "out", code=2)
    assert f"has {len(OLD) - 1} bytes, and the delta is for an old object of {len(OLD)}" in line
    assert delta.read("out") == b"as it was"
    assert delta.names() == ["delta", "new", "old", "out", "sig"]


def weights(count: int, share: float) -> tuple[bytes, bytes]:
    """Two arrays of elements of two bytes, of which a share is different."""
    source = random.Random(9)
    old = source.randbytes(2 * count)
    new = bytearray(old)
    for place in source.sample(range(count), int(count * share)):
        new[2 * place : 2 * place + 2] = source.randbytes(2)
    return old, bytes(new)


def safetensors(data: bytes, note: str) -> bytes:
    header = {
        "__metadata__": {"note": note},
        "w": {"dtype": "BF16", "data_offsets": [0, len(data)]},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_a_known_base(delta: Delta) -> None:
    """A hundredth of the elements is different, and behind a header that grew by an odd number."""
    old, new = weights(400_000, 0.01)
    old, new = safetensors(old, "one"), safetensors(new, "eighteen")
    delta.write("old", old)
    delta.write("new", new)
    told = json.loads(delta("diff", "--base", "old", "new", "delta", "--json").stdout)
    assert told["changed_bytes"] == 800_000
    assert told["wire_bytes"] == len(delta.read("delta")) < 0.02 * len(new)
    delta("patch", "old", "delta", "out")
    assert delta.read("out") == new
    piped = delta("diff", "--base", "-", "new", "-", stdin=old).stdout
    delta("patch", "old", "-", "out2", stdin=piped)
    assert delta.read("out2") == new
    assert delta.names() == ["delta", "new", "old", "out", "out2"]


@pytest.mark.parametrize(("old", "new"), [(OLD, NEW), (b"", NEW), (OLD, b""), (OLD, OLD)])
def test_a_known_base_of_other_kinds(delta: Delta, old: bytes, new: bytes) -> None:
    delta.write("old", old)
    delta.write("new", new)
    delta("diff", "--base", "old", "new", "delta")
    delta("patch", "old", "delta", "out")
    assert delta.read("out") == new
    assert len(delta.read("delta")) < 3000 or not old


def test_a_direct_difference_fits_one_base_only(delta: Delta) -> None:
    delta.write("old", OLD)
    delta.write("new", NEW)
    delta("diff", "--base", "old", "new", "delta")
    delta.write("old", b"?" + OLD[1:])
    line = delta.refused("patch", "old", "delta", "out", code=2)
    assert "old is not the old object that the delta is for (xxh3-128" in line
    assert "out" not in delta.names()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sign", "gone", "sig2"), "gone cannot be read: No such file or directory"),
        (("sign", "/", "sig2"), "names no object"),
        (("sign", ".", "sig2"), "names no object"),
        (("sign", "directory", "sig2"), "directory is a directory"),
        (("sign", "old", "none/sig2"), "none/sig2 cannot be written: No such file"),
        (("sign", "old", "directory"), "directory is a directory"),
        (("sign", "old", "https://127.0.0.1:1/x"), "cannot be written: it is a source only"),
        (("sign", "old", "x://a/b"), "x"),
        (("sign", "old", "sig2", "--block-size", "63"), "--block-size 63: write 64 to 64MiB"),
        (("sign", "old", "sig2", "--block-size", "65MiB"), "write 64 to 64MiB"),
        (("sign", "old", "sig2", "--block-size", "many"), "cannot be used"),
        (("sign", "old", "sig2", "--strong", "md5"), "'md5' is not one of"),
        (("sign", "old", "sig2", "--append", "--block-size", "1MiB"), "leave out --block-size"),
        (("diff", "-", "-", "delta2"), "standard input (-) can be read once"),
        (("diff", "delta", "new", "delta2"), "this is no signature"),
        (("patch", "old", "sig", "out"), "this is no delta"),
        (("patch", "-", "delta", "out"), "is a pipe: OLD must be a file or an object"),
    ],
)
def test_nonsense(delta: Delta, arguments: tuple[str, ...], message: str) -> None:
    delta.make()
    (delta.place / "directory").mkdir()
    before = delta.names()
    assert message in delta.refused(*arguments, code=2)
    assert delta.names() == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_in_the_middle_leaves_nothing(delta: Delta, number: signal.Signals) -> None:
    delta.make()
    with delta.start("patch", "old", "-", "out") as process:
        assert process.stdin is not None
        process.stdin.write(delta.read("delta")[:-50])
        process.stdin.flush()
        wait_for_descriptor(process.pid, delta.place)
        process.send_signal(number)
        process.wait(timeout=10)
        process.stdin.close()
    expected = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
    assert process.returncode == expected[number]
    assert delta.names() == ["delta", "new", "old", "sig"]


def wait_for_descriptor(pid: int, place: Path) -> None:
    """Wait until the process has a file without a name in the directory."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except FileNotFoundError:
                continue  # closed since it was listed
            if target.startswith(str(place)) and target.endswith("(deleted)"):
                return
        time.sleep(0.02)
    raise AssertionError("the draft was never opened")


def test_on_a_store(stored: Delta, seaweed_bucket: Bucket) -> None:
    seaweed_bucket.put("old", OLD)
    seaweed_bucket.put("new", NEW)
    at = seaweed_bucket.location
    stored("sign", at("old"), at("d/sig"))
    stored("diff", at("d/sig"), at("new"), at("d/delta"))
    stored("patch", at("old"), at("d/delta"), at("out"))
    assert seaweed_bucket.get("out") == NEW
    stored("patch", at("old"), at("d/delta"), "out")
    assert stored.read("out") == NEW
    stored("patch", at("old"), at("d/delta"), at("old"))
    assert seaweed_bucket.get("old") == NEW
    assert "does not exist" in stored.refused("sign", at("gone"), "sig", code=2)


def test_large_objects_on_a_store(stored: Delta, seaweed_bucket: Bucket) -> None:
    """More than a range, and more than a part."""
    old = random.Random(2).randbytes(20 * 1024 * 1024 + 5)
    new = old[:9_999_999] + b"inserted" + old[9_999_999:] + bytes(1_000_000)
    seaweed_bucket.put("old", old)
    seaweed_bucket.put("new", new)
    at = seaweed_bucket.location
    stored("sign", at("old"), "sig")
    told = json.loads(stored("diff", "sig", at("new"), "delta", "--json").stdout)
    assert told["literal_bytes"] < 3 * told["block_bytes"]
    stored("patch", at("old"), "delta", at("out"))
    assert seaweed_bucket.get("out") == new
    stored("diff", "sig", at("new"), at("delta"), "--block-size", "1KiB", code=2)
    # All of it new: the delta itself goes up in parts, though its size is not known before.
    stored.write("other", new[::-1])
    stored("diff", "sig", "other", at("delta"))
    stored("patch", at("old"), at("delta"), at("out"))
    assert seaweed_bucket.get("out") == new[::-1]
    assert seaweed_bucket.upload_keys() == []


MIB = 1024 * 1024
LARGE = random.Random(7).randbytes(24 * MIB + 5)
LARGER = LARGE[: 9 * MIB] + b"inserted" + LARGE[9 * MIB :]


@pytest.mark.parametrize(("ladder", "piped"), [("--ladder", True), ("--no-ladder", False)])
def test_a_store_copies_what_is_unchanged(
    stored: Delta, seaweed_bucket: Bucket, ladder: str, piped: bool
) -> None:
    at = seaweed_bucket.location
    seaweed_bucket.put("old", LARGE)
    stored.write("old", LARGE)
    stored.write("new", LARGER)
    stored("sign", "old", "sig")
    stored("diff", "sig", "new", "delta", ladder)
    data = stored.read("delta")
    out = at("old") if piped else at("out")
    given = stored("patch", at("old"), "-" if piped else "delta", out, "--json", stdin=data)
    told = json.loads(given.stdout)
    assert seaweed_bucket.get("old" if piped else "out") == LARGER
    assert told["stored_bytes"] > 10 * MIB
    assert (told["matched_bytes"], told["wire_bytes"]) == (
        len(LARGER) - told["literal_bytes"],
        len(data),
    )
    if ladder == "--ladder":
        assert told["read_bytes"] < 10 * MIB
    assert seaweed_bucket.upload_keys() == []


def test_changed_elements_on_a_store(stored: Delta, seaweed_bucket: Bucket) -> None:
    """Of two tensors one is as it was; the other one's elements are changed near by."""
    old, new = weights(2 * MIB, 0.01)
    same = LARGE[: 12 * MIB]
    at = seaweed_bucket.location
    seaweed_bucket.put("old", same + old)
    stored.write("new", same + new)
    stored("diff", "--base", at("old"), "new", "delta")
    told = json.loads(stored("patch", at("old"), "delta", at("new"), "--json").stdout)
    assert seaweed_bucket.get("new") == same + new
    assert told["stored_bytes"] > 5 * MIB
    assert told["wire_bytes"] < 0.02 * len(old)
    seaweed_bucket.put("old", same + old[::-1])
    line = stored.refused("patch", at("old"), "delta", at("other"), code=2)
    assert "is not the old object that the delta is for" in line
    assert seaweed_bucket.upload_keys() == []
    assert "other" not in seaweed_bucket.list_keys()


def test_an_object_is_signed_while_it_is_written(stored: Delta, seaweed_bucket: Bucket) -> None:
    """The signature is hidden from listings, and no worse than one that is made afterwards."""
    (stored.place / "tree/d").mkdir(parents=True)
    stored.write("tree/d/large", LARGE)
    ends = ["tree/", seaweed_bucket.location()]
    for verb in (["copy", "--sign-on-write"], ["rsync", "--delete", "-y"], ["check"]):
        done = ready.run([*verb, *ends, "--json"], cwd=stored.place, env=stored.environment)
        assert done.returncode == 0, done.stderr.decode()
    hidden, large = sorted(seaweed_bucket.list_keys(), key=len, reverse=True)
    assert large == "d/large"
    assert hidden.startswith("d/.mover-delta/signatures/")
    given = json.loads(stored("sign", seaweed_bucket.location(large), "sig", "--json").stdout)
    assert given["read_bytes"] == 0
    assert stored.read("sig") == seaweed_bucket.get(hidden)
    given = stored("sign", seaweed_bucket.location(large), "-", "--block-size", "4KiB", "--json")
    assert json.loads(given.stderr)["read_bytes"] == len(LARGE)
    stored.write("new", LARGER)
    told = json.loads(stored("diff", "sig", "new", "delta", "--json").stdout)
    assert told["literal_bytes"] < 3 * told["block_bytes"]


def test_terminated_on_a_store_leaves_no_upload(stored: Delta, seaweed_bucket: Bucket) -> None:
    new = random.Random(3).randbytes(20 * 1024 * 1024)
    stored.make(OLD, new)
    at = seaweed_bucket.location
    seaweed_bucket.put("old", OLD)
    with stored.start("patch", at("old"), "-", at("out")) as process:
        assert process.stdin is not None
        process.stdin.write(stored.read("delta")[:-100])
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while not seaweed_bucket.upload_keys() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert seaweed_bucket.upload_keys() == ["out"]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        process.stdin.close()
    assert process.returncode == 143
    assert seaweed_bucket.upload_keys() == []
    assert seaweed_bucket.list_keys() == ["old"]


def test_another_basis_on_a_store_changes_nothing(stored: Delta, seaweed_bucket: Bucket) -> None:
    stored.make()
    seaweed_bucket.put("old", bytes(len(OLD)))
    seaweed_bucket.put("out", b"as it was")
    at = seaweed_bucket.location
    stored.refused("patch", at("old"), "delta", at("out"), code=3)
    assert seaweed_bucket.get("out") == b"as it was"
    assert seaweed_bucket.upload_keys() == []


def test_publish_and_fetch_files(delta: Delta) -> None:
    delta.write("basis", OLD)
    delta.write("source", NEW)
    delta("publish", "source")
    told = json.loads(delta("fetch", "source", "basis", "out", "--gap", "0", "--json").stdout)
    assert delta.read("out") == NEW
    assert told["literal_bytes"] <= 3 * BLOCK + 100
    assert told["wire_bytes"] == told["literal_bytes"] + len(delta.read("source.mover-sig"))
    delta("fetch", "source", "basis", "basis", "--signature", "source.mover-sig")
    assert delta.read("basis") == NEW
    assert delta.names() == ["basis", "out", "source", "source.mover-sig"]


def test_publish_and_fetch_from_a_store(stored: Delta, seaweed_bucket: Bucket) -> None:
    at = seaweed_bucket.location
    seaweed_bucket.put("d/source", NEW)
    stored.write("basis", OLD)
    stored("publish", at("d/source"))
    assert seaweed_bucket.list_keys() == ["d/source", "d/source.mover-sig"]
    stored("fetch", at("d/source"), "basis", "out")
    assert stored.read("out") == NEW
    stored("publish", at("d/source"), "--to", at("sigs/s"))
    stored("fetch", at("d/source"), "basis", "-", "--signature", at("sigs/s"))


def test_fetch_with_an_old_copy_that_is_no_file(stored: Delta, seaweed_bucket: Bucket) -> None:
    at = seaweed_bucket.location
    seaweed_bucket.put("basis", OLD)
    stored.write("source", NEW)
    stored("publish", "source")
    told = json.loads(
        stored("fetch", "source", at("basis"), at("out"), "--gap", "0", "--json").stdout
    )
    assert seaweed_bucket.get("out") == NEW
    assert told["matched_bytes"] > len(OLD) // 2
    stored("fetch", "source", "-", "out", stdin=OLD)
    assert stored.read("out") == NEW


def test_a_signature_of_another_version_is_refused(stored: Delta, seaweed_bucket: Bucket) -> None:
    at = seaweed_bucket.location
    seaweed_bucket.put("source", NEW)
    stored.write("basis", OLD)
    stored("publish", at("source"))
    seaweed_bucket.put("source", NEW[::-1])
    line = stored.refused("fetch", at("source"), "basis", "out", code=1)
    assert "is of another version of" in line
    assert stored.names() == ["basis"]


def test_a_fetch_that_does_not_fit_changes_nothing(delta: Delta) -> None:
    delta.write("basis", OLD)
    delta.write("source", NEW)
    delta("sign", "source", "sig")
    line = delta.refused("fetch", "source", "basis", "out", "--signature", "sig", code=2)
    assert "sig was not published" in line
    line = delta.refused("fetch", "source", "basis", "out", code=2)
    assert "source.mover-sig cannot be read" in line
    delta("publish", "source")
    delta.write("source", NEW[::-1])  # a file has no etag, and its size is the same
    line = delta.refused("fetch", "source", "basis", "basis", code=3)
    assert "nothing was written" in line
    assert delta.read("basis") == OLD


def test_help_has_examples(delta: Delta) -> None:
    listed = delta("--help").stdout.decode().split("Commands:\n")[1].split("\n\n")[0]
    for command in (line.split()[0] for line in listed.splitlines()):
        text = delta(command, "--help").stdout.decode()
        assert text.count(f"mover delta {command} ") >= 3


def test_nothing_heavy_is_imported_for_files(delta: Delta) -> None:
    delta.write("old", OLD)
    code = (
        "import sys; from mover.cli import run; run(['delta', 'sign', 'old', 'sig']);"
        "print(sorted({'aiohttp', 'rich', 'awscrt', 'sqlite3', 'redis'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=delta.place,
        env=delta.environment,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.decode().strip() == "[]"
