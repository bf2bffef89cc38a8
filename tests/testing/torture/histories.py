"""Small histories for the tests of the checks."""

from __future__ import annotations

from typing import Any

from quorate.testing.torture.record import Done, Record, operations

__all__ = ["Story"]


class Story:
    """Writes a history step by step; clients are named by the caller."""

    def __init__(self, load: str, **head: Any) -> None:
        self.record = Record(None, {"seed": 1, "nodes": 3, "workloads": [load], **head})
        self.load = load

    def call(self, client: str, key: str, kind: str, argument: Any = None) -> int:
        return self.record.invoke(client, self.load, key, kind, argument)

    def does(self, client: str, key: str, kind: str, argument: Any = None, result: Any = None) -> None:
        """A call and its reply, with nothing in between."""
        self.record.reply(self.call(client, key, kind, argument), "ok", result)

    def ends(self, number: int, outcome: str = "ok", result: Any = None) -> None:
        self.record.reply(number, outcome, result)

    def done(self) -> list[Done]:
        return list(operations(self.record.events))
