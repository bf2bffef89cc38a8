"""Coordination that lives inside a Python service: consensus, locks and consistent hashing.

The public names and nothing else. Nodes and clients are imported when they are used, because a program that needs only
the ring, or only the errors, should not wait for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from quorate.errors import (
    Compacted,
    ConfigError,
    ConnectionLost,
    EmptyRing,
    Indeterminate,
    InvalidArgument,
    InvariantBroken,
    LimitExceeded,
    LockLost,
    NodeFailed,
    NoQuorum,
    NotHappened,
    NotLeader,
    Overloaded,
    QuorateError,
    Rejected,
    RequestTimeout,
    SessionLost,
    StorageError,
)
from quorate.version import __version__

if TYPE_CHECKING:
    from quorate import aio as aio
    from quorate.api import op as op
    from quorate.api.client import Client, Transaction
    from quorate.api.connect import connect
    from quorate.api.distributed_lock import DistributedLock
    from quorate.api.node import Node, local
    from quorate.api.session import Session
    from quorate.api.watch import Event, Watch
    from quorate.client.backend import Member, State
    from quorate.config import RaftConfig
    from quorate.recipes.barrier import Barrier
    from quorate.recipes.counter import Counter
    from quorate.recipes.double_barrier import DoubleBarrier
    from quorate.recipes.election import Election, Leader, Observation, Term
    from quorate.recipes.group import Group, GroupWatch, Membership
    from quorate.recipes.held import Takeable
    from quorate.recipes.inspection import Claim
    from quorate.recipes.lock import Lock
    from quorate.recipes.multi_lock import MultiLock
    from quorate.recipes.queue import Item, Queue
    from quorate.recipes.ring import LiveRing
    from quorate.recipes.roster import Change, GroupMember
    from quorate.recipes.rwlock import RWLock
    from quorate.recipes.semaphore import Permits, Semaphore
    from quorate.recipes.sticky import StickyLock
    from quorate.store import KeyValue
    from quorate.store.views import EventKind

__all__ = [
    "Barrier",
    "Change",
    "Claim",
    "Client",
    "Compacted",
    "ConfigError",
    "ConnectionLost",
    "Counter",
    "DistributedLock",
    "DoubleBarrier",
    "Election",
    "EmptyRing",
    "Event",
    "EventKind",
    "Group",
    "GroupMember",
    "GroupWatch",
    "Indeterminate",
    "InvalidArgument",
    "InvariantBroken",
    "Item",
    "KeyValue",
    "Leader",
    "LimitExceeded",
    "LiveRing",
    "Lock",
    "LockLost",
    "Member",
    "Membership",
    "MultiLock",
    "NoQuorum",
    "Node",
    "NodeFailed",
    "NotHappened",
    "NotLeader",
    "Observation",
    "Overloaded",
    "Permits",
    "Queue",
    "QuorateError",
    "RWLock",
    "RaftConfig",
    "Rejected",
    "RequestTimeout",
    "Semaphore",
    "Session",
    "SessionLost",
    "State",
    "StickyLock",
    "StorageError",
    "Takeable",
    "Term",
    "Transaction",
    "Watch",
    "__version__",
    "aio",
    "connect",
    "local",
    "op",
]

_LATER: Final = {
    "LiveRing": "recipes.ring",
    "Change": "recipes.roster",
    "GroupMember": "recipes.roster",
    "Membership": "recipes.group",
    "GroupWatch": "recipes.group",
    "Group": "recipes.group",
    "Item": "recipes.queue",
    "Queue": "recipes.queue",
    "DistributedLock": "api.distributed_lock",
    "MultiLock": "recipes.multi_lock",
    "Barrier": "recipes.barrier",
    "DoubleBarrier": "recipes.double_barrier",
    "Claim": "recipes.inspection",
    "Client": "api.client",
    "Counter": "recipes.counter",
    "Election": "recipes.election",
    "Event": "api.watch",
    "EventKind": "store.views",
    "KeyValue": "store",
    "Leader": "recipes.election",
    "Lock": "recipes.lock",
    "Member": "client.backend",
    "Node": "api.node",
    "Observation": "recipes.election",
    "Permits": "recipes.semaphore",
    "RWLock": "recipes.rwlock",
    "RaftConfig": "config",
    "Semaphore": "recipes.semaphore",
    "Session": "api.session",
    "State": "client.backend",
    "StickyLock": "recipes.sticky",
    "Takeable": "recipes.held",
    "Term": "recipes.election",
    "Transaction": "api.client",
    "Watch": "api.watch",
    "connect": "api.connect",
    "local": "api.node",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        found = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    elif name in ("aio", "op"):
        found = importlib.import_module(f"{__name__}.{'aio' if name == 'aio' else 'api.op'}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
