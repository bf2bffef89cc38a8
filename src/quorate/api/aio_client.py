"""The client for asyncio: the same names and meanings as `Client`, with await. No thread waits for a request.

A client belongs to the event loop in which it is used first.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, final

from quorate.api import op
from quorate.api.client import Consistency
from quorate.api.connect import core_of
from quorate.api.core import Committed, Core, Found, TransactionParts
from quorate.api.session import SessionView
from quorate.api.watch import LOOK_SECONDS, Event, WatchCore
from quorate.client.backend import Member, State
from quorate.client.flow import seconds
from quorate.client.keys import Fence, Key, Value
from quorate.client.waker import Waker
from quorate.recipes.base import TaskCarrier
from quorate.store import KeyValue

if TYPE_CHECKING:  # each is imported by the method that makes it: few programs need them all
    from quorate.recipes.barrier import AsyncBarrier
    from quorate.recipes.counter import AsyncCounter
    from quorate.recipes.double_barrier import AsyncDoubleBarrier
    from quorate.recipes.election import AsyncElection
    from quorate.recipes.group import AsyncGroup
    from quorate.recipes.lock import AsyncLock
    from quorate.recipes.multi_lock import AsyncMultiLock
    from quorate.recipes.opening import Opening
    from quorate.recipes.queue import AsyncQueue
    from quorate.recipes.ring import AsyncLiveRing
    from quorate.recipes.rwlock import AsyncRWLock
    from quorate.recipes.semaphore import AsyncSemaphore
    from quorate.recipes.sticky import AsyncStickyLock

__all__ = ["Client", "Session", "Transaction", "Watch", "connect"]

T = TypeVar("T")


async def _in_thread(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """What is done seldom and blocks."""
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(call, *arguments, **named))


@final
class Transaction(TransactionParts):
    """As :class:`quorate.Transaction`, with ``await transaction.commit()``."""

    def __init__(self, core: Core, waker: Waker) -> None:
        super().__init__()
        self._core = core
        self._waker = waker

    def when(self, *conditions: op.Condition) -> Transaction:
        """Adds conditions; all must hold."""
        self._add(self._when, conditions, op.Condition)
        return self

    def then(self, *operations: op.Operation[Any]) -> Transaction:
        """Adds operations for the case that the conditions hold."""
        self._add(self._then, operations, op.Operation)
        return self

    def otherwise(self, *operations: op.Operation[Any]) -> Transaction:
        """Adds operations for the case that they do not."""
        self._add(self._otherwise, operations, op.Operation)
        return self

    async def commit(
        self, *, if_fence: Fence | None = None, session: Session | None = None, timeout: float | None = None
    ) -> Committed:
        """Carries it out."""
        return await self._waker.run(self._core.commit(self, timeout, if_fence, session and session._lane))


@final
class Session(SessionView):
    """As :class:`quorate.Session`, with ``async with`` and ``await session.close()``."""

    def __init__(self, core: Core, lane: Any, waker: Waker) -> None:
        super().__init__(core, lane)
        self._waker = waker

    async def close(self, *, timeout: float | None = None) -> None:
        """Ends it, with the keys and locks that belong to it. Does nothing the second time."""
        await self._waker.run(self._core.backend.close_lane(self._lane, self._core.seconds(timeout)))

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


@final
class _Opening:
    """A session that is being opened: ``await`` it, or enter it with ``async with``."""

    def __init__(self, client: Client, ttl: float, label: str, timeout: float | None) -> None:
        self._client = client
        self._arguments = (ttl, label, timeout)
        self._session: Session | None = None

    async def _open(self) -> Session:
        ttl, label, timeout = self._arguments
        core, waker = self._client._core, self._client._waker
        return Session(core, await waker.run(core.open_session(ttl, label, timeout)), waker)

    def __await__(self) -> Generator[Any, None, Session]:
        return self._open().__await__()

    async def __aenter__(self) -> Session:
        self._session = await self._open()
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()


@final
class Watch:
    """As :class:`quorate.Watch`, with ``async for``, ``await watch.next()`` and ``async with``.

    What happens after it was made is seen, also if the iteration begins later.
    """

    def __init__(
        self, core: Core, waker: Waker, key: Key, prefix: bool, revision: int | None, timeout: float | None
    ) -> None:
        self._core = WatchCore(core, key, prefix, revision)
        self._waker = waker
        self._begun: asyncio.Future[None] | None = waker.start(self._core.begin(core.seconds(timeout)))
        self._begun.add_done_callback(lambda begun: begun.cancelled() or begun.exception())
        self._looking: asyncio.Task[None] | None = None

    @property
    def revision(self) -> int:
        """Every change up to this one has been handed out."""
        return self._core.seen

    async def next(self, timeout: float = 5.0) -> Event | None:
        """The next change, or None if there is none within ``timeout`` seconds, or the watch is closed."""
        limit = seconds(timeout)
        if self._begun is not None:
            await self._begun
            self._begun = None
        if not self._core.events and not self._core.closed:
            self._looking = asyncio.ensure_future(self._waker.run(self._core.look(limit)))
            try:
                await self._looking
            except asyncio.CancelledError:
                # Cancelled with its asker, or by close() alone.
                if not (self._core.closed and self._looking.cancelled()):
                    raise
            finally:
                self._looking = None
        return self._core.taken() if self._core.events and not self._core.closed else None

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Event:
        while not self._core.closed:
            event = await self.next(LOOK_SECONDS)
            if event is not None:
                return event
        raise StopAsyncIteration

    async def close(self) -> None:
        """Ends it: who iterates comes out of the loop. Does nothing the second time."""
        self._core.closed = True
        if self._looking is not None:
            self._looking.cancel()

    async def __aenter__(self) -> Watch:
        if self._begun is not None:
            await self._begun
            self._begun = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self._core)


@final
class Client:
    """As :class:`quorate.Client`, with ``await``: see there what each method does and raises.

    A cancelled call may or may not have happened, as one that timed out.

    >>> import asyncio
    >>> import quorate.aio
    >>> async def example():
    ...     async with quorate.aio.local() as client:
    ...         await client.put("config/rate", b"100")
    ...         return (await client.get("config/rate")).value
    >>> asyncio.run(example())
    b'100'
    """

    def __init__(self, core: Core, *, waker: Waker | None = None) -> None:
        self._core = core
        self._owns = waker is None
        self._waker = waker or Waker()
        self._carrier = TaskCarrier(self._waker)

    # Writing

    async def put(
        self,
        key: Key,
        value: Value,
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> int:
        """Sets a key; gives the revision."""
        operation = op.put(key, value)
        return await self._waker.run(self._core.write(operation, timeout, if_fence, session and session._lane))

    async def delete(
        self, key: Key, *, if_fence: Fence | None = None, session: Session | None = None, timeout: float | None = None
    ) -> bool:
        """Deletes a key; gives whether it was there."""
        operation = op.delete(key)
        return await self._waker.run(self._core.write(operation, timeout, if_fence, session and session._lane))

    async def delete_range(
        self,
        start: Key = "",
        end: Key = "",
        *,
        prefix: Key | None = None,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> int:
        """Deletes the keys with start <= key < end, or those with a prefix; gives how many."""
        lane = session and session._lane
        return await self._waker.run(self._core.delete_range(start, end, prefix, timeout, if_fence, lane))

    async def compare_and_set(
        self,
        key: Key,
        value: Value,
        mod_revision: int,
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> op.Swap:
        """Sets a key if its ``mod_revision`` is this one, or with 0 if there is no such key."""
        operation = op.compare_and_set(key, value, mod_revision)
        return await self._waker.run(self._core.write(operation, timeout, if_fence, session and session._lane))

    async def increment(
        self,
        key: Key,
        by: int = 1,
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> int:
        """Adds to a key that holds a decimal integer, or is not there; gives the sum."""
        operation = op.increment(key, by)
        return await self._waker.run(self._core.write(operation, timeout, if_fence, session and session._lane))

    def transaction(self) -> Transaction:
        """A transaction to be filled and committed."""
        return Transaction(self._core, self._waker)

    async def put_many(
        self,
        pairs: Mapping[Any, Value] | Iterable[tuple[Key, Value]],
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> list[int]:
        """Sets many keys, in order, one log entry each, without waiting for one before the next is sent."""
        return await self._waker.run(self._core.put_many(pairs, timeout, if_fence, session and session._lane))

    def submit(
        self,
        operation: op.Operation[T],
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> asyncio.Future[T]:
        """Sends a write and does not wait for it: the future that it gives can be awaited."""
        return self._waker.start(self._core.write(operation, timeout, if_fence, session and session._lane))

    # Sessions

    def session(self, ttl: float = 10.0, *, label: str = "", timeout: float | None = None) -> _Opening:
        """Opens a session: ``session = await client.session()``, or ``async with client.session() as session``."""
        return _Opening(self, ttl, label, timeout)

    # Reading

    async def get(
        self, key: Key, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> KeyValue | None:
        """A key, or None."""
        reader = self._core.nearby(consistency)
        if reader is not None:
            return self._core.read(reader, key)
        return await self._waker.run(self._core.get(key, consistency, timeout))

    async def range(
        self,
        start: Key = "",
        end: Key = "",
        *,
        prefix: Key | None = None,
        limit: int = 0,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Found:
        """The keys with start <= key < end, or those with a prefix, in the order of their bytes."""
        return await self._waker.run(self._core.range(start, end, prefix, limit, consistency, timeout))

    async def count(
        self,
        start: Key = "",
        end: Key = "",
        *,
        prefix: Key | None = None,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> int:
        """How many keys have start <= key < end, or a prefix."""
        return await self._waker.run(self._core.count(start, end, prefix, consistency, timeout))

    def watch(
        self, key: Key, *, prefix: bool = False, revision: int | None = None, timeout: float | None = None
    ) -> Watch:
        """The changes of a key, or with ``prefix=True`` of all keys that begin with it: ``async for event in
        watch``."""
        return Watch(self._core, self._waker, key, prefix, revision, timeout)

    # Recipes

    def lock(
        self,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        reentrant: bool = False,
        max_hold: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> AsyncLock:
        """A lock: see :class:`Lock`, and :meth:`quorate.Client.lock` for the options. Nothing is sent yet."""
        from quorate.recipes.lock import AsyncLock, LockFlows

        flows = LockFlows(
            self._core, name, lease=lease, timeout=timeout, reentrant=reentrant, max_hold=max_hold,
            on_suspect=on_suspect, on_lost=on_lost,
        )  # fmt: skip
        return AsyncLock(flows, TaskCarrier(self._waker))

    def multi_lock(
        self,
        names: Iterable[Key],
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        reentrant: bool = False,
        max_hold: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> AsyncMultiLock:
        """Several locks as one: see :class:`quorate.MultiLock`. ``timeout`` is for all together."""
        from quorate.recipes.multi_lock import AsyncMultiLock, MultiFlows

        flows = MultiFlows(
            self._core, names, lease=lease, timeout=timeout, reentrant=reentrant, max_hold=max_hold,
            on_suspect=on_suspect, on_lost=on_lost,
        )  # fmt: skip
        return AsyncMultiLock(flows, TaskCarrier(self._waker))

    def counter(self, name: Key) -> AsyncCounter:
        """An integer that many processes add to, each addition exactly once."""
        from quorate.recipes.counter import AsyncCounter

        return AsyncCounter(self._core, self._carrier, name)

    def ring(
        self, name: Key, *, vnodes: int = 160, seed: int = 0, timeout: float | None = None
    ) -> Opening[AsyncLiveRing]:
        """The consistent-hash ring of a group's members, which follows them: ``await`` it, or enter it with ``async
        with``. See :class:`quorate.LiveRing`."""
        from quorate.recipes.opening import Opening
        from quorate.recipes.ring import opened

        return Opening(lambda: opened(self._core, self._carrier, name, vnodes, seed, timeout))

    def group(self, name: Key) -> AsyncGroup:
        """Members with data, each there as long as its process lives: see :class:`quorate.Group`."""
        from quorate.recipes.group import AsyncGroup

        return AsyncGroup(self._core, self._carrier, name)

    def queue(self, name: Key, *, lease: float = 10.0) -> AsyncQueue:
        """Items to be worked on, first in first out: see :class:`quorate.Queue`."""
        from quorate.recipes.queue import AsyncQueue

        return AsyncQueue(self._core, self._carrier, name, lease)

    def barrier(self, name: Key, parties: int, *, lease: float = 10.0) -> AsyncBarrier:
        """A place where ``parties`` wait until all have come, again and again."""
        from quorate.recipes.barrier import AsyncBarrier

        return AsyncBarrier(self._core, self._carrier, name, parties, lease)

    def double_barrier(self, name: Key, parties: int, *, lease: float = 10.0) -> AsyncDoubleBarrier:
        """One of ``parties`` that begin something together and end it together."""
        from quorate.recipes.double_barrier import AsyncDoubleBarrier

        return AsyncDoubleBarrier(self._core, self._carrier, name, parties, lease)

    def rwlock(
        self,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> AsyncRWLock:
        """A read-write lock: see :class:`quorate.RWLock`.

        ``lease``: seconds for which it stays held if this process is not heard of. ``timeout``: how many seconds to
        wait for it (None: the client's). ``on_suspect()`` is called when it is in doubt, ``on_lost(why)`` when it is
        not held any more.
        """
        from quorate.recipes.rwlock import AsyncRWLock

        return AsyncRWLock(
            self._core,
            self._carrier,
            name,
            lease=lease,
            timeout=timeout,
            on_suspect=on_suspect,
            on_lost=on_lost,
        )

    def semaphore(
        self,
        name: Key,
        permits: int,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> AsyncSemaphore:
        """A semaphore of so many units: see :class:`quorate.Semaphore`. Options as of :meth:`rwlock`."""
        from quorate.recipes.semaphore import AsyncSemaphore

        return AsyncSemaphore(
            self._core, self._carrier, name, permits, lease=lease, timeout=timeout, on_suspect=on_suspect,
            on_lost=on_lost,
        )  # fmt: skip

    def election(
        self,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> AsyncElection:
        """An election: see :class:`quorate.Election`. Options as of :meth:`rwlock`; ``timeout`` is for campaigns."""
        from quorate.recipes.election import AsyncElection

        return AsyncElection(
            self._core,
            self._carrier,
            name,
            lease=lease,
            timeout=timeout,
            on_suspect=on_suspect,
            on_lost=on_lost,
        )

    def sticky_lock(
        self,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> AsyncStickyLock:
        """A lock that stays here until another asks: see :class:`quorate.StickyLock`. Options as of :meth:`rwlock`."""
        from quorate.recipes.sticky import AsyncStickyLock, StickyFlows

        flows = StickyFlows(self._core, name, lease=lease, timeout=timeout, on_suspect=on_suspect, on_lost=on_lost)
        return AsyncStickyLock(flows, self._carrier)

    # The cluster

    async def status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Figures of the node that answers."""
        return await self._waker.run(self._core.status(timeout))

    async def members(self, *, timeout: float | None = None) -> list[Member]:
        """The members: name, address, whether they vote, who leads, and how far each is behind."""
        return await _in_thread(self._core.members, timeout)

    async def add_member(self, name: str, address: str, *, promote: bool = False, timeout: float = 60.0) -> None:
        """Makes a node a learner: it gets the log and does not vote. ``promote=True``: and a voter once it has caught
        up."""
        await _in_thread(self._core.change, "add", name, address, timeout, promote=promote)

    async def promote_member(self, name: str, *, timeout: float = 60.0) -> None:
        """Makes a learner a voter, once it has caught up."""
        await _in_thread(self._core.change, "promote", name, timeout=timeout)

    async def remove_member(self, name: str, *, timeout: float = 10.0) -> None:
        """Takes a member out, whether it runs or not. Its data directory is of no use afterwards."""
        await _in_thread(self._core.change, "remove", name, timeout=timeout)

    async def replace_member(self, old: str, new: str, address: str, *, timeout: float = 60.0) -> None:
        """Puts a new member in the place of another, dead or alive, in one step; never one vote less in between."""
        await _in_thread(self._core.change, "replace", old, address, timeout, new=new)

    async def change_address(self, name: str, address: str, *, timeout: float = 10.0) -> None:
        """Tells all members that one of them is found elsewhere; it is started there, before or after."""
        await _in_thread(self._core.change, "address", name, address, timeout)

    async def transfer_leadership(self, name: str | None = None, *, timeout: float = 10.0) -> str:
        """Hands the leader's office over, to the named member or to the one that is furthest; gives who leads then."""
        return await _in_thread(self._core.transfer, name, timeout)

    # Life

    async def wait_ready(self, timeout: float = 10.0) -> None:
        """Waits until the cluster answers and can decide."""
        await self._waker.run(self._core.ready(timeout))

    def on_state(self, callback: Callable[[State], None]) -> Callable[[], None]:
        """Calls back in the event loop with each change of the state; gives a function that ends it."""
        loop = asyncio.get_running_loop()

        def told(state: State) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(callback, state)

        return self._core.backend.on_state(told)

    def namespace(self, prefix: Key) -> Client:
        """The same client inside a namespace."""
        return Client(self._core.inside(prefix), waker=self._waker)

    async def close(self) -> None:
        """Ends the client and its sessions. Does nothing the second time."""
        if self._owns:
            # It says goodbye, and may stop a node: neither belongs into an event loop.
            await asyncio.get_running_loop().run_in_executor(None, self._core.backend.close)
            self._waker.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<aio.{self._core!r}>"


@final
class _Connecting:
    """A client that is being made: ``await`` it, or enter it with ``async with``."""

    def __init__(self, make: Callable[[], Core]) -> None:
        self._make = make
        self._client: Client | None = None

    async def _open(self) -> Client:
        # Threads are started and a node may be opened: nothing for an event loop.
        self._client = Client(await asyncio.get_running_loop().run_in_executor(None, self._make))
        return self._client

    def __await__(self) -> Generator[Any, None, Client]:
        return self._open().__await__()

    if not TYPE_CHECKING:  # a type checker sees the mistake by itself

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"this is no client yet, so it has no {name!r}: write `client = await quorate.aio.connect(...)`, "
                "or `async with`"
            )

    async def __aenter__(self) -> Client:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()


def connect(url: str | None = None, *, timeout: float | None = None) -> _Connecting:
    """As :func:`quorate.connect`: ``client = await connect(url)``, or ``async with connect(url) as client``."""
    return _Connecting(lambda: core_of(url, timeout))
