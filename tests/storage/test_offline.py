"""Verification, backup, and a new cluster from old data, by function and by command."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from storage_support import SMALL

from quorate import ConfigError, InvalidArgument, StorageError
from quorate.cli import main
from quorate.raft.types import Configuration
from quorate.storage import DataDirectory, Storage
from quorate.storage._snapshot import open_reader
from quorate.storage.offline import INDEX_GAP, check_directory, recover, restore_snapshot, save_snapshot
from quorate.store import Store, commands


def fold(content: Iterator[bytes], entries: Iterable[tuple[int, int, int, bytes]], index: int) -> Iterator[bytes]:
    """A store that only remembers what it was given."""
    yield b"".join(content)
    for at, term, kind, data in entries:
        yield b"|%d %d %d %s" % (at, term, kind, data)
    yield b"@%d" % index


def directory_with_data(path: Path) -> Path:
    with Storage(path, node=3, name="c", segment_bytes=SMALL) as storage:
        log = storage.log
        log.wait(log.append([(1, b"%d" % i) for i in range(10)], hard_state=(1, 3, 8)))
        writer = storage.snapshots.create(
            term=1, index=8, configuration=b"old", configuration_index=1, content_format=4
        )
        writer.write(b"content up to 8")
        writer.finish()
        log.wait(log.append(base=(1, 6)))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_whole_directory(tmp_path: Path) -> None:
    path = directory_with_data(tmp_path / "d")
    steps: list[tuple[int, int]] = []
    found = check_directory(path, progress=lambda done, whole: steps.append((done, whole)))
    assert found.whole
    assert (found.hard_state, found.base, found.last, found.entries) == ((1, 3, 8), (1, 6), (1, 10), 4)
    assert steps == [(1, 2), (2, 2)]
    shown = run("check", path)
    assert shown.exit_code == 0
    assert "whole" in shown.output
    assert "7 to 10" in shown.output
    document = json.loads(run("check", path, "--json").output)
    assert document["whole"] is True
    assert document["last"] == {"term": 1, "index": 10}
    assert document["identity"]["node"] == 3
    assert document["snapshots"][0]["index"] == 8


def test_a_torn_tail_is_a_notice_and_stays(tmp_path: Path) -> None:
    path = directory_with_data(tmp_path / "d")
    segment = path / "log" / "0000000000000001.log"
    whole = segment.read_bytes()
    end = len(whole.rstrip(b"\0")) & ~7
    torn = whole[: end - 32] + bytes(len(whole) - end + 32)
    segment.write_bytes(torn)
    found = check_directory(path)
    assert found.whole
    assert "incomplete last write" in found.notices[0]
    assert segment.read_bytes() == torn
    assert "note:" in run("check", path).output


@pytest.mark.parametrize("what", ["log", "snapshot", "identity", "missing snapshot"])
def test_damage_is_reported_with_its_place(tmp_path: Path, what: str) -> None:
    path = directory_with_data(tmp_path / "d")
    file = {
        "log": path / "log" / "0000000000000001.log",
        "identity": path / "IDENTITY",
    }.get(what, next((path / "snapshots").iterdir()))
    if what == "missing snapshot":
        file.unlink()
    else:
        damaged = bytearray(file.read_bytes())
        damaged[600 if what == "log" else 60] ^= 4
        file.write_bytes(damaged)
    found = check_directory(path)
    assert not found.whole
    assert found.problems[0]["reason"]
    shown = run("check", path)
    assert shown.exit_code == 1
    assert "damaged:" in shown.output
    assert json.loads(run("check", path, "--json").output)["whole"] is False
    with pytest.raises(StorageError):
        Storage(path)


def test_a_directory_in_use_is_not_checked(tmp_path: Path) -> None:
    path = directory_with_data(tmp_path / "d")
    with DataDirectory(path):
        with pytest.raises(ConfigError):
            check_directory(path)
        assert run("check", path).exit_code == 2
    assert run("check", tmp_path).exit_code == 2


def test_save_and_restore(tmp_path: Path) -> None:
    path = directory_with_data(tmp_path / "d")
    meta, last = save_snapshot(path, tmp_path / "backup")
    assert (meta.index, last) == (8, 10)
    with pytest.raises(InvalidArgument, match="exists"):
        save_snapshot(path, tmp_path / "backup")
    made = [
        restore_snapshot(
            tmp_path / "backup", tmp_path / f"new{node}", node=node, name=f"n{node}", configuration=b"new", fold=fold,
            cluster=b"a new cluster id", segment_bytes=SMALL,
        )
        for node in (1, 2)
    ]  # fmt: skip
    assert made[0].identity.incarnation != made[1].identity.incarnation
    for node in (1, 2):
        with Storage(tmp_path / f"new{node}", node=node, cluster=b"a new cluster id") as storage:
            snapshot = storage.restart.snapshot
            assert snapshot is not None
            assert (snapshot.index, snapshot.term, snapshot.configuration) == (8 + INDEX_GAP, 2, b"new")
            assert snapshot.content_format == 4
            assert storage.restart.hard_state == (2, 0, 8 + INDEX_GAP)
            assert b"".join(storage.content()) == b"content up to 8@%d" % (8 + INDEX_GAP)
            assert storage.restart.last == (2, 8 + INDEX_GAP)
            storage.log.wait(storage.log.append([(2, b"goes on")]))
    with pytest.raises(InvalidArgument, match="not empty"):
        restore_snapshot(tmp_path / "backup", tmp_path / "new1", node=1, configuration=b"", fold=fold)
    (tmp_path / "backup").write_bytes((tmp_path / "backup").read_bytes()[:-1])
    with pytest.raises(StorageError):
        restore_snapshot(tmp_path / "backup", tmp_path / "new3", node=1, configuration=b"", fold=fold)


def test_a_restore_that_fails_leaves_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    save_snapshot(directory_with_data(tmp_path / "d"), tmp_path / "backup")

    def broken(content: Iterator[bytes], entries: Iterable[tuple[int, int, int, bytes]], index: int) -> Iterator[bytes]:
        yield next(content)
        raise StorageError("the content is of a newer version")

    with pytest.raises(StorageError, match="newer version"):
        restore_snapshot(tmp_path / "backup", tmp_path / "new", node=1, configuration=b"", fold=broken)
    assert list((tmp_path / "new").iterdir()) == []
    restore_snapshot(tmp_path / "backup", tmp_path / "new", node=1, configuration=b"", fold=fold, segment_bytes=SMALL)
    assert check_directory(tmp_path / "new").whole


def test_save_carries_the_snapshot_on_to_what_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with Storage(path, node=3, segment_bytes=SMALL) as storage:
        log = storage.log
        log.wait(log.append([(1, b"a"), (1, b"new members", 2), (2, b"c"), (2, b"d")], hard_state=(2, 3, 3)))
    with pytest.raises(StorageError, match="no such snapshot"):
        save_snapshot(path, tmp_path / "none")
    before = sorted(each.name for each in (path / "snapshots").iterdir())
    meta, last = save_snapshot(path, tmp_path / "log alone", fold=fold)
    assert (meta.term, meta.index, meta.configuration, meta.configuration_index, last) == (2, 3, b"new members", 2, 4)
    with open_reader(str(tmp_path / "log alone")) as reader:
        assert reader.read(0, 1000) == b"|1 1 0 a|2 1 2 new members|3 2 0 c@3"
    assert sorted(each.name for each in (path / "snapshots").iterdir()) == before
    with Storage(path) as storage:
        writer = storage.snapshots.create(
            term=1, index=2, configuration=b"new members", configuration_index=2, content_format=7
        )
        writer.write(b"up to 2")
        writer.finish()
        storage.log.wait(storage.log.append(base=(1, 2)))
    meta, last = save_snapshot(path, tmp_path / "both", fold=fold)
    assert (meta.index, meta.configuration, meta.content_format, last) == (3, b"new members", 7, 4)
    with open_reader(str(tmp_path / "both")) as reader:
        assert reader.read(0, 1000) == b"up to 2|3 2 0 c@3"


def test_a_folder_that_is_gone_is_damage(tmp_path: Path) -> None:
    path = directory_with_data(tmp_path / "d")
    for each in (path / "snapshots").iterdir():
        each.unlink()
    (path / "snapshots").rmdir()
    shown = run("check", path)
    assert shown.exit_code == 1
    assert "the folder of snapshots is missing" in shown.output.replace("\n", " ")


def test_recover_keeps_what_was_received_under_a_new_identity(tmp_path: Path) -> None:
    path = directory_with_data(tmp_path / "d")
    with DataDirectory(path) as directory:
        old = directory.identity
    made = recover(path, configuration=lambda identity: b"only %d" % identity.node, fold=fold)
    assert (made.old_index, made.old_commit, made.index) == (10, 8, 10 + INDEX_GAP)
    with Storage(path) as storage:
        assert storage.identity.cluster != old.cluster
        assert storage.identity.incarnation != old.incarnation
        assert (storage.identity.node, storage.identity.name) == (3, "c")
        assert b"".join(storage.content()) == b"content up to 8|9 1 0 8|10 1 0 9@%d" % (10 + INDEX_GAP)
        assert storage.restart.snapshot is not None
        assert storage.restart.snapshot.configuration == b"only 3"
    with Storage(str(made.kept)) as storage:  # the old directory is as it was
        assert storage.identity == old
        assert storage.restart.last == (1, 10)


def test_the_gap_covers_a_backup_that_is_a_year_old() -> None:
    entries = 365 * 86_400 * 100_000
    assert entries < INDEX_GAP < (1 << 53) // 1000


def test_recover_ends_the_threads_that_know_the_directory_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory_with_data(tmp_path / "d")
    opened: list[Storage] = []
    closed: list[bool] = []
    begin, rename = Storage.__init__, os.rename

    def note(self: Storage, *given: object, **options: object) -> None:
        begin(self, *given, **options)  # type: ignore[arg-type]
        opened.append(self)

    def moved(source: Path, target: Path) -> None:
        closed.append(repr(opened[0].log) == "Log(closed)" and opened[0].directory is not None)
        rename(source, target)

    monkeypatch.setattr(Storage, "__init__", note)
    monkeypatch.setattr("quorate.storage.offline.os.rename", moved)
    recover(path, configuration=lambda identity: b"", fold=fold)
    assert closed
    assert all(closed)


@pytest.mark.parametrize("exchanged", [True, False])
def test_a_recovery_that_was_interrupted_leaves_a_clear_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged: bool
) -> None:
    path = directory_with_data(tmp_path / "d")
    rename = os.rename

    def crash(source: Path, target: Path) -> None:
        if exchanged or str(source).endswith(".recovering"):
            raise KeyboardInterrupt
        rename(source, target)

    if not exchanged:
        monkeypatch.setattr("quorate.storage.offline._exchange", lambda one, other: False)
    elif not _exchange_works(tmp_path):
        pytest.skip("this system cannot exchange two names in one step")
    monkeypatch.setattr("quorate.storage.offline.os.rename", crash)
    with pytest.raises(KeyboardInterrupt):
        recover(path, configuration=lambda identity: b"", fold=fold)
    monkeypatch.setattr("quorate.storage.offline.os.rename", rename)
    if exchanged:
        with Storage(path) as storage:  # the new cluster has the name at once
            assert storage.restart.last == (2, 10 + INDEX_GAP)
        with Storage(tmp_path / "d.recovering") as storage:
            assert storage.restart.last == (1, 10)
        return
    assert not path.exists()
    made = recover(path, configuration=lambda identity: b"", fold=fold)
    assert (made.old_index, made.old_commit, made.index) == (10, 8, 10 + INDEX_GAP)
    with Storage(path) as storage:
        assert storage.identity == made.identity
    with Storage(str(made.kept)) as storage:
        assert storage.restart.last == (1, 10)


def _exchange_works(path: Path) -> bool:
    from quorate.storage.offline import _exchange

    (path / "one").mkdir()
    (path / "other").mkdir()
    return _exchange(path / "one", path / "other")


def test_a_directory_without_identity_is_told_what_to_do(tmp_path: Path) -> None:
    path = directory_with_data(tmp_path / "d")
    (path / "IDENTITY").unlink()
    problem = check_directory(path).problems[0]
    assert problem["file"].endswith("IDENTITY")
    assert "restore IDENTITY" in problem["advice"]


def store_directory(path: Path) -> None:
    """What a node of a cluster of three left: a snapshot of a store, and entries after it."""
    store = Store()
    entries = [(1, b"", 1), *[(1, commands.put(f"k{i}", f"v{i}"), 0) for i in range(1, 9)]]
    with Storage(path, node=1, name="a", segment_bytes=1 << 16) as storage:
        storage.log.wait(storage.log.append(entries, hard_state=(1, 1, 7)))
        store.skip(1, 1)
        for index in range(2, 6):
            store.apply(index, 1, entries[index - 1][1])
        writer = storage.snapshots.create(term=1, index=5, configuration=b"old", configuration_index=1)
        snapshot = store.snapshot()
        while part := snapshot.read():
            writer.write(part)
        writer.finish()
        storage.log.wait(storage.log.append(base=(1, 5)))


def read_store(path: Path) -> tuple[Store, Configuration]:
    from quorate.raft._configuration import decode_configuration

    with Storage(path) as storage:
        assert storage.restart.snapshot is not None
        assert storage.entries() == []
        return Store.restore(storage.content()), decode_configuration(storage.restart.snapshot.configuration)


def test_the_recover_command(tmp_path: Path) -> None:
    path = tmp_path / "d"
    store_directory(path)
    assert run("recover", path).exit_code == 2
    assert CliRunner().invoke(main, ["recover", str(path), "--force-new-cluster"], input="n\n").exit_code == 1
    done = run("recover", path, "--force-new-cluster", "--yes")
    assert done.exit_code == 0, done.output
    assert "Lost: what other members acknowledged" in done.output
    assert "the other 2 are kept" in done.output
    store, configuration = read_store(path)
    assert store.applied_index == 9 + INDEX_GAP
    assert [store.reader.get(f"k{i}").value for i in range(1, 9)] == [b"v%d" % i for i in range(1, 9)]
    with DataDirectory(path) as directory:
        who = directory.identity
    assert configuration.incoming == (1,)
    assert dict(configuration.incarnations) == {1: who.incarnation}
    assert run("check", path).exit_code == 0
    again = json.loads(run("recover", path, "--force-new-cluster", "--json").output)
    assert again["index"] == 9 + 2 * INDEX_GAP


def test_the_snapshot_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.storage._log.SEGMENT_BYTES", 1 << 16)
    store_directory(tmp_path / "d")
    saved = run("snapshot", "save", tmp_path / "d", tmp_path / "backup")
    assert saved.exit_code == 0, saved.output
    assert "8 to 9" in saved.output
    first = run("snapshot", "restore", tmp_path / "backup", tmp_path / "n1", "--node", 1, "--members", "1,2", "--json")
    assert first.exit_code == 0, first.output
    cluster = json.loads(first.output)["cluster"]
    second = run(
        "snapshot",
        "restore",
        tmp_path / "backup",
        tmp_path / "n2",
        "--node",
        2,
        "--members",
        "1,2",
        "--cluster",
        cluster,
    )
    assert second.exit_code == 0, second.output
    assert cluster in second.output
    one, two = read_store(tmp_path / "n1"), read_store(tmp_path / "n2")
    assert one[1] == two[1]
    assert one[1].incoming == (1, 2)
    assert one[0].applied_index == two[0].applied_index == 7 + INDEX_GAP
    assert one[0].reader.get("k4").value == b"v4"
    assert one[0].reader.get("k6").value == b"v6"
    assert one[0].reader.get("k7") is None
    wrong = run("snapshot", "restore", tmp_path / "backup", tmp_path / "n3", "--node", 3, "--members", "1,2")
    assert wrong.exit_code == 2
    assert "must contain this node" in wrong.output
