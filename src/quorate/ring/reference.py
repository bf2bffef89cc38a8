"""The ring in plain Python: the executable specification of :class:`quorate.ring.Ring`, and a yardstick in benchmarks.

It says what the compiled ring must answer, in the fewest words, on the libraries ``xxhash`` and ``sortedcontainers``.
It is never used in place of the compiled one, which is a hundred times faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import xxhash
from sortedcontainers import SortedList  # type: ignore[import-untyped]

from quorate.errors import EmptyRing, InvalidArgument
from quorate.ring.placement import Key
from quorate.ring.values import Move, Range

__all__ = ["ReferenceRing", "splitmix64"]

WHOLE = 2**64


def splitmix64(start: int, number: int) -> int:
    """Output ``number``, counted from 0, of SplitMix64 (Steele, Lea, Flood 2014) started at ``start``.

    >>> splitmix64(1234567, 0)
    6457827717110365317
    """
    z = (start + (number + 1) * 0x9E3779B97F4A7C15) % WHOLE
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WHOLE
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WHOLE
    return z ^ (z >> 31)


class ReferenceRing:
    """A ring of nodes ``name → weight``, with zones ``name → zone`` for those that have one.

    >>> ReferenceRing({"a": 1.0, "b": 1.0}).nodes("x", 2)
    ('b', 'a')
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        zones: Mapping[str, str | None] | None = None,
        vnodes: int = 160,
        seed: int = 0,
    ) -> None:
        self.weights, self.zones = dict(weights), dict(zones or {})
        self.vnodes, self.seed = vnodes, seed
        self.sorted_points = SortedList(
            point for name, weight in self.weights.items() for point in self.points_of(name, weight)
        )

    def raw_hash(self, data: bytes, seed: int) -> int:
        return xxhash.xxh3_64_intdigest(data, seed)

    def points_of(self, name: str, weight: float) -> Iterator[tuple[int, str]]:
        for number in range(max(1, math.floor(self.vnodes * weight + 0.5))):
            yield self.raw_hash(name.encode(), splitmix64(self.seed, number)), name

    def add(self, name: str, weight: float = 1.0) -> None:
        self.weights[name] = weight
        self.sorted_points.update(self.points_of(name, weight))

    def remove(self, name: str) -> None:
        for point in self.points_of(name, self.weights.pop(name)):
            self.sorted_points.remove(point)

    def hash(self, key: Key) -> int:
        return self.raw_hash(key.encode() if isinstance(key, str) else bytes(key), self.seed)

    def owner_at(self, position: int) -> str:
        if not self.sorted_points:
            raise EmptyRing()
        # "" is less than every name, so this is the first point at or after the position.
        place = self.sorted_points.bisect_left((position, ""))
        owner: str = self.sorted_points[place % len(self.sorted_points)][1]
        return owner

    def __getitem__(self, key: Key) -> str:
        return self.owner_at(self.hash(key))

    node = __getitem__

    def walk(self, position: int) -> list[str]:
        """The distinct nodes from a position on, once around."""
        start = self.sorted_points.bisect_left((position, ""))
        around = chain(self.sorted_points.islice(start), self.sorted_points.islice(0, start))
        return list(dict.fromkeys(name for _, name in around))

    def nodes(self, key: Key, n: int, *, zones: bool = False) -> tuple[str, ...]:
        names = self.walk(self.hash(key))
        if not 1 <= n <= len(names):
            raise InvalidArgument(f"n must be from 1 to {len(names)}, the number of nodes, not {n}")
        if zones:
            seen = [self.zones.get(name) for name in names]
            rank = {name: seen[:place].count(seen[place]) for place, name in enumerate(names)}
            names.sort(key=rank.__getitem__)
        return tuple(names[:n])

    def node_many(self, keys: Iterable[Key]) -> list[str]:
        return [self[key] for key in keys]

    def __len__(self) -> int:
        return len(self.weights)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.weights))

    def __contains__(self, name: object) -> bool:
        return name in self.weights

    def points(self) -> list[tuple[int, str]]:
        return list(self.sorted_points)

    def ranges(self) -> list[Range]:
        found: list[Range] = []
        ends = sorted({position + 1 for position, _ in self.sorted_points} | {WHOLE} if self.weights else ())
        for start, end in zip([0, *ends], ends, strict=False):
            owner = self.owner_at(start)
            if found and found[-1].node == owner:
                start = found.pop().start
            found.append(Range(start, end, owner))
        return found

    def share(self) -> dict[str, float]:
        arcs = dict.fromkeys(self, 0)
        for start, end, owner in self.ranges():
            arcs[owner] += end - start
        return {name: arc / WHOLE for name, arc in arcs.items()}

    def diff(self, other: ReferenceRing) -> list[Move]:
        found: list[Move] = []
        ends = sorted({part.end for ring in (self, other) for part in ring.ranges()})
        for start, end in zip([0, *ends], ends, strict=False):
            source, target = (ring.owner_at(start) if len(ring) else None for ring in (self, other))
            if source == target:
                continue
            if found and found[-1][1:] == (start, source, target):
                start = found.pop().start
            found.append(Move(start, end, source, target))
        return found
