"""Which page of a listing to ask for next, and when a listing is over. Pure.

Some stores end a listing too early when they are busy: the last page says that it is the last, and is not. So the
store may be asked once more, for what comes behind the last key that it told.
"""

from typing import NamedTuple

from transports.s3_pages import Page


class Ask(NamedTuple):
    """What the next request continues: a token, or a key where there is none."""

    after: str
    token: str


class Course:
    """Follows one listing from page to page; ``trusts`` what a page says of being the last, or asks behind it."""

    def __init__(self, *, trusts: bool) -> None:
        self._trusts = trusts
        self._token = self._first = self._last = ""
        self._is_behind = False  # behind the page that was said to be the last

    def repeats(self, page: Page) -> bool:
        """Whether the store goes in a circle."""
        return bool(page.token) and page.token == self._token

    def is_over(self, page: Page) -> bool:
        """Whether a page that was asked for behind the last one has nothing new.

        A store may begin from the start where it is given a key, or with that key itself.
        """
        if not self._is_behind:
            return False
        told = {entry.key for entry in page.entries[:2]} - {self._last}
        return not told or page.entries[0].key == self._first

    def follow(self, page: Page) -> Ask | None:
        """Take up a page; returns what to ask for next, None behind the last one."""
        self._token = page.token
        if page.entries:
            self._first = self._first or page.entries[0].key
            self._last = page.entries[-1].key
        if page.token:
            return Ask("", page.token)
        self._is_behind = not self._trusts and bool(self._last)
        return Ask(self._last, "") if self._is_behind else None
