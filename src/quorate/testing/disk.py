"""The simulated disk of one node: what a crash leaves of it. Knows nothing of Raft's rules.

It behaves like the write-ahead log of :mod:`quorate.storage`: writes are records in one order (hard state first, then
entries, one record each); a sync makes all records so far durable; a crash keeps everything durable and any prefix of
the rest. A snapshot is a file of its own, durable at once when it is renamed; the record that makes it the beginning of
the log follows among the others, and a start finds the file also when that record was lost.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import Any, final

__all__ = ["Disk", "DiskMisuse", "Snapshot"]


class DiskMisuse(AssertionError):
    """The node asked for a write that would leave a hole or lose what is durable for good."""


@dataclass(frozen=True)
class Snapshot:
    """A state machine's image at an index, with the configuration in force there."""

    index: int
    term: int
    configuration: Any
    data: bytes

    @property
    def digest(self) -> int:
        return zlib.crc32(self.data)


@final
class Disk:
    """Durable image, and the records that are written but not yet synced."""

    __slots__ = (
        "_file",
        "_pending",
        "commit",
        "entries",
        "first",
        "hard_state",
        "snapshot",
        "snapshots",
        "term",
        "vote",
    )

    def __init__(self) -> None:
        self.hard_state: Any = None
        self.term = 0
        self.vote = 0
        self.commit = 0
        self.first = 1
        """Index of ``entries[0]``."""
        self.entries: list[Any] = []
        self.snapshot: Snapshot | None = None
        self.snapshots: dict[int, Snapshot] = {}
        """Those that can still be sent, by index: the newest and the one before it."""
        self._file: Snapshot | None = None
        self._pending: list[tuple[Any, ...]] = []

    # -- what is durable

    @property
    def last(self) -> int:
        """Index of the last durable entry, or of the snapshot."""
        return max(0 if self._file is None else self._file.index, self.first + len(self.entries) - 1)

    def holds(self, index: int, term: int) -> bool:
        """Is the entry (index, term) durable, or covered by the snapshot?"""
        if index < self.first or (self._file is not None and index <= self._file.index):
            return True
        at = index - self.first
        return at < len(self.entries) and self.entries[at].term == term

    # -- writes

    def write(self, hard_state: Any, first_index: int, entries: list[Any]) -> None:
        """Take records into the order of the log; they are not durable yet."""
        if hard_state is not None:
            # A commit index is never written in front of the entries it speaks of: there may be others in their place,
            # which they replace. It follows them, in a second record.
            before = min(hard_state.commit, first_index - 1) if entries else hard_state.commit
            self._pending.append((0, hard_state._replace(commit=before)))
        if entries:
            self._pending.append((1, first_index, entries))
            if hard_state is not None:
                self._pending.append((0, hard_state))

    def keep_received(self, snapshot: Snapshot) -> None:
        """A snapshot received from a leader is durable as a file."""
        if self._file is None or snapshot.index > self._file.index:
            self._file = snapshot

    def write_beginning(self, snapshot: Snapshot) -> None:
        """Take the record that makes a received snapshot the beginning into the order of the log."""
        self._pending.append((2, snapshot))

    def sync(self) -> None:
        """Everything written so far is durable."""
        for record in self._pending:
            self._put(record)
        self._pending.clear()

    def crash(self, rng: random.Random) -> int:
        """Power goes: keep a prefix of the unsynced records. Returns how many were lost."""
        records: list[tuple[Any, ...]] = []
        for record in self._pending:
            if record[0] == 1:
                records += [(1, record[1] + n, [entry]) for n, entry in enumerate(record[2])]
            else:
                records.append(record)
        keep = rng.randint(0, len(records))
        for record in records[:keep]:
            self._put(record)
        if self._file is not None:
            self._put((2, self._file))
        self._pending.clear()
        return len(records) - keep

    def save_own(self, snapshot: Snapshot) -> None:
        """The node's own snapshot is durable: keep it, and cut the log up to it."""
        if self.snapshot is not None and snapshot.index <= self.snapshot.index:
            return
        if not self.holds(snapshot.index, snapshot.term):
            raise DiskMisuse(f"a snapshot at {snapshot.index}@{snapshot.term}, which is not durable in the log")
        self._keep(snapshot)
        del self.entries[: snapshot.index + 1 - self.first]
        self.first = snapshot.index + 1

    def _keep(self, snapshot: Snapshot) -> None:
        self.snapshots = {kept: self.snapshots[kept] for kept in sorted(self.snapshots)[-1:]}
        self.snapshots[snapshot.index] = self.snapshot = snapshot

    def _put_hard_state(self, hard_state: Any) -> None:
        if hard_state.term < self.term:
            raise DiskMisuse(f"{hard_state} goes back from term {self.term}")
        if hard_state.term == self.term and self.vote not in (0, hard_state.vote):
            raise DiskMisuse(f"{hard_state} changes the vote of the term, which was for {self.vote}")
        if hard_state.commit > self.first + len(self.entries) - 1:
            raise DiskMisuse(f"{hard_state} is beyond the log, which ends at {self.last}")
        self.term, self.vote, self.commit = hard_state.term, hard_state.vote, max(self.commit, hard_state.commit)
        self.hard_state = hard_state._replace(commit=self.commit)

    def _put(self, record: tuple[Any, ...]) -> None:
        kind = record[0]
        if kind == 0:
            self._put_hard_state(record[1])
        elif kind == 1:
            _, first_index, entries = record
            at = first_index - self.first
            if at > len(self.entries):
                raise DiskMisuse(f"entries from {first_index} leave a hole in a log that ends at {self.last}")
            if at < 0:
                raise DiskMisuse(
                    f"entries from {first_index} overwrite a snapshot, which covers up to {self.first - 1}"
                )
            if first_index <= self.commit:
                raise DiskMisuse(f"entries from {first_index} overwrite what is committed, up to {self.commit}")
            del self.entries[at:]
            self.entries += entries
        else:
            snapshot: Snapshot = record[1]
            if self.snapshot is not None and snapshot.index <= self.snapshot.index:
                return
            # Raft Figure 13, rules 6 and 7: what follows an entry equal to the snapshot's last one stays, else nothing.
            at = snapshot.index - self.first
            if 0 <= at < len(self.entries) and self.entries[at].term == snapshot.term:
                del self.entries[: at + 1]
            else:
                self.entries.clear()
            self.first = snapshot.index + 1
            self._keep(snapshot)
