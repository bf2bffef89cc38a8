"""What the store made of a command, as a value or as a typed error.

An expected outcome (a comparison that failed, a place in a queue) is a result; what the caller has to see to is an
exception that says whether anything happened. Every status here was judged: nothing of the command was done.
"""

from __future__ import annotations

from typing import Final

from quorate.errors import (
    Indeterminate,
    InvalidArgument,
    LimitExceeded,
    LockLost,
    Overloaded,
    QuorateError,
    Rejected,
    SessionLost,
)
from quorate.store.views import Limit, PermitKind, Result, Status

__all__ = ["EXPECTED", "KINDS", "checked", "error_of"]

EXPECTED: Final = frozenset({Status.OK, Status.COMPARE_FAILED, Status.QUEUED, Status.WOULD_BLOCK})
"""Outcomes that are results."""

_ADVICE: Final = {
    Limit.KEY_BYTES: "use a shorter key",
    Limit.VALUE_BYTES: "store a smaller value, or keep the bytes elsewhere and their place here",
    Limit.KEYS: "delete keys that are not needed",
    Limit.STORE_BYTES: "delete what is not needed",
    Limit.TRANSACTION_OPERATIONS: "split the transaction",
    Limit.DELETE_RANGE_KEYS: "delete in smaller pieces",
    Limit.SESSIONS: "end sessions that are not needed, or share one",
    Limit.SESSION_KEYS: "use another session for further keys",
    Limit.SESSION_PERMITS: "use another session for further locks",
    Limit.SESSION_TTL_MIN_MS: "choose a longer lease or ttl; 0.5 s is the least, unless the cluster has another limit",
    Limit.SESSION_TTL_MAX_MS: "choose a shorter lease or ttl; 1 h is the most, unless the cluster has another limit",
    Limit.PERMITS: "use fewer names of locks",
    Limit.PERMIT_WAITERS: "try again when fewer wait",
}

KINDS: Final = {
    PermitKind.MUTEX: "a lock",
    PermitKind.SEMAPHORE: "a semaphore",
    PermitKind.RWLOCK: "a read-write lock",
    PermitKind.ELECTION: "an election",
}
"""What a name can be in use as, in words."""


def error_of(result: Result) -> QuorateError | None:
    """The exception that a result means, None if it is an expected one.

    >>> from quorate.store.views import ResultFlag
    >>> error_of(Result(Status.OVERFLOW, ResultFlag(0), 7, 0))
    Rejected('the sum does not fit into a signed integer of 64 bits')
    """
    status = result.status
    if status in EXPECTED:
        return None
    if status is Status.FENCED:
        return Rejected("if_fence: that token does not hold the lock any more, so nothing was written")
    if status is Status.LIMIT:
        return _limit(result)
    if status is Status.NOT_A_NUMBER:
        return Rejected("the value of the key is no decimal integer of 64 bits, so nothing can be added to it")
    if status is Status.OVERFLOW:
        return Rejected("the sum does not fit into a signed integer of 64 bits")
    if status is Status.KIND_MISMATCH:
        used = next((words for kind, words in KINDS.items() if kind == result.number), f"kind {result.number}")
        return Rejected(f"the name is in use as {used}; all who use a name have to agree on what it is")
    if status is Status.CAPACITY_MISMATCH:
        return Rejected(f"the name is in use with a capacity of {result.number}; all its users have to agree on one")
    if status is Status.UPGRADE_REFUSED:
        return Rejected("a reader cannot become a writer without giving up what it reads; release first, then acquire")
    if status is Status.ACQUISITION_CONFLICT:
        return Rejected("this acquisition of the session was used for another name")
    if status is Status.NOT_HELD:
        return LockLost("it is not held by this acquisition")
    if status is Status.REVOKED_BY_FORCE:
        why = result.body.decode(errors="replace")
        return LockLost(f"it was taken away by an operator: {why or 'no reason given'}")
    if status is Status.NOT_FOUND:
        return Rejected("there is no session or lock of this name")
    if status is Status.SESSION_LOST:
        return SessionLost("the session is over: it was ended, or not heard of for its ttl; open a new one")
    if status is Status.WINDOW_FULL:
        return Overloaded("the session has as many requests in flight as are retained; wait for some of them")
    if status in (Status.GAP, Status.BELOW_MARK):
        return Indeterminate(f"the session lost count of its requests ({status.name})")
    if status is Status.VERSION_NOT_ENABLED:
        return Rejected(
            f"the cluster has agreed on version {result.number} of commands, and this one is newer; upgrade all members"
        )
    text = result.body.decode(errors="replace")
    return InvalidArgument(f"the store refused the command{': ' + text if text else ''}")


def _limit(result: Result) -> LimitExceeded:
    try:
        limit = Limit(result.number)
    except ValueError:  # of a newer cluster
        return LimitExceeded(f"a logged limit of the cluster (number {result.number}) would be passed")
    advice = _ADVICE.get(limit)
    return LimitExceeded(
        f"the cluster's limit {limit.name} would be passed{'; ' + advice if advice else ''} (limits of the store: see "
        "the reference)"
    )


def checked(result: Result) -> Result:
    """The result, if it is an expected one; raises what it means otherwise."""
    error = error_of(result)
    if error is not None:
        raise error
    return result
