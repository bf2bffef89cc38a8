"""Registers: reads, writes and compare-and-sets of single keys, judged for linearizability.

Keys take turns, so that none collects more operations of unknown outcome than the search can carry.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from quorate.testing.history import Operation
from quorate.testing.linearizability import check
from quorate.testing.torture.record import Done
from quorate.testing.torture.workloads.base import Hand, Problem, Settings, Workload

__all__ = ["Registers"]

KEYS = 3
"""In use at the same time."""
TURNS = 600
"""After so many turns of all hands other keys are used."""


class Registers(Workload):
    """Reads, puts, compare-and-sets by revision and by value."""

    name = "registers"
    claim = "linearizable: every read and compare-and-set fits one order of all operations"
    hands = 5

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # itertools.count is one C call a step: threads never get the same number.
        self._values = itertools.count(1)
        self._turns = itertools.count()

    def turn(self, hand: Hand) -> None:
        """One operation on one of the keys in use."""
        self.act(hand, f"registers/{next(self._turns) // TURNS}/{hand.random.randrange(KEYS)}")

    def act(self, hand: Hand, key: str) -> None:
        """A read, a write, or a read with a compare-and-set behind it."""
        client = hand.client
        choice = hand.random.random()
        if choice < 0.4:
            self.read(hand, key)
        elif choice < 0.7:
            value = next(self._values)
            hand.attempt(self.name, key, "write", value, lambda: client.put(key, b"%d" % value), result=lambda _: None)
        else:
            seen = self.read(hand, key)
            if not seen:
                return
            expected = None if seen.value is None else int(seen.value.value)
            value = next(self._values)
            if choice < 0.9 or seen.value is None:
                revision = 0 if seen.value is None else seen.value.mod_revision

                def swap() -> bool:
                    return bool(client.compare_and_set(key, b"%d" % value, revision))
            else:
                from quorate.api import op

                old = seen.value.value

                def swap() -> bool:
                    return bool(
                        client.transaction().when(op.value(key) == old).then(op.put(key, b"%d" % value)).commit()
                    )

            hand.attempt(self.name, key, "cas", (expected, value), swap)

    def read(self, hand: Hand, key: str) -> Any:
        """A linearizable read; or one that only claims to be, where that is wanted."""
        client, how = hand.client, "linearizable"
        if self.settings.stale_reads and hand.pinned is not None:
            client, how = hand.pinned, "local"
        return hand.attempt(
            self.name, key, "read", None, lambda: client.get(key, consistency=how),
            result=lambda found: None if found is None else int(found.value), read=True,
        )  # fmt: skip

    def finish(self, hand: Hand) -> None:
        """Reads every key once more: what was acknowledged has to be there still."""
        turns = next(self._turns)
        for generation in range(turns // TURNS + 1):
            for number in range(KEYS):
                self.read(hand, f"registers/{generation}/{number}")

    @classmethod
    def check(cls, history: Sequence[Done]) -> list[Problem]:
        """See :func:`quorate.testing.check`."""
        verdict = check(
            Operation(each.client, each.key, each.kind, each.argument, each.result, each.call, each.reply)
            for each in history
            if each.outcome != "fail"
        )
        if verdict.linearizable:
            return []
        return [Problem("linearizable" if verdict.linearizable is False else "undecided", verdict.explain())]
