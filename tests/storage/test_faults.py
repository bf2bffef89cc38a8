"""Trouble at every call: EIO, ENOSPC, short writes, slow syncs. What was acknowledged survives; errors are clear."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

import pytest
from storage_support import SMALL, OpenLog, content, fill, wait_until

from quorate import Overloaded, StorageError
from quorate.storage import DataDirectory, Faults, Log, Snapshots, Storage

OPERATIONS = ("open", "read", "write", "sync", "fsync", "rename", "unlink", "allocate", "truncate", "sync_directory")


def work(path: Path, faults: Faults | None, acknowledged: list[tuple[int, bytes]]) -> None:
    """Opens, rotates, replaces, snapshots, compacts, recycles, and opens again; notes each entry once it is durable."""
    with Storage(path, node=1, segment_bytes=SMALL, faults=faults) as storage:
        log = storage.log
        for i in range(14):
            data = bytes([i + 1]) * 600
            ticket = log.append([(1, data)], hard_state=(1, 1, i), timeout=4)
            log.wait(ticket)
            acknowledged.append((i + 1, data))
        writer = storage.snapshots.create(term=1, index=9, configuration=b"c", configuration_index=1, chunk_bytes=1024)
        writer.write(b"content" * 1000)
        writer.finish()
        log.wait(log.append(base=(1, 9)))
        acknowledged[:] = acknowledged[9:]
        wait_until(lambda: not log.deleting or log.failed is not None)
        log.wait(log.append([(2, b"more")]))
        acknowledged.append((15, b"more"))
    with Storage(path, node=1, faults=faults) as storage:
        assert list(storage.content())


def calls_of_a_run(path: Path) -> dict[str, int]:
    faults = Faults()
    work(path, faults, [])
    return faults.calls


CODES = {"open": errno.EMFILE, "write": errno.ENOSPC, "allocate": errno.ENOSPC, "unlink": errno.EACCES}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_failure_at_some_calls(tmp_path: Path, operation: str) -> None:
    fail_at_calls(tmp_path, operation, CODES.get(operation, errno.EIO), most=5)


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_failure_at_each_call(tmp_path: Path, operation: str, code: int) -> None:
    fail_at_calls(tmp_path, operation, code, most=100)


def fail_at_calls(tmp_path: Path, operation: str, code: int, *, most: int) -> None:
    count = calls_of_a_run(tmp_path / "count")[operation]
    assert count, "the work never calls it"
    picked = sorted({1, count, *range(1, count, max(1, count // most))})
    raised = 0
    for call in picked:
        faults = Faults()
        faults.fail(operation, error=code, first=call, times=1)
        path = tmp_path / f"{operation}-{call}"
        acknowledged: list[tuple[int, bytes]] = []
        try:
            work(path, faults, acknowledged)
        except (StorageError, Overloaded) as error:
            raised += 1
            named = isinstance(error, Overloaded) or bool(error.file)
            assert named
        # Whatever happened, the disk is well again: everything acknowledged is there.
        with Storage(path, node=1, segment_bytes=SMALL) as storage:
            kept = {index: data for index, _, _, data in storage.entries()}
            for index, data in acknowledged:
                if index > storage.restart.base[1]:
                    assert kept[index] == data, (operation, call)
            assert storage.restart.last[1] >= max((index for index, _ in acknowledged), default=0)
        shutil.rmtree(path)
    assert raised or operation in ("unlink", "truncate", "allocate")  # those the keeper tries again


@pytest.mark.parametrize("limit", [1, 100, 513])
def test_short_writes_are_carried_on(tmp_path: Path, limit: int) -> None:
    faults = Faults()
    faults.shorten("write", limit=limit, path="log/0")
    acknowledged: list[tuple[int, bytes]] = []
    work(tmp_path / "d", faults, acknowledged)
    with Storage(tmp_path / "d", node=1) as storage:
        assert [(entry[0], entry[3]) for entry in storage.entries()] == acknowledged


def test_a_failed_sync_is_final_and_never_tried_again(open_log: OpenLog) -> None:
    faults = Faults()
    log = open_log(faults=faults)
    log.wait(log.append([(1, b"acknowledged")], hard_state=(1, 1, 1)))
    faults.fail("sync", error=errno.EIO, path=".log")
    ticket = log.append([(1, b"never acknowledged")])
    with pytest.raises(StorageError, match="fdatasync of the log failed with EIO") as caught:
        log.wait(ticket)
    assert caught.value.file
    assert caught.value.file.endswith("0000000000000001.log")
    assert caught.value.advice
    syncs = faults.calls["sync"]
    faults.clear()
    for _ in range(3):
        with pytest.raises(StorageError):
            log.append([(1, b"x")])
    assert log.completed == (1, 1, 1)
    assert log.failed is not None
    assert "failed" in repr(log)
    log.close()
    assert faults.calls["sync"] == syncs
    # The write itself may have reached the disk: the entry may be there, which Raft allows; the one before must be.
    assert (1, 1, 0, b"acknowledged") in open_log().recovered.entries()  # type: ignore[union-attr]


def test_a_slow_sync_delays_the_acknowledgement_and_gathers_what_comes_meanwhile(open_log: OpenLog) -> None:
    faults = Faults()
    log = open_log(faults=faults, segment_bytes=1 << 16)
    log.wait(log.append([(1, b"x")]))
    faults.slow("sync", seconds=0.3, times=1)
    first = log.append([(1, b"slow")])
    wait_until(lambda: faults.calls["sync"] >= 3 or log.statistics["batches"] >= 2)
    began = time.monotonic()
    tickets = [log.append([(1, b"%d" % i)]) for i in range(100)]
    assert time.monotonic() - began < 5  # submitting does not wait for the disk
    assert log.completed[0] < tickets[0]
    log.wait(tickets[-1])
    assert log.completed[0] >= first
    assert log.statistics["batches"] <= 5


def append_many(log: Log, count: int, *, size: int, essential: bool = False) -> None:
    for _ in range(count):
        log.wait(log.append([(1, bytes(size))], essential=essential, timeout=0.3))


def test_a_full_disk_is_foreseen_and_recovers(open_log: OpenLog) -> None:
    faults = Faults()
    log = open_log(faults=faults)
    wait_until(lambda: faults.calls["fsync"] >= 3)  # the first segment, IDENTITY, the reserve
    faults.fail("allocate", error=errno.ENOSPC)
    with pytest.raises(Overloaded, match=r"no room|queue"):
        append_many(log, 50, size=500)
    wait_until(lambda: log.full)
    assert "full" in repr(log)
    # What grows is refused at once, and what must go on is admitted from the reserve.
    with pytest.raises(Overloaded, match="make room"):
        log.append([(1, b"")])
    log.wait(log.append([(1, b"a release")], essential=True))
    log.wait(log.append(hard_state=(2, 1, 1), essential=True))
    assert log.failed is None
    before = content(log.read())
    # Compaction frees a segment, which is recycled without new room.
    log.wait(log.append(base=(1, log.last[1] - 1), essential=True))
    wait_until(lambda: not log.deleting)
    faults.clear()
    wait_until(lambda: not log.full)
    log.wait(log.append([(2, b"y" * 500)]))
    assert log.read().last[1] == before[2][1] + 1
    assert open_log().report == []


def test_a_segment_is_zeroed_only_when_its_old_name_is_durably_gone(open_log: OpenLog) -> None:
    faults = Faults()
    faults.record()
    log = open_log(faults=faults)
    wait_until(lambda: faults.calls["fsync"] >= 3)
    fill(log, 2)
    faults.fail("open", error=errno.ENOSPC, path="reserve.new")
    with pytest.raises(Overloaded):
        append_many(log, 50, size=500)
    wait_until(lambda: log.full)
    faults.clear()
    # A reserve is to be made, and the segment that compaction frees is the file to make it from.
    faults.fail("sync_directory", times=1)
    log.wait(log.append(base=log.last, essential=True))
    wait_until(lambda: not log.deleting and not log.full)
    changes = [(event[0], event[1].rpartition("/")[2], event[2].rpartition("/")[2]) for event in faults.events()]
    recycled = [n for n, event in enumerate(changes) if event[0] == "rename" and event[2] == "reserve.new"]
    assert recycled
    after = [
        event[0] for event in changes[recycled[0] + 1 :] if event[0] == "sync_directory" or event[1] == "reserve.new"
    ]
    assert after[0] == "sync_directory"


def test_even_what_is_essential_ends_before_the_last_byte_and_nothing_is_damaged(open_log: OpenLog) -> None:
    faults = Faults()
    log = open_log(faults=faults)
    wait_until(lambda: faults.calls["fsync"] >= 3)
    faults.fail("allocate", error=errno.ENOSPC)
    with pytest.raises(Overloaded):
        append_many(log, 200, size=100, essential=True)
    assert log.failed is None
    done = log.completed[2]
    assert log.last == (1, done)
    faults.clear()
    wait_until(lambda: not log.full)
    log.wait(log.append([(1, b"room again")]))
    assert open_log().last == (1, done + 1)


def test_no_room_for_a_first_segment_is_said(tmp_path: Path) -> None:
    faults = Faults()
    faults.fail("allocate", error=errno.ENOSPC)
    with DataDirectory(tmp_path / "d", node=1, faults=faults) as directory:
        with pytest.raises(StorageError, match="ENOSPC"):
            Log(directory, segment_bytes=SMALL, faults=faults)
        faults.clear()
        with Log(directory, segment_bytes=SMALL, faults=faults) as log:
            log.wait(log.append([(1, b"x")]))


@pytest.mark.parametrize("operation", ["open", "write", "fsync", "rename", "sync_directory", "read", "unlink"])
def test_a_snapshot_that_fails_leaves_the_one_before(tmp_path: Path, operation: str) -> None:
    failed = 0
    for call in range(1, 8):
        faults = Faults()
        with DataDirectory(tmp_path / str(call), node=1) as directory:
            snapshots = Snapshots(directory, faults=faults)
            old = snapshots.create(term=1, index=5, configuration=b"", configuration_index=0)
            old.write(b"old")
            old.finish()
            before = faults.calls[operation]
            faults.fail(operation, first=call, times=1)
            try:
                new = snapshots.create(term=1, index=9, configuration=b"", configuration_index=0, chunk_bytes=1024)
                new.write(b"new" * 2000)
                new.finish()
            except StorageError:
                failed += 1
            faults.clear()
            assert faults.calls[operation] >= before
            # One of the two is there, whole, in any case; the new one only if all of it is.
            assert snapshots.list()[0] == (1, 5) or snapshots.list() == [(1, 9)]
            with snapshots.open(index=snapshots.list()[0][1]) as reader:
                reader.prove()
                assert reader.read(0, 3) in (b"old", b"new")
    assert failed or operation == "unlink"
