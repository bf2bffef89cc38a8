"""Locks: one holder at a time, served in order, right under every failure that a network and a process can produce.

What a lock is in the cluster is a permit of capacity 1 (recipes/permits.py). This file has what its users see: the
handle, who of its users holds, taking it again, and two thin faces. Knows nothing of other recipes.

A handle may be shared: each thread, or each task, that acquires it has an acquisition of its own in the queue of the
cluster, and gives up its own. What is asked of the handle by somebody who holds nothing is answered for the one who
does.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any, Final, final

from quorate.client.backend import Lane
from quorate.client.flow import Flow
from quorate.client.keys import Key, name_of
from quorate.errors import LockLost, NodeFailed, NotHappened, QuorateError, Rejected
from quorate.recipes._grant import Grant, Sight
from quorate.recipes.base import Place, TaskCarrier, Teller, ThreadCarrier, callback_of, lease_of
from quorate.recipes.guard import TaskGuard, ThreadGuard
from quorate.recipes.held import Body, Keeper
from quorate.recipes.inspection import Claim, blocked, claims, force_release
from quorate.store.views import PermitKind

__all__ = ["AsyncLock", "Lock", "LockFlows", "LockView"]


@final
class Holding(Keeper):
    """One acquisition of a lock, from the question to the release."""

    depth = 1
    """How often its owner has acquired it and not released it."""
    owner: object = None
    leaving = False
    """It is being given up."""
    body: Body | None = None
    """The block in which its owner is, in asyncio."""

    def enter(self, body: Body) -> None:
        """Its owner is in this block, which is told of a loss."""
        self.body = body

        def lost(why: str) -> None:
            if self.body is body:
                body.lost(why)

        self.inside(lost)
        if self.grant is not None and self.grant.over is not None:
            lost(self.grant.over)  # before anybody was inside to be told

    def leave(self) -> Body | None:
        """Its owner has come to the end of the block."""
        body, self.body = self.body, None
        self.inside(None)
        return body


@final
class LockFlows:
    """What a lock does. ``owner`` is who asks: a thread or a task."""

    def __init__(
        self,
        place: Place,
        name: Key,
        *,
        lease: float,
        timeout: float | None,
        reentrant: bool,
        max_hold: float | None,
        on_suspect: Callable[[], Any] | None,
        on_lost: Callable[[str], Any] | None,
    ) -> None:
        self.place: Final = place
        self.name: Final = name_of(name, place.prefix)
        self.lease: Final = lease_of(lease)
        self.timeout: Final = place.seconds(timeout)
        self.reentrant: Final = bool(reentrant)
        self.max_hold: Final = None if max_hold is None else lease_of(max_hold, "max_hold")
        self.on_suspect: Final = callback_of(on_suspect, "on_suspect")
        self.on_lost: Final = callback_of(on_lost, "on_lost")
        self.sight: Sight  # is shown the grant of the only one who holds; None also if there are several
        self._held: dict[object, Holding] = {}  # by owner
        self._spare: list[Lane] = []  # sessions for max_hold that are not in use
        self._lock = threading.Lock()
        self._process = os.getpid()

    @property
    def label(self) -> str:
        """What it is, in words."""
        return f"the lock {self.shown!r}"

    @property
    def shown(self) -> str:
        """Its name as its user gave it."""
        return self.name[len(self.place.prefix) :].decode(errors="backslashreplace")

    def _mine(self) -> None:
        """Before any lock is taken, which another thread may have held at the time of a fork."""
        if self._process != os.getpid():
            raise NodeFailed(
                f"{self.label} belongs to the parent process; connect again in the child",
                outcome=NotHappened("nothing was handed in"),
            )

    # Who holds

    def of(self, owner: object) -> Holding | None:
        """What this one holds, or else the only one that there is."""
        if self._process != os.getpid():
            return None
        with self._lock:
            found = self._held.get(owner)
            if found is None and len(self._held) == 1:
                (found,) = self._held.values()
            return found

    def grant(self, owner: object) -> Grant | None:
        """What this one holds, or else the only one that there is."""
        found = self.of(owner)
        return None if found is None else found.grant

    def _note(self) -> None:
        held = list(self._held.values())
        self.sight._sole = held[0].grant if len(held) == 1 else None

    def depth(self, owner: object) -> int:
        """How often this one has acquired it and not released it."""
        self._mine()
        with self._lock:
            found = self._held.get(owner)
            return 0 if found is None else found.depth

    # Acquiring

    def acquire(self, teller: Teller, owner: object, timeout: float | None) -> Flow[bool]:
        """Whether it was granted in time."""
        self._mine()
        with self._lock:
            mine = self._held.get(owner)
        if mine is not None:
            return self._again(mine)
        holding = Holding(
            self.place, self.name, PermitKind.MUTEX, noun="the lock", lease=self.lease, timeout=self.timeout,
            on_suspect=self.on_suspect, on_lost=self.on_lost,
        )  # fmt: skip
        if self.max_hold is not None:
            holding.lane = yield from self._lane()
        try:
            granted = yield from holding.acquire(teller, timeout)
            if granted and self.max_hold is not None and holding.lane is not None:
                holding.lane.limit(self.max_hold)
            with self._lock:
                if granted:
                    holding.owner = owner
                    self._held[owner] = holding
                    self._note()
        except BaseException:
            self.drop(holding)
            raise
        if not granted:
            self._give_back(holding)
        return granted

    def _again(self, mine: Holding) -> bool:
        grant = mine.grant
        assert grant is not None, "who holds was granted it"
        if not grant.held():
            why = grant.over or grant.lane.loss or "its lease is over"
            raise LockLost(f"{self.label} was lost: {why}; release it before it is acquired again")
        if not self.reentrant:
            raise Rejected(
                f"{self.label} is held by the one who asks for it, with the token {grant.token}, and who waited would "
                "wait for ever; reentrant=True counts instead"
            )
        mine.depth += 1
        return True

    def _lane(self) -> Flow[Lane]:
        """A session of its own: what limits its renewals must not end what others hold."""
        with self._lock:
            while self._spare:
                lane = self._spare.pop()
                if lane.held():
                    return lane
        return (yield from self.place.backend.open_lane(self.lease, "", self.place.timeout))

    def _give_back(self, holding: Holding) -> None:
        """The session of something that is not held any more."""
        lane, holding.lane = holding.lane, None
        if lane is not None and lane.held():
            lane.limit(None)
            with self._lock:
                self._spare.append(lane)

    def undo(self, owner: object, depth: int) -> None:
        """An acquisition was interrupted, and nobody knows how far it came: as it was before, ``depth`` times held."""
        if self._process != os.getpid():
            return
        with self._lock:
            holding = self._held.get(owner)
            if holding is None or holding.depth == depth:
                return
            if depth:
                holding.depth = depth
                return
        self.drop(holding)

    def _forget(self, holding: Holding) -> None:
        with self._lock:
            if self._held.get(holding.owner) is holding:
                del self._held[holding.owner]
                self._note()

    def drop(self, holding: Holding) -> None:
        """Takes it from the table and gives it up in the background, however far it came."""
        self._forget(holding)
        holding.abandon()
        self._give_back(holding)

    # Releasing

    def leave(self, owner: object, token: int | None = None) -> Holding | None:
        """What this one, or whoever has this token, has to give up now; None if it is held once more. Raises
        Rejected."""
        self._mine()
        with self._lock:
            holding = self._with(owner, token)
            if holding is None or holding.leaving:
                raise Rejected(f"{self.label} is not held {self._by(token)}")
            if holding.depth > 1:
                holding.depth -= 1
                return None
            holding.leaving = True
            return holding

    def _with(self, owner: object, token: int | None) -> Holding | None:
        """What this one releases: its own; what has the token; what a thread or task acquired that has ended since."""
        held = self._held.values()
        if token is not None:
            return next((each for each in held if each.grant is not None and each.grant.token == token), None)
        return self._held.get(owner) or next((each for each in held if _ended(each.owner)), None)

    def _by(self, token: int | None) -> str:
        """By whom it is not held, in words that say what to do."""
        if token is not None:
            return f"with the token {token}"
        others = [each.grant.token for each in self._held.values() if each.grant is not None and not each.leaving]
        if not others:
            return "by the one who releases it"
        return (
            "by the one who releases it; another thread or task holds it, and whoever may end that says "
            f"release(token={others[0]})"
        )

    def owner_of(self, owner: object, token: int | None) -> object:
        """For whom is released what this one releases; None: for nobody."""
        with self._lock:
            found = self._with(owner, token)
            return None if found is None else found.owner

    def release(self, holding: Holding, timeout: float | None) -> Flow[None]:
        """Gives it up, and takes it from the table."""
        try:
            yield from holding.release(timeout)
        finally:
            self._forget(holding)
            self._give_back(holding)

    def blocked(self) -> Flow[QuorateError]:
        """Why it was not granted in time."""
        return blocked(self.place, self.name, self.label)

    # What operators ask

    def claims(self, waiting: bool, timeout: float | None) -> Flow[list[Claim]]:
        """Holders or waiters."""
        found = yield from claims(self.place, self.name, self.place.seconds(timeout))
        return [each for each in found if each.waiting == waiting]

    def force_release(self, reason: str, token: int | None, timeout: float | None) -> Flow[int]:
        """Takes it away."""
        return force_release(self.place, self.name, self.label, reason, token, self.place.seconds(timeout))

    def __repr__(self) -> str:
        with self._lock:
            held = list(self._held.values())
        state = ", ".join(repr(each).removeprefix(f"{self.label}, ") for each in held) or "not held here"
        return f"{self.shown!r}, {state}, lease {self.lease:g} s"


def _ended(owner: object) -> bool:
    """Whether a thread or a task has ended, so that somebody else has to release what it acquired."""
    if isinstance(owner, threading.Thread):
        return not owner.is_alive()
    return owner is None or (isinstance(owner, asyncio.Future) and owner.done())


class LockView(Sight):
    """What a lock tells at once, the same in threads and in asyncio."""

    def __init__(self, flows: LockFlows) -> None:
        self._lock = flows
        flows.sight = self

    def _owner(self) -> object:
        raise NotImplementedError

    @property
    def token(self) -> int:
        """The fencing token of the grant, which grows with every grant: give it to whatever the lock guards.

        It stays what it was if the lock is lost, so that the guarded resource refuses it. Raises Rejected if it is not
        acquired.
        """
        grant = self._sole or self._lock.grant(self._owner())
        if grant is None:
            raise Rejected(f"{self._lock.label} is not held, so that there is no token")
        return grant.token

    def _held_by_caller(self) -> bool:
        grant = self._lock.grant(self._owner())
        return grant is not None and grant.held()

    @property
    def remaining(self) -> float:
        """Seconds for which it is certainly held if nothing more is heard from the cluster; 0 if it is not."""
        grant = self._lock.grant(self._owner())
        return 0.0 if grant is None else grant.remaining

    def __repr__(self) -> str:
        return f"<{type(self).__name__.removeprefix('Async')} {self._lock!r}>"


@final
class Lock(ThreadGuard, LockView):
    """A lock that excludes every other process of the cluster: a context manager, made by :meth:`quorate.Client.lock`.

    Who waits is served in order. What it guards is safe if it checks the token (``if_fence=`` on keys; a comparison
    elsewhere); without that every lock with a lease is a promise that a stopped process can break.

    * CONNECTED: ``held`` is true, and the lock is certainly held.
    * SUSPENDED: no leader can be reached. It is held for ``remaining`` seconds more; ``on_suspect()`` was called.
    * LOST: ``held`` is false. Others may hold it. ``on_lost(why)`` was called, before the cluster gave it away as long
      as this process ran; leaving the block, or :meth:`release`, raises LockLost.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     with client.lock("billing/nightly", lease=10.0) as lock:
    ...         revision = client.put("billing/last", b"today", if_fence=("billing/nightly", lock.token))
    ...         lock.held, revision > lock.token
    (True, True)
    """

    def __init__(self, flows: LockFlows, carrier: ThreadCarrier) -> None:
        LockView.__init__(self, flows)
        ThreadGuard.__init__(self, flows, carrier)

    def holders(self, *, timeout: float | None = None) -> list[Claim]:
        """Who holds it, with label and since when; by asking the cluster."""
        return self._carrier.run(self._lock.claims(False, timeout))

    def waiters(self, *, timeout: float | None = None) -> list[Claim]:
        """Who waits for it, in the order in which they will have it; the first 100 of holders and waiters."""
        return self._carrier.run(self._lock.claims(True, timeout))

    def force_release(self, reason: str, token: int | None = None, *, timeout: float | None = None) -> int:
        """Takes it away from its holder, for operators: the holder learns the ``reason``, and the cluster keeps it.

        ``token``: only if that grant holds it still. Gives from how many it was taken; Rejected if from none.
        """
        return self._carrier.run(self._lock.force_release(reason, token, timeout))


@final
class AsyncLock(TaskGuard, LockView):
    """As :class:`quorate.Lock`, with ``async with`` and ``await``. Each task that acquires it holds it for itself.

    If it is lost inside ``async with lock:``, the body is cancelled, and LockLost comes out of the block; the
    cancellation of the task by somebody else stays a cancellation. Callbacks run in the event loop, and may be
    coroutine functions.
    """

    def __init__(self, flows: LockFlows, carrier: TaskCarrier) -> None:
        LockView.__init__(self, flows)
        TaskGuard.__init__(self, flows, carrier)

    async def holders(self, *, timeout: float | None = None) -> list[Claim]:
        """Who holds it, with label and since when; by asking the cluster."""
        return await self._carrier.run(self._lock.claims(False, timeout))

    async def waiters(self, *, timeout: float | None = None) -> list[Claim]:
        """Who waits for it, in the order in which they will have it; the first 100 of holders and waiters."""
        return await self._carrier.run(self._lock.claims(True, timeout))

    async def force_release(self, reason: str, token: int | None = None, *, timeout: float | None = None) -> int:
        """Takes it away from its holder, for operators: the holder learns the ``reason``, and the cluster keeps it.

        ``token``: only if that grant holds it still. Gives from how many it was taken; Rejected if from none.
        """
        return await self._carrier.run(self._lock.force_release(reason, token, timeout))
