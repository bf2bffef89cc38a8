"""Snapshots: canonical, consistent while the store changes, restored to an equal one by a parser without trust."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.errors import Compacted, InvalidArgument, NodeFailed, Overloaded, StorageError
from quorate.store import Store
from quorate.store import commands as c
from quorate.store.views import Limit, PermitKind, SessionEnd
from store.driver import Driver


def busy(seed: int = 1, steps: int = 400) -> Driver:
    """A store with something in every table."""
    random_ = random.Random(seed)
    log = Driver()
    log.store.configure(1, 1, b"members")
    log.index = 1
    sessions = [log.open(nonce) for nonce in range(1, 6)]
    numbers = dict.fromkeys(sessions, 0)
    for _ in range(steps):
        session = random_.choice(sessions)
        numbers[session] += 1
        mark = max(0, numbers[session] - random_.randint(1, 5))
        numbered: dict[str, Any] = {"session": session, "number": numbers[session], "mark": mark}
        name, key = f"pool/{random_.randint(0, 3)}", f"k/{random_.randint(0, 60)}"
        pool: dict[str, Any] = {"name": name, "kind": PermitKind.SEMAPHORE, "capacity": 3}
        commands = [
            c.put(key, bytes(random_.randint(0, 90)), owned=random_.random() < 0.3, **numbered),
            c.delete(key, **numbered),
            c.acquire(acquisition=random_.randint(1, 6), units=random_.randint(1, 3), value=b"v", **pool, **numbered),
            c.cancel(acquisition=random_.randint(1, 6), **numbered),
            c.force_release(name, "why", **numbered),
        ]
        log.do(random_.choices(commands, [6, 2, 6, 4, 1])[0])
    return log


@pytest.fixture(scope="module")
def sample() -> bytes:
    data = busy().saved()
    figures = Store.restore([data]).figures()
    assert all(figures[table] for table in ("keys", "sessions", "results", "permits", "owned", "acquired"))
    return data


@pytest.mark.parametrize("seed", range(8))
def test_restored_is_equal_and_goes_on_equally(seed: int) -> None:
    log = busy(seed)
    data = log.saved()
    other = Driver(Store.restore([data]))
    assert other.saved() == data
    assert other.store.limits == log.store.limits
    tables = ("keys", "sessions", "results", "permits", "idle", "owned", "acquired", "bytes")
    assert [other.store.figures()[table] for table in tables] == [log.store.figures()[table] for table in tables]
    for session in log.store.reader.sessions():
        for driver in (log, other):
            driver.ok(c.session_end(session.id, SessionEnd.EXPIRED))
    assert other.saved() == log.saved()


@pytest.mark.parametrize("size", [1, 7, 100, 4096])
def test_chunks_of_any_size(sample: bytes, size: int) -> None:
    log = busy()
    with log.store.snapshot() as snapshot:
        chunks = []
        while chunk := snapshot.read(size):
            assert len(chunk) <= size
            chunks.append(chunk)
        assert snapshot.index == log.index
    assert b"".join(chunks) == sample
    assert Driver(Store.restore(chunks)).saved() == sample


def test_it_is_the_store_at_one_index_whatever_is_applied_meanwhile() -> None:
    log = busy()
    expected = log.saved()
    snapshots = [log.store.snapshot()]
    for number in range(3000):
        log.ok(c.put(f"k/{number % 97}", b"later"))
        if number % 5 == 0:
            log.ok(c.delete(f"k/{number % 31}"))
        if number == 1000:
            later = log.saved()
            snapshots.append(log.store.snapshot())
    assert b"".join(snapshots[0]) == expected
    assert b"".join(snapshots[1]) == later
    for snapshot in snapshots:
        snapshot.close()


def test_what_a_snapshot_kept_is_freed_after_it() -> None:
    log = Driver()
    for number in range(2000):
        log.ok(c.put(f"{number:06}", bytes(50)))
    snapshot = log.store.snapshot()
    for number in range(2000):
        log.ok(c.put(f"{number:06}", bytes(50)))
    assert log.store.figures()["retired"] >= 2000
    snapshot.close()
    while log.store.reclaim():
        pass
    assert log.store.figures()["retired"] == 0


def test_only_what_the_snapshot_sees_is_kept_for_it() -> None:
    log = Driver()
    log.ok(c.put("k", bytes(50)))
    with log.store.snapshot():
        for _ in range(5000):
            log.ok(c.put("k", bytes(50)))
        assert log.store.figures()["retired"] < 20


def test_too_many_at_once_are_refused_and_closing_is_idempotent() -> None:
    log = busy()
    held = [log.store.snapshot() for _ in range(8)]
    with pytest.raises(Overloaded):
        log.store.snapshot()
    for snapshot in held:
        snapshot.close()
        snapshot.close()
    log.ok(c.put("k", b""))
    log.store.reclaim()
    log.store.snapshot().close()
    with pytest.raises(InvalidArgument):
        held[0].read()


def test_an_empty_store() -> None:
    data = Driver().saved()
    store = Store.restore([data])
    assert (store.applied_index, store.reader.count()) == (0, 0)
    store.apply(1, 1, c.put("k", b""))
    assert store.reader.count() == 1


def test_a_follower_takes_over_a_restored_store() -> None:
    follower, leader = Driver(), busy()
    follower.ok(c.put("old", b"1"))
    follower.open(99)
    reader = follower.store.reader
    old = reader.get("old")
    watch = follower.store.watch(after=0)
    with pytest.raises(StorageError):
        follower.store.install([leader.saved()[:-1]])
    assert reader.get("old") is not None  # nothing has changed
    follower.store.install([leader.saved()])
    assert reader.get("old") is None
    assert old is not None
    assert old.value == b"1"
    assert reader.revision == leader.index
    assert follower.saved() == leader.saved()
    assert [view.nonce[0] for view in reader.sessions()] == [1, 2, 3, 4, 5]
    with pytest.raises(Compacted):
        watch.collect()
    follower.index = leader.index
    for driver in (follower, leader):
        driver.ok(c.put("new", b"2"))
        for view in driver.store.reader.sessions():
            driver.ok(c.session_end(view.id, SessionEnd.EXPIRED))
    assert follower.saved() == leader.saved()
    follower.store.reclaim()
    with pytest.raises(InvalidArgument, match="cannot take over"):
        follower.store.install([Driver().saved()])


def test_the_store_outlives_its_snapshot_reader_and_watch() -> None:
    snapshot = busy().store.snapshot()
    reader = busy().store.reader
    row = busy().store.reader.range()[0][0]
    watch = busy().store.watch(after=0)
    assert len(b"".join(snapshot)) > 100
    assert reader.count() > 0
    assert row.key.startswith(b"k/")
    assert watch.collect()


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 1, 8, 12, 46, 100, 250, 1000, -49, -9, -1])
def test_cut_short(sample: bytes, cut: int) -> None:
    with pytest.raises(StorageError, match="damaged"):
        Store.restore([sample[:cut]])


def test_bytes_behind_the_end(sample: bytes) -> None:
    with pytest.raises(StorageError, match="follow its end") as found:
        Store.restore([sample, b"x"])
    assert found.value.offset == len(sample)


def test_a_claim_of_a_huge_row_is_refused_before_its_bytes_come(sample: bytes) -> None:
    place = sample.index(b"k/") - 39  # the head of the first key's row
    assert sample[place] == 1
    for offset, claim in ((1, b"\xff\xff"), (3, b"\xff\xff\xff\xff")):
        data = sample[: place + offset] + claim + sample[place + offset + len(claim) :]
        with pytest.raises(StorageError, match="too long"):
            Store.restore([data[: place + 7]])


def test_a_newer_format(sample: bytes) -> None:
    with pytest.raises(NodeFailed, match="format 2"):
        Store.restore([sample[:8] + b"\x02" + sample[9:]])


@settings(max_examples=300)
@given(st.data())
def test_damaged_anywhere_it_is_refused_or_a_sound_store(sample: bytes, data: st.DataObject) -> None:
    """Whatever passes the checks is a store that works: it can be saved, restored, and ended session by session."""
    damaged = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(sample) - 1))
        damaged[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.integers(0, 5)) == 0:
        a, b = sorted(data.draw(st.integers(0, len(sample))) for _ in range(2))
        del damaged[a:b]
    try:
        store = Store.restore([bytes(damaged)])
    except (StorageError, NodeFailed):
        return
    log = Driver(store)
    assert Driver(Store.restore([log.saved()])).saved() == log.saved()
    if log.index > 1 << 62:
        return
    for session in store.reader.sessions():
        log.do(c.put("k/1", b"", session=session.id, owned=True))
        log.do(c.acquire("pool/1", session=session.id, acquisition=3, kind=PermitKind.SEMAPHORE, capacity=3))
        log.do(c.cancel(session=session.id, acquisition=1))
        log.do(c.session_end(session.id, SessionEnd.EXPIRED))
    figures = store.figures()
    assert (figures["owned"], figures["acquired"], figures["results"]) == (0, 0, 0)
    assert Driver(Store.restore([log.saved()])).saved() == log.saved()


def test_limits_are_part_of_it() -> None:
    log = Driver()
    log.ok(c.set_limits({Limit.KEYS: 77}))
    assert Store.restore([log.saved()]).limits[Limit.KEYS] == 77


@pytest.mark.parametrize("limit", range(1100, 1400, 20))
def test_what_the_size_of_the_store_refuses_does_not_depend_on_when_a_node_publishes(limit: int) -> None:
    entries = [
        c.set_limits({Limit.STORE_BYTES: limit}),
        c.session_open(b"n" * 16, 1000, label=b"a label"),
        c.put("k", b"x" * 1000),
        c.session_end(2, SessionEnd.EXPIRED),
        c.session_open(b"m" * 16, 1000),
        c.put("l", b"y" * 20),
    ]
    at_once, one_by_one = Store(), Store()
    results = at_once.apply_batch(1, 1, entries)
    assert results == [one_by_one.apply(index, 1, entry) for index, entry in enumerate(entries, 1)]
    assert b"".join(iter(at_once.snapshot().read, b"")) == b"".join(iter(one_by_one.snapshot().read, b""))
