"""Where the arrays of safetensors files were."""

import json
from typing import Any

import pytest

from mover.delta.tensors import Place, Tensor, header_bytes, place_at, places, tensors_of

HEADER = {
    "__metadata__": {"format": "pt"},
    "b": {"dtype": "F32", "shape": [2], "data_offsets": [6, 14]},
    "a": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]},
    "c": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [14, 15]},
}


def header(told: Any) -> bytes:
    return json.dumps(told).encode()


def test_a_file() -> None:
    data = header(HEADER)
    base, size = 8 + len(data), 8 + len(data) + 15
    assert header_bytes(len(data).to_bytes(8, "little"), size) == len(data)
    assert tensors_of(data, size) == [
        Tensor("a", base, base + 6, 2),
        Tensor("b", base + 6, base + 14, 4),
        Tensor("c", base + 14, base + 15, 0),
    ]


@pytest.mark.parametrize(("head", "size"), [(b"", 0), (b"1234567", 7), (b"\xff" * 8, 1 << 40)])
def test_no_header(head: bytes, size: int) -> None:
    assert header_bytes(head, size) == 0


@pytest.mark.parametrize(
    "told",
    [
        b"no json",
        b"\xff\xfe",
        b"[" * 100_000,
        header([]),
        header({"a": 1}),
        header({"a": {}}),
        header({"a": {"dtype": "F32"}}),
        header({"a": {"dtype": "F32", "data_offsets": [1]}}),
        header({"a": {"dtype": "F32", "data_offsets": "ab"}}),
        header({"a": {"dtype": [], "data_offsets": [0, 1]}}),
        header({"a": {"dtype": "F32", "data_offsets": [0, 1000]}}),
        header({"a": {"dtype": "F32", "data_offsets": [-9, 4]}}),
        header({"a": {"dtype": "F32", "data_offsets": [4, 0]}}),
        header({n: {"dtype": "F32", "data_offsets": [0, 4]} for n in "ab"}),
    ],
)
def test_headers_that_make_no_sense(told: bytes) -> None:
    assert tensors_of(told, 500) == []


def test_tensors_that_moved() -> None:
    old = [Tensor("a", 100, 200, 2), Tensor("b", 200, 300, 4), Tensor("c", 300, 310, 2)]
    new = [Tensor("x", 108, 150, 2), Tensor("b", 150, 250, 4), Tensor("a", 250, 350, 2)]
    found = places(old, [*new, Tensor("c", 350, 352, 2)])
    assert found == [Place(150, 250, 50, 4), Place(250, 350, -150, 2)]
    assert place_at(found, 0) == (None, 150)
    assert place_at(found, 150) == (found[0], 250)
    assert place_at(found, 249) == (found[0], 250)
    assert place_at(found, 250) == (found[1], None)
    assert place_at(found, 350) == (None, None)
    assert place_at([], 3) == (None, None)
