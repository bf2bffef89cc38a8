"""Bodies of the questions that a node is asked, and what its answers say, as Python values (docs/internals/wire.md).

Both ends of a connection and the process of a node itself use the same bytes. Knows nothing of connections, sessions
and retries.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from quorate.errors import InvalidArgument
from quorate.limits import KEY_BYTES_MAX
from quorate.store.views import EventKind

__all__ = [
    "Kind",
    "Row",
    "WatchAnswer",
    "acquisition_question",
    "await_question",
    "count_question",
    "decode_count",
    "decode_key",
    "decode_range",
    "decode_status",
    "decode_watch",
    "key_question",
    "permit_question",
    "prefix_end",
    "range_question",
    "session_question",
    "watch_question",
]

WATCH_KEYS: Final = 1
WATCH_PERMITS: Final = 2


class Kind(IntEnum):
    """Kinds of questions."""

    PROPOSE = 1
    READ = 2
    QUERY = 3
    WATCH = 4
    AWAIT = 5
    RENEW = 6
    STATUS = 7
    MEMBERS = 8
    CHANGE = 9
    TRANSFER = 10


def prefix_end(prefix: bytes) -> bytes:
    """The first name behind all that begin with ``prefix``; empty if there is none.

    >>> prefix_end(b"config/"), prefix_end(b"a\\xff"), prefix_end(b"")
    (b'config0', b'b', b'')
    """
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b""


def _name(name: bytes) -> bytes:
    if len(name) > KEY_BYTES_MAX:
        raise InvalidArgument(f"a name has at most {KEY_BYTES_MAX} bytes, not {len(name)}")
    return struct.pack("<H", len(name)) + name


def _query(what: int, local: bool, min_revision: int) -> bytes:
    return struct.pack("<BQB", local, min_revision, what)


def key_question(key: bytes, *, local: bool = False, min_revision: int = 0) -> bytes:
    """One key. ``local``: as of this node, once it has applied ``min_revision``; else linearizable."""
    return _query(1, local, min_revision) + _name(key)


def range_question(
    start: bytes,
    end: bytes,
    *,
    limit: int = 0,
    keys_only: bool = False,
    bytes_most: int = 0xFFFFFFFF,
    local: bool = False,
    min_revision: int = 0,
) -> bytes:
    """Keys from ``start`` up to, and without, ``end`` (empty: to the last), at most ``limit`` (0: all that fit)."""
    return (
        _query(2, local, min_revision) + struct.pack("<IBI", limit, keys_only, bytes_most) + _name(start) + _name(end)
    )


def count_question(start: bytes, end: bytes, *, local: bool = False, min_revision: int = 0) -> bytes:
    """How many keys there are from ``start`` up to ``end``."""
    return _query(3, local, min_revision) + _name(start) + _name(end)


def session_question(session: int, *, local: bool = False, min_revision: int = 0) -> bytes:
    """Whether a session is open."""
    return _query(4, local, min_revision) + struct.pack("<Q", session)


def acquisition_question(session: int, acquisition: int, *, local: bool = False, min_revision: int = 0) -> bytes:
    """What became of an acquisition."""
    return _query(5, local, min_revision) + struct.pack("<QQ", session, acquisition)


def permit_question(name: bytes, *, limit: int = 100, local: bool = False, min_revision: int = 0) -> bytes:
    """A permit with at most ``limit`` of its holders and waiters."""
    return _query(6, local, min_revision) + struct.pack("<I", limit) + _name(name)


def watch_question(
    start: bytes,
    end: bytes,
    *,
    after: int,
    spaces: int = WATCH_KEYS,
    events_most: int = 1024,
    bytes_most: int = 1 << 20,
) -> bytes:
    """Events after revision ``after`` of names in the range: a long poll."""
    return struct.pack("<QIII", after, spaces, events_most, bytes_most) + _name(start) + _name(end)


def await_question(session: int, acquisition: int, *, min_revision: int = 0) -> bytes:
    """A long poll until an acquisition waits no longer. ``min_revision``: that of the answer to the acquire."""
    return struct.pack("<QQQ", session, acquisition, min_revision)


@dataclass(frozen=True)
class Row:
    """A key as it is, or was when an event changed it."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    session: int


@dataclass(frozen=True)
class Event:
    """A change that a watch tells of; of a key (``session`` 0) or of a permit."""

    revision: int
    session: int
    acquisition: int
    token: int
    kind: EventKind
    last_of_revision: bool
    row: Row


@dataclass(frozen=True)
class WatchAnswer:
    """``complete``: where to ask on from. ``compacted``: events are lost, read anew and watch from that revision."""

    compacted: bool
    complete: int
    first_available: int
    events: tuple[Event, ...]


CUT: Final = "these bytes are no answer: they end too early"


class _Cursor:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, form: str) -> tuple[Any, ...]:
        try:
            found = struct.unpack_from(form, self.data, self.at)
        except struct.error:
            raise InvalidArgument(CUT) from None
        self.at += struct.calcsize(form)
        return found

    def bytes(self, form: str) -> bytes:
        (length,) = self.take(form)
        self.at += length
        if self.at > len(self.data):
            raise InvalidArgument(CUT)
        return self.data[self.at - length : self.at]

    def row(self) -> Row:
        key, value = self.bytes("<H"), self.bytes("<I")
        return Row(key, value, *self.take("<QQQQ"))


def decode_key(data: bytes) -> tuple[int, Row | None]:
    """(revision, the row or None)."""
    cursor = _Cursor(data)
    revision, there = cursor.take("<QB")
    return revision, cursor.row() if there else None


def decode_range(data: bytes, *, keys_only: bool = False) -> tuple[int, bool, list[Any]]:
    """(revision, whether there is more, rows or keys)."""
    cursor = _Cursor(data)
    revision, more, count = cursor.take("<QBI")
    return revision, bool(more), [cursor.bytes("<H") if keys_only else cursor.row() for _ in range(count)]


def decode_count(data: bytes) -> tuple[int, int]:
    """(revision, how many)."""
    revision, count = _Cursor(data).take("<QQ")
    return revision, count


def decode_watch(data: bytes) -> WatchAnswer:
    cursor = _Cursor(data)
    compacted, complete, first_available, count = cursor.take("<BQQI")
    events = []
    for _ in range(count):
        revision, session, acquisition, token, kind, last = cursor.take("<QQQQBB")
        events.append(Event(revision, session, acquisition, token, EventKind(kind), bool(last), cursor.row()))
    return WatchAnswer(bool(compacted), complete, first_available, tuple(events))


def decode_status(data: bytes) -> dict[str, Any]:
    """What STATUS answers; a dot in a name makes a dictionary inside. Raises InvalidArgument for other bytes.

    >>> decode_status(b"\\x01\\x00" + b"\\x03a.b" + bytes([7]) + bytes(7) + b"\\x01\\x00" + b"\\x04role\\x06leader")
    {'a': {'b': 7}, 'role': 'leader'}
    """
    cursor = _Cursor(data)
    found: dict[str, Any] = {}
    for textual in (False, True):
        (count,) = cursor.take("<H")
        for _ in range(count):
            *groups, name = cursor.bytes("<B").decode(errors="replace").split(".")
            place = found
            for group in groups:
                place = place.setdefault(group, {})
                if not isinstance(place, dict):
                    raise InvalidArgument(f"this is no status: {group} is a value and a group")
            place[name] = cursor.bytes("<B").decode(errors="replace") if textual else cursor.take("<Q")[0]
    return found
