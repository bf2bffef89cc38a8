"""Each rule of sessions and of exactly-once requests, one test a rule."""

from __future__ import annotations

import pytest

from quorate.store import Store
from quorate.store import commands as c
from quorate.store._deadlines import SessionDeadlines
from quorate.store.views import Limit, ResultFlag, SessionEnd, Status
from store.driver import Driver


@pytest.fixture
def log() -> Driver:
    return Driver()


def test_a_session_is_opened_once_for_a_nonce(log: Driver) -> None:
    first = log.ok(c.session_open(b"n" * 16, 10_000, label="worker-1", now_ms=17))
    again = log.ok(c.session_open(b"n" * 16, 10_000))
    assert again.number == first.number == first.revision
    assert again.replayed
    assert not first.replayed
    view = log.store.reader.session(first.number)
    assert view is not None
    assert (view.ttl_ms, view.opened_ms, view.label, view.nonce) == (10_000, 17, b"worker-1", b"n" * 16)


def test_nonces_of_equal_hash_are_told_apart_also_when_one_ends(log: Driver) -> None:
    multiplier, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    nonces = [
        ((5 ^ (high * multiplier & mask)).to_bytes(8, "little") + high.to_bytes(8, "little")) for high in range(4)
    ]
    sessions = [log.ok(c.session_open(nonce, 10_000)).number for nonce in nonces]
    assert len(set(sessions)) == 4
    log.ok(c.session_end(sessions[1], SessionEnd.GOODBYE))
    for place in (0, 2, 3):
        again = log.ok(c.session_open(nonces[place], 10_000))
        assert (again.number, again.replayed) == (sessions[place], True)


def test_the_time_to_live_and_the_number_of_sessions_are_bounded_by_logged_limits(log: Driver) -> None:
    log.ok(c.set_limits({Limit.SESSIONS: 1, Limit.SESSION_TTL_MIN_MS: 1000, Limit.SESSION_TTL_MAX_MS: 2000}))
    for ttl_ms, limit in ((999, Limit.SESSION_TTL_MIN_MS), (2001, Limit.SESSION_TTL_MAX_MS)):
        refused = log.do(c.session_open(b"a" * 16, ttl_ms))
        assert (refused.status, refused.number) == (Status.LIMIT, limit)
    log.ok(c.session_open(b"a" * 16, 1000))
    refused = log.do(c.session_open(b"b" * 16, 2000))
    assert (refused.status, refused.number) == (Status.LIMIT, Limit.SESSIONS)


def test_a_retry_gets_the_old_answer_and_does_nothing(log: Driver) -> None:
    session = log.open()
    first = log.ok(c.increment("n", 5, session=session, number=1))
    again = log.ok(c.increment("n", 5, session=session, number=1))
    assert (again.number, again.revision) == (first.number, first.revision) == (5, 2)
    assert again.replayed
    assert log.value("n") == b"5"


def test_a_refusal_is_an_answer_too_and_stays_the_same(log: Driver) -> None:
    session = log.open()
    refused = log.do(c.compare_and_set("k", b"v", 99, session=session, number=1))
    log.ok(c.put("k", b"v"))
    again = log.do(c.compare_and_set("k", b"v", 99, session=session, number=1))
    assert refused.status == again.status == Status.COMPARE_FAILED
    assert again.number == 0


def test_numbers_are_applied_in_order_and_a_gap_is_refused(log: Driver) -> None:
    session = log.open()
    log.ok(c.put("k", b"1", session=session, number=1))
    gap = log.do(c.put("k", b"3", session=session, number=3))
    assert (gap.status, gap.number) == (Status.GAP, 2)
    assert log.value("k") == b"1"
    log.ok(c.put("k", b"2", session=session, number=2))
    log.ok(c.put("k", b"3", session=session, number=3))
    assert log.value("k") == b"3"


