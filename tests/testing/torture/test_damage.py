"""What is broken in a log is noticed as what it is: a torn last write is cut, a flipped bit is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from quorate.errors import InvalidArgument, StorageError
from quorate.storage import Faults, Storage
from quorate.storage.offline import check_directory
from quorate.testing.torture import damage


def filled(path: Path, faults: Faults | None = None) -> Storage:
    made = Storage(path, node=1, name="a", cluster=bytes(16), segment_bytes=65536, faults=faults)
    for index in range(1, 40):
        made.log.append([(1, b"%d" % index * 30)], first_index=index, hard_state=(1, 1, index - 1))
        made.log.wait()  # each a batch of its own
    return made


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_is_refused_with_its_place(tmp_path: Path, seed: int) -> None:
    filled(tmp_path / "a").close()
    assert check_directory(tmp_path / "a").whole
    where = damage.flip(tmp_path / "a", random.Random(seed))
    assert ".log, offset " in where
    with pytest.raises(StorageError) as caught:
        Storage(tmp_path / "a", create=False).close()
    assert caught.value.file is not None
    assert caught.value.offset is not None


@pytest.mark.parametrize("seed", range(12))
def test_a_torn_last_write_is_cut_and_nothing_else(tmp_path: Path, seed: int) -> None:
    faults = Faults()
    made = filled(tmp_path / "a", faults)
    faults.record()
    made.log.append([(1, bytes([number + 1]) * 700) for number in range(3)], first_index=40)
    made.log.wait()
    written = [(at, data) for what, _, _, at, data in faults.events() if what == "write"]
    # As after a kill: the end is not written, so this is a copy of what was there then.
    copy = tmp_path / "copy"
    (copy / "log").mkdir(parents=True)
    (copy / "snapshots").mkdir()
    for file in ("LOCK", "IDENTITY", *(f"log/{each.name}" for each in (tmp_path / "a" / "log").glob("*.log"))):
        (copy / file).write_bytes((tmp_path / "a" / file).read_bytes())
    made.close()
    said = damage.tear(copy, written, random.Random(seed))
    assert said is not None
    assert "sectors of the last write lost" in said
    with Storage(copy, create=False) as opened:
        assert 39 <= opened.restart.last[1] < 42
        # Said, unless the whole write is gone: then there is nothing to be seen of it.
        assert opened.report or opened.restart.last[1] == 39


def test_nothing_unsynced_is_not_torn(tmp_path: Path) -> None:
    filled(tmp_path / "a").close()
    before = sorted((tmp_path / "a" / "log").glob("*.log"))[-1].read_bytes()
    assert damage.tear(tmp_path / "a", [], random.Random(1)) is None
    assert damage.tear(tmp_path / "a", [(4096, b"not there")], random.Random(1)) is None
    assert sorted((tmp_path / "a" / "log").glob("*.log"))[-1].read_bytes() == before


def test_an_empty_log_cannot_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(InvalidArgument):
        damage.flip(tmp_path, random.Random(1))
    assert damage.tear(tmp_path, [], random.Random(1)) is None
