"""What can be done with a data directory while no node runs on it: verify, back up, begin a new cluster from it.

Knows the files; what their content means comes in as functions (the store is a floor above). Nothing here changes a
directory that it reads: a recovered one is built beside the old one, which is kept under another name.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from quorate.errors import ConfigError, InvalidArgument, StorageError
from quorate.storage._io import sync_directory
from quorate.storage._log import Log
from quorate.storage._replay import Replayed, replay
from quorate.storage._snapshot import open_reader
from quorate.storage.directory import DataDirectory, Identity
from quorate.storage.meta import SnapshotMeta
from quorate.storage.snapshots import Snapshots
from quorate.storage.storage import Storage

__all__ = [
    "INDEX_GAP",
    "Check",
    "Fold",
    "NewCluster",
    "check_directory",
    "recover",
    "restore_snapshot",
    "save_snapshot",
]

INDEX_GAP: Final = 1 << 42
"""A new cluster goes on so far above what is left of the old one: no token and no revision is given out twice.

What is left may be old: the gap covers more than a year of 100,000 entries a second behind it. Two thousand such gaps
fit below 2**53, up to where every JSON parser counts exactly.
"""

_CONFIGURATION: Final = 2
"""The kind of an entry that holds a configuration: ENTRY_CONFIGURATION of csrc/entry.h."""

Entry = tuple[int, int, int, bytes]
Fold = Callable[[Iterator[bytes], Iterable[Entry], int], Iterable[bytes]]
"""(content of a snapshot, entries after it, new index) → content at the new index. The store provides it."""


@dataclass
class Check:
    """What :func:`check_directory` found. ``problems`` is empty if the directory is whole."""

    path: str
    identity: Identity | None = None
    hard_state: tuple[int, int, int] | None = None
    base: tuple[int, int] | None = None
    last: tuple[int, int] | None = None
    records: int = 0
    entries: int = 0
    segments: list[dict[str, Any]] = field(default_factory=list)
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether a node can start from the directory as it is."""
        return not self.problems

    def document(self) -> dict[str, Any]:
        """The same for JSON."""

        def position(it: tuple[int, int] | None) -> dict[str, int] | None:
            return None if it is None else {"term": it[0], "index": it[1]}

        who = self.identity
        return {
            "path": self.path,
            "whole": self.whole,
            "identity": None
            if who is None
            else {
                "cluster": who.cluster.hex(),
                "node": who.node,
                "name": who.name,
                "incarnation": f"{who.incarnation:016x}",
            },
            "hard_state": None
            if self.hard_state is None
            else dict(zip(("term", "vote", "commit"), self.hard_state, strict=True)),
            "base": position(self.base),
            "last": position(self.last),
            "records": self.records,
            "entries": self.entries,
            "segments": self.segments,
            "snapshots": self.snapshots,
            "notices": self.notices,
            "problems": self.problems,
        }

    def _problem(self, error: StorageError) -> None:
        self.problems.append(
            {"file": error.file, "offset": error.offset, "reason": error.reason, "advice": error.advice}
        )


