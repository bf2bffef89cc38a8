"""Commands are validated before they are proposed; what is accepted is what the store applies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate import limits
from quorate.errors import InvalidArgument
from quorate.store import Store, _store, views
from quorate.store import commands as c
from quorate.store.views import RWLOCK_CAPACITY, PermitKind, Status


def test_the_numbers_of_both_sides_agree() -> None:
    compiled = _store.constants()
    for name, value in compiled.items():
        kind, _, member = name.partition(".")
        assert (getattr(views, kind) if not member else getattr(views, kind)[member]) == value, name
    enums = [views.Status, views.ResultFlag, views.PermitKind, views.SessionEnd, views.EventKind, views.Limit]
    assert len(compiled) == 1 + sum(len(enum) for enum in enums)


WRONG: list[tuple[str, Any]] = [
    ("1 to 4096", lambda: c.put("", b"")),
    ("1 to 4096", lambda: c.put("x" * 4097, b"")),
    ("too long", lambda: c.put("x" * 70_000, b"")),
    ("8 MiB", lambda: c.put("x", bytes(limits.VALUE_BYTES_MAX + 1))),
    ("within a session", lambda: c.put("x", b"", owned=True)),
    ("number", lambda: c.put("x", b"", session=1, number=0)),
    ("number above its mark", lambda: c.put("x", b"", session=1, number=3, mark=3)),
    ("a mark goes with a number", lambda: c.put("x", b"", session=1, mark=3)),
    ("has a session", lambda: c.put("x", b"", number=3)),
    ("1 to 512", lambda: c.put("x", b"", fence=("", 3))),
    ("writes a key twice", lambda: c.transaction([], [c.do_put("a", b""), c.do_delete("a")])),
    ("writes a key twice", lambda: c.transaction([], [], [c.do_put("a", b""), c.do_delete_range("a", "b")])),
    ("writes a key twice", lambda: c.transaction([], [c.do_delete_range("a", "c"), c.do_delete_range("b")])),
    ("at most 256", lambda: c.transaction([], [c.do_get("a")] * 257)),
    ("unknown kind", lambda: c.transaction([], [b"\x63\x00"])),
    ("ends too early", lambda: c.transaction([], [c.do_get("a")[:-1]])),
    ("own", lambda: c.transaction([], [c.do_put("a", b"", owned=True)])),
    ("compare", lambda: c.compare("a", "value", "<=", b"")),
    ("16 bytes", lambda: c.session_open(b"short", 1000)),
    ("255", lambda: c.session_open(b"n" * 16, 1000, label="x" * 256)),
    ("known reason", lambda: c.session_end(5, 9)),
    ("known reason", lambda: c.session_end(0, 1)),
    ("within a session", lambda: c.acquire("l", session=0, acquisition=1)),
    ("1 to 512", lambda: c.acquire("", session=1, acquisition=1)),
    ("1 to 512", lambda: c.acquire("x" * 513, session=1, acquisition=1)),
    ("number above 0", lambda: c.acquire("l", session=1, acquisition=0)),
    ("capacity of 1", lambda: c.acquire("l", session=1, acquisition=1, capacity=2)),
    ("at least one unit", lambda: c.acquire("l", session=1, acquisition=1, kind=2, capacity=2, units=3)),
    ("at least one unit", lambda: c.acquire("l", session=1, acquisition=1, kind=2, capacity=2, units=0)),
    ("at least one unit", lambda: c.acquire("l", session=1, acquisition=1, kind=2, capacity=0, units=0)),
    ("unknown kind", lambda: c.acquire("l", session=1, acquisition=1, kind=7)),
    ("fixed capacity", lambda: c.acquire("l", session=1, acquisition=1, kind=3, capacity=5)),
    ("a writer all", lambda: c.acquire("l", session=1, acquisition=1, kind=3, capacity=RWLOCK_CAPACITY, units=2)),
    ("65,536", lambda: c.holder_value(bytes(65_537), session=1, acquisition=1)),
    ("1 to 256 limits", lambda: c.set_limits({})),
    ("at least 1", lambda: c.set_version(0)),
]


@pytest.mark.parametrize(
    ("message", "make"), WRONG, ids=[f"{number}-{message}" for number, (message, _) in enumerate(WRONG)]
)
def test_refused_before_it_is_proposed(message: str, make: Any) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make()


def test_a_name_is_text_or_bytes() -> None:
    assert c.put("ä", "ö") == c.put("ä".encode(), "ö".encode())
    for wrong in (None, 5, bytearray(b"x")):
        with pytest.raises(TypeError):
            c.put(wrong, b"")  # type: ignore[arg-type]


def test_largest_key_and_value_fit() -> None:
    store = Store()
    command = c.put("k" * limits.KEY_BYTES_MAX, bytes(limits.VALUE_BYTES_MAX))
    assert store.apply(1, 1, command).status == Status.LIMIT  # of the logged limit, which is lower
    assert store.apply(2, 1, c.set_limits({views.Limit.VALUE_BYTES: limits.VALUE_BYTES_MAX})).status == Status.OK
    assert store.apply(3, 1, command).status == Status.OK


SAMPLES = [
    c.put("key", b"value", session=3, number=9, mark=4, owned=True, fence=("lock", 77)),
    c.delete_range("a", "b", limit=5),
    c.compare_and_set("key", b"v", 7),
    c.increment("key", -3),
    c.transaction(
        [c.compare("a", "value", "==", b"x"), c.compare("a", "version", ">", 3)],
        [c.do_put("a", b"1"), c.do_get("b"), c.do_range("c", "d", 3)],
        [c.do_delete_range("a", "z"), c.do_increment("zz")],
    ),
    c.session_open(b"n" * 16, 5000, label="me", now_ms=5),
    c.acquire("pool", session=3, acquisition=8, kind=PermitKind.SEMAPHORE, capacity=5, units=2, value=b"v"),
    c.force_release("pool", "why", token=3),
    c.set_limits({views.Limit.KEYS: 5, views.Limit.SESSIONS: 7}),
]


@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    st.integers(0, 200),
    st.binary(max_size=8),
)
def test_any_bytes_are_applied_or_malformed_alike(
    sample: bytes, flips: list[tuple[int, int]], cut: int, tail: bytes
) -> None:
    data = bytearray(sample)
    for place, value in flips:
        data[place % len(data)] = value
    data = data[: len(data) - cut] + tail if cut < 100 else data
    if data and data[0] > 1:
        data[0] = 1
    wrong = c.validate(bytes(data))
    stores = [Store(), Store(known_version=7)]
    results = [store.apply(1, 1, bytes(data)) for store in stores]
    assert results[0] == results[1]
    assert (results[0].status == Status.MALFORMED) == (wrong is not None)
    if wrong is not None:
        assert results[0].body.decode() == wrong


@given(st.binary(max_size=100))
def test_any_bytes_at_all(data: bytes) -> None:
    wrong = c.validate(data)
    if data and data[0] > 1:
        assert wrong is not None
        assert "newer version" in wrong
    else:
        assert (Store().apply(1, 1, data).status == Status.MALFORMED) == (wrong is not None)
