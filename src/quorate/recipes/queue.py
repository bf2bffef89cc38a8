"""A queue, for threads and for asyncio: thin faces over items.py."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, final

from quorate.client.keys import Key, Value, value_of
from quorate.recipes.base import Place, TaskCarrier, ThreadCarrier
from quorate.recipes.items import LOOK_SECONDS, Items, Taken, values_of

__all__ = ["AsyncItem", "AsyncQueue", "Item", "Queue"]


class ItemView:
    """What an item tells, the same in threads and in asyncio."""

    __slots__ = ("_carrier", "_taken")

    def __init__(self, taken: Taken, carrier: Any) -> None:
        self._taken = taken
        self._carrier = carrier

    @property
    def value(self) -> bytes:
        """What was put."""
        return self._taken.value

    @property
    def id(self) -> str:
        """Names the item in its queue; those of items that were put later are greater."""
        return self._taken.id.decode()

    @property
    def deliveries(self) -> int:
        """How often it was handed out, this time included: more than 1 if an earlier consumer died or handed it back,
        or a call that was about to take it was given up."""
        return self._taken.deliveries

    @property
    def held(self) -> bool:
        """Whether certainly nobody else has it, by the local clock and without asking anybody."""
        return self._taken.held()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._taken}>"


@final
class Item(ItemView):
    """An item of a queue in the hands of this consumer, until :meth:`ack`, :meth:`reject`, or the end of its session.

    A context manager: acknowledged at the end of the block, handed back if an error comes out of it. One that is
    forgotten is handed back when Python collects it.
    """

    __slots__ = ()

    def ack(self, *, timeout: float | None = None) -> None:
        """It is done, and leaves the queue. Raises SessionLost if it may be another's by now; Rejected if it was ended
        before; RequestTimeout if that is not known, and then the call may be repeated."""
        self._carrier.run(self._taken.end("acknowledged", timeout))

    def reject(self, *, timeout: float | None = None) -> None:
        """Hands it back, to where it stood: in front of what was put later. Raises as :meth:`ack`."""
        self._carrier.run(self._taken.end("handed back", timeout))

    def __enter__(self) -> Item:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._taken.over is not None:
            return
        if kind is None:
            self.ack()
        else:
            self._taken.back()


@final
class AsyncItem(ItemView):
    """As :class:`quorate.Item`, with ``await`` and ``async with``."""

    __slots__ = ()

    async def ack(self, *, timeout: float | None = None) -> None:
        """It is done, and leaves the queue."""
        await self._carrier.run(self._taken.end("acknowledged", timeout))

    async def reject(self, *, timeout: float | None = None) -> None:
        """Hands it back, to where it stood: in front of what was put later."""
        await self._carrier.run(self._taken.end("handed back", timeout))

    async def __aenter__(self) -> AsyncItem:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._taken.over is not None:
            return
        if kind is None:
            await self.ack()
        else:
            self._taken.back()


@final
class Queue:
    """Items that any number of processes put and take: first in, first out. Made by :meth:`Client.queue`.

    An item that was taken stays the consumer's until it is acknowledged or handed back, or until the consumer's session
    (``lease`` seconds) ends, because its process died or was cut off: then it stands where it stood, and the next
    consumer gets it. So an item is worked on at least once. A put that was sent again after a lost connection puts
    nothing twice.

    CONNECTED: an item is this consumer's alone. SUSPENDED: it is as long as its ``held``; calls wait for the cluster.
    LOST: others get it, or have it already; ``ack`` raises SessionLost. What the work writes elsewhere should bear to
    be written twice.

    Iterating takes items for ever. Any number of threads may use it.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     jobs = client.queue("jobs")
    ...     ids = jobs.put_many([b"first", b"second"])
    ...     with jobs.get() as item:
    ...         item.value, item.deliveries, len(jobs)
    (b'first', 1, 2)
    """

    __slots__ = ("_carrier", "_items")

    def __init__(self, place: Place, carrier: ThreadCarrier, name: Key, lease: float) -> None:
        self._items = Items(place, name, lease)
        self._carrier = carrier

    def put(self, value: Value, *, once: Key | None = None, timeout: float | None = None) -> str:
        """Puts an item behind all that were put before the call; gives its id.

        ``once``: a name for this item, of up to 255 bytes. Whoever puts again under the same name within an hour (by
        the clocks of those who put) puts nothing, and gets the id of the item that was put: so a producer that does not
        know what became of a put may repeat it. Raises as :meth:`Client.put`, Rejected if the name is something else.
        """
        if once is not None:
            return self._carrier.run(self._items.put_once(value_of(value), once, timeout))
        return self._carrier.run(self._items.put([value_of(value)], timeout))[0]

    def put_many(self, values: Iterable[Value], *, timeout: float | None = None) -> list[str]:
        """Puts items in this order, in steps of up to 60 items and some 4 MiB, each whole or not at all; gives their
        ids.

        If a step fails, its error is raised, and its ``outcomes`` has an id or the error for each item.
        """
        return self._carrier.run(self._items.put(values_of(values), timeout))

    def get(self, timeout: float | None = None) -> Item | None:
        """The next item, or None if there is none within ``timeout`` seconds (None: the client's own; 0: look once).

        Consumers that wait are served in the order in which they came. Whatever ends the call otherwise, Ctrl-C too,
        takes nothing. Raises as :meth:`Client.get`, Rejected if the name is something else.
        """
        found = self._carrier.run(self._items.take(timeout))
        return None if found is None else Item(found, self._carrier)

    def size(self, *, timeout: float | None = None) -> int:
        """How many items there are that were not acknowledged: those that wait and those that are worked on."""
        return self._carrier.run(self._items.size(timeout))

    def __len__(self) -> int:
        return self.size()

    def __bool__(self) -> bool:
        return True  # also an empty one

    def __iter__(self) -> Queue:
        return self

    def __next__(self) -> Item:
        while True:
            found = self.get(LOOK_SECONDS)
            if found is not None:
                return found

    def __repr__(self) -> str:
        return f"<Queue {self._items.name}>"


@final
class AsyncQueue:
    """As :class:`quorate.Queue`, with ``await`` and ``async for``; ``async with await queue.get() as item``. A
    cancelled ``get`` takes nothing, a cancelled ``put`` may have happened."""

    __slots__ = ("_carrier", "_items")

    def __init__(self, place: Place, carrier: TaskCarrier, name: Key, lease: float) -> None:
        self._items = Items(place, name, lease)
        self._carrier = carrier

    async def put(self, value: Value, *, once: Key | None = None, timeout: float | None = None) -> str:
        """Puts an item behind all that were put before the call, and with ``once`` only if none was put under this
        name; gives its id."""
        if once is not None:
            return await self._carrier.run(self._items.put_once(value_of(value), once, timeout))
        return (await self._carrier.run(self._items.put([value_of(value)], timeout)))[0]

    async def put_many(self, values: Iterable[Value], *, timeout: float | None = None) -> list[str]:
        """Puts items in this order, in steps of up to 60 items and some 4 MiB, each whole or not at all."""
        return await self._carrier.run(self._items.put(values_of(values), timeout))

    async def get(self, timeout: float | None = None) -> AsyncItem | None:
        """The next item, or None if there is none within ``timeout`` seconds."""
        found = await self._carrier.run(self._items.take(timeout))
        return None if found is None else AsyncItem(found, self._carrier)

    async def size(self, *, timeout: float | None = None) -> int:
        """How many items there are that were not acknowledged: those that wait and those that are worked on."""
        return await self._carrier.run(self._items.size(timeout))

    def __aiter__(self) -> AsyncQueue:
        return self

    async def __anext__(self) -> AsyncItem:
        while True:
            found = await self.get(LOOK_SECONDS)
            if found is not None:
                return found

    def __repr__(self) -> str:
        return f"<aio.Queue {self._items.name}>"
