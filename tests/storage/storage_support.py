"""What the storage tests share: sizes, a log's content as plain values, waiting for the keeper."""

from __future__ import annotations

import time
from collections.abc import Callable

from quorate.storage import Log, Replayed

SMALL = 4096
"""The least segment: seven sectors for records."""

OpenLog = Callable[..., Log]
Content = tuple[tuple[int, int, int], tuple[int, int], tuple[int, int], list[tuple[int, int, int, bytes]]]


def content(of: Replayed | None) -> Content:
    """Hard state, base, last, and the entries: all that a log says."""
    assert of is not None
    return of.hard_state, of.base, of.last, of.entries()


def fill(log: Log, segments: int, *, size: int = 300, term: int = 1) -> None:
    """Appends entries until the log has that many segments more."""
    goal = len(log.segments) + segments
    while len(log.segments) < goal:
        log.wait(log.append([(term, bytes([log.last[1] % 251]) * size)]))


def wait_until(done: Callable[[], bool]) -> None:
    """The keeper works in its own time."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.002)