def test_a_number_below_the_mark_is_refused_and_never_executed(log: Driver) -> None:
    session = log.open()
    for number in (1, 2, 3):
        log.ok(c.increment("n", session=session, number=number))
    log.ok(c.increment("n", session=session, number=4, mark=3))
    for number in (1, 2, 3):
        refused = log.do(c.increment("n", session=session, number=number))
        assert (refused.status, refused.number) == (Status.BELOW_MARK, 3)
    assert log.value("n") == b"4"
    assert log.store.figures()["results"] == 1


def test_results_are_retained_up_to_the_window_and_not_beyond(log: Driver) -> None:
    log.ok(c.set_limits({Limit.SESSION_RESULTS: 3}))
    session = log.open()
    for number in (1, 2, 3):
        log.ok(c.increment("n", session=session, number=number))
    full = log.do(c.increment("n", session=session, number=4))
    assert (full.status, full.number) == (Status.WINDOW_FULL, 3)
    assert log.value("n") == b"3"
    log.ok(c.increment("n", session=session, number=4, mark=1))
    assert log.value("n") == b"4"
    assert log.store.figures()["results"] == 3


def test_what_a_retained_result_had_read_is_bounded(log: Driver) -> None:
    log.ok(c.set_limits({Limit.SESSION_RESULT_BYTES: 200}))
    log.ok(c.put("k", b"v" * 150))
    session = log.open()
    for number in (1, 2):
        read = log.ok(c.transaction([], [c.do_get("k"), c.do_increment("n")], session=session, number=number))
        assert b"v" * 150 in read.body
    kept = log.ok(c.transaction([], [c.do_get("k"), c.do_increment("n")], session=session, number=1))
    cut = log.ok(c.transaction([], [c.do_get("k"), c.do_increment("n")], session=session, number=2))
    assert b"v" * 150 in kept.body
    assert cut.body == b""
    assert ResultFlag.SHORT in cut.flags
    assert cut.succeeded
    assert log.value("n") == b"2"
    log.ok(c.put("x", b"", session=session, number=3, mark=2))  # the client has both: there is room again
    read = log.ok(c.transaction([], [c.do_get("k")], session=session, number=4, mark=2))
    assert log.ok(c.transaction([], [c.do_get("k")], session=session, number=4, mark=2)).body == read.body != b""


def test_a_lost_session_refuses_everything(log: Driver) -> None:
    session = log.open()
    log.ok(c.put("k", b"1", session=session, number=1))
    log.ok(c.session_end(session, SessionEnd.EXPIRED))
    for command in (
        c.put("k", b"2", session=session, number=2),
        c.put("k", b"1", session=session, number=1),
        c.put("k", b"2", session=session),
        c.acquire("l", session=session, acquisition=1),
        c.release(session=session, acquisition=1),
    ):
        assert log.do(command).status == Status.SESSION_LOST
    assert log.value("k") == b"1"
    assert log.do(c.session_end(session, SessionEnd.EXPIRED)).status == Status.NOT_FOUND


def test_keys_and_permits_go_with_their_session_in_the_same_entry(log: Driver) -> None:
    holder, waiter = log.open(1), log.open(2)
    log.ok(c.put("mine/1", b"", session=holder, owned=True))
    log.ok(c.put("mine/2", b"", session=holder, owned=True))
    log.ok(c.put("given/away", b"", session=holder, owned=True))
    log.ok(c.put("given/away", b"", session=waiter, owned=True))
    log.ok(c.put("nobody's", b"", session=holder, owned=True))
    log.ok(c.put("nobody's", b""))
    log.ok(c.acquire("lock", session=holder, acquisition=1))
    log.ok(c.acquire("lock", session=waiter, acquisition=1))
    watch = log.store.watch(permits=True)
    ended = log.ok(c.session_end(holder, SessionEnd.EXPIRED))
    assert ended.number == 3
    assert log.store.reader.range(keys_only=True)[0] == [b"given/away", b"nobody's"]
    place = log.store.reader.acquisition(waiter, 1)
    assert place is not None
    assert (place.state, place.token) == ("held", ended.revision)
    assert [(event.revision, event.kind.name, event.name) for event in watch.collect()] == [
        (ended.revision, "RELEASE", b"lock"),
        (ended.revision, "GRANT", b"lock"),
        (ended.revision, "EXPIRE", b"mine/1"),
        (ended.revision, "EXPIRE", b"mine/2"),
    ]
    assert log.store.figures()["owned"] == 1


