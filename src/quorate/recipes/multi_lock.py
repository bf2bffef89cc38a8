"""Several locks at once: taken one after the other in an order that is the same for everybody, so that nobody waits
in a circle, and given up together.

What each of them is stands in recipes/lock.py; this file knows only the order, and that all are held or none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, final

from quorate.client.flow import Flow
from quorate.client.keys import Key
from quorate.errors import InvalidArgument, LockLost, QuorateError, Rejected
from quorate.recipes._grant import Sight
from quorate.recipes.base import Place, TaskCarrier, Teller, ThreadCarrier, callback_of
from quorate.recipes.guard import TaskGuard, ThreadGuard
from quorate.recipes.held import Body
from quorate.recipes.lock import Holding, LockFlows

__all__ = ["AsyncMultiLock", "MultiFlows", "MultiLock"]

LOCKS_MOST: Final = 256
"""Locks that are taken as one."""


@final
class Several:
    """What an owner holds of all the locks, in their order."""

    def __init__(self, holdings: list[Holding]) -> None:
        self.holdings: Final = holdings

    @property
    def body(self) -> Body | None:
        """The block in which their owner is, in asyncio."""
        return self.holdings[0].body

    def enter(self, body: Body) -> None:
        """Their owner is in this block, which is told of the first loss."""
        for each in self.holdings:
            each.enter(body)

    def leave(self) -> Body | None:
        """Their owner has come to the end of the block."""
        first, *_ = [each.leave() for each in self.holdings]
        return first


@final
class MultiFlows:
    """What several locks do as one. ``owner`` is who asks: a thread or a task."""

    def __init__(
        self,
        place: Place,
        names: Iterable[Key],
        *,
        lease: float,
        timeout: float | None,
        reentrant: bool,
        max_hold: float | None,
        on_suspect: Callable[[], Any] | None,
        on_lost: Callable[[str], Any] | None,
    ) -> None:
        if isinstance(names, (str, bytes)):
            raise InvalidArgument(f"names are several, as in a list, and not {names!r}")
        self.names: Final = tuple(names)
        if not 1 <= len(self.names) <= LOCKS_MOST:
            raise InvalidArgument(f"1 to {LOCKS_MOST} locks are taken as one, not {len(self.names)}")
        self.place: Final = place
        self.timeout: Final = place.seconds(timeout)
        self._lock = threading.Lock()
        self._on_lost = callback_of(on_lost, "on_lost")
        self._told = False  # since the last acquisition
        self._blocking: LockFlows | None = None  # that was not granted in time
        found: dict[bytes, tuple[Key, LockFlows]] = {}
        for name in self.names:
            flows = LockFlows(
                place, name, lease=lease, timeout=timeout, reentrant=reentrant, max_hold=max_hold,
                on_suspect=None if found else on_suspect, on_lost=self._lost if on_lost is not None else None,
            )  # fmt: skip
            flows.sight = Sight()
            found.setdefault(flows.name, (name, flows))
        # Bytes of the whole names: the same order in every program, whatever the order in which they were given.
        self.locks: Final = [found[name] for name in sorted(found)]

    def _lost(self, why: str) -> None:
        with self._lock:
            told, self._told = self._told, True
        if not told and self._on_lost is not None:
            return self._on_lost(why)  # type: ignore[no-any-return]  # may be awaitable, which the carrier awaits
        return None

    @property
    def label(self) -> str:
        """What it is, in words."""
        return f"the locks {', '.join(repr(flows.shown) for _, flows in self.locks)}"

    def depth(self, owner: object) -> int:
        """How often this one has acquired them and not released them."""
        return min(flows.depth(owner) for _, flows in self.locks)

    def of(self, owner: object) -> Several | None:
        """What this one holds, or else the only one that there is."""
        found = [flows.of(owner) for _, flows in self.locks]
        holdings = [each for each in found if each is not None]
        return Several(holdings) if len(holdings) == len(found) else None

    def acquire(self, teller: Teller, owner: object, timeout: float | None) -> Flow[bool]:
        """Whether all were granted in time; else none is held."""
        limit = self.timeout if timeout is None else self.place.seconds(timeout)
        deadline = time.monotonic() + limit
        depths: list[tuple[LockFlows, int]] = []
        self._blocking = None
        if not self.depth(owner):
            self._told = False
        try:
            for _, flows in self.locks:
                depths.append((flows, flows.depth(owner)))
                left = max(deadline - time.monotonic(), 0.0)
                if not (yield from flows.acquire(teller, owner, left)):
                    self._blocking = flows
                    break
        except BaseException:
            self._undo(owner, depths)
            raise
        if self._blocking is not None:
            self._undo(owner, depths)
        return self._blocking is None

    def _undo(self, owner: object, depths: list[tuple[LockFlows, int]]) -> None:
        for flows, depth in reversed(depths):
            flows.undo(owner, depth)

    def undo(self, owner: object, depth: int) -> None:
        """An acquisition was interrupted: as it was before, ``depth`` times held."""
        self._undo(owner, [(flows, depth) for _, flows in self.locks])

    def blocked(self) -> Flow[QuorateError]:
        """Why they were not granted in time."""
        flows = self._blocking or self.locks[0][1]
        return flows.blocked()

    def leave(self, owner: object, token: int | None = None) -> Several | None:
        """What this one, or whoever has this token for the first of them, has to give up now; None if all are held once
        more. Raises Rejected."""
        owner = self.locks[0][1].owner_of(owner, token)
        if not self.depth(owner):
            raise Rejected(f"{self.label} are not held by the one who releases them")
        left = [flows.leave(owner) for _, flows in self.locks]
        found = [each for each in left if each is not None]
        return Several(found) if found else None

    def release(self, holding: Several, timeout: float | None) -> Flow[None]:
        """Gives all of them up. Raises the first LockLost, when the others are given up."""
        lost: LockLost | None = None
        given = {each.name: each for each in holding.holdings}
        for _, flows in reversed(self.locks):
            if flows.name in given:
                try:
                    yield from flows.release(given[flows.name], timeout)
                except LockLost as error:
                    lost = lost or error
        if lost is not None:
            raise lost

    def drop(self, holding: Several) -> None:
        """Takes them from the tables and gives them up in the background."""
        given = {each.name: each for each in holding.holdings}
        for _, flows in reversed(self.locks):
            if flows.name in given:
                flows.drop(given[flows.name])

    def __repr__(self) -> str:
        held = sum(flows.sight.held for _, flows in self.locks)
        return f"{', '.join(repr(flows.shown) for _, flows in self.locks)}: {held} of {len(self.locks)} held"


class MultiLockView:
    """What several locks tell at once, the same in threads and in asyncio."""

    def __init__(self, flows: MultiFlows) -> None:
        self._locks = flows

    def _owner(self) -> object:
        raise NotImplementedError

    @property
    def tokens(self) -> dict[Key, int]:
        """The fencing token of each, by the names as they were given, in the order in which they are taken. Raises
        Rejected if they are not acquired."""
        found: dict[Key, int] = {}
        for name, flows in self._locks.locks:
            grant = flows.grant(self._owner())
            if grant is None:
                raise Rejected(f"{self._locks.label} are not held, so that there are no tokens")
            found[name] = grant.token
        return found

    @property
    def held(self) -> bool:
        """Whether all of them are certainly held, by the local clock and without asking anybody."""
        grants = [flows.grant(self._owner()) for _, flows in self._locks.locks]
        return all(grant is not None and grant.held() for grant in grants)

    @property
    def remaining(self) -> float:
        """Seconds for which all of them are certainly held if nothing more is heard from the cluster; 0 if they are
        not."""
        grants = [flows.grant(self._owner()) for _, flows in self._locks.locks]
        return min(0.0 if grant is None else grant.remaining for grant in grants)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.removeprefix('Async')} {self._locks!r}>"


@final
class MultiLock(ThreadGuard, MultiLockView):
    """Several locks as one: all are held, or none. A context manager, made by :meth:`quorate.Client.multi_lock`.

    They are taken in the order of the bytes of their names, and each excludes whoever takes it alone, too. Two programs
    that take several never wait for each other in a circle, if each takes all that it needs by one multi-lock.

    * CONNECTED: ``held`` is true, and all of them are certainly held.
    * SUSPENDED: all are held for ``remaining`` seconds more; ``on_suspect()`` was called.
    * LOST: ``held`` is false as soon as one of them is not held; ``on_lost(why)`` was called, and leaving the block, or
      :meth:`release`, raises LockLost. Those that were not lost are given up there.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     with client.multi_lock(["accounts/9", "accounts/4"]) as both:
    ...         both.held, list(both.tokens)
    (True, ['accounts/4', 'accounts/9'])
    """

    def __init__(self, flows: MultiFlows, carrier: ThreadCarrier) -> None:
        MultiLockView.__init__(self, flows)
        ThreadGuard.__init__(self, flows, carrier)


@final
class AsyncMultiLock(TaskGuard, MultiLockView):
    """As :class:`quorate.MultiLock`, with ``async with`` and ``await``; the body is cancelled when one of them is
    lost."""

    def __init__(self, flows: MultiFlows, carrier: TaskCarrier) -> None:
        MultiLockView.__init__(self, flows)
        TaskGuard.__init__(self, flows, carrier)
