from hypothesis import given
from hypothesis import strategies as st

from mover.prewarm.model import Look, Piece
from mover.prewarm.narrowing import GROUP_PIECES, Narrowing, Told
from transports.model import Entry


def pieces(count: int, size: int = 10) -> list[Piece]:
    return [Piece(Entry(f"f{n}", size, 0), 0, size) for n in range(count)]


def asked(wanted: list[Piece], missing: set[str], *, questions: int) -> tuple[Look, int]:
    narrowing = Narrowing(wanted, questions=questions)
    count = 0
    while group := narrowing.group:
        count += 1
        resident = sum(piece.size for piece in group if piece.entry.key not in missing)
        narrowing.told(Told(resident, not missing & {piece.entry.key for piece in group}))
    return narrowing.look, count


def test_nothing_is_one_look_at_nothing() -> None:
    assert asked([], set(), questions=9) == (Look(0, 0, []), 0)


def test_all_or_nothing_is_one_question_for_each_group() -> None:
    wanted = pieces(GROUP_PIECES * 2)
    assert asked(wanted, set(), questions=64) == (Look(10_240, 10_240, []), 2)
    look, count = asked(wanted, {piece.entry.key for piece in wanted}, questions=64)
    assert (look.resident_bytes, len(look.missing), count) == (0, len(wanted), 2)


def test_one_missing_piece_is_found() -> None:
    look, count = asked(pieces(500), {"f321"}, questions=64)
    assert [piece.entry.key for piece in look.missing] == ["f321"]
    assert look.resident_bytes == 4_990
    assert count < 25


@given(
    count=st.integers(1, 1_500),
    missing=st.sets(st.integers(0, 1_499)),
    questions=st.integers(0, 100),
)
def test_all_that_is_missing_is_within_what_is_called_missing(
    count: int, missing: set[int], questions: int
) -> None:
    keys = {f"f{n}" for n in missing if n < count}
    look, asks = asked(pieces(count), keys, questions=questions)
    assert keys <= {piece.entry.key for piece in look.missing}
    assert look.resident_bytes == 10 * (count - len(keys))
    assert look.bytes == 10 * count
    assert asks <= questions + -(-count // GROUP_PIECES)


def test_of_an_empty_file_nothing_is_missing() -> None:
    assert asked(pieces(3, size=0), set(), questions=4) == (Look(0, 0, []), 0)
    mixed = [*pieces(1), *pieces(1, size=0)]
    assert len(asked(mixed, {"f0"}, questions=4)[0].missing) == 1
