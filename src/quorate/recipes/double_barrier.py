"""A double barrier: parties begin a piece of work together, and end it together.

The logic is gather.py's; these are its faces.
"""

from __future__ import annotations

from types import TracebackType
from typing import final

from quorate.client.flow import Flow
from quorate.client.keys import Key
from quorate.errors import Rejected
from quorate.recipes.base import Place, TaskCarrier, ThreadCarrier
from quorate.recipes.gather import Gathering, Party

__all__ = ["AsyncDoubleBarrier", "DoubleBarrier"]


class _Flows:
    """What one party does."""

    __slots__ = ("entering", "gathering", "party")

    def __init__(self, place: Place, name: Key, parties: int, lease: float) -> None:
        self.gathering = Gathering(place, "double_barrier", name, parties, lease, stay=True)
        self.party: Party | None = None
        self.entering = False

    def enter(self, timeout: float | None) -> Flow[int]:
        """Comes, and waits for the others."""
        if self.entering or self.party is not None:
            raise Rejected(
                f"this party of the double barrier {self.gathering} is inside or entering; each party makes an object "
                "of its own"
            )
        self.entering = True
        try:
            self.party = yield from self.gathering.gather(timeout)
        finally:
            self.entering = False
        return self.party.place

    def abandon(self) -> None:
        """Goes without waiting."""
        party, self.party = self.party, None
        if party is not None:
            self.gathering.abandon(party)

    def leave(self, timeout: float | None) -> Flow[None]:
        """Goes, and waits for the others."""
        if self.party is None:
            raise Rejected(f"this party of the double barrier {self.gathering} is not inside")
        yield from self.gathering.leave(self.party, timeout)
        self.party = None

    def __repr__(self) -> str:
        state = "outside" if self.party is None else f"inside in round {self.party.round}"
        return f"{self.gathering}, {state}"


@final
class DoubleBarrier:
    """One of ``parties`` that begin something together and end it together, in any processes; made by
    :meth:`Client.double_barrier`, one object for each party. A context manager: enters, and leaves at the end.

    Who is inside belongs to its client's session (``lease`` seconds): a party whose process dies has left. A new round
    is entered when all of the last one have left.

    CONNECTED: behind ``enter`` all parties were there at one moment, behind ``leave`` all have left. SUSPENDED: calls
    wait on; the others may have been released already. LOST: this party has left without doing anything, and ``enter``
    that waited raises SessionLost.

    >>> import quorate
    >>> with quorate.local() as client, client.double_barrier("run", 1) as party:
    ...     party.inside
    True
    """

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: ThreadCarrier, name: Key, parties: int, lease: float) -> None:
        self._flows = _Flows(place, name, parties, lease)
        self._carrier = carrier

    @property
    def parties(self) -> int:
        """How many have to come."""
        return self._flows.gathering.parties

    @property
    def inside(self) -> bool:
        """Whether it has entered and not left, and its session is certainly alive."""
        party = self._flows.party
        return party is not None and party.lane.held()

    def enter(self, timeout: float | None = None) -> int:
        """Waits until all have come; gives this one's place among them, 0 for who came first.

        Raises NotHappened if they have not within ``timeout`` seconds (None: the client's own), having left again;
        Rejected if it is inside, or the name is used with another number of parties or for something else; SessionLost.
        """
        try:
            return self._carrier.run(self._flows.enter(timeout))
        except (KeyboardInterrupt, SystemExit):  # perhaps behind the end of the flow
            self._flows.abandon()
            raise

    def leave(self, timeout: float | None = None) -> None:
        """Leaves, and waits until all have. Raises NotHappened if they have not in time: this one has left even so, and
        calling it again waits on. Rejected if it is not inside."""
        self._carrier.run(self._flows.leave(timeout))

    def __enter__(self) -> DoubleBarrier:
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def __repr__(self) -> str:
        return f"<DoubleBarrier {self._flows}>"


@final
class AsyncDoubleBarrier:
    """As :class:`quorate.DoubleBarrier`, with ``await`` and ``async with``; a cancelled ``enter`` has left again."""

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: TaskCarrier, name: Key, parties: int, lease: float) -> None:
        self._flows = _Flows(place, name, parties, lease)
        self._carrier = carrier

    @property
    def parties(self) -> int:
        """How many have to come."""
        return self._flows.gathering.parties

    @property
    def inside(self) -> bool:
        """Whether it has entered and not left, and its session is certainly alive."""
        party = self._flows.party
        return party is not None and party.lane.held()

    async def enter(self, timeout: float | None = None) -> int:
        """Waits until all have come; gives this one's place among them, 0 for who came first."""
        return await self._carrier.run(self._flows.enter(timeout))

    async def leave(self, timeout: float | None = None) -> None:
        """Leaves, and waits until all have."""
        await self._carrier.run(self._flows.leave(timeout))

    async def __aenter__(self) -> AsyncDoubleBarrier:
        await self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    def __repr__(self) -> str:
        return f"<aio.DoubleBarrier {self._flows}>"
