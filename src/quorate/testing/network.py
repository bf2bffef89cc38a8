"""The simulated network: what becomes of a message between two nodes. Knows nothing of what a message means.

A message is lost, delayed, doubled or overtaken by a later one, as the profile and the seed say. Each direction
between two nodes can be cut alone. Nothing is altered on the way: frames carry checksums, so damage is loss.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, final

__all__ = ["Network"]


@final
class Network:
    """Decides the fate of each message with its own generator, and schedules deliveries.

    ``schedule(delay, deliver, message)`` is the cluster's; delays are in microseconds.
    """

    __slots__ = (
        "_blocked",
        "_deliver",
        "_random",
        "_schedule",
        "_slow",
        "_span",
        "_trouble",
        "counts",
        "duplicate",
        "late",
        "late_us",
        "latency_us",
        "loss",
    )

    def __init__(self, seed: str, schedule: Callable[[int, Any, Any], None], deliver: Callable[[Any], None]) -> None:
        self._random = random.Random(seed).random
        self._schedule = schedule
        self._deliver = deliver
        self._blocked: set[tuple[int, int]] = set()
        self.counts = {"sent": 0, "lost": 0, "cut": 0, "doubled": 0, "late": 0}
        self.set(latency_us=(300, 3_000))

    def set(
        self,
        *,
        latency_us: tuple[int, int],
        loss: float = 0.0,
        duplicate: float = 0.0,
        late: float = 0.0,
        late_us: int = 300_000,
    ) -> None:
        """The weather: usual latency from–to; shares of messages that are lost, doubled, or up to ``late_us`` late."""
        self.latency_us, self.loss, self.duplicate, self.late, self.late_us = latency_us, loss, duplicate, late, late_us
        self._slow, self._span = latency_us[0], latency_us[1] - latency_us[0]
        self._trouble = loss + duplicate + late

    def send(self, source: int, target: int, message: Any) -> bool:
        """Take one message; False if it is known to be lost (the sender itself may not know)."""
        counts = self.counts
        counts["sent"] += 1
        if self._blocked and (source, target) in self._blocked:
            counts["cut"] += 1
            return False
        rng = self._random
        delay = self._slow + int(rng() * self._span)
        if self._trouble:
            fate = rng()
            if fate < self._trouble:
                if fate < self.loss:
                    counts["lost"] += 1
                    return False
                if fate < self.loss + self.duplicate:
                    # A forwarded proposal travels at most once: the connection that carries it promises that much, and
                    # without it no refusal of a forwarded proposal could prove anything.
                    if message.type != "ForwardProposal":
                        counts["doubled"] += 1
                        self._schedule(self._slow + int(rng() * (self._span + self.late_us)), self._deliver, message)
                else:
                    counts["late"] += 1
                    delay += int(rng() * self.late_us)
        self._schedule(delay, self._deliver, message)
        return True

    def cut(self, sources: Iterable[int], targets: Iterable[int], *, both: bool = True) -> None:
        """Cut every way from a source to a target; unless ``both``, the ways back stay open."""
        targets = list(targets)
        for source in sources:
            for target in targets:
                if source != target:
                    self._blocked.add((source, target))
                    if both:
                        self._blocked.add((target, source))

    def mend(self) -> None:
        """Open all ways again."""
        self._blocked.clear()

    def open(self, source: int, target: int) -> bool:
        """Is the way from one node to another not cut?"""
        return (source, target) not in self._blocked

    @property
    def cuts(self) -> int:
        """How many directed ways are cut."""
        return len(self._blocked)
