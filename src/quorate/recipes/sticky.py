"""Sticky locks: a lock that stays with its last holder until another asks, so that taking it again costs no round.

In the cluster it is an ordinary lock of capacity 1, which is kept when its holder leaves. Whoever else wants it takes
a place in the queue; the history of the lock tells of that (EventKind.WAIT) to what watches the grant (permits.Hold),
and the grant is recalled. Whether it is taken again or recalled is decided by one atomic state (_seat.pyx), so that
once it is recalled no retake precedes the waiter.

A handle may be shared by threads or tasks: who comes while another one is inside takes a place of its own in the queue,
and is one of those who ask.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import Any, Final, final

from quorate.client.flow import Flow
from quorate.client.keys import Key, name_of
from quorate.errors import LockLost, QuorateError, Rejected
from quorate.recipes import permits
from quorate.recipes._grant import Block
from quorate.recipes._seat import Seat
from quorate.recipes.base import Place, TaskCarrier, Teller, ThreadCarrier, callback_of, lease_of
from quorate.recipes.held import Body, noted
from quorate.recipes.inspection import TaskInspection, ThreadInspection, blocked
from quorate.recipes.permits import Grant, Hold
from quorate.store.views import PermitKind

__all__ = ["AsyncStickyLock", "StickyFlows", "StickyLock"]

HAND_OVER_SECONDS: Final = 10.0
"""How long it waits to hear that a lock was handed over; it is given up all the same."""


@final
class Kept:
    """A grant that is kept, from when it was granted until it is released or lost."""

    __slots__ = ("bereft", "body", "grant", "hold", "seat")

    def __init__(self, grant: Grant, owner: int) -> None:
        self.grant: Final = grant
        self.seat: Final = Seat(grant.held, owner)
        self.hold: Hold | None = None
        self.bereft = False  # lost while somebody was inside, who has not left
        self.body: Body | None = None  # the block in which its owner is; the event loop's own

    def over(self) -> str:
        """Why it is not held."""
        return self.grant.over or self.grant.lane.loss or "its lease is over"


@final
class StickyFlows:
    """What a sticky lock does. ``owner`` is a number for who asks: a thread or a task."""

    def __init__(
        self,
        place: Place,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> None:
        self.place: Final = place
        self.name: Final = name_of(name, place.prefix)
        self.shown: Final = self.name[len(place.prefix) :].decode(errors="backslashreplace")
        self.label: Final = f"the sticky lock {self.shown!r}"
        self.lease: Final = lease_of(lease)
        self.timeout: Final = place.seconds(timeout)
        self.on_suspect: Final = callback_of(on_suspect, "on_suspect")
        self.on_lost: Final = callback_of(on_lost, "on_lost")
        self.kept: Kept | None = None  # the newest grant
        self._lock = threading.Lock()
        self._lost: dict[int, Kept] = {}  # of those who are inside still, and were lost and followed by others

    # Taking

    def acquire(self, teller: Teller, owner: int, timeout: float | None) -> Flow[bool]:
        """By way of the cluster; whoever keeps it already does not come here."""
        kept = self.kept
        if kept is not None and kept.seat.taken and kept.seat.owner == owner:
            raise Rejected(
                f"{self.label} is held by the one who asks for it, with the token {kept.grant.token}, and who waited "
                "would wait for ever"
            )
        patience = self.timeout if timeout is None else self.place.seconds(timeout)
        grant = yield from permits.acquire(
            self.place, self.name, kind=PermitKind.MUTEX, lease=self.lease, timeout=patience, wait=patience > 0
        )
        if grant is None:
            return False
        try:
            self._keep(teller, Kept(grant, owner))
        except BaseException:
            permits.withdraw(self.place.backend, grant.lane, grant.acquisition)
            raise
        return True

    def _keep(self, teller: Teller, kept: Kept) -> None:
        def lost(why: str) -> None:
            if not kept.seat.lose():
                # Nobody is inside. A grant that was taken away is remembered by the cluster until it is given up.
                permits.withdraw(self.place.backend, kept.grant.lane, kept.grant.acquisition)
                return
            kept.bereft = True
            teller.tell(self._tell_body, kept, why)
            if self.on_lost is not None:
                teller.tell(self.on_lost, why)

        def suspect() -> None:
            if self.on_suspect is not None and kept.seat.taken:
                teller.tell(self.on_suspect)

        with self._lock:
            before, self.kept = self.kept, kept
            # Whoever is inside of a grant that another one could follow has lost it, and may not know yet.
            inside = before is not None and (before.seat.taken or before.bereft)
            if before is not None and inside and before.seat.owner != kept.seat.owner:
                self._lost[before.seat.owner] = before
        suspects = suspect if self.on_suspect is not None else None
        kept.hold = Hold(self.place, kept.grant, lost, suspects, lambda: self._recall(kept))

    def _tell_body(self, kept: Kept, why: str) -> None:
        """In the event loop, or where there is none."""
        if kept.body is not None:
            kept.body.lost(why)

    # Being recalled

    def _recall(self, kept: Kept) -> None:
        """Somebody waits. If nobody is inside it is handed over; who is inside does that on leaving."""
        if kept.seat.recall():
            self.place.backend.attendant.start(self._send_on(kept))

    def _send_on(self, kept: Kept) -> Flow[None]:
        try:
            yield from self.hand_over(kept, HAND_OVER_SECONDS)
        except QuorateError:
            pass  # it is lost, or given up in the background

    def hand_over(self, kept: Kept, timeout: float) -> Flow[None]:
        """Releases what is not taken any more. Raises LockLost if it was lost."""
        if kept.hold is not None:
            kept.hold.end()
        yield from permits.release(self.place, kept.grant, timeout)

    # Leaving

    def of(self, owner: int) -> Kept | None:
        """The grant in which somebody is inside: the newest, unless theirs was lost and followed by another's."""
        return (self._lost.get(owner) if self._lost else None) or self.kept

    def leave(self, owner: int) -> str:
        """Gets up. "idle": it is kept. "given up" and "lost": :meth:`left` has to be carried out. Raises Rejected."""
        kept = self.of(owner)
        state = "not taken" if kept is None else kept.seat.leave(owner)
        if kept is not None and state == "not taken" and (kept.seat.taken or kept.bereft):
            state = kept.seat.leave(kept.seat.owner)  # another thread may release
        if state == "not taken":
            raise Rejected(f"{self.label} is not held by the one who releases it")
        return state

    def left(self, owner: int, state: str, timeout: float | None) -> Flow[None]:
        """Releases it in the cluster. Raises LockLost if it was lost."""
        with self._lock:
            kept = self._lost.pop(owner, None) or self.kept
        assert kept is not None, "somebody was inside"
        why = kept.over()
        kept.bereft = False
        yield from self.hand_over(kept, self.place.seconds(timeout))
        if state == "lost":
            raise LockLost(f"{self.label} was lost: {why}")

    def undo(self, owner: int) -> None:
        """Taking it was interrupted, and nobody knows how far it came: whoever is inside by that is not."""
        kept = self.kept
        if kept is not None and kept.seat.taken and kept.seat.owner == owner and kept.seat.leave(owner) != "idle":
            self.abandon(owner)

    def abandon(self, owner: int) -> None:
        """Leaving was interrupted, and nobody knows how far it came: it is not kept, and released in the background."""
        kept = self.of(owner)
        if kept is None or kept.seat.owner != owner or kept.seat.state == "idle":
            return
        kept.seat.leave(owner)
        kept.seat.recall()
        if kept.seat.state == "given up":
            if kept.hold is not None:
                kept.hold.end()
            kept.grant.over = kept.grant.over or "it was released"
            permits.withdraw(self.place.backend, kept.grant.lane, kept.grant.acquisition)

    def blocked(self) -> Flow[QuorateError]:
        """Why it was not granted in time."""
        return blocked(self.place, self.name, self.label)

    def __repr__(self) -> str:
        kept = self.kept
        state = "not kept here"
        if kept is not None and kept.seat.state != "given up":
            inside = {"taken": "held", "idle": "kept", "recalled": "held, somebody waits"}.get(kept.seat.state)
            state = (
                f"{inside}, token {kept.grant.token}, for {kept.grant.remaining:.1f} s at least"
                if inside and kept.grant.held()
                else f"lost: {kept.over()}"
            )
        return f"{self.shown!r}, {state}, lease {self.lease:g} s"


