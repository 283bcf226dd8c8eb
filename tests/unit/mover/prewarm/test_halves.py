"""A file that landed in part is gone on with only where its parts are of what the origin has now."""

from __future__ import annotations

import pytest

from mover.prewarm.origins import Half, may_go_on
from transports.model import Entry


@pytest.mark.parametrize(
    ("half", "entry", "expected"),
    [
        (("e", "v"), ("e", "v"), True),
        (("e", ""), ("e", ""), True),
        (("e", "v"), ("e", "v2"), False),  # written again with the same bytes, perhaps
        (("e", "v"), ("e", ""), True),
        (("e", ""), ("f", ""), False),
        (("", "v"), ("", "v"), True),
        (("", ""), ("", ""), False),  # a time and a size are no name for bytes
        (('W/"e"', ""), ('W/"e"', ""), False),
        (("", "v"), ("e", ""), False),
    ],
)
def test_which_version(half: tuple[str, str], entry: tuple[str, str], expected: bool) -> None:
    kept = Half(b"p", "u", 10, *half)
    assert may_go_on(kept, Entry("k", 10, 5, *entry)) is expected
    assert not may_go_on(kept, Entry("k", 11, 5, *entry))
