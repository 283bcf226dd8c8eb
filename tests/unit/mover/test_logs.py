"""Log lines as people and as collectors read them."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from mover.logs import LOUD_LOGGERS, configure_logs

NAMES = ("", *LOUD_LOGGERS)


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in NAMES}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", style="text")
    logging.getLogger("a.b").info("moved %d", 3, extra={"action": "copy", "job": "j1"})
    logging.getLogger("a.b").debug("too much")
    line = capsys.readouterr().err
    assert line.endswith("Z info a.b: moved 3 action=copy job=j1\n")
    assert line.count("\n") == 1


def test_json_lines_hold_fields_and_exceptions(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="warning", style="json")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("a").warning("it failed", extra={"attempt": 2}, exc_info=sys.exc_info())
    record = json.loads(capsys.readouterr().err)
    assert (record["level"], record["logger"], record["message"], record["attempt"]) == (
        *("warning", "a", "it failed"),
        2,
    )
    assert "ValueError: broken" in record["exception"]


def test_configuring_twice_does_not_say_things_twice(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        configure_logs(level="warning", style="text")
    logging.getLogger("a").warning("once")
    assert capsys.readouterr().err.count("once") == 1


def test_libraries_that_log_whole_requests_stay_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="debug", style="text")
    logging.getLogger("botocore.auth").debug("Authorization: everything")
    assert "everything" not in capsys.readouterr().err
