"""Lines of the log for a machine to read and a person to understand: time, level, words, then what belongs to them.

``text``: ``2026-01-01T00:00:00.000Z INFO leader node=a leader=b term=3``; ``json``: the same as one object a line.
Fields come by ``extra={"fields": {...}}``; records of other libraries just have none.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, TextIO

__all__ = ["JsonLines", "TextLines", "begin"]


def _stamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = getattr(record, "fields", None)
    return found if isinstance(found, dict) else {}


def _quoted(value: Any) -> str:
    text = "" if value is None else str(value)
    simple = text and all(one.isprintable() and one not in ' "=' for one in text)
    return text if simple else json.dumps(text, ensure_ascii=False)


class TextLines(logging.Formatter):
    """``key=value`` behind the words; values with spaces are quoted, so that a line stays a line."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_stamp(record), record.levelname, record.getMessage().replace("\n", " ")]
        parts += [f"{name}={_quoted(value)}" for name, value in _fields(record).items()]
        if record.exc_info:
            parts.append(f"trace={_quoted(self.formatException(record.exc_info))}")
        return " ".join(parts)


class JsonLines(logging.Formatter):
    """One object a line: ``time``, ``level``, ``message``, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": _stamp(record),
            "level": record.levelname,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            document["trace"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False, default=str)


def begin(stream: TextIO, *, level: str, form: str) -> logging.Logger:
    """Sends what ``quorate`` logs to ``stream``, and returns its logger."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    log = logging.getLogger("quorate")
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(level.upper())
    return log
