"""The ring of a group: a consistent-hash ring of its members that follows them.

What it shows is always a whole `quorate.ring.Ring`, the value of one revision of the group. The following runs on the
client's attendant, so that looking a key up waits for nothing. How many points a member has and the seed of the hashes
are agreed by those who use the ring of a group, in the key `ring` beside its members.

Knows nothing of threads and event loops but for the faces at the end.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, final

from quorate.client.attendant import Errand
from quorate.client.flow import Flow, Pause
from quorate.client.keys import Key
from quorate.errors import InvalidArgument, QuorateError, Rejected
from quorate.recipes.base import Place, TaskCarrier, Teller, ThreadCarrier
from quorate.recipes.names import Name
from quorate.recipes.roster import GroupMember, Roster
from quorate.ring import Member, Move, Ring
from quorate.store import commands

__all__ = ["AsyncLiveRing", "LiveRing", "OnChange"]

LOOK_SECONDS: Final = 5.0
"""How long one question for further changes stays open, and so how old what is shown may be without anybody's
noticing."""
PAUSE_SECONDS: Final = 0.25
"""Between questions when there is nobody to ask."""

_log = logging.getLogger("quorate.recipes")

OnChange = Callable[[Ring, Ring, list[Move]], Any]
"""Gets the ring before, the ring now, and what moves: the ranges of hashes that change their owner, from whom to
whom."""


class _Follower:
    """Keeps a ring as its group is."""

    def __init__(self, place: Place, name: Key, vnodes: int, seed: int, teller: Teller) -> None:
        self.ring = Ring((), vnodes=vnodes, seed=seed)  # which checks both
        self.name: Final = Name(place, "group", name)
        self.closed = False
        self.show: Callable[[Ring], None] = lambda ring: None
        self.roster: Final = Roster(place, self.name)
        self._place = place
        self._teller = teller
        self._callbacks: list[OnChange] = []
        self._errand: Errand | None = None
        self._lock = threading.Lock()

    def begin(self, timeout: float | None) -> Flow[None]:
        """Reads the group, and follows it from then on."""
        limit = self._place.seconds(timeout)
        yield from self.name.look(limit)
        yield from self._agree(limit)
        yield from self.roster.read(limit)
        self.ring = self._made()
        self._errand = self._place.backend.attendant.start(self.follow())

    def _agree(self, limit: float) -> Flow[None]:
        """Writes how the ring of this group is made, if nobody has; raises Rejected if it is made otherwise."""
        key = self.name.key(b"ring")
        ours = b"vnodes=%d seed=%d" % (self.ring.vnodes, self.ring.seed)
        while True:
            found = yield from self._place.backend.get(key, False, limit)
            if found is None:
                none = commands.compare(key, "version", "==", 0)
                if (yield from self.name.write([none], [commands.do_put(key, ours)], limit)).succeeded:
                    return
                continue
            if found.value != ours:
                theirs = found.value.decode(errors="backslashreplace")
                raise Rejected(
                    f"the ring of the group {self.name} is made with {theirs}, and not with {ours.decode()}: all who "
                    "use it have to agree, or a key would have several owners"
                )
            return

    def follow(self) -> Flow[None]:
        """Goes on until it is closed."""
        while not self.closed:
            try:
                if (yield from self.roster.look(LOOK_SECONDS)):
                    self._publish()
            except Rejected:  # noqa: PERF203
                return  # the client is closed
            except QuorateError:
                yield Pause(PAUSE_SECONDS)

    def _made(self) -> Ring:
        members = []
        for each in self.roster.members.values():
            member = _member_of(each)
            if member is not None:
                members.append(member)
        return Ring(members, vnodes=self.ring.vnodes, seed=self.ring.seed, epoch=self.roster.changed)

    def _publish(self) -> None:
        with self._lock:
            old = self.ring
            new = self._made()
            if new == old:
                return  # data that no ring looks at
            self.ring = new
            callbacks = list(self._callbacks)
        self.show(new)
        if callbacks:
            moves = old.diff(new)
            for callback in callbacks:
                self._teller.tell(callback, old, new, moves)

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Calls back with each change; gives a function that ends it."""
        with self._lock:
            self._callbacks.append(callback)

        def end() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return end

    def close(self) -> None:
        """Follows no more."""
        self.closed = True
        with self._lock:
            self._callbacks.clear()
        if self._errand is not None:
            with contextlib.suppress(QuorateError):  # the client is closed, or of the parent process: it ended with it
                self._errand.cancel()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"as of {max(time.monotonic() - self.roster.heard, 0.0):.1f} s ago"
        return f"of the group {self.name}: {len(self.ring)} members, epoch {self.ring.epoch}, {state}"


