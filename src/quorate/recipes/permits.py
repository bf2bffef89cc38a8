"""The permit queue as flows: taking a place, waiting in it, giving it up, and watching what is held.

Locks, semaphores, read-write locks and elections are this with other kinds and capacities. Knows nothing of them, nor
of threads and event loops. Names are bytes in full length.

An acquisition is (session, number). The number is chosen before anything is sent and unique in this process, so asking
again gives the same answer. Whatever ends a wait, also Ctrl-C and the cancellation of a task, hands a withdrawal in
behind it on the same session, which the native side repeats until it is applied: nothing is left behind.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from typing import Final, final

from quorate.client.attendant import Errand
from quorate.client.backend import Backend, Lane
from quorate.client.flow import Answer, Flow, Pause
from quorate.client.outcomes import checked
from quorate.errors import (
    Indeterminate,
    LimitExceeded,
    LockLost,
    NoQuorum,
    NotHappened,
    NotLeader,
    Overloaded,
    QuorateError,
    RequestTimeout,
    SessionLost,
)
from quorate.recipes._grant import Grant
from quorate.recipes.base import Place
from quorate.store import commands
from quorate.store.views import Acquisition, EventKind, Permit, PermitKind, Result, Status

__all__ = ["Grant", "Hold", "acquire", "look", "release", "wall_ms", "withdraw"]

FOREVER: Final = 1e9
"""Seconds: of what is repeated until it is applied, or the session is over."""
SLICE_SECONDS: Final = 2.0
"""How long one question for a grant stays open, and so how late a waiter learns that its session is lost."""
RETRY_SECONDS: Final = 0.02
"""How long a waiter pauses when there is nobody to ask."""
YOUNG_SECONDS: Final = 0.5
"""What is held for less is not watched for a forced release: short critical sections pay nothing for it."""
LOOK_SECONDS: Final = 30.0
"""How long one look at the history of a lock stays open."""
SUSPECT_SHARE: Final = 0.4
"""Of the lease: with less than this left the renewals do not come through."""

_acquisitions = itertools.count(1)


def acquire(
    place: Place,
    name: bytes,
    *,
    kind: PermitKind,
    lease: float,
    timeout: float,
    capacity: int = 1,
    units: int = 1,
    value: bytes = b"",
    wait: bool = True,
    lane: Lane | None = None,
) -> Flow[Grant | None]:
    """Takes a place in the queue of a name, and waits for its grant; None if it is not granted within ``timeout``
    seconds, or with ``wait=False`` not at once. Then, and whatever is raised, the place is given up.

    Without ``lane`` it is taken in the session that all recipes with this lease share; if that is lost while it waits,
    it begins anew in another one, at the end of the queue. Raises Rejected (another kind or capacity is in use under
    this name), LimitExceeded, NoQuorum and the like, and SessionLost if the lane that was given is over.
    """
    # A try decides at once, so that its time is that of any other question.
    deadline = time.monotonic() + (timeout if wait else max(timeout, place.timeout))
    while True:
        through = place.backend.pooled(lease) if lane is None else lane
        try:
            return (yield from _attempt(place, through, name, kind, capacity, units, value, wait, deadline))
        except LockLost:
            raise
        except SessionLost as lost:
            refused = place.backend.refusal(through)
            if refused is not None:
                raise refused from lost
            if lane is not None:
                raise
            if time.monotonic() >= deadline:
                raise NotHappened(f"the session was lost while {_shown(name)} was waited for: {lost}") from lost
        yield Pause(RETRY_SECONDS)


def _attempt(
    place: Place,
    lane: Lane,
    name: bytes,
    kind: PermitKind,
    capacity: int,
    units: int,
    value: bytes,
    wait: bool,
    deadline: float,
) -> Flow[Grant | None]:
    """One acquisition in one session."""
    acquisition = next(_acquisitions)
    command = commands.acquire(
        name, session=1, acquisition=acquisition, kind=kind, capacity=capacity, units=units, wait=wait, value=value,
        now_ms=wall_ms(),
    )  # fmt: skip
    placed = False
    try:
        _, encoded = yield lane.submit(command, max(deadline - time.monotonic(), 0.0))
        result = Result.decode(encoded)
        if result.status is Status.WOULD_BLOCK:
            return None
        checked(result)
        placed = True
        token = result.number
        if not result.granted:
            token = yield from _granted(place.backend, lane, name, acquisition, result.revision, deadline)
            if not token:
                withdraw(place.backend, lane, acquisition)
                return None
        if not lane.held():
            # It may be another's by now: a process that was stopped learns of its own grant late.
            raise SessionLost(f"the session was lost before {_shown(name)} was known to be granted")
        return Grant(name, lane, acquisition, token, units)
    except RequestTimeout:
        withdraw(place.backend, lane, acquisition)
        if wait and time.monotonic() >= deadline:
            return None
        raise
    except (NotHappened, LimitExceeded) as error:
        if placed:
            withdraw(place.backend, lane, acquisition)
        if wait and type(error) is NotHappened and time.monotonic() >= deadline:
            return (
                None  # its turn to be sent did not come in time; who cannot be reached at all is told by another error
            )
        raise
    except BaseException:
        withdraw(place.backend, lane, acquisition)
        raise


def _granted(backend: Backend, lane: Lane, name: bytes, acquisition: int, since: int, deadline: float) -> Flow[int]:
    """The token, once it is granted; 0 if it is not before the deadline."""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return 0
        if lane.state not in ("open", "opening"):
            raise SessionLost(f"the session was lost while {_shown(name)} was waited for: {lane.loss or lane.state}")
        try:
            found = yield from backend.granted(lane.session, acquisition, since, min(left, SLICE_SECONDS))
        except (NotLeader, NoQuorum, Overloaded, Indeterminate):
            # Nobody to ask now. The place stands in the replicated queue, so nothing is missed.
            yield Pause(max(min(RETRY_SECONDS, left), 0.0))
            continue
        if found is None:
            raise SessionLost(f"the session was over while {_shown(name)} was waited for")
        if found.state == "revoked":
            raise LockLost(_forced(found))
        if found.token:
            return found.token


def release(place: Place, grant: Grant, timeout: float) -> Flow[None]:
    """Gives up what is held. Raises LockLost if it was not held any more; whatever else it raises, the grant is given
    up in the background, as soon as there is a cluster to tell."""
    lane = grant.lane
    before = grant.over
    grant.over = before or "it was released"
    try:
        _, encoded = yield lane.submit(commands.release(session=1, acquisition=grant.acquisition), timeout)
    except SessionLost as lost:
        raise LockLost(
            f"{_shown(grant.name)} was not held any more: {before or lane.loss or lost}", outcome=lost.outcome
        ) from None
    except BaseException:
        withdraw(place.backend, lane, grant.acquisition)
        raise
    result = Result.decode(encoded)
    if result.status is Status.NOT_HELD:
        raise LockLost(f"{_shown(grant.name)} was not held any more: {before or 'its acquisition is over'}")
    checked(result)


def withdraw(backend: Backend, lane: Lane, acquisition: int) -> None:
    """Gives an acquisition up, whether it waits or holds or never was: sent at once, and again until it is applied.

    Never blocks and never raises, for it stands where something else is being raised.
    """
    command = commands.cancel(session=1, acquisition=acquisition)
    answer: Answer | None = None
    try:
        answer = lane.submit(command, FOREVER)
    except (NotHappened, MemoryError):
        pass  # no room now
    except QuorateError:
        return  # the session is over, and all of its places went with it
    try:
        backend.attendant.start(_see_through(lane, command, answer))
    except QuorateError:
        pass  # the client is closed: so is the session


def _see_through(lane: Lane, command: bytes, answer: Answer | None) -> Flow[None]:
    while True:
        try:
            if answer is None:
                answer = lane.submit(command, FOREVER)
            yield answer
            return
        except NotHappened:
            answer = None  # no room now
        except QuorateError:
            return  # the session is over, or the engine
        yield Pause(RETRY_SECONDS)


def wall_ms() -> int:
    """The time of day, for operators: nothing is decided by it."""
    return time.time_ns() // 1_000_000


def look(place: Place, name: bytes, timeout: float, limit: int = 100) -> Flow[Permit | None]:
    """Who holds and who waits, linearizably; None if the name was never used, or not for long."""
    return place.backend.permit(name, limit, timeout)


def _shown(name: bytes) -> str:
    return f"the lock {name.decode(errors='backslashreplace')!r}"


def _forced(found: Acquisition) -> str:
    why = found.reason.decode(errors="replace")
    return f"it was taken away by an operator: {why or 'no reason given'}"


@final
class Hold:
    """Watches a grant while it is held, and tells once when it is lost; ``on_suspect`` each time that it is in doubt.

    The loss of the session comes natively, at its local deadline and ahead of the cluster. A forced release is noticed
    by a parked look at the history of the lock, which begins when the grant is half a second old; with ``on_wait`` at
    once, because that is called whenever somebody waits.
    """

    def __init__(
        self,
        place: Place,
        grant: Grant,
        on_lost: Callable[[str], None],
        on_suspect: Callable[[], None] | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        self._place = place
        self._grant = grant
        self._on_lost = on_lost
        self._on_suspect = on_suspect
        self._on_wait = on_wait
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._ended = False
        self._suspended = False  # the cluster cannot be reached
        self._late = False  # a renewal is overdue
        self._errands: list[Errand] = []
        backend = place.backend
        self._end_lane = backend.on_lane(grant.lane, self._lane_says)
        if grant.lane.state == "lost":  # before somebody listened
            self._lane_says("lost")
            return
        if on_wait is not None:
            self._grown()
        else:
            self._errands.append(backend.attendant.at(grant.since + YOUNG_SECONDS, self._grown))

    def end(self) -> None:
        """Watches no more: it is being released. Returns at once."""
        if self._process != os.getpid():
            return  # nothing watches in a forked child, and a thread of the parent may have held the lock
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._end_lane()
        for errand in self._errands:
            errand.cancel()

    def lost(self, why: str) -> None:
        """It is not held any more, and its holder is told; once."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._grant.over = why
        self._end_lane()
        for errand in self._errands:
            errand.cancel()
        self._on_lost(why)

    def _lane_says(self, what: str) -> None:
        if what == "lost":
            self.lost(self._grant.lane.loss or "its session is lost")
        elif what in ("suspended", "connected"):
            self._doubt(suspended=what == "suspended")

    def _doubt(self, *, suspended: bool | None = None, late: bool | None = None) -> None:
        with self._lock:
            before = self._suspended or self._late
            self._suspended = self._suspended if suspended is None else suspended
            self._late = self._late if late is None else late
            tell = not before and (self._suspended or self._late) and not self._ended
        if tell and self._on_suspect is not None:
            self._on_suspect()

    # On the attendant

    def _grown(self) -> None:
        """It is held for longer than a moment, so that it is worth watching."""
        attendant = self._place.backend.attendant
        with self._lock:
            if self._ended:
                return
            self._errands[:] = [attendant.start(self._watch())]
        if self._on_suspect is not None:
            self._measure()

    def _measure(self) -> None:
        """Looks now and then whether the renewals come through, which a connection that hangs does not tell."""
        lane = self._grant.lane
        left = lane.deadline - time.monotonic()
        self._doubt(late=left < SUSPECT_SHARE * lane.ttl)
        following = self._place.backend.attendant.at(time.monotonic() + lane.ttl / 8, self._measure)
        with self._lock:
            if not self._ended:
                self._errands[1:] = [following]
                return
        following.cancel()

    def _watch(self) -> Flow[None]:
        """Waits for the end of the grant in the cluster."""
        grant, backend = self._grant, self._place.backend
        after = grant.token
        looked = False
        while not self._ended:
            try:
                if self._on_wait is not None and not looked:
                    # Who began to wait before the grant is not in what follows it.
                    queue = yield from look(self._place, grant.name, LOOK_SECONDS, 1)
                    looked = True
                    if queue is not None and queue.waiters:
                        self._on_wait()
                found = yield from backend.events(grant.name, grant.name + b"\0", after, True, LOOK_SECONDS)
                gone = found.compacted or any(
                    event.kind in (EventKind.REVOKE, EventKind.RELEASE)
                    and (event.session, event.acquisition) == (grant.lane.session, grant.acquisition)
                    for event in found.events
                )
                if gone:
                    standing = yield from backend.acquisition(grant.lane.session, grant.acquisition, LOOK_SECONDS)
                    if standing is None:
                        self.lost("its session is over")
                    elif standing.state == "revoked":
                        self.lost(_forced(standing))
                if self._on_wait is not None and any(event.kind is EventKind.WAIT for event in found.events):
                    self._on_wait()
            except (NotHappened, Indeterminate):
                yield Pause(RETRY_SECONDS * 5)
                continue
            after = max(after, found.complete, found.first_available if found.compacted else 0)
            looked = looked and not found.compacted
