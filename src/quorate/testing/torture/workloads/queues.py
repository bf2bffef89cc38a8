"""Queues: items that are put, taken, acknowledged or handed back; each is worked on, and leaves the queue once."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from quorate.errors import QuorateError
from quorate.testing.history import NEVER
from quorate.testing.torture.record import Done
from quorate.testing.torture.workloads.base import Hand, Problem, Settings, Workload

__all__ = ["Queues"]

NAME = "queues/0"
WAITING_MOST = 50
"""Items that wait, beyond which only consumers are busy."""
DRAIN_SECONDS = 5.0


class Queues(Workload):
    """``client.queue``."""

    name = "queues"
    claim = "first in, first out: no item is lost, none leaves twice"
    hands = 4
    pause = 0.05

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._numbers = itertools.count(1)
        self._waiting = 0  # about: threads do not agree on it exactly, and need not

    def turn(self, hand: Hand) -> None:
        """Puts an item, or takes one and ends it."""
        queue = hand.client.queue(NAME)
        if hand.random.random() < 0.5 and self._waiting < WAITING_MOST:
            value = next(self._numbers)
            if hand.attempt(self.name, NAME, "put", value, lambda: queue.put(b"%d" % value)):
                self._waiting += 1
            return
        item = self.take(hand, queue, hand.random.choice((0.0, 0.2)))
        if item is None:
            return
        value = int(item.value)
        hand.wait(hand.random.choice((0.0, 0.01, 0.05)))
        if hand.random.random() < 0.2:
            hand.attempt(self.name, NAME, "reject", value, item.reject)
        elif hand.attempt(self.name, NAME, "ack", value, item.ack).outcome != "fail":
            self._waiting -= 1

    def take(self, hand: Hand, queue: Any, patience: float) -> Any:
        """The next item, or None."""
        return hand.attempt(
            self.name, NAME, "get", None, lambda: queue.get(patience),
            result=lambda item: None if item is None else (int(item.value), item.deliveries),
        ).value  # fmt: skip

    def finish(self, hand: Hand) -> None:
        """Takes everything that is left."""
        queue = hand.client.queue(NAME)
        failures = 0
        while failures < 10:
            try:
                size = queue.size(timeout=DRAIN_SECONDS)
            except QuorateError:
                failures += 1
                continue
            if not size:
                break
            item = self.take(hand, queue, DRAIN_SECONDS)
            if item is None:
                failures += 1
            else:
                hand.attempt(self.name, NAME, "ack", int(item.value), item.ack)
        hand.attempt(self.name, NAME, "size", None, lambda: queue.size(timeout=DRAIN_SECONDS), read=True)

    @classmethod
    def check(cls, history: Sequence[Done]) -> list[Problem]:
        """Nothing lost, nothing twice, nothing out of nothing, and in order."""
        return [*_accounts(history), *_order(history)]


def _accounts(history: Sequence[Done]) -> list[Problem]:
    found: list[Problem] = []
    puts = {each.argument: each for each in history if each.kind == "put"}
    acks = [each for each in history if each.kind == "ack"]
    acked = Counter(each.argument for each in acks if each.outcome == "ok")
    gone = {each.argument for each in acks if each.outcome != "fail"}
    sizes = [each.result for each in history if each.kind == "size" and each.outcome == "ok"]
    left_at = {each.argument: each.reply for each in acks if each.outcome == "ok"}
    for each in history:
        if each.kind != "get" or each.outcome != "ok" or each.result is None:
            continue
        value = each.result[0]
        if value not in puts or puts[value].outcome == "fail":
            found.append(Problem("nothing out of nothing", f"{value} was taken, and never put: {each}"))
        if left_at.get(value, NEVER) < each.call:
            found.append(Problem("leaves once", f"{value} was taken after it had been acknowledged: {each}"))
    found += [
        Problem("leaves once", f"{value} was acknowledged {count} times") for value, count in acked.items() if count > 1
    ]
    if not sizes or sizes[-1] != 0:
        found.append(Problem("no item is lost", "the queue could not be read back empty at the end"))
        return found
    for value, put in puts.items():
        if put.outcome == "ok" and value not in gone:
            found.append(Problem("no item is lost", f"{value} was put, and nobody acknowledged it: {put}"))
    return found


def _order(history: Sequence[Done]) -> list[Problem]:
    """An item that was put before another one, and was free all the time, is taken before it.

    Free all the time is what is handed out for the first time. A consumer that went away without an item while the
    other one was taken may have had its turn, so that what was its turn comes late.
    """
    puts = {each.argument: each for each in history if each.kind == "put" and each.outcome == "ok"}
    gets = [each for each in history if each.kind == "get"]
    took = [each for each in gets if each.outcome == "ok" and each.result is not None and each.result[0] in puts]
    empty = sorted((each.call, each.reply) for each in gets if each.outcome != "ok" or each.result is None)
    # For each place: the earliest put of what was taken, for the first time, by a call behind it.
    later = sorted((each for each in took if each.result[1] == 1), key=lambda each: each.call)
    calls = [each.call for each in later]
    first: list[Done] = []
    for each in reversed(later):
        best = first[-1] if first and puts[first[-1].result[0]].reply < puts[each.result[0]].reply else each
        first.append(best)
    first.reverse()
    found = []
    for each in took:
        at = bisect.bisect_right(calls, each.reply)
        if at == len(first) or puts[first[at].result[0]].reply > puts[each.result[0]].call:
            continue
        if any(
            call < each.reply and reply > each.call for call, reply in empty[: bisect.bisect(empty, (each.reply, 0))]
        ):
            continue
        found.append(
            Problem(
                "first in, first out", f"{each.result[0]} was taken before {first[at].result[0]}: {each}, {first[at]}"
            )
        )
    return found
