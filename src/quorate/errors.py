"""Every exception that Quorate raises, sorted by what the caller may conclude.

Imports nothing of ours, so that every floor can use it. The tree is part of the public contract::

    QuorateError
    ├ NotHappened      proven: nothing was appended; safe to retry   ← NotLeader, NoQuorum, Overloaded, Rejected
    ├ Indeterminate    handed to some node, outcome not known        ← RequestTimeout, ConnectionLost
    ├ SessionLost      you own nothing                               ← LockLost
    ├ Compacted        the history asked for is gone
    ├ InvalidArgument  (also ValueError)
    ├ LimitExceeded
    ├ ConfigError
    ├ EmptyRing        (also LookupError)
    └ NodeFailed       this node stopped                             ← StorageError, InvariantBroken
"""

from __future__ import annotations

__all__ = [
    "Compacted",
    "ConfigError",
    "ConnectionLost",
    "EmptyRing",
    "Indeterminate",
    "InvalidArgument",
    "InvariantBroken",
    "LimitExceeded",
    "LockLost",
    "NoQuorum",
    "NodeFailed",
    "NotHappened",
    "NotLeader",
    "Overloaded",
    "QuorateError",
    "Rejected",
    "RequestTimeout",
    "SessionLost",
    "StorageError",
]


class QuorateError(Exception):
    """Base of all errors of this package.

    ``outcomes``: None, but for a batch (``put_many``): what became of each part, a revision or an error.
    """

    outcomes: list[int | QuorateError] | None = None


class NotHappened(QuorateError):
    """Proven: nothing was appended to the log. Trying again is safe."""


class NotLeader(NotHappened):
    """The node asked is not the leader. ``leader`` names the one it knows of, or is None."""

    def __init__(self, message: str = "this node is not the leader", *, leader: str | None = None) -> None:
        super().__init__(message if leader is None else f"{message}; the leader is {leader}")
        self.leader = leader


class NoQuorum(NotHappened):
    """Too few members answered for anything to be decided."""


class Overloaded(NotHappened):
    """A bounded queue is full; try again after a pause."""


class Rejected(NotHappened):
    """The request was understood and refused; the message says why."""


class Indeterminate(QuorateError):
    """The request was handed to a node and its outcome is not known: it may or may not have happened."""


class RequestTimeout(Indeterminate):
    """No answer came within the timeout."""


class ConnectionLost(Indeterminate):
    """The connection ended before the answer came."""


class SessionLost(QuorateError):
    """The session is over: its locks and keys are gone. ``outcome`` tells of what was pending."""

    def __init__(self, message: str = "the session is lost", *, outcome: QuorateError | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome


class LockLost(SessionLost):
    """The lock is not held any more, although it was not released by its holder."""


class Compacted(QuorateError):
    """The history asked for is gone. ``first_available`` is the oldest revision or index still there, if known."""

    def __init__(
        self, message: str = "the history asked for is compacted", *, first_available: int | None = None
    ) -> None:
        super().__init__(message)
        self.first_available = first_available


class InvalidArgument(QuorateError, ValueError):
    """An argument is outside of what is allowed; the message says what is."""


class LimitExceeded(QuorateError):
    """A documented limit (see :mod:`quorate.limits`) would be passed."""


class ConfigError(QuorateError):
    """The settings cannot work; the message says what to change."""


class EmptyRing(QuorateError, LookupError):
    """A key was looked up in a ring, or another placement, that has no node."""

    def __init__(self, message: str = "the ring has no node; add one before looking up keys") -> None:
        super().__init__(message)


class NodeFailed(QuorateError):
    """This node has stopped for good. ``outcome`` tells of what was pending."""

    def __init__(self, message: str, *, outcome: QuorateError | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome


class StorageError(NodeFailed):
    """A file cannot be read or written as it must be. Says which ``file`` and at what ``offset`` (bytes)."""

    def __init__(
        self,
        reason: str,
        *,
        file: str | None = None,
        offset: int | None = None,
        advice: str | None = None,
        outcome: QuorateError | None = None,
    ) -> None:
        place = "" if file is None else f"{file}: " if offset is None else f"{file}, offset {offset}: "
        super().__init__(f"{place}{reason}" + (f". {advice}" if advice else ""), outcome=outcome)
        self.reason = reason
        self.file = file
        self.offset = offset
        self.advice = advice


class InvariantBroken(NodeFailed):
    """A condition that the protocol guarantees does not hold: the node stops rather than go on wrongly."""
