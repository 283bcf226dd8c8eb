"""Patterns of include and exclude rules, with rsync's meaning, as regular expressions.

Belongs here: what one pattern matches. Which rule wins and what an excluded directory hides is
``mover.filtering``. Pure.

Theory of operation. A pattern either looks at the last component only, or at the path from its
top or from any component on. Keys of one directory differ in their last component alone, so each
pattern is cut into :class:`Leaf` values: an expression for the directory, asked once for it, and
one for the name, asked for each key. The cut lies behind the last slash of the pattern or inside
one of the ``**`` after it, hence a few leaves for a pattern with ``**`` in its last component.

Every chunk between two wildcards has a fixed length and is taken at its leftmost place in an
atomic group: the rest of a pattern can only gain from an earlier place, so nothing is lost, and a
hostile pattern (``a*a*a*b``) costs at most the square of the path's length, never an exponent.

The meaning was taken from rsync(1), "PATTERN MATCHING RULES", and from runs of rsync 3.2.7.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final, NamedTuple

from mover.units import Malformed

PATTERN_LENGTH_MAX: Final = 4_096
"""Longest pattern in characters: four times the longest key of S3."""

DEEP_STAR_COUNT_MAX: Final = 16
"""Most ``**`` in one pattern; each may cost the square of a path's length."""

_ESCAPE_REMEDY: Final = r"write \[ for a bracket that stands for itself"
_POSIX: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "space": r"\t-\r ",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class _Star(NamedTuple):
    """A run of asterisks; ``deep`` (two or more) crosses slashes."""

    deep: bool


class _One(NamedTuple):
    """Exactly one character: ``regex`` for it, and the character where it is fixed."""

    regex: str
    literal: str | None


_DEEP: Final = _Star(deep=True)
_SHALLOW: Final = _Star(deep=False)
_SLASH: Final = _One(regex="/", literal="/")
_Token = _Star | _One


