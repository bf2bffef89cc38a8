"""What breaks in the files of a node that does not run: a lost last write, a flipped bit, a disk without room.

Reads just as much of the log's form as that takes (docs/internals/storage.md): where the records end.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from quorate.errors import InvalidArgument

__all__ = ["fill", "flip", "tear"]

SECTOR: Final = 512
HEADER: Final = 36
TRAILER: Final = 4
CHUNK: Final = 1 << 16


def _segments(data: Path) -> list[Path]:
    return sorted(each for each in (data / "log").iterdir() if each.suffix == ".log")


def _end(content: bytes) -> int:
    """Where the last record ends, and the zero fill begins."""
    at = SECTOR
    while at + HEADER <= len(content):
        kind, length = content[at], int.from_bytes(content[at + 4 : at + 8], "little")
        end = at + (HEADER + length + TRAILER + 7) // 8 * 8
        if not kind or end > len(content):
            break
        at = end
    return at


def tear(data: Path, written: Sequence[tuple[int, bytes]], random_: random.Random) -> str | None:
    """Takes sectors away from what a killed node had ``written`` (offset, bytes) to its log and not synced.

    As a disk does that loses power: each sector of the write is as it was before, or as it was to be. At least one is
    lost. Gives what was done; None if the log does not end with such a write.
    """
    segments = _segments(data)
    content = bytearray(segments[-1].read_bytes()) if segments else bytearray()
    here = [(at, each) for at, each in written if any(each) and at >= SECTOR and content[at : at + len(each)] == each]
    if not here:
        return None
    begin, end = here[0][0], here[-1][0] + len(here[-1][1])
    sectors = list(range(begin // SECTOR, (end - 1) // SECTOR + 1))
    lost = [each for each in sectors if random_.random() < 0.5] or [random_.choice(sectors)]
    for each in lost:
        low, high = max(each * SECTOR, begin), min((each + 1) * SECTOR, end)
        content[low:high] = bytes(high - low)
    segments[-1].write_bytes(content)
    return f"{segments[-1].name}: {len(lost)} of {len(sectors)} sectors of the last write lost, from offset {begin}"


def flip(data: Path, random_: random.Random) -> str:
    """Turns one bit of the written part of the log of a node that does not run; gives where.

    Raises InvalidArgument if nothing is written.
    """
    segments = [(path, content) for path in _segments(data) if _end(content := path.read_bytes()) > SECTOR]
    if not segments:
        raise InvalidArgument(f"{data} has no log with a record in it")
    path, content = random_.choice(segments)
    offset = random_.randrange(SECTOR, _end(content))
    bit = random_.randrange(8)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes([content[offset] ^ (1 << bit)]))
    return f"{path.name}, offset {offset}, bit {bit}"


def fill(ballast: Path) -> int:
    """Writes zeros until the file system of this file is full; gives how many bytes it took."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(CHUNK))
            os.fsync(file.fileno())
    return ballast.stat().st_size
