"""Watches: in order, without gaps, resumed, bounded; and told when the history is gone."""

from __future__ import annotations

import pytest

from quorate.errors import Compacted, InvalidArgument
from quorate.store import Store
from quorate.store import commands as c
from quorate.store.views import EventKind, Limit
from store.driver import Driver


@pytest.fixture
def log() -> Driver:
    return Driver()


def test_events_come_in_order_with_old_values_of_what_was_deleted(log: Driver) -> None:
    watch = log.store.watch()
    log.ok(c.put("k", b"1"))
    log.ok(c.put("k", b"2"))
    log.ok(c.delete("k"))
    assert [(event.revision, event.kind, event.value, event.version) for event in watch.collect()] == [
        (1, EventKind.PUT, b"1", 1),
        (2, EventKind.PUT, b"2", 2),
        (3, EventKind.DELETE, b"2", 2),
    ]
    assert watch.collect() == []
    assert watch.revision == 3


def test_only_names_in_its_range_and_of_its_kind(log: Driver) -> None:
    session = log.open()
    some = log.store.watch("b", "d", after=0)
    one = log.store.watch("b", "b\x00", after=0)
    permits = log.store.watch("b", "c", after=0, keys=False, permits=True)
    for key in ("a", "b", "c", "d"):
        log.ok(c.put(key, b""))
        log.ok(c.acquire(key, session=session, acquisition=ord(key)))
    assert [event.name for event in some.collect()] == [b"b", b"c"]
    assert [event.name for event in one.collect()] == [b"b"]
    assert [(event.name, event.kind) for event in permits.collect()] == [(b"b", EventKind.GRANT)]
    assert some.revision == one.revision == permits.revision == log.index


def test_resumed_from_a_revision(log: Driver) -> None:
    for number in range(10):
        log.ok(c.put("k", b"%d" % number))
    assert [event.revision for event in log.store.watch(after=7).collect()] == [8, 9, 10]
    assert log.store.watch(after=10).collect() == []
    ahead = log.store.watch(after=12)  # the client has seen more than this node has
    for _ in range(4):
        log.ok(c.put("k", b""))
    assert [event.revision for event in ahead.collect()] == [13, 14]


def test_a_revision_that_is_cut_says_so_and_is_no_place_to_resume(log: Driver) -> None:
    watch = log.store.watch()
    log.ok(c.put("before", b""))
    log.ok(c.transaction([], [c.do_put(f"k{number}", b"") for number in range(5)]))
    first = watch.collect(3)
    assert [(event.name, event.last_of_revision) for event in first] == [
        (b"before", True), (b"k0", False), (b"k1", False),
    ]  # fmt: skip
    assert watch.revision == 1
    assert [event.last_of_revision for event in watch.collect(3)] == [False, False, True]
    assert watch.revision == 2


def test_the_last_event_that_a_watcher_wants_of_a_revision_is_its_last(log: Driver) -> None:
    watch = log.store.watch("a", "b")
    log.ok(c.transaction([], [c.do_put(key, b"") for key in ("a", "x", "y")]))
    assert [(event.name, event.last_of_revision) for event in watch.collect()] == [(b"a", True)]


def test_bounded_by_bytes_at_a_time_yet_always_one(log: Driver) -> None:
    watch = log.store.watch()
    for _ in range(3):
        log.ok(c.put("k", b"x" * 1000))
    assert [len(watch.collect(10, bytes_most)) for bytes_most in (1, 2500, 2500)] == [1, 2, 0]


def test_a_watcher_is_told_when_its_history_is_gone_never_skipped(log: Driver) -> None:
    log.ok(c.set_limits({Limit.HISTORY_EVENTS: 4}))
    late, current = log.store.watch(after=0), log.store.watch()
    seen = []
    for number in range(10):
        log.ok(c.put("k", b"%d" % number))
        seen += [event.value for event in current.collect()]
    assert seen == [b"%d" % number for number in range(10)]
    with pytest.raises(Compacted) as gone:
        late.collect()
    assert gone.value.first_available == 7
    assert len(log.store.watch(after=7).collect()) == 4
    with pytest.raises(Compacted):
        log.store.watch(after=6).collect()