class Leaf(NamedTuple):
    """One way to match: ``directory`` on the parent and ``name`` on the last component.

    Both are sources for ``re.DOTALL``, to be matched from the start. The directory's text is
    ``/a/b/``, and ``/`` for the root; None stands for every directory.
    """

    directory: str | None
    name: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One parsed pattern. It matches where any of its leaves does."""

    text: str
    directory_only: bool
    """It ended in a slash."""
    leaves: tuple[Leaf, ...]
    directory_leaves: tuple[Leaf, ...]
    """The same for directories, where ``dir/***`` matches ``dir`` too."""
    literal_prefix: str
    """What every path that it matches begins with; empty unless anchored."""
    matches_all: bool
    """It matches every path, at least of those at the top: ``*``, ``/*``, ``**``, ..."""

    def matches(self, path: str, *, is_directory: bool) -> bool:
        """Whether it matches ``path``, which ends in no slash; the plain way, for single asks."""
        if self.directory_only and not is_directory:
            return False
        head, slash, name = path.rpartition("/")
        directory = f"/{head}{slash}"
        return any(
            (leaf.directory is None or re.match(leaf.directory, directory, re.DOTALL) is not None)
            and re.match(leaf.name, name, re.DOTALL) is not None
            for leaf in (self.directory_leaves if is_directory else self.leaves)
        )


def parse_pattern(text: str, *, what: str = "pattern") -> Pattern:
    """Parse one pattern.

    Raises :class:`~mover.units.Malformed` for one that can match nothing: empty, only slashes, an
    open or unknown class, a reversed range, a lone backslash at the end. rsync accepts these and
    silently never matches, which hides a slip in a rule that was to protect or to select.
    """
    if not text.strip("/"):
        raise Malformed(what, text, "it names nothing; write a name, as in *.tmp or /logs/")
    if len(text) > PATTERN_LENGTH_MAX:
        raise Malformed(what, text, f"it is longer than {PATTERN_LENGTH_MAX} characters")
    body = text.removesuffix("/")
    in_path = "/" in body or "**" in body
    glob = body.removeprefix("/")
    wild = any(character in body for character in "*?[")
    # Without a wildcard a backslash is an ordinary character, as in rsync.
    tokens = _tokens(glob, what=what, text=text) if wild else [*map(_literal, glob)]
    if sum(token == _DEEP for token in tokens) > DEEP_STAR_COUNT_MAX:
        raise Malformed(what, text, f"it has more than {DEEP_STAR_COUNT_MAX} times **")
    if not in_path:
        leaves: tuple[Leaf, ...] = (Leaf(directory=None, name=_name_regex(tokens)),)
    else:
        leaves = _leaves(_from_root(tokens, body))
    directory_leaves = leaves
    if body.endswith("***") and tokens[-2:] == [_SLASH, _DEEP]:
        # The directory itself, as if the pattern had ended before "/***".
        directory_leaves += _leaves(_from_root(tokens[:-2], body))
    return Pattern(
        text=text,
        directory_only=text.endswith("/"),
        leaves=leaves,
        directory_leaves=directory_leaves,
        literal_prefix=_literal_prefix(tokens, text) if body.startswith("/") else "",
        matches_all=not text.endswith("/") and all(isinstance(token, _Star) for token in tokens),
    )


def _literal(character: str) -> _Token:
    return _One(regex=re.escape(character), literal=character)


def _literal_prefix(tokens: list[_Token], text: str) -> str:
    prefix = ""
    for token in tokens:
        if isinstance(token, _Star) or token.literal is None:
            return prefix
        prefix += token.literal
    # A directory's key, and those below it, go on with the slash.
    return f"{prefix}/" if text.endswith("/") else prefix


def _tokens(glob: str, *, what: str, text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(glob):
        character = glob[at]
        at += 1
        if character == "*":
            start = at - 1
            while at < len(glob) and glob[at] == "*":
                at += 1
            tokens.append(_Star(deep=at - start > 1))
        elif character == "?":
            tokens.append(_One(regex="[^/]", literal=None))
        elif character == "[":
            regex, at = _class(glob, at, what=what, text=text)
            tokens.append(_One(regex=regex, literal=None))
        elif character == "\\":
            if at == len(glob):
                raise Malformed(what, text, r"write \\ for a backslash at the end")
            tokens.append(_literal(glob[at]))
            at += 1
        else:
            tokens.append(_literal(character))
    return tokens


def _class(glob: str, at: int, *, what: str, text: str) -> tuple[str, int]:
    """The expression of a class whose ``[`` stands before ``at``, and where the pattern goes on."""
    negated = glob[at : at + 1] in ("!", "^")
    if negated:
        at += 1
    members: list[str] = []
    low: str | None = None  # what a following "-" would make a range from
    first = True
    while True:
        character = glob[at : at + 1]
        if not character:
            raise Malformed(what, text, f"its [ has no ]; {_ESCAPE_REMEDY}")
        if character == "/":
            # rsync counts it as one that separates components, so such a class never matches.
            raise Malformed(what, text, "a class matches no slash; take the / out of the brackets")
        if character == "]" and not first:
            break
        first = False
        if character == "-" and low is not None and glob[at + 1 : at + 2] not in ("", "]"):
            high, at = _member(glob, at + 1, what=what, text=text)
            if high < low:
                raise Malformed(what, text, f"the range {low}-{high} is reversed")
            members.append(f"{_in_class(low)}-{_in_class(high)}")
            low = None
        elif (name := _posix_name(glob, at)) is not None:
            if name not in _POSIX:
                raise Malformed(
                    what, text, f"there is no class [:{name}:]; known: alpha, digit, ..."
                )
            members.append(_POSIX[name])
            at += len(name) + 4
            low = None
        else:
            low, at = _member(glob, at, what=what, text=text)
            members.append(_in_class(low))
    # The look-ahead keeps every class, negated or not, within one component.
    return f"(?!/)[{'^' if negated else ''}{''.join(members)}]", at + 1


def _member(glob: str, at: int, *, what: str, text: str) -> tuple[str, int]:
    if glob[at] == "\\":
        at += 1
        if at == len(glob):
            raise Malformed(what, text, f"its [ has no ]; {_ESCAPE_REMEDY}")
    return glob[at], at + 1


def _posix_name(glob: str, at: int) -> str | None:
    if not glob.startswith("[:", at):
        return None
    end = glob.find("]", at + 2)
    return glob[at + 2 : end - 1] if end > at + 2 and glob[end - 1] == ":" else None


def _in_class(character: str) -> str:
    return f"\\{character}" if character in r"\]^-[&~|" else character


def _from_root(tokens: list[_Token], body: str) -> list[_Token]:
    """The tokens as they match ``/`` and the path, so that a start differs from no other slash."""
    # 1. Anchored: only the first slash.
    if body.startswith("/"):
        return [_SLASH, *tokens]
    # 2. A leading "**" takes that slash in, so "**/a" finds "a" at the top.
    if body.startswith("**"):
        return tokens
    # 3. Else any component may be the first.
    return [_DEEP, _SLASH, *tokens]


