"""The log as its callers see it: what is accepted, what is durable when, what is there the next time."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from storage_support import SMALL, OpenLog, content, fill, wait_until

from quorate import ConfigError, InvalidArgument, NodeFailed, StorageError
from quorate.limits import ENTRY_BYTES_MAX
from quorate.storage import DataDirectory, Faults, Identity, Log


def test_what_was_appended_is_there_the_next_time(open_log: OpenLog) -> None:
    log = open_log()
    first = log.append([(1, b"a"), (2, b"", 1), (2, b"c" * 2000, 2)], hard_state=(2, 7, 1))
    second = log.append(hard_state=(3, None, 2))
    assert second == first + 1
    assert log.wait(second) == (2, 3)
    assert log.completed == (second, 2, 3)
    expected = ((3, 0, 2), (0, 0), (2, 3), [(1, 1, 0, b"a"), (2, 2, 1, b""), (3, 2, 2, b"c" * 2000)])
    assert content(log.read()) == expected
    log = open_log()
    assert log.recovered is not None
    assert content(log.recovered) == expected
    assert log.report == []
    assert log.last == (2, 3)


def test_an_entry_with_a_lower_index_replaces_the_suffix(open_log: OpenLog) -> None:
    log = open_log()
    log.append([(1, b"one"), (1, b"two"), (1, b"three")])
    log.append([(2, b"other")], first_index=2)
    assert log.wait() == (2, 2)
    assert open_log().recovered.entries() == [(1, 1, 0, b"one"), (2, 2, 0, b"other")]  # type: ignore[union-attr]


def test_completion_names_the_term_so_that_a_replaced_entry_is_not_taken_for_durable(open_log: OpenLog) -> None:
    # The same index twice, in two terms: only (term, index) says which of them is durable (FACTS §5, ABA).
    log = open_log()
    assert log.wait(log.append([(1, b"x"), (1, b"y")])) == (1, 2)
    assert log.wait(log.append([(3, b"z")], first_index=2)) == (3, 2)


def test_a_base_drops_entries_and_frees_segments(open_log: OpenLog) -> None:
    log = open_log()
    fill(log, 5)
    last = log.last
    before = log.segments
    log.wait(log.append(base=(1, last[1] - 3)))
    assert log.segments[0] > before[0]
    kept = [entry[0] for entry in log.read().entries()]
    assert kept == [last[1] - 2, last[1] - 1, last[1]]
    files = Path(str(log.directory.log_path))  # type: ignore[union-attr]
    wait_until(lambda: not log.deleting)
    assert len(list(files.glob("*.log"))) == len(log.segments)
    log = open_log()
    assert log.recovered is not None
    assert (log.recovered.base, log.recovered.last) == ((1, last[1] - 3), last)
    fill(log, 3)  # recycled segments are as good as new ones
    assert open_log().report == []


def test_a_reset_replaces_the_whole_log(open_log: OpenLog) -> None:
    log = open_log()
    fill(log, 2)
    log.append([(9, b"after")], reset=(8, 1000), hard_state=(9, 0, 1000))
    assert log.wait() == (9, 1001)
    expected = ((9, 0, 1000), (8, 1000), (9, 1001), [(1001, 9, 0, b"after")])
    assert content(log.read()) == expected
    assert content(open_log().recovered) == expected


def test_a_commit_index_is_written_behind_the_entries_that_it_speaks_of(open_log: OpenLog) -> None:
    log = open_log()
    log.wait(log.append([(1, b"x")] * 3, hard_state=(1, 1, 3)))
    found = log.read()
    # Hard state with what was there, three entries, hard state with all: and the two records of opening, base and mark.
    assert found.hard_state == (1, 1, 3)
    assert found.records == 3 + 5


def test_what_is_about_to_be_replaced_is_never_called_committed(open_log: OpenLog) -> None:
    """A deposed leader's tail is replaced by entries that are committed already, in one submission.

    The commit index in front of the entries would speak of the old ones. (Found by simulation.)
    """
    log = open_log()
    log.wait(log.append([(1, b"kept"), (1, b"old"), (1, b"older")], hard_state=(1, 1, 1)))
    log.wait(log.append([(2, b"new")], first_index=2, hard_state=(2, 0, 2)))
    expected = [(1, 1, 0, b"kept"), (2, 2, 0, b"new")]
    again = open_log()
    assert again.recovered is not None
    assert (again.recovered.hard_state, again.recovered.entries()) == ((2, 0, 2), expected)
    again.wait(again.append([(2, b"a"), (2, b"b")]))
    again.wait(again.append(reset=(3, 3), hard_state=(3, 0, 3)))
    last = open_log().recovered
    assert last is not None
    assert (last.hard_state, last.base, last.entries()) == ((3, 0, 3), (3, 3), [])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"hard_state": (4, 1, 2)}, "term of the hard state goes back"),
        ({"hard_state": (5, 2, 2)}, "vote changes"),
        ({"hard_state": (5, 1, 1)}, "commit index of the hard state goes back"),
        ({"hard_state": (5, 1, 9)}, "beyond the last entry"),
        ({"entries": [(5, b"")], "first_index": 6}, "gap"),
        ({"entries": [(5, b"")], "first_index": 0}, "gap"),
        ({"entries": [(4, b"")]}, "terms of the entries go back"),
        ({"entries": [(6, b""), (5, b"")]}, "terms of the entries go back"),
        ({"entries": [(5, b"")], "first_index": 2}, "replace a committed one"),
        ({"base": (5, 9)}, "beyond the last entry"),
        ({"base": (5, 1), "reset": (5, 1)}, "cannot go together"),
        ({"reset": (5, 1)}, "older than what is committed"),
        ({"entries": [(5, b"x" * SMALL)]}, "one submission takes at most"),
        ({"entries": [(5, b"", 3)]}, "no kind of entry"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_changes_nothing(open_log: OpenLog, what: dict, message: str) -> None:  # type: ignore[type-arg]
    log = open_log()
    log.wait(log.append([(5, b"a"), (5, b"b"), (5, b"c")], hard_state=(5, 1, 2)))
    before = content(log.read())
    with pytest.raises(InvalidArgument, match=message):
        log.append(**what)
    assert content(log.read()) == before


def test_entries_up_to_the_limit(tmp_path: Path) -> None:
    with DataDirectory(tmp_path / "d", node=1) as directory, Log(directory) as log:
        log.wait(log.append([(1, b"\0" * ENTRY_BYTES_MAX)]), timeout=30)
        with pytest.raises(InvalidArgument, match="at most"):
            log.append([(1, b"\0" * (ENTRY_BYTES_MAX + 1))])
        assert log.read().entries()[0][3] == b"\0" * ENTRY_BYTES_MAX


def test_many_small_submissions_share_an_fsync(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1 << 20)
    for i in range(2000):
        ticket = log.append([(1, b"%d" % i)])
    log.wait(ticket)
    assert log.statistics["batches"] < 1900  # each alone would be 2000
    assert [entry[3] for entry in log.read().entries()] == [b"%d" % i for i in range(2000)]


def test_a_file_descriptor_is_told_of_completion(open_log: OpenLog) -> None:
    reading, writing = os.pipe()
    try:
        log = open_log(notify_fd=writing)
        ticket = log.append([(1, b"x")])
        while log.completed[0] < ticket:
            assert select.select([reading], [], [], 10)[0], "nobody told"
            os.read(reading, 8)
        log.close()
    finally:
        os.close(reading)
        os.close(writing)


def test_a_closed_log_says_so(open_log: OpenLog) -> None:
    log = open_log()
    log.append([(1, b"accepted before closing")])
    log.close()
    log.close()
    with pytest.raises(NodeFailed, match="closed"):
        log.append([(1, b"x")])
    assert "closed" in repr(log)
    assert open_log().last == (1, 1)


def test_memory_keeps_the_rules_and_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Log(None, identity=Identity.new(node=1)) as log:
        assert not log.durable
        assert log.wait(log.append([(1, b"x")], hard_state=(1, 1, 1))) == (1, 1)
        assert log.wait(log.append([(1, b"x" * 5000)] * 10)) == (1, 11)
        assert log.wait(log.append(reset=(2, 50))) == (2, 50)
        with pytest.raises(InvalidArgument, match="gap"):
            log.append([(2, b"")], first_index=60)
    assert list(tmp_path.iterdir()) == []
    assert Identity.new(node=1).incarnation != Identity.new(node=1).incarnation


def test_a_second_process_is_told_what_to_do(open_log: OpenLog) -> None:
    log = open_log()
    assert log.directory is not None
    code = f"from quorate.storage import DataDirectory; DataDirectory({str(log.directory.path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ConfigError" in done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert "one node per host" in done.stderr
    with pytest.raises(ConfigError, match="other workers connect"):
        DataDirectory(log.directory.path)


def test_a_forked_child_sees_a_closed_log_and_does_not_hold_the_lock(open_log: OpenLog) -> None:
    log = open_log()
    assert log.directory is not None
    reading, writing = os.pipe()
    waiting, release = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            log.append([(1, b"x")])
            os.write(writing, b"it appended")
        except NodeFailed as error:
            os.write(writing, str(error).encode())
        finally:
            os.read(waiting, 1)
            os._exit(0)
    try:
        assert b"forked child" in os.read(reading, 1000)
        log.wait(log.append([(1, b"the parent goes on")]))
        log.close()
        log.directory.close()
        with DataDirectory(log.directory.path):  # while the child still lives
            pass
    finally:
        os.write(release, b"x")
        os.waitpid(child, 0)
        for fd in (reading, writing, waiting, release):
            os.close(fd)


def test_identity_is_checked(open_log: OpenLog, tmp_path: Path) -> None:
    open_log().close()
    with pytest.raises(StorageError, match="belongs to node 1, not 2"):
        open_log(node=2)
    with pytest.raises(StorageError, match="belongs to cluster"):
        DataDirectory(tmp_path / "data", cluster=b"another cluster!")


def test_segments_of_another_directory_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with DataDirectory(tmp_path / name, node=1) as directory, Log(directory, segment_bytes=SMALL) as log:
            log.wait(log.append([(1, b"x")]))
    segment = "log/0000000000000001.log"
    (tmp_path / "one" / segment).write_bytes((tmp_path / "two" / segment).read_bytes())
    with (
        DataDirectory(tmp_path / "one") as directory,
        pytest.raises(StorageError, match="another cluster, node or incarnation"),
    ):
        Log(directory)


def test_a_missing_log_or_identity_is_never_taken_for_a_new_directory(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    fill(log, 1)
    log.close()
    identity = (tmp_path / "data" / "IDENTITY").read_bytes()
    (tmp_path / "data" / "IDENTITY").unlink()
    with pytest.raises(StorageError, match="IDENTITY is missing"):
        open_log()
    (tmp_path / "data" / "IDENTITY").write_bytes(identity)
    for path in (tmp_path / "data" / "log").glob("*.log"):
        path.unlink()
    with pytest.raises(StorageError, match="the log is gone"):
        open_log()


@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_a_missing_segment_is_a_gap(open_log: OpenLog, tmp_path: Path, which: str) -> None:
    log = open_log()
    fill(log, 4)
    log.close()
    files = sorted((tmp_path / "data" / "log").glob("*.log"))
    {"first": files[0], "middle": files[2], "last": files[-1]}[which].unlink()
    with pytest.raises(StorageError, match="missing") as caught:
        open_log()
    assert caught.value.file
    assert caught.value.advice


def test_identity_files_of_every_damage_are_refused() -> None:
    whole = Identity(cluster=b"0123456789abcdef", node=3, incarnation=77, name="näme").encode()
    assert Identity.decode(whole).name == "näme"
    for at in range(len(whole)):
        with pytest.raises(StorageError):
            Identity.decode(whole[:at])
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            with pytest.raises(StorageError):
                Identity.decode(bytes(damaged))
    newer = whole.replace(b"format 1", b"format 2")
    with pytest.raises(StorageError, match="Start the newer version"):
        Identity.decode(newer)


def test_a_new_directory_is_durable_with_all_the_folders_above_that_were_made(tmp_path: Path) -> None:
    faults = Faults()
    faults.record()
    with DataDirectory(tmp_path / "a" / "b" / "c", node=1, faults=faults):
        synced = {path for operation, path, *_ in faults.events() if operation == "sync_directory"}
    assert synced == {str(tmp_path / each) for each in ("", "a", "a/b", "a/b/c")}


def test_a_full_disk_has_no_room_for_the_holders_name_and_the_lock_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DataDirectory(tmp_path / "d", node=1) as directory:
        Log(directory, segment_bytes=SMALL).close()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("quorate.storage.directory.os.write", full)
        directory = DataDirectory(tmp_path / "d")
    with directory, pytest.raises(ConfigError, match="another process"):
        DataDirectory(tmp_path / "d")
