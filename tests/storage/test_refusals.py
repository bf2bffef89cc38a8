"""What the storage is asked for and cannot do: a typed error that says so, and nothing is changed."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from storage_support import SMALL, OpenLog

from quorate.errors import ConfigError, InvalidArgument, StorageError
from quorate.storage import DataDirectory, Faults, Identity, Log, Snapshots, Storage
from quorate.storage.offline import check_directory

GOOD: dict[str, Any] = {"cluster": bytes(16), "node": 1, "incarnation": 5, "name": "a"}


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("cluster", b"short", "16 bytes"),
        ("node", 0, "node id"),
        ("node", 1 << 64, "node id"),
        ("incarnation", 0, "incarnation"),
        ("name", "\n", "name"),
        ("name", "x" * 1000, "name"),
    ],
)
def test_identities_that_cannot_be(field: str, value: object, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        Identity(**{**GOOD, field: value})
    assert "node=1" in repr(Identity(**GOOD))


def test_directories_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="needs the id of its node"):
        DataDirectory(tmp_path / "d")
    with pytest.raises(InvalidArgument, match="needs a path"):
        Storage(None, node=1)
    with pytest.raises(InvalidArgument, match="durability"):
        Storage(tmp_path / "d", node=1, durability="perhaps")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="in memory needs its id"):
        Storage(None, durability="memory")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"not empty.*thesis\.tex"):
        DataDirectory(tmp_path / "other", node=1)
    with DataDirectory(tmp_path / "d", node=1) as directory:
        assert "closed" not in repr(directory)
    assert repr(directory).endswith(", closed)")
    with Storage(tmp_path / "s", node=1, segment_bytes=SMALL) as storage:
        assert repr(storage).startswith("Storage(Identity(")


def test_logs_that_cannot_be(tmp_path: Path, open_log: OpenLog) -> None:
    with pytest.raises(InvalidArgument, match="needs an identity"):
        Log(None)
    for size in (511, SMALL + 1, 0):
        with pytest.raises(InvalidArgument, match="multiple of 512"):
            open_log(segment_bytes=size)
    log = open_log()
    with pytest.raises(InvalidArgument, match="never given out"):
        log.wait(99)
    with pytest.raises(InvalidArgument, match="cannot go together"):
        log.append(base=(1, 1), reset=(1, 1))
    with Log(None, identity=Identity(**GOOD)) as nowhere, pytest.raises(InvalidArgument, match="nothing to read"):
        nowhere.read()


def test_a_wait_has_an_end(open_log: OpenLog) -> None:
    faults = Faults()
    log = open_log(faults=faults)
    faults.slow("sync", seconds=0.3)
    late = False
    while not late:  # a machine that stands still for long may find it durable already
        ticket = log.append([(1, b"x")])
        try:
            log.wait(ticket, timeout=0.0)
        except TimeoutError as error:
            late = "not durable yet" in str(error)
    faults.clear()
    assert log.wait(ticket) == log.last


def test_a_submission_keeps_to_what_snapshots_cover(open_log: OpenLog) -> None:
    log = open_log()
    log.wait(log.append([(1, b"x")] * 5, hard_state=(1, 0, 3)))
    log.wait(log.append(base=(1, 3)))
    for what, why in (
        ({"base": (1, 2)}, "the base goes back"),
        ({"reset": (1, 3)}, "not newer"),
        ({"entries": [(1, b"x")], "first_index": 3}, "a snapshot covers"),
    ):
        with pytest.raises(InvalidArgument, match=why):
            log.append(**what)
    assert log.last == (1, 5)


def test_snapshots_in_memory() -> None:
    with pytest.raises(InvalidArgument, match="need an identity"):
        Snapshots(None)
    kept = Snapshots(None, identity=Identity(**GOOD))
    assert (kept.list(), kept.prune(9), kept.clean(9), kept.resume(term=1, index=1, id=1)) == ([], [], [], None)
    with pytest.raises(StorageError, match="there is no snapshot"):
        kept.open()
    for index in (3, 4):
        writer = kept.create(term=1, index=index, configuration=b"c", configuration_index=1)
        assert "0 bytes" in repr(writer)
        writer.write(b"content")
        writer.finish()
        assert repr(writer).endswith(", finished)")
        with pytest.raises(InvalidArgument, match="is finished"):
            writer.write(b"more")
    assert kept.list() == [(1, 4)]
    with kept.open() as reader:
        assert "7 bytes" in repr(reader)
        assert reader.read(7, 1) == b""
        assert kept.meta_here(reader.meta).incarnation == 5
    assert repr(kept) == "Snapshots(in memory, [(1, 4)])"
    kept.close()
    assert kept.list() == []


def test_what_a_killed_process_left_is_cleaned_up(tmp_path: Path) -> None:
    with DataDirectory(tmp_path / "d", node=1) as directory:
        kept = Snapshots(directory)
        for index in (3, 9):
            writer = kept.create(term=1, index=index, configuration=b"c", configuration_index=1)
            writer.write(b"content")
            if index == 9:
                (tmp_path / "d" / "snapshots" / f"{7:016d}-{1:016d}.part").write_bytes(b"rest")
                older = (tmp_path / "d" / "snapshots" / f"{3:016d}-{1:016d}.snap").read_bytes()
            writer.finish()
        (tmp_path / "d" / "snapshots" / f"{3:016d}-{1:016d}.snap").write_bytes(older)
        unfinished = kept.create(term=1, index=12, configuration=b"c", configuration_index=1)
        unfinished.close()
        assert kept.list() == [(1, 3), (1, 9)]
        gone = [Path(path).name[:16] for path in kept.clean(9)]
        assert gone == [f"{3:016d}", f"{12:016d}"]
        assert kept.list() == [(1, 9)]
        with pytest.raises(StorageError, match="no such snapshot"):
            kept.open(index=3)
        assert str(tmp_path) in repr(kept)


@pytest.mark.parametrize("operation", ["read", "open"])
def test_a_disk_that_fails_is_not_a_damaged_file(tmp_path: Path, operation: str) -> None:
    """What cannot be read now may be whole: it is not deleted, and not taken for damage."""
    faults = Faults()
    with DataDirectory(tmp_path / "d", node=1, faults=faults) as directory:
        kept = Snapshots(directory, faults=faults)
        writer = kept.create(term=1, index=3, configuration=b"c", configuration_index=1)
        id = writer.meta.id
        writer.write(b"content")
        writer.close()
        faults.fail(operation, error=errno.EIO, path="snapshots")
        with pytest.raises(StorageError, match="EIO") as caught:
            kept.resume(term=1, index=3, id=id)
        assert caught.value.advice is None
        faults.clear()
        again = kept.resume(term=1, index=3, id=id)
        assert again is not None
        again.discard()


def test_a_check_finds_what_does_not_belong_together(tmp_path: Path) -> None:
    for node, name in ((1, "one"), (2, "two")):
        with Storage(tmp_path / name, node=node, segment_bytes=SMALL) as storage:
            storage.log.wait(storage.log.append([(1, b"x")], hard_state=(1, 0, 1)))
            writer = storage.snapshots.create(term=1, index=1, configuration=b"c", configuration_index=1)
            writer.write(b"content")
            writer.finish()
    one, two = tmp_path / "one", tmp_path / "two"
    assert check_directory(one).whole
    name = f"{1:016d}-{1:016d}.snap"
    mine = (one / "snapshots" / name).read_bytes()
    (one / "snapshots" / name).write_bytes((two / "snapshots" / name).read_bytes())
    assert ["belongs to another" in each["reason"] for each in check_directory(one).problems] == [True]
    (one / "snapshots" / name).write_bytes(mine)
    segment = next((one / "log").glob("*.log"))
    own = segment.read_bytes()
    segment.write_bytes(next((two / "log").glob("*.log")).read_bytes())
    assert ["log belongs to another" in each["reason"] for each in check_directory(one).problems] == [True]
    segment.unlink()
    assert [each["reason"] for each in check_directory(one).problems] == ["there is no segment"]
    segment.write_bytes(own)
    assert check_directory(one).whole
