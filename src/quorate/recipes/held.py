"""What is held of a permit, in its two faces: a block that is left with LockLost if it was lost inside, and callbacks.

Read-write locks, semaphores and elections are this with other kinds and units. Knows how to hold, and not what for.

An object holds once at a time; who needs more makes more objects. In asyncio the body of ``async with`` is cancelled
when what it stands on is lost, and LockLost comes out of the block; a cancellation from outside stays one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from quorate.client.backend import Lane
from quorate.client.flow import Flow
from quorate.errors import LockLost, QuorateError, Rejected
from quorate.recipes import permits
from quorate.recipes._grant import Block
from quorate.recipes.base import Place, TaskCarrier, Teller, ThreadCarrier
from quorate.recipes.inspection import blocked
from quorate.recipes.permits import Grant, Hold
from quorate.store import commands
from quorate.store.views import PermitKind

__all__ = ["Acquiring", "AsyncHeld", "AsyncTakeable", "Body", "Held", "HeldView", "Keeper", "Takeable", "noted", "take"]

T = TypeVar("T")
Self = TypeVar("Self", bound="Held")
AsyncSelf = TypeVar("AsyncSelf", bound="AsyncHeld")


class Keeper:
    """Takes a place in a permit's queue, watches what was granted, and gives it up: as flows. One at a time.

    ``noun``: what is held, in words for errors. ``on_lost`` is called with the reason, ``on_suspect`` with nothing.
    """

    def __init__(
        self,
        place: Place,
        name: bytes,
        kind: PermitKind,
        *,
        noun: str,
        lease: float,
        timeout: float,
        capacity: int = 1,
        units: int = 1,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> None:
        self.place: Final = place
        self.name: Final = name
        self.kind: Final = kind
        self.noun: Final = noun
        self.lease: Final = lease
        self.timeout: Final = timeout
        self.capacity: Final = capacity
        self.units: Final = units
        self.on_suspect: Final = on_suspect
        self.on_lost: Final = on_lost
        self.lane: Lane | None = None  # in which it is to be held; None: the one that is shared
        self.grant: Grant | None = None  # that is held, or was held last
        self._hold: Hold | None = None
        self._lock = threading.Lock()
        self._taken = False  # asked for or held
        self._forsaken = False
        self._inside: Callable[[str], None] | None = None  # who is inside of a block, and has to be told of a loss

    @property
    def label(self) -> str:
        """What it is, in words."""
        shown = self.name[len(self.place.prefix) :].decode(errors="backslashreplace")
        return f"{self.noun} {shown!r}"

    def acquire(self, teller: Teller, timeout: float | None, value: bytes = b"") -> Flow[bool]:
        """Whether it was granted in time. Raises Rejected if this object holds or waits already."""
        with self._lock:
            if self._taken:
                raise Rejected(f"{self.label} is held or waited for by this object; other holders need other objects")
            self._taken = True
        patience = self.timeout if timeout is None else self.place.seconds(timeout)
        grant: Grant | None = None
        try:
            grant = yield from permits.acquire(
                self.place, self.name, kind=self.kind, capacity=self.capacity, units=self.units, value=value,
                lease=self.lease, timeout=patience, wait=patience > 0, lane=self.lane,
            )  # fmt: skip
            if grant is not None:
                self._watch(teller, grant)
        except BaseException:
            self._taken = False
            if grant is not None:
                permits.withdraw(self.place.backend, grant.lane, grant.acquisition)
            raise
        if grant is None:
            self._taken = False
        return grant is not None

    def _watch(self, teller: Teller, grant: Grant) -> None:
        def lost(why: str) -> None:
            if self._forsaken:
                return  # nobody is there any more
            inside = self._inside
            if inside is not None:
                teller.tell(inside, why)
            if self.on_lost is not None:
                teller.tell(self.on_lost, why)

        def suspect() -> None:
            if self.on_suspect is not None:
                teller.tell(self.on_suspect)

        self.grant = grant
        self._hold = Hold(self.place, grant, lost, suspect if self.on_suspect is not None else None)

    def release(self, timeout: float | None) -> Flow[None]:
        """Gives it up. Raises Rejected if it is not held by this object, LockLost if it was, and was lost."""
        with self._lock:
            grant, hold, self._hold = self.grant, self._hold, None
        if grant is None or hold is None:
            raise Rejected(f"{self.label} is not held by this object")
        hold.end()
        try:
            yield from permits.release(self.place, grant, self.place.seconds(timeout))
        finally:
            self._taken = False

    def blocked(self) -> Flow[QuorateError]:
        """Why it was not granted in time, as an error that names who holds it and since when."""
        return blocked(self.place, self.name, self.label)

    def abandon(self) -> None:
        """Gives it up in the background, however far it came: what an interruption calls. Never raises."""
        with self._lock:
            grant, hold, self._hold = self.grant, self._hold, None
        if hold is not None:
            hold.end()
        if grant is not None:
            # Also if a release was under way: withdrawn twice is withdrawn.
            grant.over = grant.over or "it was released"
            permits.withdraw(self.place.backend, grant.lane, grant.acquisition)
        self._taken = False

    def forsake(self) -> None:
        """Its handle was dropped: what is held by it is given up.

        Takes no lock and waits for nothing, because the garbage collector calls it in the middle of anything. What
        watches the grant sees the release in the cluster, and ends by that.
        """
        grant = self.grant
        if grant is None or self._hold is None:
            return
        self._hold = None
        self._forsaken = True
        grant.over = grant.over or "its handle was dropped"
        with contextlib.suppress(Exception):
            grant.lane.submit(commands.cancel(session=1, acquisition=grant.acquisition), permits.FOREVER)

    def inside(self, told: Callable[[str], None] | None) -> None:
        """Who is told first when it is lost; None: nobody any more."""
        self._inside = told

    def __repr__(self) -> str:
        grant = self.grant
        if grant is not None and self._hold is not None:
            state = (
                f"held, token {grant.token}, for {grant.remaining:.1f} s at least"
                if grant.held()
                else f"lost: {grant.over or grant.lane.loss or 'the lease is over'}"
            )
        else:
            state = "waits" if self._taken else "not held"
        return f"{self.label}, {state}"


def noted(value: BaseException, error: QuorateError) -> None:
    """What left the block comes first; that it could not be given up is said with it, where Python can."""
    add = getattr(value, "add_note", None)  # from Python 3.11 on
    if add is not None:
        add(f"on leaving the block: {type(error).__name__}: {error}")


class HeldView:
    """What is held, as both faces tell it. A handle that is dropped gives up what is held by it."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def __del__(self) -> None:
        self._keeper.forsake()

    @property
    def token(self) -> int:
        """The fencing token of the grant, the last one if it is over; 0 before the first. Grows with every exclusive
        grant."""
        grant = self._keeper.grant
        return 0 if grant is None else grant.token

    @property
    def held(self) -> bool:
        """Whether it is certainly held, by the local clock and without asking anybody."""
        grant = self._keeper.grant
        return grant is not None and grant.held()

    @property
    def remaining(self) -> float:
        """Seconds for which it is certainly held if nothing more is heard from the cluster; 0 if it is not."""
        grant = self._keeper.grant
        return 0.0 if grant is None else grant.remaining

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._keeper!r}>"


