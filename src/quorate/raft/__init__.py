"""The Raft protocol as a pure state machine: events in, updates out. Stands alone; knows no file, socket or clock.

>>> from quorate.raft import Raft, Tick
>>> raft = Raft(1, voters=[1, 2, 3], seed=1)
>>> raft.step(Tick(now=raft.deadline)).role
'pre_candidate'
"""

from __future__ import annotations

try:
    from quorate.raft._raft import BUILD, LogView, Raft, mutations
except ImportError as error:  # pragma: no cover - only in a tree that was never built
    raise ImportError(
        "quorate.raft is compiled and its extension modules are missing; run 'pip install .', or in "
        "a source tree run 'python setup.py build_ext --inplace'"
    ) from error

from quorate.config import RaftConfig
from quorate.raft._codec import decode, encode
from quorate.raft._configuration import change_configuration, decode_configuration, encode_configuration
from quorate.raft._events import (
    Applied,
    Campaign,
    Compact,
    DiskStalled,
    Event,
    ForgetLeader,
    LeaderConnectionClosed,
    Persisted,
    Propose,
    ProposeChange,
    ReadIndex,
    Receive,
    SnapshotFailed,
    SnapshotPersisted,
    Tick,
    TransferLeadership,
    Unreachable,
)
from quorate.raft._log import RaftLog
from quorate.raft._messages import Message
from quorate.raft._update import Update
from quorate.raft.types import (
    COMMAND,
    CONFIGURATION,
    NOOP,
    AddLearner,
    AddVoter,
    Configuration,
    Entry,
    HardState,
    MoveMember,
    ProgressState,
    ProposalResult,
    RaftState,
    ReadResult,
    RemoveMember,
    SnapshotChunk,
)

__all__ = [
    "BUILD",
    "COMMAND",
    "CONFIGURATION",
    "NOOP",
    "AddLearner",
    "AddVoter",
    "Applied",
    "Campaign",
    "Compact",
    "Configuration",
    "DiskStalled",
    "Entry",
    "Event",
    "ForgetLeader",
    "HardState",
    "LeaderConnectionClosed",
    "LogView",
    "Message",
    "MoveMember",
    "Persisted",
    "ProgressState",
    "ProposalResult",
    "Propose",
    "ProposeChange",
    "Raft",
    "RaftConfig",
    "RaftLog",
    "RaftState",
    "ReadIndex",
    "ReadResult",
    "Receive",
    "RemoveMember",
    "SnapshotChunk",
    "SnapshotFailed",
    "SnapshotPersisted",
    "Tick",
    "TransferLeadership",
    "Unreachable",
    "Update",
    "change_configuration",
    "decode",
    "decode_configuration",
    "encode",
    "encode_configuration",
    "mutations",
]
