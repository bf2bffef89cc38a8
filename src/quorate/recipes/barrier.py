"""A barrier: parties wait until all have come, as `threading.Barrier` does, over any number of processes.

The logic is gather.py's; these are its faces.
"""

from __future__ import annotations

from typing import final

from quorate.client.flow import Flow
from quorate.client.keys import Key
from quorate.recipes.base import Place, TaskCarrier, ThreadCarrier
from quorate.recipes.gather import Gathering

__all__ = ["AsyncBarrier", "Barrier"]


class _Flows:
    """What a barrier does."""

    __slots__ = ("gathering",)

    def __init__(self, place: Place, name: Key, parties: int, lease: float) -> None:
        self.gathering = Gathering(place, "barrier", name, parties, lease, stay=False)

    def wait(self, timeout: float | None) -> Flow[int]:
        """Comes, and waits for the others."""
        return (yield from self.gathering.gather(timeout)).place


@final
class Barrier:
    """A place where ``parties`` wait for each other, in any processes; made by :meth:`Client.barrier`. When all have
    come, all go on, and the next round begins: it can be used again at once.

    Who waits belongs to its client's session (``lease`` seconds): a party whose process dies leaves, and one more has
    to come. Any number of threads may wait in one object, each as a party of its own.

    CONNECTED: a wait that returned was in a round of exactly ``parties``, who were all there at one moment. SUSPENDED:
    it waits on; the others may have gone on already. LOST: SessionLost; if the round was decided just then, the others
    have gone on with this one.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     client.barrier("start", 1).wait()
    0
    """

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: ThreadCarrier, name: Key, parties: int, lease: float) -> None:
        self._flows = _Flows(place, name, parties, lease)
        self._carrier = carrier

    @property
    def parties(self) -> int:
        """How many have to come."""
        return self._flows.gathering.parties

    def wait(self, timeout: float | None = None) -> int:
        """Waits until all have come; gives this one's place among them, 0 for who came first: each place once a round.

        Raises NotHappened if they have not within ``timeout`` seconds (None: the client's own), having left again, as
        by Ctrl-C; Rejected if the name is used with another number of parties, or for something else; SessionLost.
        """
        return self._carrier.run(self._flows.wait(timeout))

    def waiting(self, *, timeout: float | None = None) -> int:
        """How many have come in the present round."""
        return self._carrier.run(self._flows.gathering.waiting(timeout))

    def __repr__(self) -> str:
        return f"<Barrier {self._flows.gathering}>"


@final
class AsyncBarrier:
    """As :class:`quorate.Barrier`, with ``await``; a cancelled wait has left again."""

    __slots__ = ("_carrier", "_flows")

    def __init__(self, place: Place, carrier: TaskCarrier, name: Key, parties: int, lease: float) -> None:
        self._flows = _Flows(place, name, parties, lease)
        self._carrier = carrier

    @property
    def parties(self) -> int:
        """How many have to come."""
        return self._flows.gathering.parties

    async def wait(self, timeout: float | None = None) -> int:
        """Waits until all have come; gives this one's place among them, 0 for who came first."""
        return await self._carrier.run(self._flows.wait(timeout))

    async def waiting(self, *, timeout: float | None = None) -> int:
        """How many have come in the present round."""
        return await self._carrier.run(self._flows.gathering.waiting(timeout))

    def __repr__(self) -> str:
        return f"<aio.Barrier {self._flows.gathering}>"