def check_directory(path: str | os.PathLike[str], *, progress: Callable[[int, int], object] | None = None) -> Check:
    """Verifies every byte that matters of a data directory, and changes nothing.

    ``progress`` is called with (files read, files in all). Raises ConfigError if a process has the directory open,
    and StorageError if it is no data directory at all; damage is reported in the result.
    """
    found = Check(str(path))
    where = Path(os.path.abspath(path))
    if not (where / "log").is_dir():
        raise ConfigError(f"{where} is no data directory")
    names = []
    if (where / "snapshots").is_dir():
        names = sorted(name for name in os.listdir(where / "snapshots") if name.endswith(".snap"))
    else:
        advice = "Restore the folder from a copy; or remove this node and add it again with an empty directory"
        found._problem(StorageError("the folder of snapshots is missing", file=str(where / "snapshots"), advice=advice))
    segments = len([name for name in os.listdir(where / "log") if name.endswith(".log")])
    whole = segments + len(names)

    def step(done: int) -> None:
        if progress is not None:
            progress(done, whole)

    directory: DataDirectory | None = None
    try:
        try:
            directory = DataDirectory(where, create=False)
            found.identity = directory.identity
        except StorageError as error:
            found._problem(error)
        try:
            log = replay(str(where / "log"), progress=lambda done, _: step(done))
        except StorageError as error:
            found._problem(error)
        else:
            _describe(found, log)
        for number, name in enumerate(names):
            file = str(where / "snapshots" / name)
            try:
                with open_reader(file) as reader:
                    reader.prove()
                    meta: SnapshotMeta = reader.meta
                    found.snapshots.append(
                        {
                            "file": file,
                            "term": meta.term,
                            "index": meta.index,
                            "bytes": reader.size,
                            "configuration_index": meta.configuration_index,
                            "id": f"{meta.id:016x}",
                        }
                    )
                    if found.identity and (meta.cluster, meta.node) != (found.identity.cluster, found.identity.node):
                        raise StorageError("the snapshot belongs to another cluster or node", file=file, offset=16)
            except StorageError as error:
                found._problem(error)
            step(segments + number + 1)
    finally:
        if directory is not None:
            directory.close()
    if found.base is not None and found.base[1] > max((each["index"] for each in found.snapshots), default=0):
        found._problem(
            StorageError(
                f"the log begins behind entry {found.base[1]}, and no whole snapshot reaches so far",
                file=str(where / "snapshots"),
                advice="Restore the newest snapshot file from a copy; or remove this node and add it again",
            )
        )
    return found


def _describe(found: Check, log: Any) -> None:
    found.hard_state, found.base, found.last = log.hard_state, log.base, log.last
    found.records, found.entries = log.records, log.last[1] - log.base[1]
    for file, sequence, last_index, sealed, end in log.segments:
        found.segments.append(
            {"file": file, "sequence": sequence, "begins_after": last_index, "sealed": sealed, "end": end}
        )
    if not log.segments:
        found._problem(StorageError("there is no segment", file=found.path))
    who = found.identity
    if who and log.segments and (log.cluster, log.node, log.incarnation) != (who.cluster, who.node, who.incarnation):
        found._problem(
            StorageError("the log belongs to another cluster, node or incarnation", file=log.segments[0][0], offset=32)
        )
    if log.cut is not None:
        file, offset, length, reason = log.cut
        found.notices.append(
            f"{file}, offset {offset}: an incomplete last write of {length} bytes ({reason}); the next start cuts it"
        )
    if log.orphan is not None:
        found.notices.append(f"{log.orphan}: an unused segment of an interrupted change; the next start removes it")


def save_snapshot(
    path: str | os.PathLike[str], target: str | os.PathLike[str], *, fold: Fold | None = None
) -> tuple[SnapshotMeta, int]:
    """Writes the newest snapshot of a data directory to a file, and proves the file readable.

    With ``fold`` it is carried on, in the file alone, to the last entry that this node knew to be committed; a
    directory that has no snapshot yet can then be saved too. Returns what the file is of, and the last index of the
    log: the entries between are not in the file. Raises StorageError if the directory is not whole, InvalidArgument
    if the target exists.
    """
    goal = Path(os.path.abspath(target))
    if goal.exists():
        raise InvalidArgument(f"{goal} exists already")
    temporary = goal.with_name(goal.name + ".new")
    with DataDirectory(path, create=False) as directory:
        log = replay(directory.log_path)
        who = directory.identity
        if (log.cluster, log.node, log.incarnation) != (who.cluster, who.node, who.incarnation):
            raise StorageError("the log belongs to another cluster, node or incarnation", file=directory.log_path)
        kept = Snapshots(directory)
        carried = _carried_on(kept, log, fold) if fold is not None else None
        with (carried or kept).open() as reader:
            reader.prove()
            meta: SnapshotMeta = reader.meta
            with open(temporary, "wb") as out:
                if reader.path is not None:
                    with open(reader.path, "rb") as source:
                        shutil.copyfileobj(source, out)
                elif carried is not None:
                    with carried.file() as made:
                        shutil.copyfileobj(made, out)
        if carried is not None:
            carried.close()
    with open(temporary, "rb") as copied:
        os.fsync(copied.fileno())
    with open_reader(str(temporary)) as reader:
        reader.prove()
    os.rename(temporary, goal)
    sync_directory(str(goal.parent))
    return meta, log.last[1]


