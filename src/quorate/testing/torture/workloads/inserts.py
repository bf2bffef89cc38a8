"""Inserts: new keys, one by one and by bulk; at the end each acknowledged one has to be there, with its value.

Some values have a thousand bytes, so that the store, and with it its snapshots, grows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from quorate.errors import QuorateError
from quorate.testing.torture.record import Done
from quorate.testing.torture.workloads.base import Hand, Problem, Settings, Workload, outcome_of

__all__ = ["Inserts"]

BATCH = 20
REPEATED = (*[1] * 18, 10, 60)
"""How often the key stands in its value: seldom often, because the store has to fit on the small disk twice."""


def _value(key: str) -> bytes:
    return key.encode() * REPEATED[sum(key.encode()) % len(REPEATED)]


def _told(key: bytes, value: bytes) -> str:
    """The key if the value is the one that belongs to it; else what is there."""
    return key.decode() if value == _value(key.decode()) else repr(value[:100])


class Inserts(Workload):
    """Single puts and ``put_many``, each key once."""

    name = "inserts"
    claim = "no lost acknowledged write, no write out of nothing"
    hands = 2
    pause = 0.05

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._numbers = itertools.count()

    def turn(self, hand: Hand) -> None:
        """One new key, or some in one call."""
        numbers = [next(self._numbers) for _ in range(1 if hand.random.random() < 0.8 else BATCH)]
        keys = [f"inserts/{number:08}" for number in numbers]
        if len(keys) == 1:
            hand.attempt(
                self.name, keys[0], "insert", keys[0], lambda: hand.client.put(keys[0], _value(keys[0])),
                result=lambda _: None,
            )  # fmt: skip
            return
        calls = [hand.record.invoke(hand.name, self.name, key, "insert", key) for key in keys]
        outcomes: list[object]
        try:
            outcomes = list(hand.client.put_many([(key, _value(key)) for key in keys]))
        except QuorateError as error:
            outcomes = list(error.outcomes) if error.outcomes else [error] * len(keys)
        for number, each in zip(calls, outcomes, strict=True):
            if isinstance(each, QuorateError):
                hand.record.reply(number, outcome_of(each), error=f"{type(each).__name__}: {each}")
            else:
                hand.record.reply(number, "ok")

    def finish(self, hand: Hand) -> None:
        """Reads all of them at one revision."""
        hand.attempt(
            self.name, "inserts/", "list", None, lambda: hand.client.range(prefix="inserts/", timeout=30.0),
            result=lambda found: [[each.key.decode(), _told(each.key, each.value)] for each in found], read=True,
        )  # fmt: skip

    @classmethod
    def check(cls, history: Sequence[Done]) -> list[Problem]:
        """Compares what was acknowledged with what was there at the end."""
        lists = [each.result for each in history if each.kind == "list" and each.outcome == "ok"]
        if not lists:
            return [Problem("no lost acknowledged write", "the keys could not be read back at the end")]
        there = dict(lists[-1])
        found: list[Problem] = []
        for each in history:
            if each.kind != "insert":
                continue
            if each.outcome == "ok" and each.key not in there:
                found.append(Problem("no lost acknowledged write", f"{each.key} was acknowledged and is not there"))
            elif each.outcome == "fail" and each.key in there:
                found.append(Problem("nothing happened", f"{each.key} is there, after {each.error!r} had said no"))
            elif there.get(each.key, each.argument) != each.argument:
                found.append(Problem("no write out of nothing", f"{each.key} has the value {there[each.key]!r}"))
        made = {each.key for each in history if each.kind == "insert"}
        found += [Problem("no write out of nothing", f"{key} was never written") for key in there if key not in made]
        return found
