"""A queue: items that are worked on once each, first in first out, and again if whoever had one did not finish.

The keys of a name, in the order of its items:

    i/<item>      how often it was handed out; <item> is (a revision, who put it, a number)
    i/<item>/c    it is being worked on: a token, the property of the consumer's session
    d/<item>      its value
    w/<token>     a consumer that waits, the property of its session

An item is free if nothing lies behind its `i/`. So a consumer that dies gives its items back by dying, to where they
stood, and no state has to be mended. The revision in the name of an item is read, linearizably, before it is put:
whatever was put before, anywhere, has a smaller one. Only those who put at the same time may come in either order.

Consumers that wait stand in a row, and of n free items the first n of the row take one each: what is put wakes all of
them to look at their own copies, and makes as many entries in the log as there are items. One who does not take what
is its turn, because it is stopped or gone, is passed over after a moment.

Knows nothing of threads and event loops but for the faces at the end.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, final

from quorate.client.backend import Lane
from quorate.client.flow import Flow
from quorate.client.keys import Key, Value, value_of
from quorate.errors import InvalidArgument, NotHappened, QuorateError, Rejected, RequestTimeout, SessionLost
from quorate.recipes.base import Place, TaskCarrier, ThreadCarrier, lease_of
from quorate.recipes.names import Name, asking, fresh, parked, transact, undo
from quorate.store import commands
from quorate.store.views import EventKind, WatchEvent

__all__ = ["AsyncItem", "AsyncQueue", "Item", "Queue"]

CHUNK_ITEMS: Final = 60
"""Items that are put in one transaction: each is two keys, and the cluster's limit on operations is 128."""
CHUNK_BYTES: Final = 4 << 20
FIRST_PAGE: Final = 16
PAGE: Final = 256
"""Rows, small ones, that are read at once in search of a free item."""
LOOK_SECONDS: Final = 30.0
"""How long one question for further items stays open, and one turn of an iteration."""
TURN_SECONDS: Final = 0.25
"""How long a consumer leaves a free item to one that waits longer."""

_numbers = itertools.count()


@final
class Taken:
    """An item in the hands of a consumer. ``over``: None, or what became of it, in words."""

    __slots__ = ("deliveries", "doubt", "id", "lane", "name", "over", "token", "value")

    def __init__(self, name: Name, lane: Lane, item: bytes, token: bytes, deliveries: int, value: bytes) -> None:
        self.name: Final = name
        self.lane: Final = lane
        self.id: Final = item
        self.token: Final = token
        self.deliveries: Final = deliveries
        self.value: Final = value
        self.over: str | None = None
        self.doubt: str | None = None  # what was asked for, so that it may have happened

    @property
    def claim(self) -> bytes:
        return self.name.key(b"i/%s/c" % self.id)

    def held(self) -> bool:
        """Whether nobody else can have it, by the local clock."""
        return self.over is None and self.doubt is None and self.lane.held()

    def back(self) -> None:
        """Gives it back without waiting, if it is not over."""
        if self.over is None:
            self.over = "handed back"
            _let_go(self.name.place, self.name, self.lane, self.id, self.token)

    def end(self, what: str, timeout: float | None) -> Flow[None]:
        """Ends it: ``what`` is acknowledged or handed back."""
        if self.over is not None:
            raise Rejected(f"the item was {self.over} before")
        then = [commands.do_delete(self.claim)]
        if what == "acknowledged":
            then += [
                commands.do_delete(self.name.key(b"i/" + self.id)),
                commands.do_delete(self.name.key(b"d/" + self.id)),
            ]
        place = self.name.place
        mine = [commands.compare(self.claim, "value", "==", self.token)]
        before, self.doubt = self.doubt, what if self.doubt in (None, what) else "acknowledged or handed back"
        try:
            done = yield from transact(place, mine, then, place.seconds(timeout), self.lane)
        except SessionLost:
            self.over = "given to others, because the session was lost"
            raise
        except NotHappened:
            self.doubt = before
            raise
        if done.succeeded or before == what:
            self.over = what
            return
        self.over = before or "taken away by hand"
        raise Rejected(f"the item was {self.over} before")

    def __repr__(self) -> str:
        state = self.over or ("in hand" if self.held() else "not certainly in hand")
        return f"{self.id.decode()} of {self.name}, delivery {self.deliveries}, {state}"


