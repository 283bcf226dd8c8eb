"""Name lists, as tables; that every name comes back is a property."""

import pytest

from mover.name_lists import NAME_LIST_HEADER, MalformedLine, read_name_list, write_name_list


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("a\nb/c\n", ("a", "b/c")),
        ("a\n\n# no\n; no\nb", ("a", "b")),
        ("a\r\nb\r\n", ("a", "b")),
        (" lead\ntrail \n\ttab", (" lead", "trail ", "\ttab")),
        (" # not a comment\n./#x", (" # not a comment", "./#x")),
        ("back\\slash\\n\n/abs\nd/\n*", ("back\\slash\\n", "/abs", "d/", "*")),
        ("form\x0cfeed\u2028line", ("form\x0cfeed\u2028line",)),
        ("a\n#mover-names-1\nb\\n", ("a", "b\\n")),
        ("a\nb\0#c\0\0 d\r\0", ("a\nb", "#c", " d\r")),
        ("#mover-names-1\n", ()),
        (
            "#mover-names-1\r\na\\nb\r\n# no\n\\#c\n\\\\\\t\\x41\\xff\\u20ac",
            ("a\nb", "#c", "\\\tA\udcff\u20ac"),
        ),
    ],
)
def test_lists_are_read_in_three_forms(text: str, names: tuple[str, ...]) -> None:
    assert read_name_list(text) == names


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a/b c", "a/b c"),
        ("#x", "\\#x"),
        (";x", "\\;x"),
        ("a#x", "a#x"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("a\\b", "a\\\\b"),
        ("\0", "\\x00"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
        ("\u2028\x85", "\\u2028\\u0085"),
        (" é \N{GRINNING FACE}", " é \N{GRINNING FACE}"),
    ],
)
def test_names_are_escaped_one_a_line(name: str, line: str) -> None:
    assert write_name_list([name]) == f"{NAME_LIST_HEADER}\n{line}\n"
    assert read_name_list(write_name_list([name])) == (name,)


@pytest.mark.parametrize("line", ["a\\q", "a\\", "\\x1", "\\xzz", "\\u12", "\\ "])
def test_an_unknown_escape_names_file_line_and_remedy(line: str) -> None:
    with pytest.raises(MalformedLine, match=r"retry.txt, line 3: .*is no escape") as caught:
        read_name_list(f"{NAME_LIST_HEADER}\nfine\n{line}\n", file="retry.txt")
    assert (caught.value.line_number, caught.value.text) == (3, line)


def test_an_empty_name_is_not_written() -> None:
    with pytest.raises(ValueError, match="empty name"):
        write_name_list(["a", ""])
