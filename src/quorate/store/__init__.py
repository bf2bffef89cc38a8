"""The replicated state machine: keys, sessions, permits, watches. Knows nothing of files, sockets, clocks or Raft."""

from quorate.store import commands
from quorate.store._reader import KeyValue, Reader
from quorate.store._store import Snapshot, Store, Watch

__all__ = ["KeyValue", "Reader", "Snapshot", "Store", "Watch", "commands"]
