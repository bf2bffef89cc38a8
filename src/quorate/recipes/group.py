"""A group: members with data, each there as long as its process lives, and everybody may see who they are.

Knows nothing of threads and event loops but for the faces at the end; membership.py keeps members, roster.py
reads them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, final

from quorate.client.flow import Flow, seconds
from quorate.client.keys import Key, Value, value_of
from quorate.errors import QuorateError
from quorate.recipes.base import Place, TaskCarrier, Teller, ThreadCarrier, lease_of
from quorate.recipes.membership import UNSET, Seat, Unset, member_of
from quorate.recipes.names import Name, asking
from quorate.recipes.opening import Opening
from quorate.recipes.roster import Change, GroupMember, Roster

__all__ = ["AsyncGroup", "AsyncGroupWatch", "AsyncMembership", "Group", "GroupWatch", "Membership"]

LOOK_SECONDS: Final = 30.0
"""How long one question for further changes stays open."""
SLICE_SECONDS: Final = 1.0
"""How soon an iterating thread notices that another one closed its watch."""


class _Flows:
    """What a group does."""

    __slots__ = ("name", "place")

    def __init__(self, place: Place, name: Key) -> None:
        self.place = place
        self.name = Name(place, "group", name)

    def members(self, timeout: float | None) -> Flow[list[GroupMember]]:
        """All, in the order of their names."""
        limit = self.place.seconds(timeout)
        roster = Roster(self.place, self.name)
        yield from roster.read(limit)
        if not roster.members:
            yield from self.name.look(limit)
        return [roster.members[name] for name in sorted(roster.members)]

    def joining(
        self,
        member: str,
        data: Value,
        weight: float,
        zone: str | None,
        lease: float,
        rejoin: bool,
        teller: Teller,
        on_lost: Callable[[str], Any] | None,
    ) -> Seat:
        """A seat that is not taken yet."""
        return Seat(
            self.name, member_of(member, weight, zone), value_of(data), lease_of(lease), bool(rejoin), teller, on_lost
        )


class MembershipView:
    """What a membership tells, the same in threads and in asyncio."""

    __slots__ = ("_carrier", "_seat")

    def __init__(self, seat: Seat, carrier: Any) -> None:
        self._seat = seat
        self._carrier = carrier

    @property
    def name(self) -> str:
        """The member's name."""
        return self._seat.member.name

    @property
    def data(self) -> bytes:
        """What others see."""
        return self._seat.data

    @property
    def weight(self) -> float:
        """Its weight in rings."""
        return self._seat.member.weight

    @property
    def zone(self) -> str | None:
        """Its zone in rings."""
        return self._seat.member.zone

    @property
    def held(self) -> bool:
        """Whether it is certainly a member, by the local clock and without asking anybody."""
        return self._seat.held()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._seat}>"


@final
class Membership(MembershipView):
    """A member of a group, as it knows itself. Made by :meth:`Group.join`. A context manager: leaves at the end."""

    __slots__ = ()

    def leave(self, *, timeout: float | None = None) -> None:
        """Is not a member any more. Does nothing the second time."""
        self._carrier.run(self._seat.leave(timeout))

    def update(
        self,
        data: Value | Unset = UNSET,
        *,
        weight: float | Unset = UNSET,
        zone: str | Unset | None = UNSET,
        timeout: float | None = None,
    ) -> None:
        """Changes what others see, at once. Raises Rejected if it is not a member any more, SessionLost if it is not
        now; if it joins again by itself, then with the new values."""
        self._carrier.run(self._seat.update(data, weight, zone, timeout))

    def __enter__(self) -> Membership:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


