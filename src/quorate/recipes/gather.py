"""Gathering: parties come until all are there, and then all go on at once. What both barriers do, as flows.

The keys of a name: `state` says which round it is, and `a/<round>/<token>` are those who came in it, each the property
of its process's session, so that one who dies leaves. Whoever sees that all have come writes the next state, which
names them: one entry of the log decides a round, and everybody reads there who was in it. Who is not among them comes
again in the next round. One who goes away by itself writes `left`; a state is written only if neither `state` nor
`left` has changed since those who came were counted, so that nobody is counted who was told that it had left.

    state of a barrier          b"4 5f… 9a…"     round 4 gathers; these were in round 3
    state of a double barrier   b"4 in 5f… 9a…"  these are inside in round 4
                                b"5"             all have left, round 5 gathers

Knows nothing of threads and event loops.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, final

from quorate.client.backend import Lane
from quorate.client.flow import Flow
from quorate.client.keys import Key
from quorate.errors import Indeterminate, NotHappened, SessionLost
from quorate.limits import BARRIER_PARTIES_MAX
from quorate.recipes.base import Place, lease_of, number_of
from quorate.recipes.names import Done, Name, asking, fresh, parked, transact, undo
from quorate.store import KeyValue, commands

__all__ = ["Gathering", "Party"]

LOOK_SECONDS: Final = 1.0
"""How often a waiting party looks by itself, in case that the one who should have told has died."""


@dataclass(frozen=True)
class _State:
    """What the key `state` says."""

    round: int
    inside: bool
    parties: list[bytes]
    revision: int  # of the key; 0 if there is none


@dataclass(frozen=True)
class Party:
    """One who was in a round. ``place``: 0 for the one who came first."""

    place: int
    round: int
    token: bytes
    lane: Lane


@final
class Gathering:
    """A name of a barrier. ``stay``: those who have gathered are inside until all have left."""

    __slots__ = ("_lease", "_left", "_name", "_place", "_state", "_stay", "parties")

    def __init__(self, place: Place, kind: str, name: Key, parties: int, lease: float, *, stay: bool) -> None:
        self.parties: Final = number_of(parties, "parties of a barrier", BARRIER_PARTIES_MAX)
        self._name = Name(place, kind, name, str(parties))
        self._lease = lease_of(lease)
        self._place = place
        self._state = self._name.key(b"state")
        self._left = self._name.key(b"left")
        self._stay = stay

    def gather(self, timeout: float | None) -> Flow[Party]:
        """Comes, and waits for the others. Raises NotHappened if they do not come in time: it has left again then, as
        whatever else is raised. SessionLost if the session was lost meanwhile, and others may have gone on with it."""
        limit = self._place.seconds(timeout)
        deadline = time.monotonic() + limit
        lane = self._place.backend.pooled(self._lease)
        while True:
            state = yield from self._read(deadline)
            if state.inside:
                yield from self._name.look(asking(self._place, deadline))
                waited = time.monotonic() >= deadline
                yield from self._until_out(state, deadline)
                if waited:
                    raise NotHappened(f"{self._name}: those of the round before are inside still, after {limit:g} s")
                continue
            token = fresh()
            try:
                found = yield from self._take_part(state, token, lane, deadline)
            except BaseException:
                self._withdraw(state, token, lane)
                raise
            if found is not None:
                return Party(found, state.round, token, lane)
            if time.monotonic() >= deadline:
                raise NotHappened(
                    f"{self._name}: {self.parties} parties did not come together within {limit:g} s; this one has left "
                    "again"
                )

    def leave(self, party: Party, timeout: float | None) -> Flow[None]:
        """Goes out, and waits until all have. Raises NotHappened if they have not in time: this one is out even so."""
        limit = self._place.seconds(timeout)
        deadline = time.monotonic() + limit
        gone = [commands.do_delete(self._arrival(party.round, party.token))]
        try:
            yield from transact(self._place, [], gone, limit, party.lane)
        except SessionLost:
            pass  # which made it leave
        except BaseException:
            undo(self._place, party.lane, [], gone)
            raise
        while True:
            state = yield from self._read(deadline)
            if state.round != party.round or not state.inside:
                return
            waited = time.monotonic() >= deadline
            yield from self._until_out(state, deadline)
            if waited:
                raise NotHappened(
                    f"{self._name}: others are inside still after {limit:g} s; this one has left, and may wait on"
                )

    def abandon(self, party: Party) -> None:
        """Goes out without waiting for anything."""
        undo(self._place, party.lane, [], [commands.do_delete(self._arrival(party.round, party.token))])

    def waiting(self, timeout: float | None) -> Flow[int]:
        """How many have come in the round that gathers."""
        limit = self._place.seconds(timeout)
        yield from self._name.look(limit)
        state = yield from self._read(time.monotonic() + limit)
        if state.inside:
            return 0
        return (yield from self._place.backend.count(*self._span(state.round), False, limit))

    # Parts

    def _arrival(self, number: int, token: bytes) -> bytes:
        return self._name.key(b"a/%016x/%s" % (number, token))

    def _span(self, number: int) -> tuple[bytes, bytes]:
        return self._name.span(b"a/%016x/" % number)

    def _same(self, state: _State) -> bytes:
        return commands.compare(self._state, "mod_revision", "==", state.revision)

    def _read(self, deadline: float) -> Flow[_State]:
        row = yield from self._place.backend.get(self._state, False, asking(self._place, deadline))
        return _State(0, False, [], 0) if row is None else _parsed(row.value, row.mod_revision)

    def _take_part(self, state: _State, token: bytes, lane: Lane, deadline: float) -> Flow[int | None]:
        """Its place in this round; None if it was not in it: the round was over when it came, or it has left again."""
        come = [commands.do_put(self._arrival(state.round, token), b"", owned=True)]
        came: Done = yield from self._name.write([self._same(state)], come, asking(self._place, deadline), lane)
        if not came.succeeded:
            return None
        after = came.revision
        decided = False
        while True:
            if lane.state not in ("opening", "open"):
                raise SessionLost(f"the session was lost while {self._name} was waited for: {lane.loss or lane.state}")
            yield from self._decide(state)
            left = deadline - time.monotonic()
            if left <= 0:
                if decided:
                    raise Indeterminate(f"{self._name}: the round is decided, but how cannot be learnt now")
                if (yield from self._leave(state, token, lane)):
                    return None
                decided = True  # meanwhile, with or without this one
                left = self._place.timeout
                deadline = time.monotonic() + left
            found = yield from parked(self._place, self._state, self._state + b"\0", after, min(left, LOOK_SECONDS))
            if found is None:
                continue
            if found.compacted:
                raise Indeterminate(
                    f"{self._name}: the round went by so long ago that its history is not kept any more"
                )
            if not found.events:
                after = found.complete
                continue
            # The first one is what became of this round; there may be later ones.
            parties = _parsed(found.events[0].value, 0).parties
            if token in parties:
                return parties.index(token)
            if self._stay:
                undo(self._place, lane, [], [commands.do_delete(self._arrival(state.round, token))])
            return None

    def _decide(self, state: _State) -> Flow[None]:
        """Decides the round, if all have come."""
        backend = self._place.backend
        limit = self._place.timeout
        start, end = self._span(state.round)
        try:
            # What this client wrote is in its local reads: so the one who came last counts all who came before it.
            if (yield from backend.count(start, end, True, limit)) < self.parties:
                return
            before = yield from backend.get(self._left, False, limit)
            rows: list[KeyValue] = []
            while True:
                piece = yield from backend.range(start, end, 0, False, limit)
                rows += piece.rows
                if not piece.more:
                    break
                start = piece.rows[-1].key + b"\0"
            if len(rows) < self.parties:
                return
            rows.sort(key=lambda row: row.create_revision)
            tokens = [row.key.rpartition(b"/")[2] for row in rows[: self.parties]]
            unmoved = commands.compare(
                self._left, "mod_revision", "==", before.mod_revision if before is not None else 0
            )
            yield from transact(self._place, [self._same(state), unmoved], self._next(state, tokens), limit)
        except (NotHappened, Indeterminate):
            pass  # nobody to ask now: it looks again

    def _next(self, state: _State, tokens: list[bytes]) -> list[bytes]:
        """What is written when all have come."""
        named = b" ".join(tokens)
        if self._stay:
            return [commands.do_put(self._state, b"%d in %s" % (state.round, named))]
        start, end = self._span(state.round)
        return [
            commands.do_put(self._state, b"%d %s" % (state.round + 1, named)),
            commands.do_delete_range(start, end),
        ]

    def _until_out(self, state: _State, deadline: float) -> Flow[None]:
        """Waits until those inside have left, and says so if nobody has; or until the time is over."""
        backend = self._place.backend
        after = state.revision
        start, end = self._span(state.round)
        while True:
            # Not only locally, which may be behind; then it is final, for nobody comes into a round that is inside.
            if not (yield from backend.count(start, end, True, asking(self._place, deadline))) and not (
                yield from backend.count(start, end, False, asking(self._place, deadline))
            ):
                opened = [commands.do_put(self._state, b"%d" % (state.round + 1))]
                yield from transact(self._place, [self._same(state)], opened, asking(self._place, deadline))
                return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            found = yield from parked(self._place, self._state, self._state + b"\0", after, min(left, LOOK_SECONDS))
            if found is not None:
                if found.events or found.compacted:
                    return
                after = found.complete

    def _going(self, state: _State, token: bytes) -> tuple[list[bytes], list[bytes]]:
        """The transaction by which a party leaves a round that gathers still."""
        arrival = self._arrival(state.round, token)
        return [self._same(state), commands.compare(arrival, "version", ">", 0)], [
            commands.do_delete(arrival),
            commands.do_put(self._left, token),
        ]

    def _leave(self, state: _State, token: bytes, lane: Lane) -> Flow[bool]:
        """Leaves, at the end of its time; False if the round is decided."""
        when, then = self._going(state, token)
        try:
            return (yield from transact(self._place, when, then, self._place.timeout, lane)).succeeded
        except NotHappened as error:  # that did not; it is counted until it has left
            raise Indeterminate(
                f"{self._name}: others may go on with this one before it could leave: {error}"
            ) from error

    def _withdraw(self, state: _State, token: bytes, lane: Lane) -> None:
        """Leaves, whatever became of it: without waiting. Of a round that was decided with it, it goes too."""
        undo(self._place, lane, *self._going(state, token))
        if self._stay:
            undo(self._place, lane, [], [commands.do_delete(self._arrival(state.round, token))])

    def __repr__(self) -> str:
        return f"{self._name} of {self.parties} parties"


def _parsed(value: bytes, revision: int) -> _State:
    number, _, rest = value.partition(b" ")
    words = rest.split()
    inside = words[:1] == [b"in"]
    return _State(int(number), inside, words[1:] if inside else words, revision)
