"""Histories: what clients asked, what they were told, and in what order. Knows nothing of nodes or clusters.

A history is a list of :class:`Operation`. Its ``call`` and ``reply`` are places in one total order of events, not
times, so two events never tie. An operation whose outcome the client never learned has ``reply`` :data:`NEVER`: it may
take effect at any moment after its call, or not at all. An operation that provably did not happen is left out.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["NEVER", "History", "Operation"]

NEVER: Final = sys.maxsize
"""The ``reply`` of an operation whose outcome is not known."""


class Operation(NamedTuple):
    """One operation of one client on one object.

    ``kind``, ``argument`` and ``result`` mean what the model says that judges the history; for a register:
    ``read`` (result: the value), ``write`` (argument: the value), ``cas`` (argument: (expected, new), result: bool).
    """

    client: Hashable
    key: Hashable
    kind: str
    argument: Any
    result: Any
    call: int
    reply: int

    def __repr__(self) -> str:
        span = f"[{self.call}, {'?' if self.reply == NEVER else self.reply}]"
        argument = "" if self.kind == "read" else repr(self.argument)
        result = " → ?" if self.reply == NEVER else "" if self.kind == "write" else f" → {self.result!r}"
        return f"client {self.client} {span} {self.kind}({argument}) of {self.key!r}{result}"


class History:
    """Records operations; may be used by many threads at once.

    >>> history = History()
    >>> token = history.invoke("client 1", "x", "write", 5)
    >>> history.ok(token)
    >>> token = history.invoke("client 2", "x", "read")
    >>> history.ok(token, 5)
    >>> [operation.kind for operation in history]
    ['write', 'read']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._order = 0
        self._open: dict[int, tuple[Hashable, Hashable, str, Any, int]] = {}
        self._done: list[Operation] = []

    def invoke(self, client: Hashable, key: Hashable, kind: str, argument: Any = None) -> int:
        """A client is about to send this operation. Returns the token with which to tell its outcome."""
        with self._lock:
            self._order += 1
            self._open[self._order] = (client, key, kind, argument, self._order)
            return self._order

    def ok(self, token: int, result: Any = None) -> None:
        """The operation happened and answered ``result``."""
        with self._lock:
            self._order += 1
            client, key, kind, argument, call = self._open.pop(token)
            self._done.append(Operation(client, key, kind, argument, result, call, self._order))

    def failed(self, token: int) -> None:
        """The operation provably did not happen, or was a read: it says nothing, and is forgotten."""
        with self._lock:
            del self._open[token]

    def unknown(self, token: int) -> None:
        """The outcome will never be known; the operation may happen at any time from its call on. (Also the meaning of
        an operation that is still open when the history is read.)"""
        with self._lock:
            client, key, kind, argument, call = self._open.pop(token)
            if kind != "read":
                self._done.append(Operation(client, key, kind, argument, None, call, NEVER))

    def operations(self) -> list[Operation]:
        """All operations so far, by their calls; those still open count as unknown."""
        with self._lock:
            pending = [
                Operation(client, key, kind, argument, None, call, NEVER)
                for client, key, kind, argument, call in self._open.values()
                if kind != "read"
            ]
            return sorted(self._done + pending, key=lambda operation: operation.call)

    def __len__(self) -> int:
        return len(self._done) + len(self._open)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations())

    def save(self, path: str | Path) -> None:
        """Write the history as one JSON object a line. Keys, arguments and results must be what JSON can hold."""
        with Path(path).open("w", encoding="utf-8") as file:
            for operation in self.operations():
                fields = operation._asdict()
                if operation.reply == NEVER:
                    fields["reply"] = None
                file.write(json.dumps(fields) + "\n")

    @staticmethod
    def load(path: str | Path) -> list[Operation]:
        """Read what :meth:`save` wrote; JSON lists become tuples, so that they can be compared and hashed."""
        with Path(path).open(encoding="utf-8") as file:
            return list(_loaded(json.loads(line) for line in file if line.strip()))


def _loaded(rows: Iterable[dict[str, Any]]) -> Iterator[Operation]:
    def hashable(value: Any) -> Any:
        return tuple(map(hashable, value)) if isinstance(value, list) else value

    for row in rows:
        reply = NEVER if row["reply"] is None else row["reply"]
        values = {name: hashable(value) for name, value in row.items()}
        yield Operation(**{**values, "reply": reply})
