"""Locks: taken, held for a while, checked, used to fence writes, released; and sometimes just forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from quorate.errors import NotHappened
from quorate.testing.torture.record import Done
from quorate.testing.torture.workloads.base import Hand, Problem, Workload
from quorate.testing.torture.workloads.exclusive import exclusive

__all__ = ["Locks"]


class Locks(Workload):
    """``client.lock``."""

    name = "locks"
    claim = "mutual exclusion: tokens grow, holders that count as such do not overlap, fences hold"
    hands = 4
    NAMES: ClassVar = ("locks/0", "locks/1")
    LEASE: ClassVar = 2.0
    """Seconds."""
    pause = 0.05

    def turn(self, hand: Hand) -> None:
        """One lock, from the question to the release."""
        client, name = hand.client, hand.random.choice(self.NAMES)
        lock = client.lock(name, lease=self.LEASE)
        patience = hand.random.choice((0.0, 0.2, 2.0))

        def acquire() -> int:
            if not lock.acquire(timeout=patience):
                raise NotHappened("it was not granted in time")
            token: int = lock.token
            return token

        granted = hand.attempt(self.name, name, "acquire", None, acquire)
        if granted.value is None:
            return
        token = granted.value
        for _ in range(hand.random.randint(1, 3)):
            hand.attempt(
                self.name, name, "guarded", token,
                lambda: client.put(f"{name}/guarded", b"%d" % token, if_fence=(name, token)),
            )  # fmt: skip
            hand.wait(hand.random.choice((0.0, 0.01, 0.1)))
            hand.attempt(self.name, name, "check", token, lambda: bool(lock.held), read=True)
        hand.attempt(self.name, name, "release", token, lock.release)

    @classmethod
    def check(cls, history: Sequence[Done]) -> list[Problem]:
        """See :mod:`quorate.testing.torture.workloads.exclusive`."""
        return exclusive(history, "the lock")
