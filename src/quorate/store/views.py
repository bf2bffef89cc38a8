"""What the store tells, as Python values: results, events, and views of sessions and permits.

Plain data; the compiled modules make it. The numbers of the enumerations are part of the binary forms
(docs/internals/store.md), and a test holds them against the compiled ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

__all__ = [
    "RWLOCK_CAPACITY",
    "Acquisition",
    "EventKind",
    "Limit",
    "Permit",
    "PermitKind",
    "Result",
    "ResultFlag",
    "SessionEnd",
    "SessionView",
    "Status",
    "WatchEvent",
]

RWLOCK_CAPACITY = 0x7FFFFFFF
"""Units of a read-write lock: a reader takes 1, a writer all."""


class Status(IntEnum):
    """What a command came to. Below ``SESSION_LOST`` it was judged and its request number is used up."""

    OK = 0
    COMPARE_FAILED = 1
    FENCED = 2
    LIMIT = 3
    NOT_A_NUMBER = 4
    OVERFLOW = 5
    QUEUED = 6
    WOULD_BLOCK = 7
    KIND_MISMATCH = 8
    CAPACITY_MISMATCH = 9
    UPGRADE_REFUSED = 10
    ACQUISITION_CONFLICT = 11
    NOT_HELD = 12
    REVOKED_BY_FORCE = 13
    NOT_FOUND = 14
    INVALID = 15
    SESSION_LOST = 32
    GAP = 33
    BELOW_MARK = 34
    WINDOW_FULL = 35
    MALFORMED = 36
    VERSION_NOT_ENABLED = 37


class ResultFlag(IntFlag):
    REPLAYED = 1
    MORE = 2
    GRANTED = 4
    SUCCEEDED = 8
    SHORT = 16


_STATUSES: Final = {int(each): each for each in Status}
_FLAGS: Final = tuple(ResultFlag(each) for each in range(32))


class Limit(IntEnum):
    """The logged limits. Sizes are bytes, times milliseconds, the rest counts."""

    KEY_BYTES = 1
    VALUE_BYTES = 2
    KEYS = 3
    STORE_BYTES = 4
    TRANSACTION_OPERATIONS = 5
    RESULT_BYTES = 6
    DELETE_RANGE_KEYS = 7
    SESSIONS = 8
    SESSION_KEYS = 9
    SESSION_RESULTS = 10
    SESSION_RESULT_BYTES = 11
    SESSION_PERMITS = 12
    SESSION_TTL_MIN_MS = 13
    SESSION_TTL_MAX_MS = 14
    PERMITS = 15
    PERMIT_WAITERS = 16
    IDLE_PERMITS = 17
    HISTORY_EVENTS = 18
    HISTORY_BYTES = 19


class PermitKind(IntEnum):
    MUTEX = 1
    SEMAPHORE = 2
    RWLOCK = 3
    ELECTION = 4


class SessionEnd(IntEnum):
    GOODBYE = 1
    EXPIRED = 2
    PROCESS_EXIT = 3
    FORCED = 4


class EventKind(IntEnum):
    PUT = 1
    DELETE = 2
    EXPIRE = 3
    GRANT = 4
    RELEASE = 5
    REVOKE = 6
    VALUE = 7
    WAIT = 8
    """Somebody began to wait for a permit: its holder may want to know."""


@dataclass(frozen=True)
class Result:
    """What a command came to. ``revision`` is the log index, ``number`` depends on the operation and the status."""

    status: Status
    flags: ResultFlag
    revision: int
    number: int
    body: bytes = b""

    @classmethod
    def decode(cls, data: bytes) -> Result:
        """Reads the binary form: u8 status, u8 flags, u64 revision, u64 number, body.

        >>> Result.decode(bytes([0, 0]) + (7).to_bytes(8, "little") + bytes(8)).revision
        7
        """
        # Made for each write of a client: past the checks of a frozen dataclass, and with no call for each enumeration.
        made = object.__new__(cls)
        made.__dict__.update(
            status=_STATUSES[data[0]] if data[0] in _STATUSES else Status(data[0]),
            flags=_FLAGS[data[1]] if data[1] < len(_FLAGS) else ResultFlag(data[1]),
            revision=int.from_bytes(data[2:10], "little"),
            number=int.from_bytes(data[10:18], "little"),
            body=data[18:],
        )
        return made

    @property
    def granted(self) -> bool:
        return ResultFlag.GRANTED in self.flags

    @property
    def replayed(self) -> bool:
        return ResultFlag.REPLAYED in self.flags

    @property
    def succeeded(self) -> bool:
        """Whether a transaction took its first branch."""
        return ResultFlag.SUCCEEDED in self.flags

    @property
    def more(self) -> bool:
        return ResultFlag.MORE in self.flags


@dataclass(frozen=True)
class WatchEvent:
    """One change. ``value`` is the new one, or for a deletion the last one; permit events carry token and holder."""

    revision: int
    kind: EventKind
    name: bytes
    value: bytes
    version: int
    session: int
    acquisition: int
    token: int
    last_of_revision: bool


@dataclass(frozen=True)
class Acquisition:
    """A place in a permit's queue: a holder with a ``token``, or a waiter with token 0."""

    state: str
    """``"held"``, ``"waiting"``, or ``"revoked"`` by a forced release."""
    name: bytes
    session: int
    acquisition: int
    token: int
    units: int = 0
    since_ms: int = 0
    """When it was granted, or queued if it waits; in the clients' time, milliseconds since 1970."""
    queued_at: int = 0
    value: bytes = b""
    reason: bytes = b""


@dataclass(frozen=True)
class Permit:
    """A lock, semaphore, read-write lock or election: who holds it, since when, and who waits, in order."""

    name: bytes
    kind: PermitKind
    capacity: int
    held: int
    holders: int
    waiters: int
    token: int
    """Of the latest grant."""
    queue: tuple[Acquisition, ...]
    """Holders, then waiters; at most as many as were asked for."""
    forced_at: int
    forced_token: int
    forced_ms: int
    reason: bytes


@dataclass(frozen=True)
class SessionView:
    id: int
    ttl_ms: int
    opened_ms: int
    applied: int
    """The highest request number that was applied."""
    mark: int
    """The client has every result up to this one."""
    nonce: bytes
    label: bytes
