"""Each rule of the permit queue, one test a rule."""

from __future__ import annotations

import pytest

from quorate.store import Store
from quorate.store import commands as c
from quorate.store.views import RWLOCK_CAPACITY, Acquisition, Limit, Permit, PermitKind, Result, SessionEnd, Status
from store.driver import Driver


class Locks(Driver):
    """Three sessions, and short words for what tests do."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self.a, self.b, self.d = (self.open(nonce) for nonce in (1, 2, 3))

    def take(self, session: int, name: str = "lock", acquisition: int = 1, **options: object) -> Result:
        return self.do(c.acquire(name, session=session, acquisition=acquisition, **options))  # type: ignore[arg-type]

    def read(self, session: int, **options: object) -> Result:
        return self.take(session, "rw", kind=PermitKind.RWLOCK, capacity=RWLOCK_CAPACITY, units=1, **options)

    def write(self, session: int, **options: object) -> Result:
        return self.take(
            session, "rw", kind=PermitKind.RWLOCK, capacity=RWLOCK_CAPACITY, units=RWLOCK_CAPACITY, **options
        )

    def free(self, session: int, acquisition: int = 1) -> Result:
        return self.do(c.release(session=session, acquisition=acquisition))

    def place(self, session: int, acquisition: int = 1) -> Acquisition:
        found = self.store.reader.acquisition(session, acquisition)
        assert found is not None
        return found

    def permit(self, name: str = "lock") -> Permit:
        found = self.store.reader.permit(name)
        assert found is not None
        return found


@pytest.fixture
def locks() -> Locks:
    return Locks()


def test_the_token_is_the_index_of_the_grant(locks: Locks) -> None:
    taken = locks.take(locks.a)
    assert taken.granted
    assert taken.number == taken.revision == locks.place(locks.a).token


def test_release_hands_over_in_the_same_entry_and_in_order(locks: Locks) -> None:
    locks.take(locks.a)
    assert [locks.take(session).status for session in (locks.b, locks.d)] == [Status.QUEUED] * 2
    for session, following in ((locks.a, locks.b), (locks.b, locks.d)):
        released = locks.free(session)
        assert released.status == Status.OK
        assert locks.place(following).token == released.revision
        assert locks.store.reader.acquisition(session, 1) is None


def test_asking_again_in_the_same_acquisition_gives_the_same_answer(locks: Locks) -> None:
    first, second = locks.take(locks.a), locks.take(locks.b)
    again, waiting = locks.take(locks.a), locks.take(locks.b)
    assert (again.number, again.granted) == (first.number, True)
    assert (waiting.status, waiting.number) == (Status.QUEUED, second.number)
    assert (locks.permit().holders, locks.permit().waiters) == (1, 1)


def test_a_session_may_wait_for_its_own_lock_in_another_acquisition(locks: Locks) -> None:
    locks.take(locks.a, acquisition=1)
    assert locks.take(locks.a, acquisition=2).status == Status.QUEUED
    locks.free(locks.a, 1)
    assert locks.place(locks.a, 2).state == "held"


def test_a_try_does_not_wait(locks: Locks) -> None:
    assert locks.take(locks.a, wait=False).granted
    assert locks.take(locks.b, wait=False).status == Status.WOULD_BLOCK
    assert locks.permit().waiters == 0


def test_a_cancelled_wait_leaves_nothing_and_lets_those_behind_move_up(locks: Locks) -> None:
    pool = {"kind": PermitKind.SEMAPHORE, "capacity": 3}
    locks.take(locks.a, "pool", units=2, **pool)
    locks.take(locks.b, "pool", units=3, **pool)
    assert locks.take(locks.d, "pool", units=1, **pool).status == Status.QUEUED  # the head is not overtaken
    cancelled = locks.ok(c.cancel(session=locks.b, acquisition=1))
    assert cancelled.number == 0
    assert locks.place(locks.d).token == cancelled.revision
    assert locks.store.reader.acquisition(locks.b, 1) is None
    assert locks.do(c.cancel(session=locks.b, acquisition=1)).status == Status.NOT_HELD


def test_cancel_releases_what_was_granted_meanwhile(locks: Locks) -> None:
    token = locks.take(locks.a).number
    assert locks.ok(c.cancel(session=locks.a, acquisition=1)).number == token
    assert locks.permit().holders == 0


def test_release_by_one_who_does_not_hold_is_refused(locks: Locks) -> None:
    locks.take(locks.a)
    locks.take(locks.b)
    assert locks.free(locks.b).status == Status.NOT_HELD  # a waiter
    assert locks.free(locks.d).status == Status.NOT_HELD  # a stranger
    assert locks.place(locks.a).state == "held"
    assert locks.place(locks.b).state == "waiting"


def test_the_head_is_never_overtaken(locks: Locks) -> None:
    pool = {"kind": PermitKind.SEMAPHORE, "capacity": 4}
    locks.take(locks.a, "pool", units=3, **pool)
    assert locks.take(locks.b, "pool", units=2, **pool).status == Status.QUEUED
    assert locks.take(locks.d, "pool", units=1, **pool).status == Status.QUEUED
    released = locks.free(locks.a)
    assert locks.place(locks.b).token == locks.place(locks.d).token == released.revision


def test_readers_share_and_writers_are_not_starved(locks: Locks) -> None:
    assert locks.read(locks.a).granted
    assert locks.read(locks.b).granted
    assert locks.write(locks.d).status == Status.QUEUED
    assert locks.read(locks.d, acquisition=2).status == Status.QUEUED  # behind the writer
    locks.free(locks.a)
    assert locks.place(locks.d).state == "waiting"
    released = locks.free(locks.b)
    assert locks.place(locks.d).token == released.revision
    assert locks.place(locks.d, 2).state == "waiting"
    shared = locks.free(locks.d)
    assert locks.place(locks.d, 2).token == shared.revision


def test_readers_granted_in_one_entry_share_a_token_and_are_told_apart_by_membership(locks: Locks) -> None:
    locks.write(locks.a)
    locks.read(locks.b)
    locks.read(locks.d)
    token = locks.free(locks.a).revision
    assert locks.place(locks.b).token == locks.place(locks.d).token == token
    locks.free(locks.b)
    locks.ok(c.put("k", b"", fence=("rw", token)))
    locks.free(locks.d)
    assert locks.do(c.put("k", b"", fence=("rw", token))).status == Status.FENCED


def test_an_upgrade_is_refused(locks: Locks) -> None:
    locks.read(locks.a)
    assert locks.write(locks.a).status == Status.UPGRADE_REFUSED
    locks.free(locks.a)
    locks.write(locks.a)
    assert locks.read(locks.a).status == Status.ACQUISITION_CONFLICT  # nor the other way


def test_an_acquisition_cannot_be_used_for_another_name(locks: Locks) -> None:
    locks.take(locks.a, "one")
    assert locks.take(locks.a, "two").status == Status.ACQUISITION_CONFLICT


def test_kind_and_capacity_are_those_of_the_first_definition_also_while_nobody_holds(locks: Locks) -> None:
    pool = {"kind": PermitKind.SEMAPHORE, "capacity": 3}
    locks.take(locks.a, "pool", **pool)
    locks.free(locks.a)
    other = locks.take(locks.b, "pool", kind=PermitKind.SEMAPHORE, capacity=4)
    assert (other.status, other.number) == (Status.CAPACITY_MISMATCH, 3)
    other = locks.take(locks.b, "pool")
    assert (other.status, other.number) == (Status.KIND_MISMATCH, PermitKind.SEMAPHORE)


def test_definitions_that_are_not_in_use_are_bounded_the_longest_idle_go_first(locks: Locks) -> None:
    locks.ok(c.set_limits({Limit.IDLE_PERMITS: 2}))
    for name in ("one", "two", "three"):
        locks.take(locks.a, name)
        locks.free(locks.a)
    assert locks.store.reader.permit("one") is None
    assert locks.permit("two").holders == 0
    locks.take(locks.a, "two")  # in use again: not idle
    locks.take(locks.b, "four", acquisition=2)
    locks.free(locks.b, 2)
    locks.take(locks.b, "five", acquisition=2)
    locks.free(locks.b, 2)
    assert locks.store.reader.permit("three") is None
    assert locks.permit("two").holders == 1


def test_tokens_grow_over_deletion_of_the_name_and_over_a_restore_with_a_gap(locks: Locks) -> None:
    locks.ok(c.set_limits({Limit.IDLE_PERMITS: 0}))
    tokens = []
    for _ in range(3):
        tokens.append(locks.take(locks.a).number)
        locks.free(locks.a)
        assert locks.store.reader.permit("lock") is None
    restored = Store.restore([locks.saved()])
    restored.rebase(locks.index + 1_000_000)
    after = Driver(restored)
    tokens.append(after.do(c.acquire("lock", session=locks.a, acquisition=1)).number)
    assert tokens == sorted(set(tokens))
    assert tokens[-1] > 1_000_000


def test_an_exclusive_lock_is_granted_once_an_entry_even_if_the_session_that_ends_waits_too(locks: Locks) -> None:
    locks.take(locks.a, acquisition=1)
    locks.take(locks.a, acquisition=2)
    locks.take(locks.b)
    locks.take(locks.a, acquisition=3)
    watch = locks.store.watch(permits=True)
    ended = locks.ok(c.session_end(locks.a, SessionEnd.EXPIRED))
    grants = [event for event in watch.collect() if event.kind.name == "GRANT"]
    assert [(event.session, event.token) for event in grants] == [(locks.b, ended.revision)]
    assert (locks.permit().holders, locks.permit().waiters) == (1, 0)


def test_a_forced_release_is_recorded_and_told_to_the_one_it_was_taken_from(locks: Locks) -> None:
    token = locks.take(locks.a, now_ms=5).number
    locks.take(locks.b)
    forced = locks.ok(c.force_release("lock", "stuck since noon", now_ms=77))
    assert forced.number == 1
    permit = locks.permit()
    assert (permit.forced_at, permit.forced_token, permit.forced_ms, permit.reason) == (
        forced.revision, token, 77, b"stuck since noon",
    )  # fmt: skip
    assert locks.place(locks.b).token == forced.revision
    taken_away = locks.place(locks.a)
    assert (taken_away.state, taken_away.name, taken_away.token, taken_away.reason) == (
        "revoked", b"lock", token, b"stuck since noon",
    )  # fmt: skip
    again = locks.take(locks.a)
    assert (again.status, again.body) == (Status.REVOKED_BY_FORCE, b"stuck since noon")
    assert locks.free(locks.a).status == Status.REVOKED_BY_FORCE
    assert locks.free(locks.a).status == Status.NOT_HELD  # told once, then it is over
    assert locks.take(locks.a).status == Status.QUEUED


def test_a_forced_release_by_token_spares_the_others(locks: Locks) -> None:
    pool = {"kind": PermitKind.SEMAPHORE, "capacity": 2}
    token = locks.take(locks.a, "pool", **pool).number
    locks.take(locks.b, "pool", **pool)
    assert locks.do(c.force_release("pool", "", token=token + 7)).status == Status.NOT_HELD
    assert locks.ok(c.force_release("pool", "", token=token)).number == 1
    assert locks.place(locks.b).state == "held"
    assert locks.do(c.force_release("nothing", "")).status == Status.NOT_FOUND


def test_who_holds_since_when_and_who_waits(locks: Locks) -> None:
    locks.take(locks.a, now_ms=1000, value=b"host-1")
    locks.take(locks.b, now_ms=2000)
    permit = locks.permit()
    assert [(it.session, it.state, it.since_ms, it.value) for it in permit.queue] == [
        (locks.a, "held", 1000, b"host-1"),
        (locks.b, "waiting", 2000, b""),
    ]
    assert (permit.kind, permit.capacity, permit.held) == (PermitKind.MUTEX, 1, 1)
    limited = locks.store.reader.permit("lock", 1)
    assert limited is not None
    assert len(limited.queue) == 1


def test_the_holder_of_an_election_has_a_value_that_it_can_change(locks: Locks) -> None:
    locks.take(locks.a, "chief", kind=PermitKind.ELECTION, value=b"a:80")
    locks.take(locks.b, "chief", kind=PermitKind.ELECTION, value=b"b:80")
    watch = locks.store.watch(permits=True)
    locks.ok(c.holder_value(b"a:81", session=locks.a, acquisition=1))
    assert locks.do(c.holder_value(b"b:81", session=locks.b, acquisition=1)).status == Status.NOT_HELD
    assert [event.kind.name for event in watch.collect()] == ["VALUE"]
    assert [it.value for it in locks.permit("chief").queue] == [b"a:81", b"b:80"]
    locks.free(locks.a)
    assert locks.permit("chief").queue[0].value == b"b:80"


def test_a_fence_lets_a_write_pass_only_while_its_token_holds(locks: Locks) -> None:
    token = locks.take(locks.a).number
    writes = [
        c.put("k", b"1", fence=("lock", token)),
        c.delete("k", fence=("lock", token)),
        c.increment("n", fence=("lock", token)),
        c.compare_and_set("k", b"2", 0, fence=("lock", token)),
        c.transaction([], [c.do_put("t", b"1")], fence=("lock", token)),
        c.delete_range("k", fence=("lock", token)),
    ]
    for command in writes:
        assert locks.do(command).status == Status.OK
    before = locks.store.reader.range()[0]
    locks.free(locks.a)
    locks.take(locks.b)  # another holder, another token
    for command in writes:
        assert locks.do(command).status == Status.FENCED
    assert locks.do(c.put("k", b"", fence=("nothing", 1))).status == Status.FENCED
    assert locks.store.reader.range()[0] == before


def test_limits_of_waiters_permits_and_acquisitions(locks: Locks) -> None:
    locks.ok(c.set_limits({Limit.SESSION_PERMITS: 2, Limit.PERMITS: 2, Limit.PERMIT_WAITERS: 1}))
    locks.take(locks.a)
    locks.take(locks.b)
    full = locks.take(locks.d)
    assert (full.status, full.number) == (Status.LIMIT, Limit.PERMIT_WAITERS)
    locks.take(locks.a, "second", acquisition=2)
    full = locks.take(locks.d, "third")
    assert (full.status, full.number) == (Status.LIMIT, Limit.PERMITS)
    full = locks.take(locks.a, "second", acquisition=3)
    assert (full.status, full.number) == (Status.LIMIT, Limit.SESSION_PERMITS)
