"""What it means when a Redis server says no, or says nothing: one line for people. Pure.

Inside a script Redis 6.2 wraps every error (``ERR Error running script … -OOM command not …``),
and 7 does not; so the words are looked for anywhere in the text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LINE_MAX = 300


class Failure(NamedTuple):
    """What is the matter and what helps; ``permanent`` when waiting does not."""

    detail: str
    permanent: bool


_LASTING: tuple[tuple[str, str], ...] = (
    (
        r"WRONGPASS|NOAUTH|invalid (username-)?password|without any password|no password is set",
        "it refuses the user name or the password; check both",
    ),
    (
        r"NOPERM|ACL failure|user executing the script can't|no permissions",
        "its user may not do this ({line}); allow it ~mover:* +@all -@dangerous +info",
    ),
    (r"\bMOVED\b|\bASK\b", "it is a node of a cluster; write redis+cluster:// for redis://"),
    (
        r"[Cc]luster (mode is not enabled|support disabled)",
        "it is no cluster; write redis:// for redis+cluster://",
    ),
    (r"DB index is out of range", "it has no database of this number; write /0"),
    (
        r"(?i)certificate.verify.failed",
        "its certificate is not trusted ({line}); name its CA with ?ssl_ca_certs=/path",
    ),
    (r"WRONG_VERSION_NUMBER|RECORD_LAYER", "it speaks no TLS there; write redis:// for rediss://"),
    (
        r"CLOCK \d+",
        "the clock of this host is far ahead of the server's ({line} s); set both by NTP",
    ),
    (
        r"Error 2 connecting to [^/ ]+:\d+|NO_CERTIFICATE|PEM lib",
        "the file of its CA cannot be read ({line}); correct ?ssl_ca_certs=/path",
    ),
)

_PASSING: tuple[tuple[str, str], ...] = (
    (r"\bOOM\b", "its memory is full; raise maxmemory, or remove what else is kept there"),
    (
        r"READONLY|previous master",
        "it is a replica and takes no writes; name the master, or its sentinels",
    ),
    (r"LOADING", "it is loading its data; it answers when that is done"),
    (r"\bBUSY\b", "somebody's script keeps it busy; SCRIPT KILL ends that"),
    (r"MISCONF", "it cannot write to its disk, so it takes no writes; look into its log"),
    (r"NOREPLICAS", "too few of its replicas are up for a write (min-replicas-to-write)"),
    (
        r"MASTERDOWN|CLUSTERDOWN|TRYAGAIN|SlotNotCovered|not covered",
        "not all of its nodes are up; look at CLUSTER INFO",
    ),
    (
        r"No master found",
        "no sentinel names a master for this service; check the service's name, and the sentinels",
    ),
    (r"max number of clients", "it takes no more connections; raise maxclients"),
    (
        r"Name or service not known|name resolution|No address associated",
        "its host name is not known; check the address",
    ),
    (
        r"Connect call failed|Connection refused|Multiple exceptions|Error 2 connecting",
        "nothing listens at this address; start the server, or correct the address",
    ),
    (
        # What it says before it closes is lost when this side is writing at that moment.
        r"Connection closed by server|Connection reset|Connection lost|closed the connection",
        "it closed the connection; write rediss:// if it takes only TLS, and look at its maxclients",
    ),
    (
        r"(?i)time(d )?out",
        "it does not answer in time; look whether it is frozen, overloaded, or without TLS",
    ),
    (
        r"cannot be connected",
        "none of its nodes answers; start the servers, or correct the address",
    ),
)


def explain(text: str) -> Failure | None:
    """What an error's text says of the server; None for words that nobody has met yet."""
    line = one_line(text)
    for is_permanent, table in ((True, _LASTING), (False, _PASSING)):
        for pattern, detail in table:
            if re.search(pattern, line):
                return Failure(detail.replace("{line}", line), is_permanent)
    return None


def one_line(text: str) -> str:
    """A text as it fits into a line of a log."""
    return " ".join(text.split())[:LINE_MAX]
