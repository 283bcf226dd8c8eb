r"""Lists of names: what ``--files-from`` reads, and the retry file that it must read back exactly.

Three forms; the text itself says which, and docs/filters.md describes them:

- *plain*: one name a line, taken as it stands; blank lines and lines that begin with ``#`` or
  ``;`` are skipped, one carriage return at a line's end is dropped;
- *separated by NUL*: where the text holds a NUL; every name as it stands (``find -print0``);
- *escaped*: where the first line is :data:`NAME_LIST_HEADER`; a backslash escapes, so every name
  can be written. This is the form of files that mover writes.

Pure: files are read and written by the caller, as UTF-8 with ``errors="surrogateescape"`` and
``newline=""``, so that no byte of a name is lost on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from mover.units import Malformed

NAME_LIST_HEADER: Final = "#mover-names-1"
"""First line of the escaped form; the digit is the version of the escapes."""

_ESCAPES: Final = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t", "#": "#", ";": ";"}
_ESCAPE: Final = re.compile(
    r"\\(?:([\\nrt#;])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.?))", re.ASCII | re.DOTALL
)
# Controls would break lines or terminals; lone surrogates (bytes that are no UTF-8) no encoder
# takes; U+0085, U+2028 and U+2029 end a line for some editors.
_UNSAFE: Final = re.compile("[\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHORT: Final = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


class MalformedLine(Malformed):
    """A line of a file that cannot be read; names the ``file`` and ``line_number`` (from 1)."""

    def __init__(self, *, file: str, line_number: int, text: str, remedy: str) -> None:
        super().__init__(f"{file}, line {line_number}:", text, remedy)
        self.file = file
        self.line_number = line_number


def escape_name(name: str) -> str:
    r"""A name as one line of the escaped form: ``\n``, ``\\``, ``\xHH`` for a byte, ``\uHHHH``."""
    escaped = _UNSAFE.sub(_escaped, name)
    return f"\\{escaped}" if escaped.startswith(("#", ";")) else escaped


def unescape_name(line: str, *, file: str = "name list", line_number: int = 1) -> str:
    """The reverse of :func:`escape_name`. Raises :class:`MalformedLine` on an unknown escape."""
    if "\\" not in line:
        return line

    def plain(match: re.Match[str]) -> str:
        short, byte, unit, unknown = match.groups()
        if short is not None:
            return _ESCAPES[short]
        if byte is not None:
            # A byte from 0x80 on is what surrogateescape makes of it in the name of a local file.
            code = int(byte, 16)
            return chr(code if code < 0x80 else 0xDC00 + code)
        if unit is not None:
            return chr(int(unit, 16))
        remedy = rf"\{unknown} is no escape; write \\ for a backslash"
        raise MalformedLine(file=file, line_number=line_number, text=line, remedy=remedy)

    return _ESCAPE.sub(plain, line)


def write_name_list(names: Iterable[str]) -> str:
    """The escaped form of ``names``, header included; reads back as exactly these names.

    A writer of many names may write :data:`NAME_LIST_HEADER` and one :func:`escape_name` a line.
    Raises ``ValueError`` for an empty name, which no store has.
    """
    lines = [NAME_LIST_HEADER]
    for name in names:
        if not name:
            raise Malformed("name", name, "a list cannot hold an empty name")
        lines.append(escape_name(name))
    return "\n".join(lines) + "\n"


def read_name_list(text: str, *, file: str = "name list") -> tuple[str, ...]:
    """The names of a list in any of the three forms, in order, repeats included.

    ``file`` is what errors call the list. Raises :class:`MalformedLine`.
    """
    if "\0" in text:
        return tuple(name for name in text.split("\0") if name)
    # Not splitlines(): it also splits at form feeds and other characters that names may hold.
    lines = text.split("\n")
    escaped = lines[0].removesuffix("\r") == NAME_LIST_HEADER
    names: list[str] = []
    for line_number, raw in enumerate(lines, start=1):
        line = raw.removesuffix("\r")
        if line and not line.startswith(("#", ";")):
            names.append(
                unescape_name(line, file=file, line_number=line_number) if escaped else line
            )
    return tuple(names)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