def test_a_revision_leaves_the_history_whole(log: Driver) -> None:
    log.ok(c.set_limits({Limit.HISTORY_EVENTS: 4}))
    log.ok(c.transaction([], [c.do_put(f"k{number}", b"") for number in range(3)]))
    log.ok(c.put("a", b""))
    log.ok(c.put("b", b""))
    assert log.store.figures()["events"] == 2
    with pytest.raises(Compacted):
        log.store.watch(after=1).collect()
    assert len(log.store.watch(after=2).collect()) == 2


def test_history_is_bounded_in_bytes(log: Driver) -> None:
    log.ok(c.set_limits({Limit.HISTORY_BYTES: 10_000}))
    for _ in range(100):
        log.ok(c.put("k", b"x" * 1000))
    assert log.store.figures()["event_bytes"] <= 10_000
    assert log.store.figures()["events"] == 9


def test_an_idle_watcher_that_has_everything_is_not_compacted(log: Driver) -> None:
    log.ok(c.set_limits({Limit.HISTORY_EVENTS: 2}))
    watch = log.store.watch("rare", "rarf")
    for number in range(20):
        log.ok(c.put("k", b"%d" % number))
        assert watch.collect() == []
    log.ok(c.put("rare", b""))
    assert [event.name for event in watch.collect()] == [b"rare"]


def test_the_floor_is_logged_and_survives_a_snapshot_and_a_new_base(log: Driver) -> None:
    for number in range(6):
        log.ok(c.put("k", b"%d" % number))
    log.ok(c.compact_history(4))
    with pytest.raises(Compacted):
        log.store.watch(after=3).collect()
    assert [event.revision for event in log.store.watch(after=4).collect()] == [5, 6]
    restored = Store.restore([log.saved()])
    with pytest.raises(Compacted) as gone:
        restored.watch(after=5).collect()
    assert gone.value.first_available == 7  # it has no events from before the snapshot
    restored.rebase(1000)
    with pytest.raises(Compacted):
        restored.watch(after=999).collect()
    with pytest.raises(InvalidArgument):
        restored.rebase(1000)
    restored.apply(1001, 1, c.put("k", b"new"))
    assert [event.revision for event in restored.watch(after=1000).collect()] == [1001]


def test_the_floor_is_never_in_the_future(log: Driver) -> None:
    log.ok(c.compact_history(10**12))
    log.ok(c.put("k", b""))
    assert len(log.store.watch(after=1).collect()) == 1
    assert Store.restore([log.saved()]).applied_index == 2


def test_misuse() -> None:
    with pytest.raises(InvalidArgument):
        Store().watch().collect(0)


def test_a_holder_is_told_of_who_begins_to_wait_and_of_nobody_who_only_tries(log: Driver) -> None:
    holder, other = log.open(1), log.open(2)
    watch = log.store.watch("m", "m\x00", keys=False, permits=True)
    granted = log.ok(c.acquire("m", session=holder, acquisition=1)).number
    log.do(c.acquire("m", session=other, acquisition=1, wait=False))
    queued = log.do(c.acquire("m", session=other, acquisition=2)).number
    log.do(c.acquire("m", session=other, acquisition=2))  # the same question again
    before = b"".join(log.store.snapshot())
    assert [(each.revision, each.kind, each.session, each.acquisition, each.token) for each in watch.collect()] == [
        (granted, EventKind.GRANT, holder, 1, granted), (queued, EventKind.WAIT, other, 2, 0),
    ]  # fmt: skip
    assert b"".join(Store.restore([before]).snapshot()) == before, "what waiters are told of is no state"