def _let_go(place: Place, name: Name, lane: Lane, item: bytes, token: bytes) -> None:
    claim = name.key(b"i/%s/c" % item)
    undo(place, lane, [commands.compare(claim, "value", "==", token)], [commands.do_delete(claim)])


class _Flows:
    """What a queue does."""

    __slots__ = ("lease", "name", "place", "putter")

    def __init__(self, place: Place, name: Key, lease: float) -> None:
        self.place = place
        self.name = Name(place, "queue", name)
        self.lease = lease_of(lease)
        self.putter = fresh()

    # Putting

    def put(self, values: list[bytes], timeout: float | None) -> Flow[list[str]]:
        """Puts items behind all that were put before; gives their ids."""
        deadline = time.monotonic() + self.place.seconds(timeout)
        revision = yield from self.place.backend.barrier(asking(self.place, deadline))
        items = [b"%016x-%s-%010x" % (revision, self.putter, next(_numbers)) for _ in values]
        done = 0
        while done < len(values):
            parts, size, end = [], 0, done
            while end < len(values) and end - done < CHUNK_ITEMS and (end == done or size < CHUNK_BYTES):
                parts.append(commands.do_put(self.name.key(b"i/" + items[end]), b"0"))
                parts.append(commands.do_put(self.name.key(b"d/" + items[end]), values[end]))
                size += len(values[end])
                end += 1
            try:
                yield from self.name.write([], parts, asking(self.place, deadline))
            except QuorateError as error:
                if len(values) > 1:
                    told: Any = [item.decode() for item in items[:done]] + [error] * (len(values) - done)
                    error.outcomes = told
                    error.args = (f"{error} (put_many: {done} of {len(values)} items were put before)",)
                raise
            done = end
        return [item.decode() for item in items]

    def size(self, timeout: float | None) -> Flow[int]:
        """How many items there are."""
        limit = self.place.seconds(timeout)
        found = yield from self.place.backend.count(*self.name.span(b"d/"), False, limit)
        if not found:
            yield from self.name.look(limit)
        return found

    # Taking

    def take(self, timeout: float | None) -> Flow[Taken | None]:
        """The next item, or None if there is none in time."""
        deadline = time.monotonic() + self.place.seconds(timeout)
        taking = _Taking(self, deadline)
        try:
            return (yield from taking.run())
        except BaseException:
            taking.give_up()
            raise