@final
class AsyncMembership(MembershipView):
    """As :class:`quorate.Membership`, with ``await`` and ``async with``."""

    __slots__ = ()

    async def leave(self, *, timeout: float | None = None) -> None:
        """Is not a member any more. Does nothing the second time."""
        await self._carrier.run(self._seat.leave(timeout))

    async def update(
        self,
        data: Value | Unset = UNSET,
        *,
        weight: float | Unset = UNSET,
        zone: str | Unset | None = UNSET,
        timeout: float | None = None,
    ) -> None:
        """Changes what others see, at once."""
        await self._carrier.run(self._seat.update(data, weight, zone, timeout))

    async def __aenter__(self) -> AsyncMembership:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()


class _Following:
    """Where a watch of a group stands."""

    __slots__ = ("changes", "closed", "name", "roster")

    def __init__(self, flows: _Flows) -> None:
        self.name = flows.name
        self.roster: Roster | None = None
        self.changes: deque[Change] = deque()
        self.closed = False

    def next(self, timeout: float, slice_seconds: float) -> Flow[Change | None]:
        """The next change."""
        deadline = time.monotonic() + timeout
        place = self.name.place
        while not self.changes and not self.closed:
            if self.roster is None:
                yield from self.name.look(asking(place, deadline))
                roster = Roster(place, self.name)
                self.changes.extend((yield from roster.read(asking(place, deadline))))
                self.roster = roster
                continue
            left = deadline - time.monotonic()
            if left < 0:
                return None
            self.changes.extend((yield from self.roster.look(min(left, slice_seconds))))
        return self.changes.popleft() if self.changes and not self.closed else None

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"at revision {self.roster.revision if self.roster is not None else 0}"
        return f"{self.name}, {state}"


@final
class GroupWatch:
    """An iterator of the changes of a group, which begins with those who are there when it is first asked, as "joined".
    A context manager; :meth:`close` from any thread ends it. One thread at a time iterates.

    No member is missed and none stays that has left: if it was cut off for so long that the history is not kept, it
    compares what there is with what it knew, and tells the differences.
    """

    __slots__ = ("_carrier", "_following")

    def __init__(self, flows: _Flows, carrier: ThreadCarrier) -> None:
        self._following = _Following(flows)
        self._carrier = carrier

    def next(self, timeout: float = 5.0) -> Change | None:
        """The next change, or None if there is none within ``timeout`` seconds, or the watch is closed."""
        return self._carrier.run(self._following.next(seconds(timeout), SLICE_SECONDS))

    def close(self) -> None:
        """Ends it: a thread that iterates comes out of its loop. Does nothing the second time."""
        self._following.closed = True

    def __iter__(self) -> GroupWatch:
        return self

    def __next__(self) -> Change:
        while not self._following.closed:
            change = self.next(LOOK_SECONDS)
            if change is not None:
                return change
        raise StopIteration

    def __enter__(self) -> GroupWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<GroupWatch {self._following}>"


@final
class AsyncGroupWatch:
    """As :class:`quorate.GroupWatch`, with ``async for``, ``await watch.next()`` and ``async with``."""

    __slots__ = ("_carrier", "_following", "_looking")

    def __init__(self, flows: _Flows, carrier: TaskCarrier) -> None:
        self._following = _Following(flows)
        self._carrier = carrier
        self._looking: asyncio.Task[Change | None] | None = None

    async def next(self, timeout: float = 5.0) -> Change | None:
        """The next change, or None if there is none within ``timeout`` seconds, or the watch is closed."""
        self._looking = asyncio.ensure_future(self._carrier.run(self._following.next(seconds(timeout), LOOK_SECONDS)))
        try:
            return await self._looking
        except asyncio.CancelledError:
            # Cancelled with its asker, or by close() alone.
            if not (self._following.closed and self._looking.cancelled()):
                raise
            return None
        finally:
            self._looking = None

    async def close(self) -> None:
        """Ends it: who iterates comes out of the loop. Does nothing the second time."""
        self._following.closed = True
        if self._looking is not None:
            self._looking.cancel()

    def __aiter__(self) -> AsyncGroupWatch:
        return self

    async def __anext__(self) -> Change:
        while not self._following.closed:
            change = await self.next(LOOK_SECONDS)
            if change is not None:
                return change
        raise StopAsyncIteration

    async def __aenter__(self) -> AsyncGroupWatch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<aio.GroupWatch {self._following}>"


