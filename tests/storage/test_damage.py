"""Damage of every kind: opening recovers exactly what was durable, or refuses; it never gives a wrong entry."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from storage_support import SMALL, Content, OpenLog, content, fill, wait_until

from quorate import StorageError
from quorate.storage import replay

SECTOR = 512


def overwrite(path: Path, data: bytes) -> None:
    """In place: a file system may sync a file that is truncated and written anew, which takes long."""
    with path.open("r+b", buffering=0) as file:
        file.write(data)
        file.truncate()


def prefixes(log_directory: Path, segment: Path, steps: list[int]) -> list[Content]:
    """What the log says when the segment ends (in zeros) at each of these offsets."""
    whole = segment.read_bytes()
    found = []
    for step in steps:
        overwrite(segment, whole[:step] + bytes(len(whole) - step))
        found.append(content(replay(str(log_directory))))
    overwrite(segment, whole)
    return found


class Small:
    """A small log with payloads that provoke mistakes: of zeros, of ones, longer than sectors, replaced, empty."""

    def __init__(self, open_log: OpenLog, path: Path) -> None:
        log = open_log()
        ends: list[int] = []
        self.acknowledged: list[Content] = []

        def step(*args: object, **options: object) -> None:
            log.wait(log.append(*args, **options))  # type: ignore[arg-type]
            found = log.read()
            ends.append(found.segments[-1][4])
            self.acknowledged.append(content(found))

        step([(1, b"\0" * 700), (1, b"a")], hard_state=(1, 1, 0))
        step([(1, b"")] * 2, hard_state=(1, 1, 2))
        step([(2, b"\xff" * 90)], first_index=4)
        step([(2, b"tail" * 40), (2, b"\0" * 3)])
        log.directory.close()  # type: ignore[union-attr]
        # The files as a crash leaves them, without the mark that closing would add; and once the keeper has made its
        # reserve, so that no file is renamed while it is copied.
        wait_until(lambda: (path / "data" / "log" / "reserve").exists())
        self.directory = path / "crashed"
        shutil.copytree(path / "data", self.directory)
        log.close()
        self.segment = self.directory / "log" / "0000000000000001.log"
        self.bytes = self.segment.read_bytes()
        self.ends = ends
        self.records = self.record_ends()

    def record_ends(self) -> list[int]:
        """Where each record ends: where a replay of the log cut there stands still."""
        ends = []
        for cut in range(SECTOR, self.ends[-1] + 1, 8):
            overwrite(self.segment, self.bytes[:cut] + bytes(SMALL - cut))
            try:
                found = replay(str(self.directory / "log"))
            except StorageError:
                continue
            if found.segments[0][4] == cut:
                ends.append(cut)
        overwrite(self.segment, self.bytes)
        return ends

    def replay(self) -> Content:
        return content(replay(str(self.directory / "log")))


@pytest.fixture
def small(open_log: OpenLog, tmp_path: Path) -> Small:
    return Small(open_log, tmp_path)


def test_cut_at_every_byte(small: Small) -> None:
    """Zeros from some byte on, as a write that was never finished leaves them."""
    whole = small.replay()
    assert whole == small.acknowledged[-1]
    allowed = dict(zip(small.records, prefixes(small.directory / "log", small.segment, small.records), strict=True))
    refused = 0
    for cut in range(SECTOR, SMALL + 1):
        overwrite(small.segment, small.bytes[:cut] + bytes(SMALL - cut))
        try:
            found = small.replay()
        except StorageError as error:
            refused += (error.file, error.offset is None, bool(error.advice)) == (str(small.segment), False, True)
            continue
        before = max((end for end in small.records if end <= cut), default=SECTOR)
        after = min((end for end in small.records if end > cut), default=before)
        zeros_only = small.bytes[cut:after].count(0) == after - cut  # then cutting them changed nothing
        assert found == (allowed[after] if zeros_only else allowed.get(before, whole))
    # Refused is what no disk does: a cut in the middle of a checksum word; and what an earlier write had committed.
    assert refused < len(small.records) * 8


def test_the_file_itself_cut_at_every_byte(small: Small) -> None:
    """The file was whole before the first record went in, so a shorter one is no torn tail."""
    for cut in range(SMALL - 1, 0, -7):
        overwrite(small.segment, small.bytes[:cut])
        with pytest.raises(StorageError):
            small.replay()


def test_every_bit_flipped(small: Small) -> None:
    """In the header and the records: refused, the last acknowledged record included. In the fill: refused or cut."""
    whole = small.acknowledged[-1]
    with small.segment.open("r+b", buffering=0) as file:
        for at in range(SMALL):
            if at >= small.ends[-1] + 64 and at % 16:
                continue  # the fill is alike everywhere
            for bit in range(8):
                file.seek(at)
                file.write(bytes([small.bytes[at] ^ 1 << bit]))
                if at < small.ends[-1]:
                    with pytest.raises(StorageError):
                        small.replay()
                else:
                    try:
                        found = small.replay()
                    except StorageError:
                        continue
                    assert found == whole
            file.seek(at)
            file.write(small.bytes[at : at + 1])
    assert small.replay() == whole


def test_random_damage_never_gives_a_wrong_entry(small: Small) -> None:
    chance = random.Random(5)
    good = prefixes(small.directory / "log", small.segment, [SECTOR, *small.records])
    for _ in range(1500):
        damaged = bytearray(small.bytes)
        for _ in range(chance.choice([1, 1, 2, 5])):
            at, length = chance.randrange(SMALL), chance.choice([1, 2, 8, 64, 512])
            damaged[at : at + length] = chance.choice([bytes(length), chance.randbytes(length)])
        overwrite(small.segment, damaged[:SMALL])
        try:
            found = small.replay()
        except StorageError:
            continue
        assert found in good


def test_a_torn_tail_is_cut_reported_and_never_seen_again(small: Small, tmp_path: Path, open_log: OpenLog) -> None:
    cut = small.ends[-1] - 60
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(small.directory, tmp_path / "data")
    segment = tmp_path / "data" / "log" / small.segment.name
    overwrite(segment, small.bytes[:cut] + bytes(SMALL - cut))
    log = open_log()
    assert len(log.report) == 1
    assert "was cut" in log.report[0]
    assert str(segment) in log.report[0]
    last = log.last
    log.wait(log.append([(7, b"goes on")]))
    log = open_log()
    assert log.report == []
    assert log.last == (7, last[1] + 1)


def test_damage_in_front_of_later_records_is_refused_although_it_looks_unwritten(
    open_log: OpenLog, tmp_path: Path
) -> None:
    """A sector of zeros in a batch that was durable: the batch behind it proves that."""
    log = open_log()
    for i in range(8):
        log.wait(log.append([(1, bytes([i + 1]) * 300)]))
    log.close()
    segment = tmp_path / "data" / "log" / "0000000000000001.log"
    whole = segment.read_bytes()
    refused = 0
    for sector in range(1, SMALL // SECTOR):
        at = sector * SECTOR
        overwrite(segment, whole[:at] + bytes(SECTOR) + whole[at + SECTOR :])
        if any(whole[at : at + SECTOR]) and any(whole[at + SECTOR :]):
            with pytest.raises(StorageError):
                open_log()
            refused += 1
    assert refused >= 4


@pytest.mark.parametrize("which", [0, 1, 2])
def test_every_older_segment_must_be_whole(open_log: OpenLog, tmp_path: Path, which: int) -> None:
    log = open_log()
    fill(log, 3)
    log.close()
    segment = sorted((tmp_path / "data" / "log").glob("*.log"))[which]
    whole = segment.read_bytes()
    chance = random.Random(which)
    end = len(whole.rstrip(b"\0"))
    for at in [*chance.sample(range(SECTOR, end), 60), end - 1]:
        overwrite(segment, whole[:at] + bytes(len(whole) - at))
        if segment.read_bytes() != whole:
            with pytest.raises(StorageError):
                replay(str(segment.parent))
    overwrite(segment, whole)
    replay(str(segment.parent))


def test_exchanged_and_repeated_segments_are_refused(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    fill(log, 3)
    log.close()
    files = sorted((tmp_path / "data" / "log").glob("*.log"))
    one, two = files[0].read_bytes(), files[1].read_bytes()
    files[1].write_bytes(one)
    with pytest.raises(StorageError, match="wrong name"):
        replay(str(files[0].parent))
    files[1].write_bytes(two)
    files[0].write_bytes(two)
    with pytest.raises(StorageError, match="wrong name"):
        replay(str(files[0].parent))