def _member_of(each: GroupMember) -> Member | None:
    try:
        return Member(each.name, each.weight, each.zone)
    except (InvalidArgument, TypeError):  # somebody wrote it by hand
        _log.warning(
            "the member %r of a group fits into no ring: weight %r, zone %r", each.name, each.weight, each.zone
        )
        return None


class LiveRingView:
    """What a live ring tells, the same in threads and in asyncio."""

    __slots__ = ("__weakref__", "_follower", "_ring")

    def __init__(self, follower: _Follower) -> None:
        self._follower = follower
        self._ring = follower.ring
        mine = weakref.ref(self)

        def show(ring: Ring) -> None:
            found = mine()
            if found is not None:
                found._ring = ring

        follower.show = show

    def __getitem__(self, key: Key) -> str:
        return self._ring[key]

    def nodes(self, key: Key, n: int, *, zones: bool = False) -> tuple[str, ...]:
        """The first ``n`` distinct members for a key, the owner first; with ``zones`` spread over as many zones as
        there are. As :meth:`quorate.ring.Ring.nodes`."""
        return self._ring.nodes(key, n, zones=zones)

    @property
    def ring(self) -> Ring:
        """The ring now: a value that does not change. Take it once for several look-ups that have to agree."""
        return self._ring

    @property
    def epoch(self) -> int:
        """The revision of the group that the ring shows. Two processes at the same epoch have equal rings, with equal
        fingerprints; a higher one is newer.

        It is the revision of the last change that this process saw, or at the beginning that at which it read the
        members; so processes that began at different times may show one ring under two epochs, until the next change.
        """
        return self._ring.epoch

    @property
    def age(self) -> float:
        """Seconds since it was known last that this is the ring. Beyond some ten, the cluster cannot be asked."""
        return max(time.monotonic() - self._follower.roster.heard, 0.0)

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Calls ``callback(old, new, moves)`` back with each change of the ring: two values, and the exact ranges of
        hashes that change their owner, as :meth:`quorate.ring.Ring.diff` gives them. Gives a function that ends it.

        In a thread of the client, which it should not keep for long; in asyncio in the event loop, where it may be a
        coroutine function. What it raises is logged. ``ring`` is the new one already.
        """
        return self._follower.on_change(callback)

    def __len__(self) -> int:
        return len(self._ring)

    def __contains__(self, member: object) -> bool:
        return member in self._ring

    def __bool__(self) -> bool:
        return True  # also an empty one

    def __del__(self) -> None:
        follower = getattr(self, "_follower", None)
        if follower is not None and not follower.closed:
            follower.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._follower}>"


@final
class LiveRing(LiveRingView):
    """The ring of a group's members, which follows them. Made by :meth:`Client.ring`. A context manager.

    ``live[key]`` is the member that owns a key: a look-up in this process, which asks nobody. While there is no member
    it raises EmptyRing. What it shows changes between two look-ups, and never within one.

    CONNECTED: it is the group as of some milliseconds ago. SUSPENDED: it stays as it was, and ``age`` grows; others may
    see a newer one. LOST: the same; it goes on by itself when there is a cluster, and skips nothing. At no time is it
    certain that no other process has another ring: an owner that must be alone takes a lock, or writes with
    ``if_fence=``.

    >>> import quorate
    >>> with quorate.local() as client, client.group("cache").join("c1"), client.ring("cache") as live:
    ...     live["user:42"], live.nodes("user:42", 1), live.ring.names
    ('c1', ('c1',), ('c1',))
    """

    __slots__ = ()

    def __init__(
        self, place: Place, carrier: ThreadCarrier, name: Key, vnodes: int, seed: int, timeout: float | None
    ) -> None:
        follower = _Follower(place, name, vnodes, seed, carrier)
        try:
            carrier.run(follower.begin(timeout))
        except BaseException:
            follower.close()
            raise
        super().__init__(follower)

    def close(self) -> None:
        """Follows no more; it shows the last ring. Does nothing the second time."""
        self._follower.close()

    def __enter__(self) -> LiveRing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@final
class AsyncLiveRing(LiveRingView):
    """As :class:`quorate.LiveRing`, with ``async with``. Looking up does not wait, and is not awaited."""

    __slots__ = ()

    async def close(self) -> None:
        """Follows no more; it shows the last ring. Does nothing the second time."""
        self._follower.close()

    async def __aenter__(self) -> AsyncLiveRing:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def opened(
    place: Place, carrier: TaskCarrier, name: Key, vnodes: int, seed: int, timeout: float | None
) -> AsyncLiveRing:
    """Makes the face for asyncio."""
    follower = _Follower(place, name, vnodes, seed, carrier)
    try:
        await carrier.run(follower.begin(timeout))
    except BaseException:
        follower.close()
        raise
    return AsyncLiveRing(follower)
