"""Log and snapshots together: what a node starts from, whatever came between the two."""

from __future__ import annotations

from pathlib import Path

import pytest
from storage_support import SMALL

from quorate import ConfigError, InvalidArgument, StorageError
from quorate.storage import Storage


def opened(path: Path) -> Storage:
    return Storage(path, node=1, name="a", segment_bytes=SMALL)


def take_snapshot(storage: Storage, term: int, index: int, data: bytes = b"content") -> Path:
    writer = storage.snapshots.create(term=term, index=index, configuration=b"c", configuration_index=1)
    writer.write(data)
    return Path(str(writer.finish()))


def append(storage: Storage, count: int, term: int = 1, commit: int | None = None) -> None:
    state = None if commit is None else (term, 0, commit)
    storage.log.wait(storage.log.append([(term, b"%d" % i) for i in range(count)], hard_state=state))


def test_a_new_directory_starts_from_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "d") as storage:
        assert storage.restart.hard_state == (0, 0, 0)
        assert storage.restart.snapshot is None
        assert storage.entries() == []
        assert list(storage.content()) == []
        who = storage.identity
    with opened(tmp_path / "d") as storage:
        assert storage.identity == who
        assert storage.report == []


def test_snapshot_and_tail(tmp_path: Path) -> None:
    with opened(tmp_path / "d") as storage:
        append(storage, 10, commit=8)
        take_snapshot(storage, 1, 8)
        storage.log.wait(storage.log.append(base=(1, 5)))  # three entries stay for slow followers
    with opened(tmp_path / "d") as storage:
        restart = storage.restart
        assert restart.snapshot is not None
        assert (restart.snapshot.index, restart.base, restart.last) == (8, (1, 5), (1, 10))
        assert [entry[0] for entry in storage.entries()] == [6, 7, 8, 9, 10]
        assert b"".join(storage.content()) == b"content"


@pytest.mark.parametrize(("term", "index"), [(5, 50), (5, 9)])
def test_an_interrupted_installation_is_completed(tmp_path: Path, term: int, index: int) -> None:
    """The snapshot of a leader is there, beyond the log or against it; the reset of the log is not."""
    with opened(tmp_path / "d") as storage:
        append(storage, 10, commit=3)
        take_snapshot(storage, term, index)
    with opened(tmp_path / "d") as storage:
        assert storage.restart.base == storage.restart.last == (term, index)
        assert storage.restart.hard_state == (5, 0, index)
        assert storage.entries() == []
        assert any("installation" in line for line in storage.report)
        append(storage, 1, term=5)
    with opened(tmp_path / "d") as storage:
        assert storage.report == []
        assert storage.restart.last == (5, index + 1)


def test_a_snapshot_against_a_committed_entry_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "d") as storage:
        append(storage, 10, commit=9)
        take_snapshot(storage, 5, 9)
    with pytest.raises(StorageError, match="contradicts the log"):
        opened(tmp_path / "d")


def test_a_log_without_its_snapshot_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "d") as storage:
        append(storage, 10, commit=8)
        path = take_snapshot(storage, 1, 8)
        storage.log.wait(storage.log.append(base=(1, 8)))
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(StorageError, match="no snapshot reaches so far") as caught:
        opened(tmp_path / "d")
    assert caught.value.advice
    path.write_bytes(whole[:-1])
    with pytest.raises(StorageError):
        opened(tmp_path / "d")
    path.write_bytes(whole)
    opened(tmp_path / "d").close()


def test_a_damaged_snapshot_is_done_without_only_where_the_log_covers_it(tmp_path: Path) -> None:
    with opened(tmp_path / "d") as storage:
        append(storage, 10, commit=8)
        path = take_snapshot(storage, 1, 8)
    path.write_bytes(path.read_bytes()[:-4])
    with opened(tmp_path / "d") as storage:
        assert storage.restart.snapshot is None
        assert len(storage.entries()) == 10
        assert "still covers" in storage.report[0]


def test_memory_has_the_same_face(tmp_path: Path) -> None:
    with Storage(None, node=1, durability="memory") as storage:
        append(storage, 10, commit=8)
        take_snapshot(storage, 1, 8, b"kept in memory")
        storage.log.wait(storage.log.append(base=(1, 8)))
        with storage.snapshots.open() as reader:
            assert reader.read(0, 100) == b"kept in memory"
        first = storage.identity
    with Storage(None, node=1, durability="memory") as storage:
        assert storage.identity.incarnation != first.incarnation
        assert storage.restart.snapshot is None


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="durability"):
        Storage(tmp_path, node=1, durability="maybe")  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="no such directory"):
        Storage(tmp_path / "none", create=False)
    with pytest.raises(StorageError, match="no data directory"):
        Storage(tmp_path, create=False)
    with opened(tmp_path / "d"), pytest.raises(ConfigError, match="open in another process"):
        opened(tmp_path / "d")