def test_time_reaches_the_store_only_through_entries_and_never_goes_back(log: Driver) -> None:
    log.ok(c.session_open(b"a" * 16, 10_000, now_ms=100))
    log.ok(c.session_open(b"b" * 16, 10_000, now_ms=50))
    assert [view.opened_ms for view in log.store.reader.sessions()] == [100, 100]


class TestDeadlines:
    def test_a_session_expires_after_its_time_and_is_given_once(self, log: Driver) -> None:
        deadlines = SessionDeadlines(log.store)
        deadlines.lead(0)
        session = log.open(ttl_ms=1000)
        deadlines.take(500)
        assert deadlines.next() == 1500
        assert deadlines.due(1499) == []
        assert deadlines.due(1500) == [session]
        assert deadlines.due(9999) == []

    def test_a_renewal_moves_the_deadline_and_never_back(self, log: Driver) -> None:
        deadlines = SessionDeadlines(log.store)
        session = log.open(ttl_ms=1000)
        deadlines.lead(0)
        assert deadlines.renew(session, 800) == "renewed"
        assert deadlines.renew(session, 300) == "renewed"
        assert deadlines.due(1799) == []
        assert deadlines.due(1800) == [session]

    def test_no_renewal_once_the_expiry_is_proposed(self, log: Driver) -> None:
        deadlines = SessionDeadlines(log.store)
        session = log.open(ttl_ms=1000)
        deadlines.lead(0)
        assert deadlines.due(1000) == [session]
        assert deadlines.renew(session, 1000) == "expiry proposed"

    def test_a_refused_proposal_is_due_again(self, log: Driver) -> None:
        deadlines = SessionDeadlines(log.store)
        session = log.open(ttl_ms=1000)
        deadlines.lead(0)
        assert deadlines.due(1000) == [session]
        deadlines.retry(session)
        assert deadlines.due(1000) == [session]
        deadlines.retry(session)
        assert deadlines.renew(session, 1100) == "renewed"
        assert deadlines.due(2000) == []

    def test_a_new_leader_gives_every_session_its_full_time(self, log: Driver) -> None:
        sessions = [log.open(nonce, ttl_ms=1000 * nonce) for nonce in (1, 2)]
        deadlines = SessionDeadlines(log.store)
        deadlines.lead(50_000)
        assert deadlines.due(50_999) == []
        assert deadlines.due(51_000) == [sessions[0]]
        deadlines.follow()
        assert deadlines.due(99_000) == []
        assert deadlines.renew(sessions[1], 99_000) == "unknown"
        deadlines.lead(100_000)
        assert deadlines.due(102_000) == sessions

    def test_an_ended_session_is_forgotten(self, log: Driver) -> None:
        deadlines = SessionDeadlines(log.store)
        session = log.open(ttl_ms=1000)
        deadlines.lead(0)
        log.ok(c.session_end(session, SessionEnd.GOODBYE))
        deadlines.take(10)
        assert deadlines.renew(session, 10) == "unknown"
        assert deadlines.due(5000) == []

    def test_many_are_given_in_the_order_of_their_deadlines(self, log: Driver) -> None:
        sessions = [log.open(nonce, ttl_ms=10_000 - 100 * nonce) for nonce in range(1, 41)]
        deadlines = SessionDeadlines(log.store)
        deadlines.lead(0)
        assert deadlines.due(99_000, 25) + deadlines.due(99_000, 25) == sessions[::-1]


def test_the_deadlines_are_no_part_of_the_replicated_state(log: Driver) -> None:
    other = Driver(Store())
    deadlines = SessionDeadlines(log.store)
    deadlines.lead(0)
    for driver in (log, other):
        driver.open(ttl_ms=1000)
    deadlines.take(5)
    deadlines.due(5000)
    assert log.saved() == other.saved()
