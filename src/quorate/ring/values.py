"""What a ring answers about itself, as plain tuples. Positions are ints in the hash space, from 0 to 2**64."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Move", "Range"]


class Range(NamedTuple):
    """Keys with ``start <= ring.hash(key) < end`` belong to ``node``."""

    start: int
    end: int
    node: str


class Move(NamedTuple):
    """Keys with ``start <= ring.hash(key) < end`` change their owner. None stands for an empty ring."""

    start: int
    end: int
    source: str | None
    target: str | None