class StickyView:
    """What a sticky lock tells at once, the same in threads and in asyncio."""

    def __init__(self, flows: StickyFlows) -> None:
        self._flows = flows

    def _permit(self) -> tuple[Place, bytes, str]:
        return self._flows.place, self._flows.name, self._flows.label

    @property
    def token(self) -> int:
        """The fencing token of the grant that is kept: the same however often it is taken again, and above those of all
        who held it before. It stays what it was when the lock is lost. Raises Rejected before the first grant."""
        kept = self._flows.kept
        if kept is None:
            raise Rejected(f"{self._flows.label} was never held here, so that there is no token")
        return kept.grant.token

    @property
    def held(self) -> bool:
        """Whether somebody is inside, and it is certainly held: by the local clock, without asking anybody."""
        kept = self._flows.kept
        return kept is not None and kept.seat.taken and kept.grant.held()

    @property
    def kept(self) -> bool:
        """Whether it is here, and certainly held, so that taking it would cost nothing if nobody is inside."""
        kept = self._flows.kept
        return kept is not None and kept.seat.state in ("taken", "idle") and kept.grant.held()

    @property
    def remaining(self) -> float:
        """Seconds for which it is certainly held if nothing more is heard from the cluster; 0 if it is not."""
        kept = self._flows.kept
        return 0.0 if kept is None else kept.grant.remaining

    def __repr__(self) -> str:
        return f"<{type(self).__name__.removeprefix('Async')} {self._flows!r}>"


