"""What must hold of every list, rule and key."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mover.filtering import Rule, Selection
from mover.name_lists import read_name_list, write_name_list
from mover.patterns import Pattern, parse_pattern
from mover.units import SIZE_MAX_BYTES, Malformed, parse_size

NAMES = st.text(min_size=1) | st.text(
    st.sampled_from("\n\r\t\0\\#; /ax\udcff\ud800\u2028\x85"), min_size=1
)


@given(names=st.lists(NAMES))
def test_every_name_comes_back_from_a_list(names: list[str]) -> None:
    text = write_name_list(names)
    assert read_name_list(text) == tuple(names)
    assert read_name_list(text.encode().decode()) == tuple(names), "any UTF-8 encoder takes it"


@given(names=st.lists(st.text(st.sampled_from("\n\r\\#; /ax\udcff"), min_size=1), min_size=1))
def test_every_name_comes_back_from_a_list_with_nul(names: list[str]) -> None:
    assert read_name_list("".join(f"{name}\0" for name in names)) == tuple(names)


PIECES = ["a", "b", "ab", "/", "/", "*", "**", "***", "?", "[a-b]", "[!a]", "\\*", "[[:alpha:]]"]
RULES = st.lists(
    st.builds(
        Rule,
        verdict=st.sampled_from(["include", "exclude"]),
        pattern=st.lists(st.sampled_from(PIECES), min_size=1, max_size=6)
        .map("".join)
        .filter(lambda pattern: bool(pattern.strip("/"))),
    ),
    max_size=6,
).map(tuple)
KEYS = st.lists(st.text(st.sampled_from("ab*/"), min_size=1, max_size=9), max_size=12)


def plainly_taken(rules: list[tuple[bool, Pattern]], key: str) -> bool:
    """The meaning of the rules, with no cache and no joined expression."""
    cuts = [at for at, character in enumerate(key) if character == "/"]
    entries = [(key[:cut], True) for cut in cuts]
    if not key.endswith("/"):
        entries.append((key, False))
    for path, is_directory in entries:
        for include, pattern in rules:
            if pattern.matches(path, is_directory=is_directory):
                if not include:
                    return False
                break
    return True


@settings(max_examples=300)
@given(rules=RULES, keys=KEYS)
def test_the_selector_says_what_the_rules_say_in_any_order_of_keys(
    rules: tuple[Rule, ...], keys: list[str]
) -> None:
    selector = Selection(rules=rules).compile(0.0)
    parsed = [(rule.verdict == "include", parse_pattern(rule.pattern)) for rule in rules]
    for key in keys:
        taken = selector.wants(key, 1, 0)
        assert taken is plainly_taken(parsed, key)
        if taken:
            assert key.startswith(selector.literal_prefix)
            cuts = [at for at, character in enumerate(key) if character == "/"]
            assert all(selector.wants_directory(key[: cut + 1]) for cut in cuts)


@given(rules=RULES, names=st.none() | st.lists(NAMES).map(tuple))
def test_a_selection_comes_back_from_its_record(
    rules: tuple[Rule, ...], names: tuple[str, ...] | None
) -> None:
    selection = Selection(rules=rules, names=names)
    assert Selection.from_dict(selection.to_dict()) == selection


@given(
    pattern=st.text(st.sampled_from("ab[]!^-:\\*?/{}().|&~\n"), max_size=12),
    key=st.text(max_size=9),
)
def test_any_pattern_is_refused_or_answers(pattern: str, key: str) -> None:
    try:
        parsed = parse_pattern(pattern)
    except Malformed:
        return
    assert parsed.matches(key, is_directory=False) in (True, False)
    if not set(pattern) & set("*?[/"):
        assert parsed.matches(pattern, is_directory=False), "a plain name matches itself"


@given(text=st.text(max_size=20))
def test_a_size_is_read_or_refused_in_one_line(text: str) -> None:
    message = ""
    try:
        assert 0 < parse_size(text) <= SIZE_MAX_BYTES
    except Malformed as error:
        message = str(error)
    assert "\n" not in message
