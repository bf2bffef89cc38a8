"""A counter: an integer of 64 bits that many processes add to, each addition exactly once.

Knows nothing of threads and event loops but for the faces at the end.
"""

from __future__ import annotations

import time
from typing import Final, final

from quorate.client.flow import Flow
from quorate.client.keys import Key
from quorate.errors import InvalidArgument, Rejected
from quorate.recipes.base import Place, TaskCarrier, ThreadCarrier
from quorate.recipes.names import Done, Name
from quorate.store import commands

__all__ = ["AsyncCounter", "Counter"]

_INT64: Final = 1 << 63


def _integer(value: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
        raise InvalidArgument(f"{what} is an integer of 64 bits with a sign, not {value!r}")
    return value


class _Flows:
    """What a counter does."""

    __slots__ = ("_key", "_name", "_place")

    def __init__(self, place: Place, name: Key) -> None:
        self._place = place
        self._name = Name(place, "counter", name)
        self._key = self._name.key(b"value")

    def add(self, by: int, timeout: float | None) -> Flow[int]:
        """Adds, in one entry of the log."""
        part = commands.do_increment(self._key, by)
        done = yield from self._name.write([], [part], self._place.seconds(timeout))
        total: int = done.parts[0]
        return total

    def value(self, timeout: float | None) -> Flow[int]:
        """Reads."""
        limit = self._place.seconds(timeout)
        found = yield from self._place.backend.get(self._key, False, limit)
        if found is None:
            yield from self._name.look(limit)
            return 0
        return self._number(found.value)

    def set(self, value: int, expected: int | None, timeout: float | None) -> Flow[bool]:
        """Writes, if it is as expected."""
        limit = self._place.seconds(timeout)
        deadline = time.monotonic() + limit
        put = [commands.do_put(self._key, b"%d" % value)]
        if expected is None:
            yield from self._name.write([], put, limit)
            return True
        done: Done = yield from self._name.write(
            [commands.compare(self._key, "value", "==", b"%d" % expected)], put, limit
        )
        if done.succeeded or expected:
            return done.succeeded
        # A counter that nobody has used is 0 too.
        left = max(deadline - time.monotonic(), 0.0)
        unused = [commands.compare(self._key, "version", "==", 0)]
        return (yield from self._name.write(unused, put, left)).succeeded

    def _number(self, raw: bytes) -> int:
        try:
            return int(raw)
        except ValueError:
            raise Rejected(f"the counter {self._name} holds no number: somebody else wrote its key") from None

    def __repr__(self) -> str:
        return f"{self._name}"


@final
class Counter:
    """An integer of 64 bits that any number of processes add to. Made by :meth:`Client.counter`; not used yet, it is 0.

    Every addition is one durable entry of the log and happens exactly once: after a lost connection or an election it
    is sent again and not done again. If its outcome is not known when ``timeout`` is over, it raises Indeterminate
    (RequestTimeout), and whoever calls again then may count twice.

    CONNECTED: what it answers is the value at that moment. SUSPENDED: calls wait for the cluster, and raise after their
    timeout. LOST: an addition that was under way raises Indeterminate; later calls go on in a new session by
    themselves.

    Every method raises as :meth:`Client.put`; Rejected if the sum does not fit into 64 bits with a sign, with the
    counter as it was, or if the name belongs to a recipe of another kind.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     hits = client.counter("hits")
    ...     hits.increment(), hits.increment(10), hits.decrement(), hits.get()
    (1, 11, 10, 10)
    """

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: ThreadCarrier, name: Key) -> None:
        self._flows = _Flows(place, name)
        self._carrier = carrier

    def increment(self, by: int = 1, *, timeout: float | None = None) -> int:
        """Adds ``by`` (from -2**63 to 2**63 - 1); gives the sum."""
        return self._carrier.run(self._flows.add(_integer(by, "what is added"), timeout))

    def decrement(self, by: int = 1, *, timeout: float | None = None) -> int:
        """Takes ``by`` away; gives what is left, which may be below 0."""
        return self._carrier.run(
            self._flows.add(_integer(-_integer(by, "what is taken away"), "its negative"), timeout)
        )

    def get(self, *, timeout: float | None = None) -> int:
        """The value, with everything in it that was acknowledged anywhere before the call."""
        return self._carrier.run(self._flows.value(timeout))

    def set(self, value: int, *, expected: int | None = None, timeout: float | None = None) -> bool:
        """Sets it; with ``expected`` only if it is that now. Gives whether it was done.

        >>> import quorate
        >>> with quorate.local() as client:
        ...     version = client.counter("schema")
        ...     version.set(7, expected=0), version.set(8, expected=0), version.get()
        (True, False, 7)
        """
        wanted = None if expected is None else _integer(expected, "what is expected")
        return self._carrier.run(self._flows.set(_integer(value, "a counter"), wanted, timeout))

    def __repr__(self) -> str:
        return f"<Counter {self._flows}>"


@final
class AsyncCounter:
    """As :class:`quorate.Counter`, with ``await``. A cancelled addition may or may not have happened."""

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: TaskCarrier, name: Key) -> None:
        self._flows = _Flows(place, name)
        self._carrier = carrier

    async def increment(self, by: int = 1, *, timeout: float | None = None) -> int:
        """Adds ``by``; gives the sum."""
        return await self._carrier.run(self._flows.add(_integer(by, "what is added"), timeout))

    async def decrement(self, by: int = 1, *, timeout: float | None = None) -> int:
        """Takes ``by`` away; gives what is left, which may be below 0."""
        taken = _integer(-_integer(by, "what is taken away"), "its negative")
        return await self._carrier.run(self._flows.add(taken, timeout))

    async def get(self, *, timeout: float | None = None) -> int:
        """The value, with everything in it that was acknowledged anywhere before the call."""
        return await self._carrier.run(self._flows.value(timeout))

    async def set(self, value: int, *, expected: int | None = None, timeout: float | None = None) -> bool:
        """Sets it; with ``expected`` only if it is that now. Gives whether it was done."""
        wanted = None if expected is None else _integer(expected, "what is expected")
        return await self._carrier.run(self._flows.set(_integer(value, "a counter"), wanted, timeout))

    def __repr__(self) -> str:
        return f"<aio.Counter {self._flows}>"