@final
class StickyLock(Block, StickyView, ThreadInspection):
    """A lock that stays here when it is released, until somebody else asks for it: a context manager, made by
    :meth:`quorate.Client.sticky_lock`.

    For what one process does over and over and others seldom: taking it again costs no round, some hundred nanoseconds.
    Who asks from elsewhere has it after the block that is under way, at once if there is none. A
    :meth:`quorate.Client.lock` of the same name is the same lock, and may ask too.

    * CONNECTED: inside of the block ``held`` is true, and the lock is certainly held.
    * SUSPENDED: it is held, and can be taken again, for ``remaining`` seconds more; ``on_suspect()`` was called if
      somebody was inside.
    * LOST: ``held`` is false, others may hold it. It cannot be taken again but by way of the cluster. Whoever was
      inside gets ``on_lost(why)``, and LockLost on leaving.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     lock = client.sticky_lock("shard/7")
    ...     with lock:
    ...         first = lock.token
    ...     with lock:
    ...         lock.held, lock.token == first
    ...     lock.held, lock.kept
    (True, True)
    (False, True)
    """

    def __init__(self, flows: StickyFlows, carrier: ThreadCarrier) -> None:
        super().__init__(flows)
        self._carrier = carrier

    def acquire(self, timeout: float | None = None) -> bool:
        """Takes it: at once if it is kept here and nobody is inside, else waits for it, ``timeout`` seconds (None: as
        it was made, 0: only tries). Whether it is held now.

        However the wait ends, also by Ctrl-C, it leaves nothing behind. Raises Rejected if this thread holds it
        already, or the name is used for something else, and as :class:`quorate.Client`.
        """
        owner = get_ident()
        try:
            kept = self._flows.kept
            if kept is not None and kept.seat.take(owner):
                return True
            return self._carrier.run(self._flows.acquire(self._carrier, owner, timeout))
        except QuorateError:
            raise
        except BaseException:
            self._flows.undo(owner)
            raise

    def release(self, timeout: float | None = None) -> None:
        """Leaves it: it stays here, unless somebody asked for it; then that one has it in the same moment.

        Raises Rejected if nobody is inside, LockLost if it was lost. After any other error it is given up in the
        background.
        """
        owner = get_ident()
        kept = self._flows.kept
        if kept is not None and kept.seat.rest(owner):
            return
        try:
            state = self._flows.leave(owner)
            if state != "idle":
                self._carrier.run(self._flows.left(owner, state, timeout))
        except QuorateError:
            raise
        except BaseException:
            self._flows.abandon(owner)
            raise

    def __enter__(self) -> StickyLock:
        try:
            kept = self._flows.kept
            if (kept is not None and kept.seat.take(get_ident())) or self.acquire():
                return self
            raise self._carrier.run(self._flows.blocked())
        except QuorateError:
            raise
        except BaseException:
            self._flows.undo(get_ident())  # Ctrl-C behind the acquisition
            raise

    def _left(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        kept = self._flows.kept
        if kept is not None and kept.seat.rest(get_ident()):
            return
        try:
            self.release()
        except QuorateError as error:
            if value is None:
                raise
            noted(value, error)

    def _abandon(self) -> None:
        self._flows.abandon(get_ident())


def _task() -> int:
    return id(asyncio.current_task())


@final
class AsyncStickyLock(StickyView, TaskInspection):
    """As :class:`quorate.StickyLock`, with ``async with``. Losing it cancels the body, and LockLost comes out of the
    block. The attendant of the client answers recalls, so that a busy event loop delays nobody who could be let in."""

    def __init__(self, flows: StickyFlows, carrier: TaskCarrier) -> None:
        super().__init__(flows)
        self._carrier = carrier

    async def acquire(self, timeout: float | None = None) -> bool:
        """Takes it: at once if it is kept here and nobody is inside, else waits for it, ``timeout`` seconds (None: as
        it was made, 0: only tries). Whether it is held now.

        However the wait ends, also by a cancellation, it leaves nothing behind. Raises Rejected if this task holds
        it already, or the name is used for something else, and as :class:`quorate.Client`.
        """
        kept = self._flows.kept
        if kept is not None and kept.seat.take(_task()):
            return True
        return await self._carrier.run(self._flows.acquire(self._carrier, _task(), timeout))

    async def release(self, timeout: float | None = None) -> None:
        """Leaves it: it stays here, unless somebody asked for it; then that one has it in the same moment.

        Raises Rejected if nobody is inside, LockLost if it was lost. After any other error it is given up in the
        background.
        """
        owner = _task()
        kept = self._flows.kept
        if kept is not None and kept.seat.rest(owner):
            return
        state = self._flows.leave(owner)
        if state != "idle":
            await self._carrier.run(self._flows.left(owner, state, timeout))

    async def __aenter__(self) -> AsyncStickyLock:
        if not await self.acquire():
            raise await self._carrier.run(self._flows.blocked())
        kept = self._flows.kept
        assert kept is not None, "what is held is kept"
        kept.body = Body()
        if kept.grant.over is not None:
            kept.body.lost(kept.grant.over)  # before anybody was inside to be told
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        kept = self._flows.of(_task())
        body = None
        if kept is not None:
            body, kept.body = kept.body, None
        left = value if body is None else await body.left(value)
        try:
            await self.release()
        except QuorateError as error:
            if left is None:
                raise error from None
            noted(left, error)
        if left is not None and left is not value:
            raise left