class _Taking:
    """One consumer on its way to an item."""

    def __init__(self, flows: _Flows, deadline: float) -> None:
        self.place = flows.place
        self.name = flows.name
        self.lease = flows.lease
        self.deadline = deadline
        self.lane: Lane | None = None
        self.waiter: bytes | None = None  # its key in the row of those who wait
        self.claiming: tuple[bytes, bytes] | None = None  # an item and a token that it may have
        self.left: tuple[bytes, float] = (b"", 0.0)  # an item that it left to others, and when

    def run(self) -> Flow[Taken | None]:
        """Looks, takes what is its turn, and waits."""
        local = False
        while True:
            lane = self.place.backend.pooled(self.lease)
            if lane is not self.lane:
                self.lane, self.waiter = lane, None
            rank = yield from self._rank()
            free, revision = yield from self._free(rank + 1, local)
            at = self._turn(rank, free)
            try:
                if at is not None:
                    local = False
                    found = yield from self._claim(free[at])
                    if found is not None:
                        return found
                    if time.monotonic() < self.deadline:
                        continue
                if time.monotonic() >= self.deadline:
                    yield from self.name.look(asking(self.place, self.deadline))
                    self.give_up()
                    return None
                if self.waiter is None:
                    yield from self._queue_up()
            except SessionLost as lost:  # nothing was anybody's in it
                self.waiter = self.claiming = None
                if time.monotonic() >= self.deadline:
                    raise NotHappened(f"the session was lost while {self.name} was waited for: {lost}") from lost
                continue
            local = yield from self._wait(revision, set(free))

    def _rank(self) -> Flow[int]:
        """How many wait longer than this one. Only a hint, so that it may be old."""
        if self.waiter is None:
            return 0
        start, end = self.name.span(b"w/")
        found = yield from self.place.backend.range(start, end, PAGE, True, asking(self.place, self.deadline))
        own = [row for row in found.rows if row.key == self.waiter]
        if not own:
            self.waiter = None  # its session is another one, or it waits behind so many that it does not matter
            return len(found.rows)
        return sum(row.create_revision < own[0].create_revision for row in found.rows)

    def _turn(self, rank: int, free: list[bytes]) -> int | None:
        """Which of the free items is this one's; None if all are those of others, who get a moment to take them."""
        if rank >= len(free) > 0:
            if self.left[0] != free[0]:
                self.left = (free[0], time.monotonic())
            rank -= int((time.monotonic() - self.left[1]) / TURN_SECONDS)
        return max(rank, 0) if rank < len(free) else None

    def _free(self, want: int, local: bool) -> Flow[tuple[list[bytes], int]]:
        """The first items that nobody works on, at most so many, and a revision after which the next are told."""
        start, end = self.name.span(b"i/")
        skip = len(start)
        free: list[bytes] = []
        last: bytes | None = None  # an item of which it is not known yet whether somebody works on it
        revision = 0
        limit = FIRST_PAGE
        while True:
            page = yield from self.place.backend.range(start, end, limit, local, asking(self.place, self.deadline))
            revision = revision or page.revision
            for row in page.rows:
                item = row.key[skip:]
                if item.endswith(b"/c"):
                    last = None
                    continue
                if last is not None:
                    free.append(last)
                    if len(free) == want:
                        return free, revision
                last = item
            if not page.more:
                return ([*free, last] if last is not None else free), revision
            start = page.rows[-1].key + b"\0"
            limit = PAGE

    def _claim(self, item: bytes) -> Flow[Taken | None]:
        """Takes an item; None if somebody else has."""
        assert self.lane is not None, "who looks has a session"
        token = fresh()
        index = self.name.key(b"i/" + item)
        claim = index + b"/c"
        free = [commands.compare(index, "version", ">", 0), commands.compare(claim, "version", "==", 0)]
        then = [commands.do_increment(index, 1), commands.do_put(claim, token, owned=True)]
        if self.waiter is not None:
            then.append(commands.do_delete(self.waiter))
        self.claiming = (item, token)
        try:
            done = yield from transact(self.place, free, then, asking(self.place, self.deadline), self.lane)
        except NotHappened:
            self.claiming = None
            raise
        except RequestTimeout:
            if time.monotonic() < self.deadline:
                raise
            self.give_up()
            return None
        if not done.succeeded:
            self.claiming = None
            return None
        self.waiter = None
        # Its own claim was applied where it is answered, and the value does not change.
        row = yield from self.place.backend.get(self.name.key(b"d/" + item), True, self.place.timeout)
        if row is None:  # deleted by hand
            undo(self.place, self.lane, [], [commands.do_delete(index), commands.do_delete(claim)])
            self.claiming = None
            return None
        self.claiming = None
        if not self.lane.held():
            raise SessionLost("the session was lost before the item was in hand")  # and another one may have it by now
        return Taken(self.name, self.lane, item, token, done.parts[0], row.value)

    def _queue_up(self) -> Flow[None]:
        """Stands behind those who wait already."""
        assert self.lane is not None, "who looks has a session"
        waiter = self.waiter = self.name.key(b"w/" + fresh())
        try:
            row = [commands.do_put(waiter, b"", owned=True)]
            yield from self.name.write([], row, asking(self.place, self.deadline), self.lane)
        except NotHappened:
            self.waiter = None
            raise

    def _wait(self, after: int, left: set[bytes]) -> Flow[bool]:
        """Waits until there may be something to take, or those to whom items were ``left`` should have taken them.
        Whether a local look is enough then."""
        start, end = self.name.span(b"i/")
        skip = len(start)
        while True:
            until = self.deadline if not left else min(self.deadline, time.monotonic() + TURN_SECONDS)
            remaining = until - time.monotonic()
            if remaining <= 0:
                return False
            found = yield from parked(self.place, start, end, after, min(remaining, LOOK_SECONDS))
            if found is None:
                continue
            if found.compacted or self.place.backend.pooled(self.lease) is not self.lane:
                return False
            for event in found.events:
                if _frees(event):
                    return True
                left.discard(event.name[skip:].removesuffix(b"/c"))
            if left and not found.events:
                return False
            after = found.complete

    def give_up(self) -> None:
        """Leaves nothing behind: not a place in the row, and not an item."""
        if self.lane is None:
            return
        if self.claiming is not None:
            _let_go(self.place, self.name, self.lane, *self.claiming)
        if self.waiter is not None:
            undo(self.place, self.lane, [], [commands.do_delete(self.waiter)])
        self.claiming = self.waiter = None


