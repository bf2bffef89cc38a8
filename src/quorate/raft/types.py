"""The values that come out of the core: small named tuples with equality and a readable ``repr``.

Knows nothing of the compiled code, so that everything can import it.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

__all__ = [
    "COMMAND",
    "CONFIGURATION",
    "NOOP",
    "AddLearner",
    "AddVoter",
    "Configuration",
    "Entry",
    "HardState",
    "MoveMember",
    "ProgressState",
    "ProposalResult",
    "RaftState",
    "ReadResult",
    "RemoveMember",
    "SnapshotChunk",
]

COMMAND: Final = 0
"""Kind of an entry that is for the state machine."""
NOOP: Final = 1
"""Kind of the empty entry with which a leader begins its term (Raft §5.4.2, §8)."""
CONFIGURATION: Final = 2
"""Kind of an entry that holds a cluster configuration (Raft §6)."""


class Entry(NamedTuple):
    """One entry of the log.

    >>> Entry(index=1, term=2, kind=COMMAND, data=b"x")
    Entry(index=1, term=2, kind=0, data=b'x')
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a value
    term: int
    kind: int = COMMAND
    data: bytes = b""


class HardState(NamedTuple):
    """What must survive a crash besides the log (Raft, Figure 2): current term, vote in it, and the commit index.

    ``commit`` may be older than what was known before the crash; the leader tells it again.
    """

    term: int = 0
    vote: int = 0
    commit: int = 0


class Configuration(NamedTuple):
    """Who decides (Raft §6). Joint while ``outgoing`` is not empty: then both majorities are needed.

    ``index`` is the log index of the entry that brought it, 0 for the first bootstrap. ``incarnations`` maps members to
    the incarnation that they are bound to, and ``places`` to what their owner says of them, which the protocol carries
    and never looks into (a running node keeps name and address there).
    """

    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a value
    incoming: tuple[int, ...] = ()
    outgoing: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    learners_next: tuple[int, ...] = ()
    auto_leave: bool = False
    incarnations: tuple[tuple[int, int], ...] = ()
    places: tuple[tuple[int, bytes], ...] = ()

    @property
    def joint(self) -> bool:
        """Whether two majorities are needed."""
        return bool(self.outgoing)

    @property
    def members(self) -> tuple[int, ...]:
        """All voters and learners, sorted."""
        return tuple(sorted({*self.incoming, *self.outgoing, *self.learners}))


class SnapshotChunk(NamedTuple):
    """A piece of a snapshot that arrives: write it at ``offset`` (bytes); after the one with ``done``, install all."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a value
    term: int
    offset: int
    data: bytes
    size: int
    digest: int
    done: bool
    configuration: Configuration


class ReadResult(NamedTuple):
    """A read asked for by ``ReadIndex``: safe now if ``status`` is "accepted", else never served."""

    id: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a value
    status: str


class ProposalResult(NamedTuple):
    """What became of a proposal. Any status but "accepted" and "forwarded" proves that nothing was appended.

    "accepted": the leader appended it at ``index`` in ``term``; it is committed if that very entry is.
    """

    id: int
    status: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a value
    term: int
    leader: int


class AddVoter(NamedTuple):
    """Make ``id`` a voter, bound to ``incarnation`` if that is not 0."""

    id: int
    incarnation: int = 0
    place: bytes = b""


class AddLearner(NamedTuple):
    """Make ``id`` a learner, which gets the log and does not vote; a voter so named is demoted."""

    id: int
    incarnation: int = 0
    place: bytes = b""


class RemoveMember(NamedTuple):
    """Take ``id`` out of the configuration."""

    id: int


class MoveMember(NamedTuple):
    """Say something else of the member ``id``; who decides stays as it is."""

    id: int
    place: bytes


class ProgressState(NamedTuple):
    """What a leader knows of a peer. Log indexes; ``inflight`` counts messages, ``inflight_bytes`` bytes."""

    state: Literal["probe", "replicate", "snapshot"]
    match: int
    next: int
    inflight: int
    inflight_bytes: int
    paused: bool
    recent_active: bool
    learner: bool
    snapshot_index: int
    snapshot_offset: int


class RaftState(NamedTuple):
    """A readable copy of a node's state. Times are microseconds."""

    id: int
    role: Literal["follower", "pre_candidate", "candidate", "leader"]
    term: int
    vote: int
    leader: int
    commit: int
    applied: int
    first_index: int
    last_index: int
    snapshot_index: int
    persisted_index: int
    configuration: Configuration
    progress: dict[int, ProgressState]
    transfer_target: int
    rejected: dict[str, int]
    lease_until: int
    deadline: int
    uncommitted_bytes: int
    failed: bool
