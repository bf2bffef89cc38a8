"""Names of the recipes that are made of keys: where their keys lie, and what each name was first used for.

A name has one definition for all of these recipes: its kind, and what its users have to agree on. The first use writes
it in the same transaction as what it does; every later one compares it in its own, which costs no round. So two
programs that disagree are told, also if they are never there at once, and whoever deletes the keys of a name may use it
anew.

    <namespace>.quorate/names/<name>            b"barrier 3"
    <namespace>.quorate/barrier/<name>/…        what the recipe keeps

In the name, "/" is written %2F and "%" is %25, so that no name lies inside another one. Knows nothing of what the
recipes do.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Final, final

from quorate.client.backend import Events, Lane
from quorate.client.flow import Flow, Pause
from quorate.client.keys import Key, name_of
from quorate.client.outcomes import checked
from quorate.errors import (
    Indeterminate,
    NoQuorum,
    NotHappened,
    NotLeader,
    Overloaded,
    QuorateError,
    Rejected,
    SessionLost,
)
from quorate.recipes.base import Place
from quorate.store import commands
from quorate.store._decode import decode_parts

__all__ = ["ANYONE", "Done", "Name", "asking", "fresh", "parked", "transact", "undo"]

ANYONE: Final = 1
"""Stands for the session in the head of a command; the lane puts its own there."""
FOREVER: Final = 1e9
"""Seconds: of what is repeated until it is applied, or the session is over."""
ASKING_SECONDS: Final = 1.0
"""What a question may take even if a caller's time for waiting is over."""
PAUSE_SECONDS: Final = 0.05
"""How long a waiter pauses when there is nobody to ask."""

_KINDS: Final = {
    "counter": "a counter",
    "barrier": "a barrier of {} parties",
    "double_barrier": "a double barrier of {} parties",
    "queue": "a queue",
    "group": "a group",
}


@dataclass(frozen=True)
class Done:
    """What a transaction came to. ``parts``: a thing for each operation, if the conditions held."""

    succeeded: bool
    revision: int
    parts: list[Any]


@final
class Name:
    """A name, its definition, and the keys below it. Raises InvalidArgument for a name that is none."""

    __slots__ = ("_defined", "definition", "home", "place", "shown")

    def __init__(self, place: Place, kind: str, name: Key, detail: str = "") -> None:
        raw = name_of(name, place.prefix, "recipe")[len(place.prefix) :]
        escaped = raw.replace(b"%", b"%25").replace(b"/", b"%2F")
        self.place: Final = place
        self.shown: Final = repr(raw.decode(errors="backslashreplace"))
        self.definition: Final = f"{kind} {detail}".rstrip().encode()
        self.home: Final = b"%s.quorate/%s/%s/" % (place.prefix, kind.encode(), escaped)
        self._defined: Final = b"%s.quorate/names/%s" % (place.prefix, escaped)

    def key(self, rest: bytes) -> bytes:
        """A key of this name."""
        return self.home + rest

    def span(self, rest: bytes) -> tuple[bytes, bytes]:
        """The keys of this name that begin so: (first, behind the last)."""
        return self.home + rest, self.home + rest[:-1] + bytes([rest[-1] + 1])

    def write(self, when: list[bytes], then: list[bytes], timeout: float, lane: Lane | None = None) -> Flow[Done]:
        """A transaction of this recipe, which holds only while the name is defined as it is here; defines it at first.

        ``then`` may make keys the lane's own. Raises Rejected if the name is something else, and as any write.
        """
        deadline = time.monotonic() + timeout
        same = commands.compare(self._defined, "value", "==", self.definition)
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            done = yield from transact(self.place, [same, *when], then, left, lane)
            if done.succeeded:
                return done
            found = yield from self.place.backend.get(self._defined, False, left)
            if found is not None:
                self.check(found.value)
                if found.create_revision < done.revision:
                    return done  # so it was `when` that did not hold
                continue  # somebody has defined it in between
            none = commands.compare(self._defined, "version", "==", 0)
            define = commands.do_put(self._defined, self.definition)
            done = yield from transact(self.place, [none, *when], [define, *then], left, lane)
            if done.succeeded:
                return Done(True, done.revision, done.parts[1:])
            if (yield from self.place.backend.get(self._defined, False, left)) is None:
                return done

    def look(self, timeout: float) -> Flow[None]:
        """Raises Rejected if the name is something else; a name that was never used is anything."""
        found = yield from self.place.backend.get(self._defined, False, timeout)
        if found is not None:
            self.check(found.value)

    def check(self, found: bytes) -> None:
        """Raises Rejected if this is not the definition."""
        if found != self.definition:
            raise Rejected(
                f"{self.shown} is {_told(found)}, and not {_told(self.definition)}: all who use a name have to agree "
                "on what it is; take another name"
            )

    def __repr__(self) -> str:
        return self.shown


