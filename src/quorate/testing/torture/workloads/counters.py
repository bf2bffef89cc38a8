"""Counters: increments answer the sum, so a lost one, a doubled one, or two at once show in the sums."""

from __future__ import annotations

from collections.abc import Sequence

from quorate.testing.torture.record import Done
from quorate.testing.torture.workloads.base import Hand, Problem, Workload

__all__ = ["Counters"]

KEYS = ("counters/0", "counters/recipe")
"""The second one by ``client.counter``, the first by ``client.increment``."""


class Counters(Workload):
    """Increments by one, and reads."""

    name = "counters"
    claim = "exactly once: no acknowledged increment is lost, none is counted twice"
    hands = 3

    def turn(self, hand: Hand) -> None:
        """An increment; now and then a read."""
        key = hand.random.choice(KEYS)
        if hand.random.random() < 0.1:
            self.read(hand, key)
        else:
            client = hand.client
            add = client.counter(key).increment if key == KEYS[1] else lambda: client.increment(key)
            hand.attempt(self.name, key, "increment", 1, add)

    def read(self, hand: Hand, key: str) -> None:
        """What the counter shows."""
        client = hand.client

        def read() -> int:
            if key == KEYS[1]:
                value: int = client.counter(key).get()
                return value
            found = client.get(key)
            return 0 if found is None else int(found.value)

        hand.attempt(self.name, key, "read", None, read, read=True)

    def finish(self, hand: Hand) -> None:
        """The last sums."""
        for key in KEYS:
            self.read(hand, key)

    @classmethod
    def check(cls, history: Sequence[Done]) -> list[Problem]:
        """Each key: sums differ, grow in the order of time, and add up."""
        found: list[Problem] = []
        for key in sorted({each.key for each in history}):
            found += _judge(key, [each for each in history if each.key == key])
        return found


def _judge(key: str, history: list[Done]) -> list[Problem]:
    found: list[Problem] = []
    sums: dict[int, Done] = {}
    for each in history:
        if each.kind == "increment" and each.outcome == "ok":
            if each.result in sums:
                found.append(Problem("exactly once", f"{key}: two increments answered {each.result}: {each}"))
            sums[each.result] = each
    # Time: walk over calls and replies; whatever was seen before a call is below what comes of it.
    events = [(each.call, 0, each) for each in history if each.outcome == "ok"]
    events += [(each.reply, 1, each) for each in history if each.outcome == "ok"]
    highest, floor = 0, {}
    for _, is_reply, each in sorted(events, key=lambda event: event[:2]):
        if not is_reply:
            floor[each.call] = highest
            continue
        least = floor.pop(each.call) + (1 if each.kind == "increment" else 0)
        if each.result < least:
            found.append(Problem("linearizable", f"{key} answered {each.result}, when {least} was the least: {each}"))
        highest = max(highest, each.result)
    unknown = sum(each.kind == "increment" and each.outcome == "unknown" for each in history)
    top = max(highest, max(sums, default=0))
    if not len(sums) <= top <= len(sums) + unknown:
        found.append(
            Problem(
                "exactly once",
                f"{key} came to {top}, with {len(sums)} increments acknowledged and {unknown} of unknown outcome",
            )
        )
    return found
