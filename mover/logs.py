"""Log lines on standard error, as text or as JSON, for people and for collectors.

A log line says what happened inside; what a user must see comes from the display. Values that a
caller gives in ``extra`` (an ``action`` word, ids, counts) become fields of their own.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal

LOUD_LOGGERS: Final = ("aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "s3fs", "urllib3")
"""Libraries that say too much below a warning, botocore whole requests among it."""

_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logs(*, level: str, style: Literal["text", "json"] | str) -> None:
    """Send the log of this process to standard error from ``level`` up, replacing earlier wishes."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handler = StandardErrorHandler()
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in LOUD_LOGGERS:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))


class StandardErrorHandler(logging.Handler):
    """Writes to what ``sys.stderr`` is at the time: a live display takes it over for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except OSError:
            self.handleError(record)


class TextLines(logging.Formatter):
    """``2026-05-04T12:00:00Z warning scheduler.worker: a message field=value``."""

    def format(self, record: logging.LogRecord) -> str:
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        line = (
            f"{_when(record)} {record.levelname.lower()} {record.name}: "
            f"{record.getMessage()}{extras}"
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, fields, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def _when(record: logging.LogRecord) -> str:
    instant = datetime.fromtimestamp(record.created, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _USUAL}
