"""The history of a run: one JSON object a line, in the order in which things happened, with monotonic times.

An operation is an ``invoke`` line and at most one of ``ok``, ``fail`` (proven: it did not happen) and ``unknown``. The
order of the lines is the order of events that is judged: a call is written down before anything is sent, a reply after
it came. Faults, leaders, phases and what the nodes ended with stand in between. Knows nothing of clusters.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from quorate.errors import InvalidArgument
from quorate.testing.history import NEVER

__all__ = ["Done", "Record", "operations", "read_history"]

FORMAT = 1


class Done(NamedTuple):
    """One operation, as it came out: ``outcome`` is ok, fail or unknown; ``call`` and ``reply`` are places in the
    order of all events, ``began`` and ``ended`` seconds since the begin. Unknown ones have ``reply`` NEVER."""

    client: str
    load: str
    key: str
    kind: str
    argument: Any
    outcome: str
    result: Any
    error: str
    call: int
    reply: int
    began: float
    ended: float


class Record:
    """Writes a history; may be used by many threads at once. A context manager that closes the file.

    >>> record = Record(None, {"seed": 1})
    >>> number = record.invoke("c1", "registers", "r/0", "write", 5)
    >>> record.reply(number, "ok")
    >>> [each["event"] for each in record.events]
    ['begin', 'invoke', 'ok']
    """

    def __init__(self, path: Path | None, head: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        self._file: IO[str] | None = path.open("w", encoding="utf-8") if path is not None else None
        self._began = time.monotonic()
        self._numbers = 0
        self.events: list[dict[str, Any]] = []
        self.acknowledged = 0
        self.say("begin", format=FORMAT, **head)

    @property
    def now(self) -> float:
        """Seconds since the record began."""
        return time.monotonic() - self._began

    def say(self, event: str, **fields: Any) -> None:
        """Something happened that is no operation."""
        with self._lock:
            self._append({"t": round(self.now, 6), "event": event, **fields})
            if self._file is not None:
                self._file.flush()

    def invoke(self, client: str, load: str, key: str, kind: str, argument: Any = None) -> int:
        """A client is about to send this. Returns its number, to tell the outcome."""
        with self._lock:
            self._numbers += 1
            line = {"t": round(self.now, 6), "event": "invoke", "op": self._numbers, "client": client, "load": load,
                    "key": key, "kind": kind, "argument": argument}  # fmt: skip
            self._append(line)
            return self._numbers

    def reply(self, number: int, outcome: str, result: Any = None, error: str = "") -> None:
        """What became of it: ok with a result, fail or unknown with an error."""
        with self._lock:
            line: dict[str, Any] = {"t": round(self.now, 6), "event": outcome, "op": number}
            if outcome == "ok":
                self.acknowledged += 1
                line["result"] = result
            else:
                line["error"] = error
            self._append(line)

    def _append(self, line: dict[str, Any]) -> None:
        self.events.append(line)
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_history(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a file that :class:`Record` wrote. A cut last line, as a killed run leaves it, is left out.

    Raises InvalidArgument if the file is no such history.
    """
    found: list[dict[str, Any]] = []
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                event = json.loads(line)
                event["event"], event["t"]
            except (ValueError, KeyError, TypeError):
                if found and not line.endswith("\n"):
                    break
                raise InvalidArgument(f"{path}, line {number}: this is no history of `quorate torture`") from None
            found.append(event)
    if not found or found[0]["event"] != "begin":
        raise InvalidArgument(f"{path} is no history of `quorate torture`: it does not begin with what was run")
    if found[0].get("format") != FORMAT:
        raise InvalidArgument(f"{path} has format {found[0].get('format')}, and this version reads {FORMAT}")
    return found


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def operations(events: Iterable[dict[str, Any]]) -> Iterator[Done]:
    """The operations, in the order of their calls; those without an outcome count as unknown."""
    replies: dict[int, tuple[int, dict[str, Any]]] = {}
    calls: list[tuple[int, dict[str, Any]]] = []
    for place, event in enumerate(events):
        if event["event"] == "invoke":
            calls.append((place, event))
        elif "op" in event:
            replies[event["op"]] = (place, event)
    for place, call in calls:
        at, reply = replies.get(call["op"], (NEVER, {"event": "unknown", "t": float("inf")}))
        outcome = reply["event"]
        yield Done(
            call["client"], call["load"], call["key"], call["kind"], _hashable(call["argument"]), outcome,
            _hashable(reply.get("result")), reply.get("error", ""), place, at if outcome != "unknown" else NEVER,
            call["t"], reply["t"],
        )  # fmt: skip