def take(keeper: Keeper, carrier: ThreadCarrier, timeout: float | None, value: bytes = b"") -> bool:
    """Acquires in a thread. Ctrl-C between the grant and the caller leaves nothing behind either."""
    before = keeper.grant
    try:
        return carrier.run(keeper.acquire(carrier, timeout, value))
    except QuorateError:
        raise
    except BaseException:
        if keeper.grant is not before:
            keeper.abandon()
        raise


class Held(Block, HeldView):
    """Something that is held, in threads. Leaving its block gives it up."""

    def __init__(self, keeper: Keeper, carrier: ThreadCarrier) -> None:
        super().__init__(keeper)
        self._carrier = carrier

    def _give_up(self, timeout: float | None = None) -> None:
        try:
            self._carrier.run(self._keeper.release(timeout))
        except QuorateError:
            raise
        except BaseException:
            self._keeper.abandon()  # if Ctrl-C came before it had begun
            raise

    def __enter__(self: Self) -> Self:
        return self

    def _left(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._give_up()
        except QuorateError as error:
            if value is None:
                raise
            noted(value, error)

    def _abandon(self) -> None:
        self._keeper.abandon()


class Takeable(Held):
    """Something that can be held, like a lock: a context manager, or ``acquire`` and ``release``."""

    def acquire(self, timeout: float | None = None) -> bool:
        """Waits for it, ``timeout`` seconds (None: as it was made, 0: only tries). Whether it is held now.

        Raises Rejected if this object holds it already, or the name is in use for something else, and the errors of
        :class:`quorate.Client`. However the wait ends, also by Ctrl-C, it leaves nothing behind.
        """
        return take(self._keeper, self._carrier, timeout)

    def release(self, timeout: float | None = None) -> None:
        """Gives it up; the next in the queue has it in the same moment. ``timeout`` in seconds.

        Raises Rejected if it is not held, LockLost if it was, and was lost. After any other error it is given up in
        the background.
        """
        self._give_up(timeout)

    def __enter__(self: Self) -> Self:
        before = self._keeper.grant
        try:
            if not take(self._keeper, self._carrier, None):
                raise self._carrier.run(self._keeper.blocked())
            return self
        except BaseException:
            if self._keeper.grant is not before:
                self._keeper.abandon()  # Ctrl-C behind the acquisition
            raise


class Body:
    """A block in a task, which is cancelled when what it stands on is lost. Made on entering it."""

    MESSAGE: Final = "what the block stands on is lost"

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._cancellings()
        self.why: str | None = None

    def _cancellings(self) -> int:
        count = getattr(self._task, "cancelling", None)  # from Python 3.11 on
        return 0 if count is None else count()

    def lost(self, why: str) -> None:
        """In the event loop, while the task is in the block."""
        if self.why is None and self._task is not None:
            self.why = why
            self._task.cancel(self.MESSAGE)

    async def left(self, value: BaseException | None) -> BaseException | None:
        """What leaves the block in the place of ``value``: None if that was the cancellation from here alone."""
        if self.why is None:
            return value
        if value is None:
            # The body came to its end before it could be cancelled; what is due is taken here.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as error:
                value = error
        uncancel = getattr(self._task, "uncancel", None)
        if uncancel is not None:
            others = uncancel() > self._before
        else:
            others = value is not None and value.args != (self.MESSAGE,)
        return value if others or not isinstance(value, asyncio.CancelledError) else None


class AsyncHeld(HeldView):
    """Something that is held, in asyncio. Leaving its block gives it up; losing it cancels the body of the block."""

    def __init__(self, keeper: Keeper, carrier: TaskCarrier) -> None:
        super().__init__(keeper)
        self._carrier = carrier
        self._body: Body | None = None

    async def _give_up(self, timeout: float | None = None) -> None:
        await self._carrier.run(self._keeper.release(timeout))

    async def __aenter__(self: AsyncSelf) -> AsyncSelf:
        self._enter()
        return self

    def _enter(self) -> None:
        body = self._body = Body()

        def lost(why: str) -> None:
            if self._body is body:
                body.lost(why)

        self._keeper.inside(lost)
        grant = self._keeper.grant
        if grant is not None and grant.over is not None:
            lost(grant.over)  # before anybody was inside to be told

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        body, self._body = self._body, None
        self._keeper.inside(None)
        left = value if body is None else await body.left(value)
        try:
            await self._give_up()
        except QuorateError as error:
            if left is None:
                raise error from None
            noted(left, error)
        if left is not None and left is not value:
            raise left
        if body is not None and body.why is not None and left is None:
            raise LockLost(f"{self._keeper.label} was lost: {body.why}") from None


class AsyncTakeable(AsyncHeld):
    """Something that can be held, like a lock: an async context manager, or ``acquire`` and ``release``."""

    async def acquire(self, timeout: float | None = None) -> bool:
        """Waits for it, ``timeout`` seconds (None: as it was made, 0: only tries). Whether it is held now.

        Raises Rejected if this object holds it already, or the name is in use for something else, and the errors of
        :class:`quorate.Client`. However the wait ends, also by a cancellation, it leaves nothing behind.
        """
        return await self._carrier.run(self._keeper.acquire(self._carrier, timeout))

    async def release(self, timeout: float | None = None) -> None:
        """Gives it up; the next in the queue has it in the same moment. ``timeout`` in seconds.

        Raises Rejected if it is not held, LockLost if it was, and was lost. After any other error it is given up in
        the background.
        """
        await self._give_up(timeout)

    async def __aenter__(self: AsyncSelf) -> AsyncSelf:
        if not await self._carrier.run(self._keeper.acquire(self._carrier, None)):
            raise await self._carrier.run(self._keeper.blocked())
        self._enter()
        return self


H = TypeVar("H", bound=AsyncHeld)


class Acquiring(Generic[H]):
    """What will be held: ``held = await it``, or ``async with it as held:``. It is asked for when it is awaited."""

    def __init__(self, take: Callable[[], Coroutine[Any, Any, H]]) -> None:
        self._take = take
        self._held: H | None = None

    def __await__(self) -> Generator[Any, Any, H]:
        return self._take().__await__()

    async def __aenter__(self) -> H:
        self._held = await self._take()
        return await self._held.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._held is not None, "it is left behind it was entered"
        await self._held.__aexit__(kind, value, trace)