def _carried_on(kept: Snapshots, log: Replayed, fold: Fold) -> Snapshots | None:
    """A snapshot in memory as of the commit index, from the newest one kept and the entries after it; None if it is."""
    commit = log.hard_state[2]
    start, configuration, configuration_index, content_format = 0, b"", 0, 0
    with contextlib.ExitStack() as stack:
        content: Iterator[bytes] = iter(())
        if kept.list():
            reader = stack.enter_context(kept.open())
            reader.prove()
            meta: SnapshotMeta = reader.meta
            start, content = meta.index, reader.chunks()
            configuration, configuration_index = meta.configuration, meta.configuration_index
            content_format = meta.content_format
        if commit <= start:
            return None
        if log.base[1] > start:
            raise StorageError(f"the log begins behind entry {log.base[1]}, and no snapshot reaches so far")
        entries = [entry for entry in log.entries() if start < entry[0] <= commit]
        for index, _, kind, data in entries:
            if kind == _CONFIGURATION:
                configuration, configuration_index = data, index
        made = Snapshots(None, identity=kept.identity)
        writer = made.create(
            term=log.term_of(commit),
            index=commit,
            configuration=configuration,
            configuration_index=configuration_index,
            content_format=content_format,
        )
        for part in fold(content, entries, commit):
            writer.write(part)
        writer.finish()
    return made


@dataclass(frozen=True)
class NewCluster:
    """A directory made by :func:`restore_snapshot` or :func:`recover`: the first of a new cluster."""

    identity: Identity
    term: int
    index: int
    """The new cluster goes on behind this index."""
    old_index: int
    """The last entry of the old cluster that is in it."""
    old_commit: int
    """Up to here the entries were known to be committed; later ones may or may not have been."""
    kept: str | None = None
    """Where the old directory lies now."""


def _begin(
    path: Path, identity: Identity, *, term: int, index: int, configuration: bytes, content: Iterable[bytes],
    content_format: int, segment_bytes: int | None,
) -> None:  # fmt: skip
    """A complete data directory that begins with a snapshot. A crash on the way leaves one without IDENTITY."""
    with DataDirectory(path, cluster=identity.cluster, node=identity.node, name=identity.name) as directory:
        directory.identity = identity
        writer = Snapshots(directory).create(
            term=term,
            index=index,
            configuration=configuration,
            configuration_index=index,
            content_format=content_format,
        )
        for part in content:
            writer.write(part)
        writer.finish()
        with Log(directory, segment_bytes=segment_bytes) as log:
            log.append(reset=(term, index), hard_state=(term, 0, index))
            log.wait()


def restore_snapshot(
    file: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    node: int,
    name: str = "",
    cluster: bytes | None = None,
    configuration: bytes,
    fold: Fold,
    gap: int = INDEX_GAP,
    segment_bytes: int | None = None,
) -> NewCluster:
    """Makes the data directory ``path`` of a new cluster from a snapshot file.

    Each member of the new cluster is restored from the same file, with the same ``cluster`` (16 bytes; None draws
    one) and ``configuration``. Raises StorageError if the file is damaged, InvalidArgument if the directory is not
    empty.
    """
    goal = Path(os.path.abspath(path))
    if goal.exists() and any(goal.iterdir()):
        raise InvalidArgument(f"{goal} is not empty; a snapshot is restored into a new directory")
    with open_reader(os.path.abspath(file)) as reader:
        reader.prove()
        meta: SnapshotMeta = reader.meta
        identity = Identity.new(cluster=cluster or secrets.token_bytes(16), node=node, name=name)
        term, index = meta.term + 1, meta.index + gap
        try:
            _begin(
                goal,
                identity,
                term=term,
                index=index,
                configuration=configuration,
                content=fold(reader.chunks(), [], index),
                content_format=meta.content_format,
                segment_bytes=segment_bytes,
            )
        except ConfigError:  # another process has begun in it since it was seen empty
            raise
        except BaseException:
            # Nothing half made stays, so that the same can be tried again; all that is in it was made here.
            for each in list(goal.iterdir()) if goal.is_dir() else []:
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            raise
    return NewCluster(identity, term, index, meta.index, meta.index)


