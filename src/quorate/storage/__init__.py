"""The write-ahead log and snapshots: the only code that touches files.

Knows nothing of sockets, of the replicated store, or of Raft beyond terms, indexes and votes.
"""

from quorate.storage._io import Faults
from quorate.storage._log import SEGMENT_BYTES, Log
from quorate.storage._replay import Replayed, replay
from quorate.storage._snapshot import SnapshotReader, SnapshotWriter
from quorate.storage.directory import DataDirectory, Identity
from quorate.storage.meta import SnapshotMeta
from quorate.storage.snapshots import Snapshots
from quorate.storage.storage import Restart, Storage

__all__ = [
    "SEGMENT_BYTES",
    "DataDirectory",
    "Faults",
    "Identity",
    "Log",
    "Replayed",
    "Restart",
    "SnapshotMeta",
    "SnapshotReader",
    "SnapshotWriter",
    "Snapshots",
    "Storage",
    "replay",
]
