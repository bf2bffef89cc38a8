"""Coordination that lives inside a Python service: consensus, locks and consistent hashing.

The public names and nothing else.
"""

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
    "__version__",
]
