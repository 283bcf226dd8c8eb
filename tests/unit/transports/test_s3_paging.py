"""What is asked for behind a page, and when a listing is over."""

import pytest

from transports.model import Entry
from transports.s3_pages import Page
from transports.s3_paging import Ask, Course


def page(*keys: str, token: str = "") -> Page:
    return Page([Entry(key, 1, 0) for key in keys], [], token)


@pytest.mark.parametrize(
    ("trusts", "pages", "following"),
    [
        pytest.param(False, [page("a", token="t")], Ask("", "t"), id="there is more"),
        pytest.param(True, [page("a")], None, id="the last one is believed"),
        pytest.param(False, [page("a", "b")], Ask("b", ""), id="behind the last one"),
        pytest.param(False, [page("a", token="t"), page()], Ask("a", ""), id="an empty last one"),
        pytest.param(False, [page()], None, id="nothing at all"),
        pytest.param(False, [page("a"), page("b")], Ask("b", ""), id="it was not the last one"),
    ],
)
def test_what_is_asked_for_next(trusts: bool, pages: list[Page], following: Ask | None) -> None:
    course = Course(trusts=trusts)
    asked = [course.follow(each) for each in pages]
    assert asked[-1] == following


@pytest.mark.parametrize(
    ("behind", "is_over"),
    [
        pytest.param(page(), True, id="nothing"),
        pytest.param(page("d"), False, id="more"),
        pytest.param(
            page("b"), False, id="more of a store that goes backwards, for others to refuse"
        ),
        pytest.param(page("a", "c"), True, id="all from the start"),
        pytest.param(page("c"), True, id="the key that it was to start after"),
        pytest.param(page("c", "d"), False, id="that key and more"),
    ],
)
def test_when_a_listing_is_over(behind: Page, is_over: bool) -> None:
    course = Course(trusts=False)
    course.follow(page("a", "c"))
    assert course.is_over(behind) is is_over


def test_a_store_that_goes_in_a_circle() -> None:
    course = Course(trusts=True)
    course.follow(page("a", token="t"))
    assert course.repeats(page("b", token="t"))
    assert not course.repeats(page("b", token="u"))
    assert not course.repeats(page("b"))
