"""What a web server's directory page lists. Pure.

nginx, Apache, Caddy, lighttpd and Python's ``http.server`` all answer a directory with a page of
links, one for each name in it. Only links to the directory's own children count; links to sort the
table, to the parent and to anywhere else are the page's furniture. A child whose name would be more
than one name is refused loudly: left out, it would make a listing incomplete in silence.
"""

from html.parser import HTMLParser
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from transports.errors import Invalid

PAGE_MAX_BYTES: Final = 64 * 1024 * 1024
"""Half a million names; a larger page is no directory."""


class _Links(HTMLParser):
    """Collects the targets of all links."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def children(page: str, url: str) -> list[str]:
    """The names in the directory at ``url``, in the order of keys; directories end in a slash.

    Names are decoded; bytes that are not UTF-8 become surrogates, as in file names. Raises
    ``Invalid`` for a child whose name holds a slash or a NUL, or climbs.
    """
    links = _Links()
    links.feed(page)
    links.close()
    base = urlsplit(url)
    names: set[str] = set()
    for link in links.found:
        try:
            target = urlsplit(urljoin(url, link.strip()))
        except ValueError:
            continue  # not a URL: it leads nowhere
        same_server = (target.scheme, target.netloc) == (base.scheme, base.netloc)
        if not same_server or target.query or not target.path.startswith(base.path):
            continue
        segment, slash, rest = target.path[len(base.path) :].partition("/")
        if not segment or rest:
            continue
        name = unquote(segment, errors="surrogateescape")
        if "/" in name or "\0" in name or name in {".", ".."}:
            raise Invalid(url, f"the page lists a name that is none: {segment!r}")
        names.add(name + slash)
    return sorted(names)
