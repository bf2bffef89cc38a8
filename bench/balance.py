"""How even placements are and how much they move: figures of docs/concepts/hashing.md and of decisions 0001 and 0004.

    python bench/balance.py

Prints Markdown tables. Counts, not times: they are the same on every machine. Each ring or table of a row has a seed of
its own, and shares are exact arcs, so that no sample of keys is involved.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import mean

from quorate.ring import Maglev, Ring, SlotMap

WHOLE = 1 << 64
Shares = Callable[[int, int], Sequence[float]]
"""From a number of nodes and a seed: the part of all keys that each node has, as a multiple of the mean."""


def names(count: int) -> list[str]:
    return [f"node-{number}" for number in range(count)]


def ring(vnodes: int) -> Shares:
    return lambda count, seed: [part * count for part in Ring(names(count), vnodes=vnodes, seed=seed).share().values()]


def nearest_id(count: int, seed: int) -> list[float]:
    """A key belongs to the node whose hash is nearest on a line: half of each gap, and all of the ends."""
    generator = random.Random(seed)
    places = sorted(generator.getrandbits(64) for _ in range(count))
    borders = [0, *((a + b) / 2 for a, b in pairwise(places)), WHOLE]
    return [(b - a) * count / WHOLE for a, b in pairwise(borders)]


def slots(count: int, seed: int) -> list[float]:
    made = SlotMap(names(count), seed=seed)
    return [held * count / made.slots for held in made.counts().values()]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")
    print()


def peak(shares: Shares, count: int, rings: int) -> str:
    return f"{mean(max(shares(count, seed)) for seed in range(rings)):.3f}"


def both_ends(shares: Shares, count: int, rings: int) -> str:
    found = [shares(count, seed) for seed in range(rings)]
    return f"{mean(map(max, found)):.2f} / {mean(map(min, found)):.2f}"


def maglev_moves(count: int, rings: int) -> str:
    """Entries of a table of 65,537 that change when one of `count` nodes leaves, as a multiple of those it had."""
    ratios = []
    for seed in range(rings):
        before = Maglev(names(count), table_size=65537, seed=seed)
        gone = f"node-{seed % count}"
        old, new = before.table(), before.remove(gone).table()
        ratios.append(sum(a != b for a, b in zip(old, new, strict=True)) / old.count(gone))
    return f"{mean(ratios):.2f}"


def bounded(count: int, slots: int) -> list[str]:
    """Bounded loads without a history: each slot in turn goes to the first node of its list with room left."""
    made, room = Ring(names(count)), dict.fromkeys(names(count), -(-slots // count))
    owners = []
    for slot in range(slots):
        few = made.nodes(str(slot), min(8, count))
        owner = next((name for name in few if room[name]), None)
        owner = owner or next(name for name in made.nodes(str(slot), count) if room[name])
        room[owner] -= 1
        owners.append(owner)
    return owners


def slot_moves(count: int) -> list[str]:
    """What moves when a node joins `count` others."""
    before, members = SlotMap(names(count)), names(count + 1)
    plan, slots = before.plan(members), before.slots
    anew = SlotMap(members)
    old, new = bounded(count, slots), bounded(count + 1, slots)
    return [
        f"{count} → {count + 1}",
        f"{len(plan.moves):,}",
        f"{plan.after.counts()[members[-1]]:,}",
        f"{slots / (count + 1):,.0f}",
        f"{sum(before.owner(slot) != anew.owner(slot) for slot in range(slots)):,}",
        f"{sum(a != b for a, b in zip(old, new, strict=True)):,}",
    ]


def grown(most: int) -> str:
    """The emptiest node while a map grows one by one."""
    made = SlotMap(names(1))
    found = []
    for count in range(2, most + 1):
        made = made.plan(names(count)).after
        held = made.counts().values()
        found.append((min(held), count, made.slots / count))
    least, count, share = min(found, key=lambda row: row[0] / row[2])
    return (
        f"Grown from 1 to {most} nodes one by one, the emptiest node on the way had {least} slots at {count} nodes,"
        f" where the share was {share:.0f}; at the end all had {min(held)} to {max(held)}."
    )


def main() -> None:
    print("The fullest node, as a multiple of the mean:\n")
    sizes = (10, 100, 1000)
    rows = [
        [title, *(peak(shares, count, max(4, 2000 // count) if several else 1) for count in sizes)]
        for title, shares, several in (
            ("ring, 160 points a node", ring(160), True),
            ("ring, 1,000 points a node", ring(1000), True),
            ("16,384 slots", slots, False),
        )
    ]
    table(["", *(f"{count:,} nodes" for count in sizes)], rows)

    print("The fullest and the emptiest node:\n")
    rows = [
        [title, *(both_ends(shares, count, rings) for count in (10, 100))]
        for title, shares, rings in (
            ("one point a node, nearest id", nearest_id, 2000),
            ("one point a node, next clockwise", ring(1), 2000),
            ("160 points a node, next clockwise", ring(160), 60),
        )
    ]
    table(["", "10 nodes: fullest / emptiest", "100 nodes: fullest / emptiest"], rows)

    print("Entries of a Maglev table of 65,537 that change when a node leaves, as a multiple of the least:\n")
    table(["10 nodes", "100 nodes"], [[maglev_moves(10, 10), maglev_moves(100, 10)]])

    print("Slots of 16,384 that move when a node joins:\n")
    head = ["nodes", "planned", "the newcomer has", "its share", "first map anew", "bounded loads, no history"]
    table(head, [slot_moves(10), slot_moves(100)])
    print(grown(100))


if __name__ == "__main__":
    main()