def _told(definition: bytes) -> str:
    kind, _, detail = definition.decode(errors="backslashreplace").partition(" ")
    return _KINDS[kind].format(detail) if kind in _KINDS else f"used for something else ({kind} {detail})"


def transact(
    place: Place, when: list[bytes], then: list[bytes], timeout: float, lane: Lane | None = None
) -> Flow[Done]:
    """A transaction without another branch. It reads nothing, because a session has what reads answered one by one."""
    command = commands.transaction(when, then, session=0 if lane is None else ANYONE)
    try:
        result = checked((yield from place.backend.write(command, timeout, lane)))
    except SessionLost as lost:
        if lane is not None:
            # A session that the cluster refused to open is lost a moment before it is told why.
            patience = time.monotonic() + ASKING_SECONDS
            while not lane.opening.done and time.monotonic() < patience:
                yield Pause(PAUSE_SECONDS / 10)
            refused = place.backend.refusal(lane)
            if refused is not None:
                raise refused from lost
        raise
    parts = [part for _, part in decode_parts(result.body)] if result.succeeded else []
    return Done(result.succeeded, result.revision, parts)


def asking(place: Place, deadline: float) -> float:
    """Seconds for a question of a caller who waits until the deadline. How long one waits for something to happen is
    one thing, how long the cluster may take to say whether it has is another: so one may wait for no time at all."""
    return max(deadline - time.monotonic(), min(place.timeout, ASKING_SECONDS))


def fresh() -> bytes:
    """A token that nobody else has, as 16 digits."""
    return os.urandom(8).hex().encode()


def undo(place: Place, lane: Lane, when: list[bytes], then: list[bytes]) -> None:
    """Takes back what was handed in before on the same lane, if it came to something: behind it, and repeated natively
    until it is applied. Never blocks and never raises, for it stands where something else is being raised."""
    command = commands.transaction(when, then, session=ANYONE)
    try:
        lane.submit(command, FOREVER)
    except (NotHappened, MemoryError):  # no room now
        try:
            place.backend.attendant.start(_undone(lane, command))
        except QuorateError:
            pass  # the client is closed: so is the session
    except QuorateError:
        pass  # the session is over, and what was its own went with it


def _undone(lane: Lane, command: bytes) -> Flow[None]:
    while True:
        yield Pause(PAUSE_SECONDS)
        try:
            yield lane.submit(command, FOREVER)
            return
        except NotHappened:
            continue
        except QuorateError:
            return


def parked(place: Place, start: bytes, end: bytes, after: int, seconds: float) -> Flow[Events | None]:
    """What happened after a revision: waits for something for so many seconds. None if there was nobody to ask; nothing
    is missed by that, because the next question begins where this one did."""
    try:
        return (yield from place.backend.events(start, end, after, False, seconds))
    except (NotLeader, NoQuorum, Overloaded, Indeterminate):
        yield Pause(max(min(PAUSE_SECONDS, seconds), 0.0))
        return None
