"""Whether stopped nodes have the same content on their disks, byte for byte.

Each node's newest snapshot is carried on by its log up to the entry that all of them know to be committed; the store's
own snapshot of that is canonical, so that equal content has equal bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quorate.raft import COMMAND, CONFIGURATION
from quorate.storage import DataDirectory, Snapshots, replay
from quorate.store import Store

__all__ = ["stored_digests"]


def stored_digests(directories: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """For each node: the index up to which it was compared, and the hash of the content there.

    Raises StorageError if a directory is damaged.
    """
    least = min(_commit(each) for each in directories.values())
    # A snapshot may reach further than what another one knows of; what it holds was committed all the same.
    least = max(least, *(_snapshot(each) for each in directories.values()))
    return {name: _digest(path, least) for name, path in directories.items()}


def _commit(path: Path) -> int:
    with DataDirectory(path, create=False) as directory:
        return max(replay(directory.log_path).hard_state[2], _newest(Snapshots(directory)))


def _snapshot(path: Path) -> int:
    with DataDirectory(path, create=False) as directory:
        return _newest(Snapshots(directory))


def _newest(kept: Snapshots) -> int:
    return max((index for _, index in kept.list()), default=0)


def _digest(path: Path, index: int) -> dict[str, Any]:
    with DataDirectory(path, create=False) as directory:
        log = replay(directory.log_path)
        kept = Snapshots(directory)
        if kept.list():
            with kept.open() as reader:
                reader.prove()
                store = Store.restore(reader.chunks())
        else:
            store = Store()
        for at, term, kind, data in log.entries():
            if not store.applied_index < at <= index:
                continue
            if kind == COMMAND:
                store.apply(at, term, data)
            elif kind == CONFIGURATION:
                store.configure(at, term, data)
            else:
                store.skip(at, term)
    sum_ = hashlib.sha256()
    size = 0
    with store.snapshot() as snapshot:
        while part := snapshot.read():
            sum_.update(part)
            size += len(part)
    return {"revision": store.applied_index, "bytes": size, "sha256": sum_.hexdigest()}
