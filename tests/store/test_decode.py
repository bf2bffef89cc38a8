"""What a remote client makes of a node's bytes is what the node's own readers give; other bytes are refused."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.errors import InvalidArgument
from quorate.store import KeyValue, _decode
from quorate.store import commands as c
from quorate.store._read import encoded
from quorate.store.views import EventKind, PermitKind
from store.driver import Driver


@pytest.fixture
def log() -> Driver:
    log = Driver()
    for number in range(5):
        log.ok(c.put(f"app/k{number}", b"v" * number))
    return log


def test_keys_and_ranges(log: Driver) -> None:
    reader = log.store.reader
    revision, row = _decode.decode_key(encoded(reader, "key", "app/k3"))
    assert (revision, row) == (log.index, reader.get("app/k3"))
    assert _decode.decode_key(encoded(reader, "key", "none")) == (log.index, None)
    _, inside = _decode.decode_key(encoded(reader, "key", "app/k3"), 4)
    assert isinstance(inside, KeyValue)
    assert (inside.key, inside.value) == (b"k3", b"vvv")
    assert inside != row
    assert inside == reader.get("app/k3").without(4)  # type: ignore[union-attr]
    whole = _decode.decode_range(encoded(reader, "range", "", "", 3, False, 1 << 20))
    assert whole == (log.index, True, reader.range(limit=3)[0])
    names = _decode.decode_range(encoded(reader, "range", "", "", 0, True, 1 << 20), True, 4)
    assert names == (log.index, False, [b"k0", b"k1", b"k2", b"k3", b"k4"])
    assert _decode.decode_count(encoded(reader, "count", "", "")) == (log.index, 5)


def test_a_key_outside_of_the_namespace_is_refused(log: Driver) -> None:
    log.ok(c.put("k", b""))
    reader = log.store.reader
    for read in (
        lambda: _decode.decode_key(encoded(reader, "key", "k"), 4),
        lambda: _decode.decode_range(encoded(reader, "range", "k", "", 0, True, 1), True, 4),
    ):
        with pytest.raises(InvalidArgument, match="outside of the namespace"):
            read()
    with pytest.raises(InvalidArgument, match="no 9 bytes"):
        reader.get("k").without(9)  # type: ignore[union-attr]


def test_sessions_and_permits(log: Driver) -> None:
    reader = log.store.reader
    session = log.open()
    pool: dict[str, Any] = {"kind": PermitKind.SEMAPHORE, "capacity": 1}
    for acquisition in (1, 2):
        log.ok(c.acquire("pool", session=session, acquisition=acquisition, value=b"v", **pool))
    log.ok(c.acquire("other", session=session, acquisition=3))
    log.ok(c.force_release("other", "why"))
    assert _decode.decode_session(encoded(reader, "session", session)) == (log.index, reader.session(session))
    assert _decode.decode_session(encoded(reader, "session", 999)) == (log.index, None)
    for acquisition in (1, 2, 3, 4):
        found = _decode.decode_acquisition(encoded(reader, "acquisition", session, acquisition), session, acquisition)
        assert found == (log.index, reader.acquisition(session, acquisition))
    for name in ("pool", "other", "none"):
        found_permit = _decode.decode_permit(encoded(reader, "permit", name, 10), name.encode())
        assert found_permit == (log.index, reader.permit(name, 10))


def row(key: bytes, value: bytes) -> bytes:
    return (
        struct.pack("<H", len(key)) + key + struct.pack("<I", len(value)) + value + struct.pack("<4Q", 1, 2, 3, 4)
    )  # fmt: skip


def test_events() -> None:
    heads = [(7, 0, 0, 0, EventKind.PUT, 0), (7, 1, 2, 3, EventKind.GRANT, 1)]
    body = struct.pack("<BQQI", 0, 9, 5, 2) + b"".join(
        struct.pack("<4Q2B", *head) + row(b"ns/" + bytes([65 + at]), b"v") for at, head in enumerate(heads)
    )
    compacted, complete, first, (put, grant) = _decode.decode_events(body, 3)
    assert (compacted, complete, first) == (False, 9, 5)
    assert (put.revision, put.kind, put.name, put.value, put.version) == (7, EventKind.PUT, b"A", b"v", 3)
    assert (grant.session, grant.acquisition, grant.token, grant.last_of_revision) == (1, 2, 3, True)
    assert put.last_of_revision is False
    # Kinds of a newer cluster are left out, and what is left is as whole as before.
    newer = _decode.decode_events(body.replace(bytes([EventKind.GRANT, 1]), bytes([99, 1])), 3)
    assert newer[:3] == (False, 9, 5)
    assert [(each.kind, each.revision, each.last_of_revision) for each in newer[3]] == [(EventKind.PUT, 7, True)]


def test_cut_or_longer_answers_are_refused(log: Driver) -> None:
    reader = log.store.reader
    session = log.open()
    log.ok(c.acquire("pool", session=session, acquisition=1, value=b"v"))
    answers: list[tuple[Any, bytes]] = [
        (_decode.decode_key, encoded(reader, "key", "app/k1")),
        (_decode.decode_range, encoded(reader, "range", "", "", 0, False, 1 << 20)),
        (_decode.decode_count, encoded(reader, "count", "", "")),
        (_decode.decode_session, encoded(reader, "session", session)),
        (lambda data: _decode.decode_acquisition(data, session, 1), encoded(reader, "acquisition", session, 1)),
        (lambda data: _decode.decode_permit(data, b"pool"), encoded(reader, "permit", "pool", 10)),
    ]
    for decode, data in answers:
        decode(data)
        for length in range(len(data)):
            with pytest.raises(InvalidArgument):
                decode(data[:length])
        with pytest.raises(InvalidArgument):
            decode(data + b"\0")


@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_are_an_answer_or_refused(data: bytes, skip: int) -> None:
    for decode in (
        lambda: _decode.decode_key(data, skip),
        lambda: _decode.decode_range(data, False, skip),
        lambda: _decode.decode_range(data, True, skip),
        lambda: _decode.decode_count(data),
        lambda: _decode.decode_session(data),
        lambda: _decode.decode_acquisition(data, 1, 2),
        lambda: _decode.decode_permit(data, b"name"),
        lambda: _decode.decode_parts(data, skip),
        lambda: _decode.decode_events(data, skip),
    ):
        with contextlib.suppress(InvalidArgument):
            decode()
