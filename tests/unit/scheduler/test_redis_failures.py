"""Every way in which servers are known to say no has its line, and the right patience."""

from __future__ import annotations

import pytest

from scheduler.redis_failures import LINE_MAX, explain, one_line

SCRIPT = "Error running script (call to f_1e50): @user_script:47: @user_script: 47: "


@pytest.mark.parametrize(
    ("text", "words", "permanent"),
    [
        ("NOAUTH Authentication required.", "user name or the password", True),
        ("NOAUTH invalid username-password pair or user is disabled.", "check both", True),
        ("NOPERM User x has no permissions to run the 'info' command", "allow it", True),
        (SCRIPT + "The user executing the script can't run this command", "allow it", True),
        ("ACL failure in script: User x has no permissions", "allow it", True),
        ("MOVED 1337 127.0.0.1:7000", "redis+cluster://", True),
        ("CLOCK 3600", "(CLOCK 3600 s)", True),
        (SCRIPT + "-OOM command not allowed when used memory > 'maxmemory'.", "maxmemory", False),
        ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory", False),
        (SCRIPT + "-READONLY You can't write against a read only replica.", "replica", False),
        ("LOADING Redis is loading the dataset in memory", "loading", False),
        ("BUSY Redis is busy running a script.", "SCRIPT KILL", False),
        (SCRIPT + "-MISCONF Redis is configured to save RDB snapshots", "disk", False),
        ("NOREPLICAS Not enough good replicas to write.", "replicas", False),
        ("CLUSTERDOWN The cluster is down", "CLUSTER INFO", False),
        ("No master found for 'fleet' : Redis<password=s3>", "service", False),
        ("Error 111 connecting to h:1. Connect call failed ('h', 1).", "nothing listens", False),
        ("Error 2 connecting to h:1. No such file or directory.", "of its CA", True),
        ("Error UNKNOWN while writing to socket. Connection lost.", "maxclients", False),
        ("Timeout reading from h:1", "in time", False),
    ],
)
def test_a_failure_is_explained(text: str, words: str, permanent: bool) -> None:
    failure = explain(text)
    assert failure is not None
    assert words in failure.detail
    assert "s3" not in failure.detail
    assert failure.permanent is permanent


def test_our_own_mistakes_are_nobodys_failure() -> None:
    assert explain("wrong number of arguments for 'hset' command") is None
    assert explain(SCRIPT + "Script attempted to access nonexistent global variable 'x'") is None


def test_a_text_becomes_one_line() -> None:
    assert one_line("a\r\n  b") == "a b"
    assert len(one_line("x" * 1000)) == LINE_MAX
