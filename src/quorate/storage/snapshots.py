"""Which snapshots a node has: makes, resumes, opens and prunes them.

Knows nothing of their content, nor of when one is due. In memory (no directory) the same interface keeps the newest
one in anonymous memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import replace
from typing import BinaryIO, Final

from quorate.errors import InvalidArgument, StorageError
from quorate.storage._io import Faults, remove_file
from quorate.storage._snapshot import SnapshotReader, SnapshotWriter, begin_writer, open_reader, resume_writer
from quorate.storage.directory import DataDirectory, Identity
from quorate.storage.meta import CHUNK_BYTES, SnapshotMeta

__all__ = ["Snapshots"]

_NAME: Final = re.compile(r"(\d{16,20})-(\d{16,20})\.(snap|part)")


class Snapshots:
    """The snapshots in a data directory, or with ``directory=None`` and an ``identity``, in memory.

    >>> from quorate.storage import Identity, Snapshots
    >>> snapshots = Snapshots(None, identity=Identity.new(node=1))
    >>> writer = snapshots.create(term=2, index=10, configuration=b"a b c", configuration_index=1)
    >>> writer.write(b"content"); writer.finish()
    >>> with snapshots.open() as reader:
    ...     reader.meta, reader.read(3, 100)
    (SnapshotMeta(term=2, index=10, id=...), b'tent')
    """

    def __init__(
        self, directory: DataDirectory | None, *, identity: Identity | None = None, faults: Faults | None = None
    ) -> None:
        if directory is None and identity is None:
            raise InvalidArgument("snapshots without a directory need an identity")
        self.directory: Final = directory
        self._identity = identity
        self.faults: Final = faults
        self._in_memory: tuple[SnapshotMeta, int] | None = None

    @property
    def identity(self) -> Identity:
        """Whose snapshots they are."""
        found = self._identity if self.directory is None else self.directory.identity
        assert found is not None
        return found

    def _path(self, index: int, term: int, ending: str) -> str:
        assert self.directory is not None
        return f"{self.directory.snapshot_path}/{index:016d}-{term:016d}.{ending}"

    def _files(self, ending: str) -> list[tuple[int, int, str]]:
        """(index, term, path), oldest first."""
        if self.directory is None:
            return []
        found = []
        for name in os.listdir(self.directory.snapshot_path):
            match = _NAME.fullmatch(name)
            if match and match[3] == ending:
                found.append((int(match[1]), int(match[2]), f"{self.directory.snapshot_path}/{name}"))
        return sorted(found)

    def create(
        self,
        *,
        term: int,
        index: int,
        configuration: bytes,
        configuration_index: int,
        id: int | None = None,
        content_format: int = 0,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> SnapshotWriter:
        """Begins a snapshot of everything up to and with (term, index).

        ``id`` is that of the original for a copy that comes from another member; None draws a new one. Raises
        StorageError if the disk refuses, InvalidArgument for impossible sizes.
        """
        if index < 1:
            raise InvalidArgument("a snapshot covers at least one entry")
        meta = SnapshotMeta(
            term=term,
            index=index,
            configuration=configuration,
            configuration_index=configuration_index,
            id=secrets.randbits(64) | 1 if id is None else id,
            cluster=self.identity.cluster,
            node=self.identity.node,
            incarnation=self.identity.incarnation,
            content_format=content_format,
            chunk_bytes=chunk_bytes,
        )
        return begin_writer(self, meta, None if self.directory is None else self.directory.snapshot_path, self.faults)

    def resume(self, *, term: int, index: int, id: int) -> SnapshotWriter | None:
        """Goes on with an unfinished snapshot of this id, from :attr:`SnapshotWriter.offset`; None if there is none.

        An unfinished file of another id, or with a damaged head, is deleted.
        """
        if self.directory is None:
            return None
        path = self._path(index, term, "part")
        if not os.path.exists(path):
            return None
        try:
            writer = resume_writer(self, self.directory.snapshot_path, index, term, self.faults)
        except StorageError as error:
            if error.advice is None:  # the disk, not the file
                raise
            remove_file(path, self.faults)
            return None
        if writer.meta.id == id and writer.meta.cluster == self.identity.cluster:
            return writer
        writer.discard()
        return None

    def _finished(self, writer: SnapshotWriter) -> str | None:
        """Proves a new snapshot readable; only then are older ones, and what was left unfinished, deleted."""
        meta: SnapshotMeta = writer.meta
        if self.directory is None:
            kept = os.dup(writer.descriptor)
            os.set_inheritable(kept, False)
            if self._in_memory is not None:
                os.close(self._in_memory[1])
            self._in_memory = (meta, kept)
            return None
        path = self._path(meta.index, meta.term, "snap")
        if hasattr(os, "posix_fadvise"):  # drop what the kernel holds, so that the proof reads the disk
            os.posix_fadvise(writer.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        with open_reader(path, faults=self.faults) as reader:
            reader.prove()
        with contextlib.suppress(StorageError):  # the snapshot is good all the same; the next one tries again
            self.prune(meta.index)
        return path

    def _discarded(self, writer: SnapshotWriter) -> None:
        if writer.path is not None:
            remove_file(writer.path, self.faults)

    def prune(self, index: int) -> list[str]:
        """Deletes snapshots, finished or not, older than ``index``. Returns what it deleted."""
        gone = [path for ending in ("part", "snap") for at, _, path in self._files(ending) if at < index]
        for path in gone:
            remove_file(path, self.faults)
        return gone

    def clean(self, index: int) -> list[str]:
        """Deletes snapshots older than ``index``, and what a killed process left unfinished. Returns the files."""
        gone = [path for at, _, path in self._files("snap") if at < index] + [path for *_, path in self._files("part")]
        for path in gone:
            remove_file(path, self.faults)
        return gone

    def list(self) -> list[tuple[int, int]]:
        """(term, index) of the finished snapshots, oldest first. Whether they are whole is seen on opening."""
        if self.directory is None:
            return [] if self._in_memory is None else [(self._in_memory[0].term, self._in_memory[0].index)]
        return [(term, index) for index, term, _ in self._files("snap")]

    def open(self, *, term: int | None = None, index: int | None = None) -> SnapshotReader:
        """Opens the newest snapshot, or that one. Raises StorageError if there is none, or it is damaged or foreign."""
        if self.directory is None:
            if self._in_memory is None:
                raise StorageError("there is no snapshot")
            return open_reader(None, self._in_memory[1], self.faults)
        files = [file for file in self._files("snap") if index in (None, file[0]) and term in (None, file[1])]
        if not files:
            raise StorageError("there is no such snapshot", file=self.directory.snapshot_path)
        index, term, path = files[-1]
        reader = open_reader(path, faults=self.faults)
        meta: SnapshotMeta = reader.meta
        if (meta.index, meta.term) != (index, term):
            raise StorageError("the snapshot has the name of another one", file=path, offset=16)
        if (meta.cluster, meta.node) != (self.identity.cluster, self.identity.node):
            raise StorageError(
                "the snapshot belongs to another cluster or node",
                file=path,
                offset=16,
                advice="Use `quorate snapshot restore` to begin a new cluster from it",
            )
        return reader

    def file(self) -> BinaryIO:
        """The snapshot in memory as a file to be copied; the caller closes it."""
        assert self._in_memory is not None
        found = os.fdopen(os.dup(self._in_memory[1]), "rb")
        found.seek(0)
        return found

    def meta_here(self, meta: SnapshotMeta) -> SnapshotMeta:
        """The same snapshot as a copy in this directory says it."""
        mine = self.identity
        return replace(meta, cluster=mine.cluster, node=mine.node, incarnation=mine.incarnation)

    def close(self) -> None:
        """Forgets what is held in memory."""
        if self._in_memory is not None:
            with contextlib.suppress(OSError):
                os.close(self._in_memory[1])
            self._in_memory = None

    def __repr__(self) -> str:
        where = "in memory" if self.directory is None else repr(self.directory.snapshot_path)
        return f"Snapshots({where}, {self.list()})"