def _kept(old: Path, identity: Identity) -> Path:
    """Under which name the old directory is kept, once one of this new identity has its place."""
    return old.with_name(f"{old.name}.before-{identity.incarnation:016x}")


def _put_aside(old: Path, fresh: Path) -> None:
    """Makes room for a new directory. A whole one is kept: it may be the old one, exchanged before a crash."""
    if not fresh.exists():
        return
    identity = fresh / "IDENTITY"
    if identity.exists():
        os.rename(fresh, _kept(old, Identity.decode(identity.read_bytes(), file=str(identity))))
    else:
        shutil.rmtree(fresh)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False where the system cannot."""
    try:
        call = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _finish_recovery(old: Path, fresh: Path, gap: int) -> NewCluster:
    """A crash came between the two renamings: the old directory has its new name, and the new one not yet."""
    with Storage(fresh, create=False) as storage:
        identity, restart = storage.identity, storage.restart
    kept = _kept(old, identity)
    if not kept.exists():
        raise ConfigError(f"{old} is not there, and neither is {kept}; name the directory that survived")
    with DataDirectory(kept, create=False) as directory:
        log = replay(directory.log_path)
    os.rename(fresh, old)
    sync_directory(str(old.parent))
    index = restart.last[1]
    return NewCluster(identity, restart.hard_state[0], index, index - gap, log.hard_state[2], str(kept))


def recover(
    path: str | os.PathLike[str],
    *,
    configuration: Callable[[Identity], bytes],
    fold: Fold,
    gap: int = INDEX_GAP,
) -> NewCluster:
    """Makes a new cluster of one member from the one directory that survived; the way out after the loss of a quorum.

    Every entry of the log is taken as committed. What other members acknowledged and this one never received is lost.
    The old directory is kept, renamed. Raises ConfigError if a process has it open, StorageError if it is damaged.

    Where the system can exchange two names in one step, a whole directory has the name ``path`` at every moment.
    Elsewhere a crash may come between two renamings; called again, this finishes what was begun.
    """
    old = Path(os.path.abspath(path))
    fresh = old.with_name(f"{old.name}.recovering")
    if not old.exists() and (fresh / "IDENTITY").exists():
        return _finish_recovery(old, fresh, gap)
    with Storage(old, create=False) as storage:
        who = storage.identity
        restart = storage.restart
        from_index = restart.snapshot.index if restart.snapshot else 0
        entries = [entry for entry in storage.entries() if entry[0] > from_index]
        last_index = max(restart.last[1], from_index)
        term = max(restart.hard_state[0], restart.last[0]) + 1
        index = last_index + gap
        identity = Identity.new(node=who.node, name=who.name)
        _put_aside(old, fresh)
        _begin(
            fresh,
            identity,
            term=term,
            index=index,
            configuration=configuration(identity),
            content=fold(storage.content(), entries, index),
            content_format=restart.snapshot.content_format if restart.snapshot else 0,
            segment_bytes=storage.log.recovered.segment_bytes if storage.log.recovered else None,
        )
        kept = _kept(old, identity)
        if kept.exists():
            raise ConfigError(f"{kept} exists already")
        storage.log.close()  # its keeper knows the segments by path, and another directory is about to have that path
        if _exchange(old, fresh):
            sync_directory(str(old.parent))
            os.rename(fresh, kept)
        else:
            os.rename(old, kept)
            os.rename(fresh, old)
        sync_directory(str(old.parent))
    return NewCluster(identity, term, index, last_index, restart.hard_state[2], str(kept))
