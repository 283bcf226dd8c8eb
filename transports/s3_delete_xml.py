"""S3's XML bodies of a delete of many keys, in and out; see ``s3_xml``. Pure."""

import re
from collections.abc import Sequence
from html import escape  # that of xml.sax brings an HTTP client along
from typing import Final

from transports.s3_xml import fields_of, local_name, parse_root

# Characters that XML 1.0 cannot hold at all, not even escaped (§2.2). Compiled at its first use: it takes 10 ms.
_NOT_XML: Final = r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"

_BREAKS: Final = {13: "&#13;", 10: "&#10;"}


def fits_xml(key: str) -> bool:
    """Whether a key can be named in an XML body."""
    return re.search(_NOT_XML, key) is None


def delete_body(keys: Sequence[str]) -> bytes:
    """The body that deletes keys and reports failures only."""
    rows = "".join(
        f"<Object><Key>{escape(key, quote=False).translate(_BREAKS)}</Key></Object>" for key in keys
    )
    return (
        '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Quiet>true</Quiet>{rows}</Delete>"
    ).encode()


def parse_deleted(body: bytes) -> dict[str, tuple[str, str]]:
    """Failures by key: (code, message). Raises ``GarbledAnswer``."""
    failures = {}
    for child in parse_root(body, ("DeleteResult", "DeleteObjectsResult")):
        if local_name(child.tag) == "Error":
            fields = fields_of(child)
            failures[fields.get("Key", "")] = (fields.get("Code", ""), fields.get("Message", ""))
    return failures