def _leaves(tokens: list[_Token]) -> tuple[Leaf, ...]:
    cut = max((at + 1 for at, token in enumerate(tokens) if token == _SLASH), default=0)
    # 1. The directory ends at the pattern's last slash.
    leaves = [(tokens[:cut], tokens[cut:])] if cut else []
    # 2. It ends inside a later "**", of which the name has the rest.
    deep = [at for at in range(cut, len(tokens)) if tokens[at] == _DEEP]
    leaves += [(tokens[: at + 1], tokens[at:]) for at in deep]
    return tuple(Leaf(directory=_path_regex(head), name=_name_regex(name)) for head, name in leaves)


def _name_regex(tokens: list[_Token]) -> str:
    """For one component. It has no slash, so every star is the plain dot, which costs least."""
    chunks = _chunks(tokens, (_DEEP, _SHALLOW))
    if len(chunks) == 1:
        return rf"{_source(chunks[0])}\Z"
    first, *middle, last = chunks
    if not last:
        # What follows is free, so the last chunk may be taken anywhere: greedy is the fast way.
        *middle, last = middle or [[]]
        close = f".*{_source(last)}" if last else ""
    elif not first and not middle and all(token.literal is not None for token in last):
        # "*.tmp" looks back from the end. With a chunk before, the two could overlap.
        close = rf".*+(?<={_source(last)})\Z"
    else:
        close = rf".*{_source(last)}\Z"
    return "".join([_source(first), *(f"(?>.*?{_source(chunk)})" for chunk in middle), close])


def _path_regex(tokens: list[_Token]) -> str:
    """For a directory's text, with slashes."""
    first, *rest = _runs(tokens)
    if not rest:
        return rf"{_run_regex(first, whole=True)}\Z"
    parts = [_run_regex(first, whole=False)]
    parts += [f"(?>.*?{_run_regex(run, whole=False)})" for run in rest[:-1]]
    parts.append(rf".*?{_run_regex(rest[-1], whole=True)}\Z" if rest[-1] else "")
    return "".join(parts)


def _run_regex(tokens: list[_Token], *, whole: bool) -> str:
    """What stands between two ``**``; ``whole`` for the run that must reach the text's end."""
    first, *rest = _chunks(tokens, (_SHALLOW,))
    stars = [f"(?>[^/]*?{_source(chunk)})" for chunk in rest]
    if rest and whole:
        stars[-1] = f"[^/]*{_source(rest[-1])}"
    return "".join([_source(first), *stars])


def _runs(tokens: list[_Token]) -> list[list[_Token]]:
    runs: list[list[_Token]] = [[]]
    for token in tokens:
        if token == _DEEP:
            runs.append([])
        else:
            runs[-1].append(token)
    return runs


def _chunks(tokens: list[_Token], stars: tuple[_Star, ...]) -> list[list[_One]]:
    chunks: list[list[_One]] = [[]]
    for token in tokens:
        if token in stars:
            chunks.append([])
        elif isinstance(token, _One):
            chunks[-1].append(token)
    return chunks


def _source(chunk: list[_One]) -> str:
    return "".join(token.regex for token in chunk)
