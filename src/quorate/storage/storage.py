"""Everything that a node keeps, opened together, and what it starts from.

Knows the duties between log and snapshots (a log that begins behind entry n needs a snapshot that reaches n), and
nothing of Raft or of the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from quorate.errors import InvalidArgument, StorageError
from quorate.storage._io import Faults, sync_directory
from quorate.storage._log import Log
from quorate.storage.directory import DataDirectory, Identity
from quorate.storage.meta import SnapshotMeta
from quorate.storage.snapshots import Snapshots

__all__ = ["Restart", "Storage"]


@dataclass(frozen=True)
class Restart:
    """What a node starts from.

    ``hard_state`` is (term, vote or 0, commit). The store begins with ``snapshot`` (None: empty). ``base`` is the
    (term, index) in front of the first entry that is kept: at most the snapshot's, since a tail is kept for slow
    followers. ``last`` is the last entry's.
    """

    hard_state: tuple[int, int, int]
    snapshot: SnapshotMeta | None
    base: tuple[int, int]
    last: tuple[int, int]


class Storage:
    """The data of one node: ``directory`` (None in memory), ``log``, ``snapshots``, ``restart`` and ``report``.

    With ``durability="memory"`` there are no files: nothing is there next time, and each start has a new incarnation.
    Raises ConfigError if another process has the directory, StorageError if anything in it is damaged or missing. A
    context manager.

    >>> with Storage(None, node=1, durability="memory") as storage:
    ...     storage.log.wait(storage.log.append([(1, b"x")], hard_state=(1, 1, 0)))
    (1, 1)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        node: int | None = None,
        name: str | None = None,
        cluster: bytes | None = None,
        durability: Literal["fsync", "memory"] = "fsync",
        create: bool = True,
        segment_bytes: int | None = None,
        notify_fd: int = -1,
        progress: Callable[[int, int], object] | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.report: list[str] = []
        self.directory: DataDirectory | None = None
        if durability == "memory":
            if node is None:
                raise InvalidArgument("a node in memory needs its id")
            identity = Identity.new(cluster=cluster, node=node, name=name or "")
            self.log = Log(None, identity=identity, notify_fd=notify_fd)
            self.snapshots = Snapshots(None, identity=identity)
            self.restart = Restart((0, 0, 0), None, (0, 0), (0, 0))
            return
        if durability != "fsync":
            raise InvalidArgument(f'durability is "fsync" or "memory", not {durability!r}')
        if path is None:
            raise InvalidArgument('durability="fsync" needs a path')
        self.directory = DataDirectory(path, node=node, name=name, cluster=cluster, create=create, faults=faults)
        try:
            if not create and not self.directory.committed:
                raise StorageError("the directory is not complete", file=str(path))
            self.snapshots = Snapshots(self.directory, faults=faults)
            # A killed process may have named a snapshot and not synced the name; the log is about to rely on it.
            sync_directory(self.directory.snapshot_path, faults)

            def open_log() -> Log:
                return Log(
                    self.directory,
                    segment_bytes=segment_bytes,
                    notify_fd=notify_fd,
                    progress=progress,
                    faults=faults,
                )

            self.log = open_log()
            try:
                self.report += self.log.report
                snapshot = self._newest_snapshot()
                if snapshot is not None and self._finish_install(snapshot):
                    self.log.close()
                    self.log = open_log()
                self.restart = self._restart(snapshot)
            except BaseException:
                self.log.close()
                raise
        except BaseException:
            self.directory.close()
            raise

    @property
    def identity(self) -> Identity:
        """Whose data it is."""
        found = self.log.identity
        assert found is not None
        return found

    def _newest_snapshot(self) -> SnapshotMeta | None:
        """The newest snapshot whose head and end are whole. An older one serves only where the log covers the rest."""
        recovered = self.log.recovered
        assert recovered is not None
        base_term, base_index = recovered.base
        for term, index in reversed(self.snapshots.list()):
            if index < base_index:
                break
            try:
                with self.snapshots.open(term=term, index=index) as reader:
                    return reader.meta
            except StorageError as error:
                older = [at for _, at in self.snapshots.list() if base_index <= at < index]
                if not older and base_index:
                    raise
                if index > recovered.last[1]:
                    raise
                self.report.append(f"{error}; the log still covers what it holds, so it is not needed")
        if base_index:
            raise StorageError(
                f"the log begins behind entry {base_index} of term {base_term}, and no snapshot reaches so far",
                file=self.snapshots.directory.snapshot_path if self.snapshots.directory else None,
                advice="Restore the newest snapshot file from a copy; or remove this node and add it again",
            )
        return None

    def _finish_install(self, snapshot: SnapshotMeta) -> bool:
        """A received snapshot that the log does not know of: a crash came between the two. It replaces the log."""
        recovered = self.log.recovered
        assert recovered is not None
        if snapshot.index <= recovered.last[1] and recovered.term_of(snapshot.index) == snapshot.term:
            return False
        term, vote, commit = recovered.hard_state
        if snapshot.index <= commit:
            raise StorageError(
                f"the snapshot of entry {snapshot.index} contradicts the log, which has another committed entry there",
                file=self.snapshots.directory.snapshot_path if self.snapshots.directory else None,
                advice="Files of different directories were mixed; restore the right ones",
            )
        if snapshot.term > term:
            term, vote = snapshot.term, 0
        self.log.append(reset=(snapshot.term, snapshot.index), hard_state=(term, vote, snapshot.index))
        self.log.wait()
        self.report.append(
            f"the installation of the snapshot of entry {snapshot.index} was interrupted and is now complete"
        )
        return True

    def _restart(self, snapshot: SnapshotMeta | None) -> Restart:
        recovered = self.log.recovered
        assert recovered is not None
        return Restart(recovered.hard_state, snapshot, recovered.base, recovered.last)

    def entries(self) -> list[tuple[int, int, int, bytes]]:
        """The entries that were kept: (index, term, kind, bytes), as of opening."""
        return [] if self.log.recovered is None else self.log.recovered.entries()

    def content(self) -> Iterator[bytes]:
        """The content of the snapshot of :attr:`restart`, one chunk at a time; nothing if there is none."""
        snapshot = self.restart.snapshot
        if snapshot is not None:
            with self.snapshots.open(term=snapshot.term, index=snapshot.index) as reader:
                yield from reader.chunks()

    def close(self) -> None:
        """Ends the log, and gives the directory back."""
        self.log.close()
        self.snapshots.close()
        if self.directory is not None:
            self.directory.close()

    def __enter__(self) -> Storage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Storage({self.identity!r}, {self.log!r}, {self.snapshots!r})"
