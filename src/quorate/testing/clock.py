"""One node's clock: an affine view of the simulation's time. Knows nothing of timers or nodes.

All times are ints in microseconds. The simulation's own time is called *true* time; a node sees only its local time.
"""

from __future__ import annotations

from typing import Final, final

__all__ = ["NEVER_DUE", "Clock"]

NEVER_DUE: Final = 1 << 62
"""A deadline from here on means that no tick is wanted."""


@final
class Clock:
    """Local time that runs at ``rate`` local microseconds per true one, and may jump.

    >>> clock = Clock(local=1_000, true=0, rate=2.0)
    >>> clock.now(500), clock.due(3_000, 500)
    (2000, 1000)
    >>> clock.jump(500, 700); clock.now(500)
    2700
    """

    __slots__ = ("_local", "_rate", "_true")

    def __init__(self, *, local: int = 0, true: int = 0, rate: float = 1.0) -> None:
        self._local = local
        self._true = true
        self._rate = rate

    @property
    def rate(self) -> float:
        return self._rate

    def now(self, true: int) -> int:
        """Local time at a true time."""
        return self._local + int((true - self._true) * self._rate)

    def due(self, deadline: int, true: int) -> int:
        """The true time, not before ``true``, at which this clock shows ``deadline``, as far as can be known now."""
        left = deadline - self.now(true)
        if left <= 0:
            return true
        at = true + int(left / self._rate)
        # Rounding may fall one short; a tick that comes early would only come again.
        while self.now(at) < deadline:
            at += 1
        return at

    def set_rate(self, true: int, rate: float) -> None:
        """From ``true`` on, run at another rate."""
        self._local, self._true, self._rate = self.now(true), true, rate

    def jump(self, true: int, by: int) -> None:
        """At ``true``, go forward by ``by`` local microseconds; back if it is negative."""
        self._local, self._true = self.now(true) + by, true