@final
class Group:
    """Members with data, each there as long as its process lives. Made by :meth:`Client.group`.

    CONNECTED: what :meth:`members` gives is the group at that moment. SUSPENDED: nothing new is known; a member is one
    as long as its ``held`` says so. LOST: the client's own members are gone for the others; those that may join again
    do so by themselves as soon as there is a cluster.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     workers = client.group("workers")
    ...     with workers.join("w1", b"10.0.0.1:80"), workers.join("w2", weight=2.0):
    ...         [(each.name, each.data, each.weight) for each in workers.members()]
    ...     workers.members()
    [('w1', b'10.0.0.1:80', 1.0), ('w2', b'', 2.0)]
    []
    """

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: ThreadCarrier, name: Key) -> None:
        self._flows = _Flows(place, name)
        self._carrier = carrier

    def join(
        self,
        member: str,
        data: Value = b"",
        *,
        weight: float = 1.0,
        zone: str | None = None,
        lease: float = 10.0,
        rejoin: bool = True,
        on_lost: Callable[[str], Any] | None = None,
        timeout: float | None = None,
    ) -> Membership:
        """Becomes a member, until it leaves, the client is closed, or its session ends: ``lease`` seconds after its
        process was heard of last, or at once when a node on the same host sees it exit.

        ``member`` is a name of up to 255 bytes. ``weight`` (above 0) and ``zone`` are for rings. ``rejoin``: after a
        loss of the session it joins again by itself. ``on_lost(why)`` is called when it is not a member any more and
        will not be again. Raises Rejected if a member of this name is there, with the one that has it; InvalidArgument.
        """
        seat = self._flows.joining(member, data, weight, zone, lease, rejoin, self._carrier, on_lost)
        try:
            self._carrier.run(seat.join(self._flows.place.seconds(timeout)))
            return Membership(seat, self._carrier)
        except QuorateError:
            raise
        except BaseException:  # Ctrl-C behind the end of the flow
            seat.abandon()
            raise

    def members(self, *, timeout: float | None = None) -> list[GroupMember]:
        """The members, in the order of their names, with everybody who had joined anywhere before the call."""
        return self._carrier.run(self._flows.members(timeout))

    def watch(self) -> GroupWatch:
        """The members and what changes: see :class:`GroupWatch`."""
        return GroupWatch(self._flows, self._carrier)

    def __repr__(self) -> str:
        return f"<Group {self._flows.name}>"


@final
class AsyncGroup:
    """As :class:`quorate.Group`, with ``await``; ``async with group.join("w1") as membership``."""

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: TaskCarrier, name: Key) -> None:
        self._flows = _Flows(place, name)
        self._carrier = carrier

    def join(
        self,
        member: str,
        data: Value = b"",
        *,
        weight: float = 1.0,
        zone: str | None = None,
        lease: float = 10.0,
        rejoin: bool = True,
        on_lost: Callable[[str], Any] | None = None,
        timeout: float | None = None,
    ) -> Opening[AsyncMembership]:
        """Becomes a member: ``await`` it, or enter it with ``async with``."""
        seat = self._flows.joining(member, data, weight, zone, lease, rejoin, self._carrier, on_lost)
        limit = self._flows.place.seconds(timeout)

        async def joined() -> AsyncMembership:
            await self._carrier.run(seat.join(limit))
            return AsyncMembership(seat, self._carrier)

        return Opening(joined)

    async def members(self, *, timeout: float | None = None) -> list[GroupMember]:
        """The members, in the order of their names."""
        return await self._carrier.run(self._flows.members(timeout))

    def watch(self) -> AsyncGroupWatch:
        """The members and what changes: ``async for change in group.watch()``."""
        return AsyncGroupWatch(self._flows, self._carrier)

    def __repr__(self) -> str:
        return f"<aio.Group {self._flows.name}>"
