"""The members of a group as they are in the store, and following them: for watches and for live rings, as flows.

Each member is a key, `m/<member>`, the property of the session of whoever joined. Its value is a line of JSON (weight,
zone, and a token of the one that joined) and the member's data. Knows nothing of joining, threads and event loops.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, final

from quorate.client.flow import Flow
from quorate.recipes.base import Place
from quorate.recipes.names import Name, parked
from quorate.store import KeyValue
from quorate.store.views import EventKind, WatchEvent

__all__ = ["Change", "GroupMember", "Roster", "decoded", "encoded", "key_of_member"]

PREFIX: Final = b"m/"


@dataclass(frozen=True)
class GroupMember:
    """A member of a group.

    ``data`` is what it joined with, ``weight`` and ``zone`` are for rings. ``joined`` and ``changed`` are revisions, of
    its joining and its last update; ``session`` is the one that it lives and dies with.
    """

    name: str
    data: bytes
    weight: float
    zone: str | None
    joined: int
    changed: int
    session: int


@dataclass(frozen=True)
class Change:
    """A change of a group. ``kind`` is "joined", "left" or "changed"; ``member`` is what it is since then, or was last;
    ``revision`` is when."""

    kind: str
    member: GroupMember
    revision: int


def key_of_member(name: Name, member: str) -> bytes:
    """Where a member stands."""
    return name.key(PREFIX + member.encode())


def encoded(token: bytes, data: bytes, weight: float, zone: str | None) -> bytes:
    """The value of a member's key.

    >>> encoded(b"5f", b"data", 1.0, None)
    b'{"weight":1.0,"zone":null,"token":"5f"}\\ndata'
    """
    head = {"weight": weight, "zone": zone, "token": token.decode()}
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + data


def decoded(value: bytes) -> tuple[bytes, bytes, float, str | None]:
    """(token, data, weight, zone). Of a value that somebody else wrote, only the data.

    >>> decoded(encoded(b"5f", b"data", 2.0, "east"))
    (b'5f', b'data', 2.0, 'east')
    >>> decoded(b"by hand")
    (b'', b'by hand', 1.0, None)
    """
    line, _, data = value.partition(b"\n")
    try:
        head: dict[str, Any] = json.loads(line)
        return str(head["token"]).encode(), data, float(head["weight"]), head["zone"]
    except (ValueError, KeyError, TypeError):
        return b"", value, 1.0, None


@final
class Roster:
    """The members as they were at :attr:`revision`; :meth:`look` goes on from there."""

    def __init__(self, place: Place, name: Name) -> None:
        self.members: dict[str, GroupMember] = {}
        self.revision = 0
        self.changed = 0  # a revision of which the members are these: of the last change, or of the last reading
        self.heard = 0.0  # when it was learnt last, in seconds of time.monotonic()
        self._place = place
        self._start, self._end = name.span(PREFIX)

    def read(self, timeout: float) -> Flow[list[Change]]:
        """Reads all, linearizably; gives what is different from before."""
        rows: list[KeyValue] = []
        start = self._start
        revisions = []
        while True:
            piece = yield from self._place.backend.range(start, self._end, 0, False, timeout)
            rows += piece.rows
            revisions.append(piece.revision)
            if not piece.more:
                break
            start = piece.rows[-1].key + b"\0"
        before, self.members = self.members, {}
        for row in rows:
            member = self._made(row.key, row.value, row.create_revision, row.mod_revision, row.session)
            self.members[member.name] = member
        self.revision = revisions[0]
        while self.revision < revisions[-1]:  # pieces of several revisions, which the history makes one
            yield from self.look(timeout)
        self.changed = self.revision
        self.heard = time.monotonic()
        return list(self._different(before))

    def look(self, seconds: float) -> Flow[list[Change]]:
        """What has changed since: waits for something for so many seconds. Also what happened while the history was not
        kept, but not each step of it. Nothing, if there was nobody to ask."""
        found = yield from parked(self._place, self._start, self._end, self.revision, seconds)
        if found is None:
            return []
        if found.compacted:
            return (yield from self.read(self._place.timeout))
        changes = [change for event in found.events if (change := self._applied(event)) is not None]
        self.revision = max(self.revision, found.complete)
        self.heard = time.monotonic()
        if changes:
            self.changed = changes[-1].revision
        return changes

    def _made(self, key: bytes, value: bytes, joined: int, changed: int, session: int) -> GroupMember:
        _, data, weight, zone = decoded(value)
        name = key[len(self._start) :].decode(errors="backslashreplace")
        return GroupMember(name, data, weight, zone, joined, changed, session)

    def _applied(self, event: WatchEvent) -> Change | None:
        name = event.name[len(self._start) :].decode(errors="backslashreplace")
        known = self.members.get(name)
        if event.kind is not EventKind.PUT:
            if known is None:
                return None
            del self.members[name]
            return Change("left", known, event.revision)
        joined = known.joined if known is not None and event.version > 1 else event.revision
        member = self._made(event.name, event.value, joined, event.revision, event.session)
        self.members[name] = member
        return Change("joined" if known is None else "changed", member, event.revision)

    def _different(self, before: dict[str, GroupMember]) -> Iterable[Change]:
        for name, member in before.items():
            now = self.members.get(name)
            if now is None or now.joined != member.joined:
                yield Change("left", replace(member), self.revision)
        for name, member in self.members.items():
            old = before.get(name)
            if old is None or old.joined != member.joined:
                yield Change("joined", member, member.changed)
            elif old != member:
                yield Change("changed", member, member.changed)
