"""Frozen settings with validation. Imports only ``errors``."""

from __future__ import annotations

from dataclasses import dataclass, fields

from quorate.errors import ConfigError

__all__ = ["RaftConfig"]


@dataclass(frozen=True, kw_only=True)
class RaftConfig:
    """Settings of one Raft node; the same on all nodes of a group unless said otherwise.

    Times end in ``_ms`` (milliseconds), sizes in ``_bytes``. A setting that cannot work raises
    :class:`~quorate.errors.ConfigError`.

    >>> RaftConfig(heartbeat_ms=20, election_timeout_min_ms=100).heartbeat_ms
    20
    """

    heartbeat_ms: int = 50
    """How often a leader is heard from. Several fit into an election timeout, so that a lost message is no election."""
    election_timeout_min_ms: int = 150
    """Shortest silence after which a follower campaigns; also the promise not to vote after hearing from a leader."""
    election_timeout_max_ms: int = 300
    """Longest; each wait is drawn anew between the two, so that votes seldom split (Raft §5.2)."""
    pre_vote: bool = True
    """Ask whether an election could be won before raising the term (dissertation §9.6)."""
    check_quorum: bool = True
    """A leader that has not heard from a majority for ``election_timeout_max_ms`` steps down (dissertation §6.2)."""
    lease_reads: bool = False
    """Serve reads from the leader's clock instead of a round (dissertation §6.4.1). Assumes bounded clock drift."""
    lease_margin: float = 0.1
    """Fraction of the lease given up for clock drift."""
    forward: bool = True
    """A follower passes proposals and reads on to the leader."""
    max_message_bytes: int = 1 << 20
    """Entry payload of one AppendEntries; a larger single entry goes alone."""
    max_inflight_messages: int = 256
    max_inflight_bytes: int = 8 << 20
    max_uncommitted_bytes: int = 64 << 20
    """Payload that a leader takes in before a majority has it; beyond, proposals are refused as overloaded."""
    max_apply_bytes: int = 1 << 20
    """Payload handed out to be applied at once."""
    snapshot_chunk_bytes: int = 256 << 10
    compaction_tail: int = 10_000
    """Entries kept below a snapshot for followers that are a little behind: a tenth of a second at full load."""
    compaction_tail_bytes: int = 16 << 20
    """The kept entries have at most this much payload."""
    snapshot_log_bytes: int = 64 << 20
    """A node makes a snapshot when its log grew by as much since the last one, and by as much as that one has.

    So snapshots never cost the disk more than the log does, and a restart replays less than a second of log. 0: never.
    """
    disk_stall_ms: int = 1000
    """A leader whose oldest unfinished write is older gives up its office."""
    hint_delay_max_ms: int = 10
    """Longest random delay between the leader's closed connection and a pre-vote."""
    max_pending_reads: int = 65_536

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, bool):
                if not isinstance(value, bool):
                    raise ConfigError(f"{field.name} must be True or False, not {value!r}")
            elif isinstance(field.default, float):
                if not isinstance(value, (int, float)) or not 0.0 <= value < 1.0:
                    raise ConfigError(f"{field.name} must be a fraction from 0 to below 1, not {value!r}")
            elif not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 48:
                raise ConfigError(f"{field.name} must be an integer from 0 to 2**48 - 1, not {value!r}")
        at_least_one = ("heartbeat_ms", "max_message_bytes", "max_inflight_messages", "max_inflight_bytes",
                        "max_uncommitted_bytes", "max_apply_bytes", "snapshot_chunk_bytes", "disk_stall_ms",
                        "max_pending_reads")  # fmt: skip
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1")
        if self.election_timeout_min_ms < 2 * self.heartbeat_ms:
            raise ConfigError(
                f"election_timeout_min_ms ({self.election_timeout_min_ms}) must be at least twice heartbeat_ms "
                f"({self.heartbeat_ms}), or one lost heartbeat starts an election"
            )
        if self.election_timeout_max_ms <= self.election_timeout_min_ms:
            raise ConfigError(
                f"election_timeout_max_ms ({self.election_timeout_max_ms}) must be above election_timeout_min_ms "
                f"({self.election_timeout_min_ms}), or votes split for ever"
            )
        if self.lease_reads and not self.check_quorum:
            raise ConfigError("lease_reads needs check_quorum, or a leader without a quorum would serve stale reads")
        if self.snapshot_chunk_bytes > 16 << 20:
            raise ConfigError("snapshot_chunk_bytes must be at most 16 MiB, the largest payload of a frame")
