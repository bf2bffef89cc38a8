"""Elections: of all candidates one leads, with a value that everybody can read. A lock whose holder has a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from quorate.client.flow import Flow, Pause
from quorate.client.keys import Key, Value, name_of, value_of
from quorate.client.outcomes import KINDS, checked
from quorate.errors import Indeterminate, LockLost, NoQuorum, NotLeader, Overloaded, Rejected, SessionLost
from quorate.recipes.base import Place, TaskCarrier, ThreadCarrier, callback_of, lease_of
from quorate.recipes.held import Acquiring, AsyncHeld, Held, HeldView, Keeper, take
from quorate.recipes.inspection import TaskInspection, ThreadInspection
from quorate.recipes.permits import look
from quorate.store import commands
from quorate.store.views import PermitKind, Result

__all__ = ["AsyncElection", "AsyncObservation", "AsyncTerm", "Election", "Leader", "Observation", "Term"]

LOOK_SECONDS: Final = 30.0
"""How long one look at the history of an election stays open."""
PAUSE_SECONDS: Final = 0.05
"""How long an observer pauses when there is nobody to ask."""


@dataclass(frozen=True)
class Leader:
    """Who leads: its ``value``, the ``token`` of its term, which grows with every one, and its ``session``."""

    value: bytes
    token: int
    session: int


class Candidacy(Keeper):
    """The place of a candidate, and the value that it leads with."""

    value: bytes = b""

    def proclaim(self, value: bytes, timeout: float | None) -> Flow[None]:
        """Changes the value while leading."""
        grant = self.grant
        if grant is None or grant.over is not None:
            raise LockLost(f"{self.label} is not led any more{'' if grant is None else ': ' + str(grant.over)}")
        command = commands.holder_value(value, session=1, acquisition=grant.acquisition)
        try:
            _, encoded = yield grant.lane.submit(command, self.place.seconds(timeout))
        except SessionLost as lost:
            raise LockLost(f"{self.label} is not led any more: {lost}", outcome=lost.outcome) from None
        checked(Result.decode(encoded))
        self.value = value


class TermView(HeldView):
    """A term, as both faces tell it."""

    _keeper: Candidacy

    @property
    def value(self) -> bytes:
        """What it was proclaimed with last."""
        return self._keeper.value


@final
class Term(TermView, Held):
    """A time of leading: a context manager that resigns. ``held`` is a local check; ``token`` is above those of all
    terms before. It leads as long as this object is there: one that is dropped resigns."""

    def proclaim(self, value: Value, timeout: float | None = None) -> None:
        """Leads with another value from now on; observers are told. Raises LockLost if it does not lead any more."""
        self._carrier.run(self._keeper.proclaim(value_of(value), timeout))

    def resign(self, timeout: float | None = None) -> None:
        """Leads no more; the next candidate does in the same moment. Raises Rejected if it
        resigned already, LockLost if the term was lost."""
        self._give_up(timeout)


@final
class AsyncTerm(TermView, AsyncHeld):
    """As :class:`quorate.Term`, in asyncio. The body of ``async with`` is cancelled when the term is lost."""

    async def proclaim(self, value: Value, timeout: float | None = None) -> None:
        """Leads with another value from now on; observers are told. Raises LockLost if it does not lead any more."""
        await self._carrier.run(self._keeper.proclaim(value_of(value), timeout))

    async def resign(self, timeout: float | None = None) -> None:
        """Leads no more; the next candidate does in the same moment. Raises Rejected if it
        resigned already, LockLost if the term was lost."""
        await self._give_up(timeout)


def leader_of(place: Place, name: bytes, timeout: float) -> Flow[Leader | None]:
    """Who leads, linearizably."""
    found = yield from look(place, name, timeout, 1)
    if found is None:
        return None
    if found.kind is not PermitKind.ELECTION:
        raise Rejected(f"the name is in use as {KINDS[found.kind]}; an election needs one of its own")
    first = found.queue[0] if found.queue else None
    return Leader(first.value, first.token, first.session) if first is not None and first.token else None


class Following:
    """Where an observer is in the history of an election. Stands still between two calls, and whatever ends one."""

    def __init__(self, place: Place, name: bytes) -> None:
        self.place: Final = place
        self.name: Final = name
        self.after: int | None = None  # what happened up to this revision is known
        self.stale = True  # something happened since the leader was read
        self.last: Leader | None = None

    def next(self) -> Flow[Leader]:
        """The next leader that is not the one before. Waits for it, whatever becomes of the connections."""
        backend, timeout = self.place.backend, self.place.timeout
        while True:
            try:
                if self.after is None:
                    self.after = yield from backend.barrier(timeout)
                if self.stale:
                    found = yield from leader_of(self.place, self.name, timeout)
                    self.stale = False
                    if found is not None and found != self.last:
                        self.last = found
                        return found
                events = yield from backend.events(self.name, self.name + b"\0", self.after, True, LOOK_SECONDS)
            except (NotLeader, NoQuorum, Overloaded, Indeterminate):
                # Nobody to ask now; what happens meanwhile is in the history.
                yield Pause(PAUSE_SECONDS)
                continue
            self.stale = bool(events.events) or events.compacted
            self.after = None if events.compacted else events.complete


class ElectionView:
    """What an election is made of, the same in threads and in asyncio."""

    def __init__(
        self,
        place: Place,
        carrier: Any,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> None:
        self._place = place
        self._carrier = carrier
        self._name = name_of(name, place.prefix)
        self._lease = lease_of(lease)
        self._timeout = place.seconds(timeout)
        self._on_suspect = callback_of(on_suspect, "on_suspect")
        self._on_lost = callback_of(on_lost, "on_lost")

    def _candidacy(self, value: Value) -> Candidacy:
        made = Candidacy(
            self._place, self._name, PermitKind.ELECTION, noun="the election", lease=self._lease, timeout=self._timeout,
            on_suspect=self._on_suspect, on_lost=self._on_lost,
        )  # fmt: skip
        made.value = value_of(value)
        return made

    def _permit(self) -> tuple[Place, bytes, str]:
        shown = self._name[len(self._place.prefix) :].decode(errors="backslashreplace")
        return self._place, self._name, f"the election {shown!r}"

    def __repr__(self) -> str:
        shown = self._name[len(self._place.prefix) :].decode(errors="backslashreplace")
        return f"<{type(self).__name__} {shown!r}, lease {self._lease:g} s>"


@final
class Observation:
    """An iterator of leaders: the one of now, then each that differs from the one before, for ever.

    The latest leader is never missed; one that led for a moment between two looks may be. Interrupted, it goes on where
    it was. One thread at a time iterates.
    """

    def __init__(self, following: Following, carrier: ThreadCarrier) -> None:
        self._following = following
        self._carrier = carrier

    def __iter__(self) -> Observation:
        return self

    def __next__(self) -> Leader:
        return self._carrier.run(self._following.next())

    def __repr__(self) -> str:
        return f"<Observation, last {self._following.last}>"


@final
class AsyncObservation:
    """As :class:`quorate.Observation`, with ``async for``."""

    def __init__(self, following: Following, carrier: TaskCarrier) -> None:
        self._following = following
        self._carrier = carrier

    def __aiter__(self) -> AsyncObservation:
        return self

    async def __anext__(self) -> Leader:
        return await self._carrier.run(self._following.next())

    def __repr__(self) -> str:
        return f"<AsyncObservation, last {self._following.last}>"


@final
class Election(ElectionView, ThreadInspection):
    """An election: of all who campaign, one leads. Made by :meth:`quorate.Client.election`.

    While CONNECTED who leads certainly leads. SUSPENDED: until the lease is over, ``remaining`` says for how long.
    LOST: another one may lead already; whatever is done in the name of the office needs the term's token, checked where
    it is done.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     chief = client.election("scheduler")
    ...     with chief.campaign(b"me") as term:
    ...         chief.leader().value, term.held
    ...         term.proclaim(b"still me")
    ...         next(chief.observe()).value
    ...     chief.leader() is None
    (b'me', True)
    b'still me'
    True
    """

    def campaign(self, value: Value = b"", timeout: float | None = None) -> Term:
        """Waits to lead, ``timeout`` seconds (None: as the election was made, 0: only tries), with a value that all can
        read. Candidates are served in order.

        Raises NotHappened if it does not lead in time: it names who does and since when. Raises Rejected if the name is
        in use for something else, and the errors of :class:`quorate.Client`. However the wait ends, it leaves nothing
        behind.
        """
        carrier: ThreadCarrier = self._carrier
        candidacy = self._candidacy(value)
        made = Term(candidacy, carrier)  # before it leads, so that an interruption drops what leads
        if not take(candidacy, carrier, timeout, candidacy.value):
            raise carrier.run(candidacy.blocked())
        return made

    def leader(self, timeout: float | None = None) -> Leader | None:
        """Who leads, linearizably; None if nobody does."""
        carrier: ThreadCarrier = self._carrier
        return carrier.run(leader_of(self._place, self._name, self._place.seconds(timeout)))

    def observe(self) -> Observation:
        """The leader of now and all that follow, as an iterator that waits."""
        return Observation(Following(self._place, self._name), self._carrier)


@final
class AsyncElection(ElectionView, TaskInspection):
    """As :class:`quorate.Election`: ``async with chief.campaign(b"me") as term:``, or ``await chief.campaign()``."""

    def campaign(self, value: Value = b"", timeout: float | None = None) -> Acquiring[AsyncTerm]:
        """Waits to lead, ``timeout`` seconds (None: as the election was made, 0: only tries), with a value that all can
        read. Candidates are served in order.

        Raises NotHappened if it does not lead in time: it names who does and since when. Raises Rejected if the name is
        in use for something else, and the errors of :class:`quorate.Client`. However the wait ends, it leaves nothing
        behind.
        """
        carrier: TaskCarrier = self._carrier
        candidacy = self._candidacy(value)

        async def leads() -> AsyncTerm:
            made = AsyncTerm(candidacy, carrier)
            if not await carrier.run(candidacy.acquire(carrier, timeout, candidacy.value)):
                raise await carrier.run(candidacy.blocked())
            return made

        return Acquiring(leads)

    async def leader(self, timeout: float | None = None) -> Leader | None:
        """Who leads, linearizably; None if nobody does."""
        carrier: TaskCarrier = self._carrier
        return await carrier.run(leader_of(self._place, self._name, self._place.seconds(timeout)))

    def observe(self) -> AsyncObservation:
        """The leader of now and all that follow, as an iterator that waits."""
        return AsyncObservation(Following(self._place, self._name), self._carrier)
