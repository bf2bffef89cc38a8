"""Inputs near to valid ones, from one seed: what a parser meets behind a checksum that happens to be right.

Compiled parsers that are reached from Python cannot have libFuzzer's view of their branches. This makes up for it with
many executions of inputs that are mostly whole: one to four small changes to a valid one, or two valid ones joined.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
"""Bytes where lengths, flags and varints change their meaning."""


class Found(AssertionError):
    """A target did what it must not; says how to see it again."""


def mutations(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Without end. The same for the same arguments."""
    pick = random.Random(seed)
    draw, below = pick.random, pick.randrange
    while True:
        data = bytearray(seeds[below(len(seeds))])
        for _ in range(1 + (draw() < 0.4) + (draw() < 0.2) + (draw() < 0.1)):
            chance, size = draw(), len(data)
            at = below(size + 1)
            if at == size or chance < 0.05:
                data[at:at] = bytes(EDGES[below(7)] for _ in range(1 + below(4)))
            elif chance < 0.35:
                data[at] = EDGES[below(7)]
            elif chance < 0.60:
                data[at] ^= 1 << below(8)
            elif chance < 0.75:
                data[at] = below(256)
            elif chance < 0.80:
                del data[at:]
            elif chance < 0.88:
                del data[at : at + 1 + below(8)]
            elif chance < 0.93:  # a number of four bytes
                data[at : at + 4] = (below(1 << 32) >> below(32)).to_bytes(4, "little")
            elif chance < 0.97:  # a part of it once more
                end = at + 1 + below(16)
                data[end:end] = data[at:end]
            else:
                other = seeds[below(len(seeds))]
                data[at:] = other[below(len(other) + 1) :]
        yield bytes(data)


def fuzz(
    target: Callable[[bytes], object], seeds: Sequence[bytes], *, seed: int, runs: int, seconds: float = 1e9
) -> int:
    """Runs the target on the seeds, and then on what is made of them: how often. Raises Found."""
    for data in seeds:
        target(data)
    end = time.monotonic() + seconds
    for number, data in enumerate(mutations(seeds, seed)):
        if number >= runs or (number & 0x3FF == 0 and time.monotonic() > end):
            return number
        try:
            target(data)
        except BaseException as error:
            raise Found(f"input {number} of seed {seed}: {data!r}: {error!r}") from error
    raise AssertionError("unreachable")
