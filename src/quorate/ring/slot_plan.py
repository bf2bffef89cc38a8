"""Which slots move when the members of a slot map change: the least that any plan could, and no node above its cap.

Pure arithmetic on whole numbers, so that every process makes the same plan. Knows nothing of keys or hashes.

The cap of a node is ⌈slots · weight / all weights⌉. What must move in any plan that keeps the caps is exactly the slots
of nodes that are gone and what a node has above its cap; this plan moves just that. Where it may choose who receives a
slot, it takes the node that is furthest below its exact share, so that shares stay as even as the least movement
allows. (The idea of bounded load: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2017. Their
assignment depends on no history and so moves more than it must; this one starts from the previous map.)
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorate.ring._slots import SlotMap

__all__ = ["NOBODY", "Plan", "SlotMove", "caps", "planned"]

NOBODY = 0xFFFF
"""The owner of a slot that has none."""


@dataclass(frozen=True, slots=True)
class SlotMove:
    """One slot that changes hands, from ``source`` (None: nobody had it) to ``target`` (None: no node is left)."""

    slot: int
    source: str | None
    target: str | None


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """The way from one slot map to the next: what moves, in order of the slots."""

    before: SlotMap
    after: SlotMap
    moves: tuple[SlotMove, ...]

    def __repr__(self) -> str:
        epochs = f"epoch {self.before.epoch} to {self.after.epoch}"
        return f"<Plan {epochs}: {len(self.moves)} of {self.before.slots} slots move>"


def whole_weights(weights: Sequence[float]) -> list[int]:
    """Whole numbers in exactly the proportion of the weights: floats are fractions over powers of two."""
    ratios = [float(weight).as_integer_ratio() for weight in weights]
    common = max((denominator for _, denominator in ratios), default=1)
    return [numerator * (common // denominator) for numerator, denominator in ratios]


def caps(slots: int, weights: Sequence[float]) -> list[int]:
    """The most slots that each node may hold: its share, rounded up.

    >>> caps(16384, [1, 1, 1])
    [5462, 5462, 5462]
    """
    whole = whole_weights(weights)
    total = sum(whole)
    return [-(-slots * weight // total) for weight in whole]


def planned(owners: Sequence[int], weights: Sequence[float]) -> list[int]:
    """The owner of each slot in the new map.

    ``owners`` holds the number of the owner of each slot, or NOBODY where it has none or its owner is gone; ``weights``
    one weight for each node of the new map.

    >>> planned([NOBODY] * 6, [1, 1])
    [0, 0, 0, 1, 1, 1]
    >>> planned([0, 0, 0, 1, 1, 1], [1, 1, 1])
    [0, 0, 2, 1, 1, 2]
    """
    if not weights:
        return [NOBODY] * len(owners)
    slots = len(owners)
    held = [0] * len(weights)
    cap = caps(slots, weights)
    after = list(owners)
    free = []
    # In order of the slots, so that a node keeps the first ones it has and gives away the last.
    for slot, owner in enumerate(owners):
        if owner != NOBODY and held[owner] < cap[owner]:
            held[owner] += 1
        else:
            after[slot] = NOBODY
            free.append(slot)
    taken = receivers(slots, weights, held, len(free))
    place = 0
    for node, count in enumerate(taken):
        for slot in free[place : place + count]:
            after[slot] = node
        place += count
    return after


def receivers(slots: int, weights: Sequence[float], held: Sequence[int], free: int) -> list[int]:
    """How many free slots each node takes: one at a time to the node furthest below its share, the first of equal ones.

    No node passes its cap by that. While slots are free, the nodes together are below their shares, so the one chosen
    is below its own, and one slot more leaves it at most at its share rounded up.
    """
    whole = whole_weights(weights)
    total = sum(whole)
    # Shortfalls in slots, times `total`: whole numbers.
    short = [slots * weight - count * total for weight, count in zip(whole, held, strict=True)]

    def down_to(level: int) -> list[int]:
        """What each node takes until none is `level` whole slots or more below its share, beyond the part of a slot."""
        return [max(0, shortfall // total - level) for shortfall in short]

    # Most of it at once: the lowest level that the free slots reach; then the rest one by one.
    low, high = 0, slots + 1
    while low < high:
        level = (low + high) // 2
        if sum(down_to(level)) <= free:
            high = level
        else:
            low = level + 1
    taken = down_to(low)
    heap = [(count * total - shortfall, node) for node, (count, shortfall) in enumerate(zip(taken, short, strict=True))]
    heapq.heapify(heap)
    for _ in range(free - sum(taken)):
        shortfall, node = heap[0]
        taken[node] += 1
        heapq.heapreplace(heap, (shortfall + total, node))
    return taken
