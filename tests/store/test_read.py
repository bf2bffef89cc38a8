"""Reads as bytes for remote clients agree with reads as objects."""

from __future__ import annotations

import struct

import pytest

from quorate.store import KeyValue
from quorate.store import commands as c
from quorate.store._read import encoded
from quorate.store.views import PermitKind
from store.driver import Driver


@pytest.fixture
def log() -> Driver:
    log = Driver()
    for number in range(5):
        log.ok(c.put(f"k{number}", b"v" * number))
    return log


def row_bytes(row: KeyValue) -> bytes:
    return (
        struct.pack("<H", len(row.key)) + row.key + struct.pack("<I", len(row.value)) + row.value
        + struct.pack("<4Q", row.create_revision, row.mod_revision, row.version, row.session)
    )  # fmt: skip


def test_a_key(log: Driver) -> None:
    row = log.store.reader.get("k3")
    assert row is not None
    assert encoded(log.store.reader, "key", "k3") == struct.pack("<QB", 5, 1) + row_bytes(row)
    assert encoded(log.store.reader, "key", "no") == struct.pack("<QB", 5, 0)


@pytest.mark.parametrize(
    ("limit", "bytes_most", "count", "cut"), [(0, 1 << 20, 4, 0), (2, 1 << 20, 2, 1), (0, 1, 1, 1), (4, 1 << 20, 4, 0)]
)
def test_a_range(log: Driver, limit: int, bytes_most: int, count: int, cut: int) -> None:
    rows = log.store.reader.range("k1", "z")[0][:count]
    expected = struct.pack("<QBI", 5, cut, count)
    assert encoded(log.store.reader, "range", "k1", "z", limit, False, bytes_most) == expected + b"".join(
        map(row_bytes, rows)
    )


def test_keys_alone_and_counts(log: Driver) -> None:
    assert encoded(log.store.reader, "range", "k3", "", 0, True, 1 << 20) == struct.pack(
        "<QBIH2sH2s", 5, 0, 2, 2, b"k3", 2, b"k4"
    )
    assert encoded(log.store.reader, "count", "k1", "k3") == struct.pack("<QQ", 5, 2)
    assert encoded(log.store.reader, "count", "", "") == struct.pack("<QQ", 5, 5)


def test_sessions_and_permits(log: Driver) -> None:
    reader = log.store.reader
    session = log.open()
    name = b"pool"
    pool = {"kind": PermitKind.SEMAPHORE, "capacity": 1}
    for acquisition in (1, 2):
        log.ok(c.acquire(name, session=session, acquisition=acquisition, value=b"v", **pool))
    log.ok(c.acquire("other", session=session, acquisition=3))
    log.ok(c.force_release("other", "why"))
    head = struct.pack("<Q", log.index)
    shown = encoded(reader, "session", session)
    assert shown[:17] == head + b"\x01" + struct.pack("<Q", session)
    assert shown[17:25] == struct.pack("<II", 45, 10_000)
    assert encoded(reader, "session", 999) == head + b"\x00"
    held, waiting = (encoded(reader, "acquisition", session, acquisition) for acquisition in (1, 2))
    place = struct.pack("<4s5QI", b"pool", session, 1, 7, 0, 7, 1)[4:]
    assert held == head + struct.pack("<BH4sI", 1, 4, name, 45) + place + b"v"
    assert waiting[8:9] == b"\x02"
    assert encoded(reader, "acquisition", session, 3)[8:9] == b"\x03"
    assert encoded(reader, "acquisition", session, 4) == head + b"\x00"
    permit = encoded(reader, "permit", name, 10)
    assert permit.endswith(struct.pack("<I", 45) + waiting[-45:])
    assert struct.pack("<II", 2, 45) + held[-45:] in permit
    assert encoded(reader, "permit", "no", 10) == head + b"\x00"
