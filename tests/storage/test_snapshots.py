"""Snapshot files: what goes in comes out, from any offset, after any interruption; damage never does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorate import InvalidArgument, StorageError
from quorate.storage import DataDirectory, Faults, Identity, Snapshots

CHUNK = 1024


@pytest.fixture(params=["files", "memory"])
def snapshots(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Snapshots]:
    if request.param == "memory":
        yield Snapshots(None, identity=Identity.new(node=1))
    else:
        with DataDirectory(tmp_path / "d", node=1, name="a") as directory:
            yield Snapshots(directory)


def make(snapshots: Snapshots, data: bytes, *, index: int = 7, term: int = 2) -> None:
    writer = snapshots.create(
        term=term, index=index, configuration=b"a,b,c", configuration_index=3, content_format=9, chunk_bytes=CHUNK
    )
    at = 0
    chance = random.Random(len(data))
    while at < len(data):
        step = chance.choice([1, 7, CHUNK, 3 * CHUNK])
        writer.write(data[at : at + step])
        at += step
    assert writer.offset == len(data)
    writer.finish()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17])
def test_round_trip(snapshots: Snapshots, size: int) -> None:
    data = random.Random(size).randbytes(size)
    make(snapshots, data)
    assert snapshots.list() == [(2, 7)]
    with snapshots.open() as reader:
        meta = reader.meta
        assert (meta.term, meta.index, meta.configuration, meta.configuration_index) == (2, 7, b"a,b,c", 3)
        assert (meta.content_format, meta.chunk_bytes, meta.node) == (9, CHUNK, 1)
        assert reader.size == size
        assert b"".join(reader.chunks()) == data
        chance = random.Random(1)
        for _ in range(20):
            at, length = chance.randint(0, size), chance.randint(0, size + 10)
            assert reader.read(at, length) == data[at : at + length]
            assert b"".join(reader.chunks(at)) == data[at:]
        with pytest.raises(InvalidArgument):
            reader.read(size + 1, 1)


def test_the_newest_replaces_older_ones_once_it_is_proven(snapshots: Snapshots) -> None:
    make(snapshots, b"old", index=5)
    writer = snapshots.create(term=2, index=8, configuration=b"", configuration_index=0)
    writer.write(b"new")
    assert snapshots.list() == [(2, 5)]
    writer.finish()
    assert snapshots.list() == [(2, 8)]
    with snapshots.open() as reader:
        assert reader.read(0, 10) == b"new"


def test_a_reader_survives_the_deletion_of_its_snapshot(snapshots: Snapshots) -> None:
    make(snapshots, b"old" * 1000, index=5)
    with snapshots.open() as reader:
        make(snapshots, b"new", index=9)
        assert b"".join(reader.chunks()) == b"old" * 1000


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[DataDirectory]:
    with DataDirectory(tmp_path / "d", node=1) as made:
        yield made


def test_an_interrupted_one_goes_on_behind_its_last_whole_chunk(directory: DataDirectory) -> None:
    data = random.Random(3).randbytes(10 * CHUNK + 5)
    snapshots = Snapshots(directory)
    options = {"term": 2, "index": 7, "configuration": b"conf", "configuration_index": 1}
    writer = snapshots.create(**options, id=77, chunk_bytes=CHUNK)
    writer.write(data[: 4 * CHUNK + 100])
    writer.close()
    assert snapshots.list() == []
    again = snapshots.resume(term=2, index=7, id=77)
    assert again is not None
    assert again.offset == 4 * CHUNK
    assert again.meta.configuration == b"conf"
    again.write(data[again.offset :])
    again.finish()
    with snapshots.open() as reader:
        assert b"".join(reader.chunks()) == data
        assert reader.meta.id == 77


def test_an_interrupted_one_is_resumed_wherever_its_file_ends(directory: DataDirectory) -> None:
    data = random.Random(3).randbytes(4 * CHUNK)
    snapshots = Snapshots(directory)
    writer = snapshots.create(term=2, index=7, configuration=b"", configuration_index=1, id=5, chunk_bytes=CHUNK)
    writer.write(data)
    path = Path(str(writer.path))
    writer.close()
    whole = path.read_bytes()
    for cut in range(0, len(whole) + 1, 61):
        path.write_bytes(whole[:cut])
        again = snapshots.resume(term=2, index=7, id=5)
        if again is None:  # not even the head is there: the file is deleted
            assert cut < 300
            assert not path.exists()
            continue
        again.write(data[again.offset :])
        again.finish()
        with snapshots.open() as reader:
            assert b"".join(reader.chunks()) == data
        Path(str(reader.path)).rename(path)


def test_one_of_another_origin_is_not_resumed(directory: DataDirectory) -> None:
    snapshots = Snapshots(directory)
    writer = snapshots.create(term=2, index=7, configuration=b"", configuration_index=1, id=5)
    writer.close()
    assert snapshots.resume(term=2, index=7, id=6) is None
    assert list(Path(directory.snapshot_path).iterdir()) == []
    assert snapshots.resume(term=2, index=8, id=6) is None


def test_every_flipped_bit_and_every_cut_is_found(directory: DataDirectory) -> None:
    snapshots = Snapshots(directory)
    make(snapshots, random.Random(3).randbytes(CHUNK + 300))
    with snapshots.open() as reader:
        path = Path(str(reader.path))
    whole = path.read_bytes()

    def refused() -> bool:
        try:
            with snapshots.open() as reader:
                reader.prove()
        except StorageError as error:
            return error.file is not None and bool(error.reason)
        return False

    assert not refused()
    with path.open("r+b", buffering=0) as file:
        for at in range(len(whole)):
            for bit in range(8):
                file.seek(at)
                file.write(bytes([whole[at] ^ 1 << bit]))
                assert refused(), (at, bit)
            file.seek(at)
            file.write(whole[at : at + 1])
        file.seek(0, 2)
        file.write(b"\0")
        assert refused()
        for size in range(len(whole) - 1, -1, -3):
            file.truncate(size)
            assert refused(), size


def test_a_damaged_chunk_does_not_hide_the_others(directory: DataDirectory) -> None:
    snapshots = Snapshots(directory)
    data = random.Random(3).randbytes(6 * CHUNK)
    make(snapshots, data)
    with snapshots.open() as reader:
        path = Path(str(reader.path))
        raw = bytearray(path.read_bytes())
        at = raw.index(data[2 * CHUNK : 2 * CHUNK + 50])
        raw[at] ^= 1
        path.write_bytes(raw)
    with snapshots.open() as reader:
        assert reader.read(0, 2 * CHUNK) == data[: 2 * CHUNK]
        assert reader.read(4 * CHUNK, CHUNK) == data[4 * CHUNK : 5 * CHUNK]
        with pytest.raises(StorageError, match=r"chunk|checksum"):
            reader.read(2 * CHUNK, 1)


def test_snapshots_of_others_and_under_wrong_names_are_refused(directory: DataDirectory, tmp_path: Path) -> None:
    snapshots = Snapshots(directory)
    make(snapshots, b"mine")
    with snapshots.open() as reader:
        path = Path(str(reader.path))
    wrong = path.with_name(f"{8:016d}-{2:016d}.snap")
    wrong.write_bytes(path.read_bytes())
    with pytest.raises(StorageError, match="name of another"):
        snapshots.open()
    with DataDirectory(tmp_path / "other", node=1) as other:
        (Path(other.snapshot_path) / path.name).write_bytes(path.read_bytes())
        with pytest.raises(StorageError, match="another cluster"):
            Snapshots(other).open()


def test_bounds(directory: DataDirectory) -> None:
    snapshots = Snapshots(directory)
    for wrong in ({"chunk_bytes": 12}, {"chunk_bytes": 1 << 30}, {"index": 0}, {"configuration": b"x" * (1 << 21)}):
        options = {"term": 1, "index": 1, "configuration": b"", "configuration_index": 0, **wrong}
        with pytest.raises(InvalidArgument):
            snapshots.create(**options)


def test_a_snapshot_is_never_visible_before_it_is_durable(directory: DataDirectory) -> None:
    faults = Faults()
    faults.record()
    snapshots = Snapshots(directory, faults=faults)
    make(snapshots, b"x" * 5000)
    order = [event[0] for event in faults.events()]
    assert order[-3:] == ["fsync", "rename", "sync_directory"]
    assert "write" not in order[-3:]