def _frees(event: WatchEvent) -> bool:
    """Whether there is an item now that can be taken: a new one, or one that was given back."""
    if event.name.endswith(b"/c"):
        return event.kind is not EventKind.PUT
    return event.kind is EventKind.PUT and event.version == 1


def _values(values: Iterable[Value]) -> list[bytes]:
    if isinstance(values, (str, bytes, bytearray, memoryview)):
        raise InvalidArgument("put_many puts several values: hand it a list of bytes, or use put")
    return [value_of(each) for each in values]


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

    def __del__(self) -> None:
        # Nobody can end it any more: the call that took it was interrupted, or its holder has forgotten it.
        self._taken.back()

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

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: ThreadCarrier, name: Key, lease: float) -> None:
        self._flows = _Flows(place, name, lease)
        self._carrier = carrier

    def put(self, value: Value, *, timeout: float | None = None) -> str:
        """Puts an item behind all that were put before the call; gives its id. Raises as :meth:`Client.put`, Rejected
        if the name is something else."""
        return self._carrier.run(self._flows.put([value_of(value)], timeout))[0]

    def put_many(self, values: Iterable[Value], *, timeout: float | None = None) -> list[str]:
        """Puts items in this order, in steps of up to 60 items and some 4 MiB, each whole or not at all; gives their
        ids.

        If a step fails, its error is raised, and its ``outcomes`` has an id or the error for each item.
        """
        return self._carrier.run(self._flows.put(_values(values), timeout))

    def get(self, timeout: float | None = None) -> Item | None:
        """The next item, or None if there is none within ``timeout`` seconds (None: the client's own; 0: look once).

        Consumers that wait are served in the order in which they came. Whatever ends the call otherwise, Ctrl-C too,
        takes nothing. Raises as :meth:`Client.get`, Rejected if the name is something else.
        """
        found = self._carrier.run(self._flows.take(timeout))
        return None if found is None else Item(found, self._carrier)

    def size(self, *, timeout: float | None = None) -> int:
        """How many items there are that were not acknowledged: those that wait and those that are worked on."""
        return self._carrier.run(self._flows.size(timeout))

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
        return f"<Queue {self._flows.name}>"


@final
class AsyncQueue:
    """As :class:`quorate.Queue`, with ``await`` and ``async for``; ``async with await queue.get() as item``. A
    cancelled ``get`` takes nothing, a cancelled ``put`` may have happened."""

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: TaskCarrier, name: Key, lease: float) -> None:
        self._flows = _Flows(place, name, lease)
        self._carrier = carrier

    async def put(self, value: Value, *, timeout: float | None = None) -> str:
        """Puts an item behind all that were put before the call; gives its id."""
        return (await self._carrier.run(self._flows.put([value_of(value)], timeout)))[0]

    async def put_many(self, values: Iterable[Value], *, timeout: float | None = None) -> list[str]:
        """Puts items in this order, in steps of up to 60 items and some 4 MiB, each whole or not at all."""
        return await self._carrier.run(self._flows.put(_values(values), timeout))

    async def get(self, timeout: float | None = None) -> AsyncItem | None:
        """The next item, or None if there is none within ``timeout`` seconds."""
        found = await self._carrier.run(self._flows.take(timeout))
        return None if found is None else AsyncItem(found, self._carrier)

    async def size(self, *, timeout: float | None = None) -> int:
        """How many items there are that were not acknowledged: those that wait and those that are worked on."""
        return await self._carrier.run(self._flows.size(timeout))

    def __aiter__(self) -> AsyncQueue:
        return self

    async def __anext__(self) -> AsyncItem:
        while True:
            found = await self.get(LOOK_SECONDS)
            if found is not None:
                return found

    def __repr__(self) -> str:
        return f"<aio.Queue {self._flows.name}>"
