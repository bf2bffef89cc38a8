"""The permit queue as flows, over a real node: what is taken, waited for, withdrawn, given back and watched."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import quorate
from quorate.client.flow import Pause, run
from quorate.errors import LimitExceeded, LockLost, NoQuorum, NotHappened, Rejected
from quorate.recipes import permits
from quorate.recipes.base import Place
from quorate.recipes.permits import Grant, Hold
from quorate.store import commands
from quorate.store.views import PermitKind, SessionEnd
from recipes.waiting import until

LEASE = 60.0


class Locks:
    """Short words for what tests do."""

    def __init__(self, client: quorate.Client) -> None:
        self.place: Place = client._core
        self.name = self.place.prefix + b"lock"

    def take(self, timeout: float = 20.0, **options: Any) -> Grant | None:
        given = {"kind": PermitKind.MUTEX, "lease": LEASE, "timeout": timeout, **options}
        return run(permits.acquire(self.place, self.name, **given))

    def taken(self, timeout: float = 20.0, **options: Any) -> Grant:
        grant = self.take(timeout, **options)
        assert grant is not None
        return grant

    def give(self, grant: Grant) -> None:
        run(permits.release(self.place, grant, 20.0))

    def queue(self) -> tuple[int, int]:
        found = run(permits.look(self.place, self.name, 20.0))
        return (found.holders, found.waiters) if found else (0, 0)


@pytest.fixture
def locks(threads: quorate.Client) -> Locks:
    return Locks(threads)


def test_it_is_held_until_it_is_given_back(locks: Locks) -> None:
    grant = locks.taken()
    assert grant.held()
    assert 0 < grant.remaining <= LEASE
    assert locks.queue() == (1, 0)
    locks.give(grant)
    assert not grant.held()
    assert locks.queue() == (0, 0)
    assert locks.taken().token > grant.token


def test_giving_back_what_is_not_held_says_so(locks: Locks) -> None:
    grant = locks.taken()
    locks.give(grant)
    with pytest.raises(LockLost, match="not held any more"):
        locks.give(grant)


def test_a_try_does_not_wait_and_a_timeout_leaves_nothing(locks: Locks) -> None:
    grant = locks.taken()
    assert locks.take(0.0, wait=False) is None
    assert locks.take(0.05) is None
    until(lambda: locks.queue() == (1, 0))
    locks.give(grant)
    until(lambda: locks.queue() == (0, 0))


def test_a_waiter_gets_it_when_it_is_given_back(locks: Locks) -> None:
    grant = locks.taken()
    found: list[Grant] = []
    waiter = threading.Thread(target=lambda: found.append(locks.taken()))
    waiter.start()
    until(lambda: locks.queue() == (1, 1))
    locks.give(grant)
    waiter.join(20)
    assert found[0].held()
    assert found[0].token > grant.token


def test_what_ends_a_wait_withdraws_it(locks: Locks) -> None:
    grant = locks.taken()
    flow = permits.acquire(locks.place, locks.name, kind=PermitKind.MUTEX, lease=LEASE, timeout=60.0)
    answer = next(flow)
    assert not isinstance(answer, Pause)
    flow.send(answer.wait(20.0))
    until(lambda: locks.queue() == (1, 1))
    with pytest.raises(KeyboardInterrupt):
        flow.throw(KeyboardInterrupt())
    until(lambda: locks.queue() == (1, 0))
    locks.give(grant)


def test_another_kind_under_the_same_name_is_refused(locks: Locks) -> None:
    locks.taken()
    with pytest.raises(Rejected, match="in use as a lock"):
        locks.take(kind=PermitKind.SEMAPHORE, capacity=2)


def test_a_lease_that_the_cluster_does_not_allow_is_refused_before_anything_is_granted(locks: Locks) -> None:
    with pytest.raises(LimitExceeded, match="SESSION_TTL_MIN_MS"):
        locks.take(lease=0.002)
    with pytest.raises(LimitExceeded, match="SESSION_TTL_MAX_MS"):
        locks.take(lease=1e6)
    assert locks.queue() == (0, 0)


def test_the_holder_is_told_of_a_forced_release_with_its_reason(locks: Locks) -> None:
    grant = locks.taken()
    told: list[str] = []
    hold = Hold(locks.place, grant, told.append)
    forced = commands.force_release(locks.name, "deploy", token=grant.token)
    run(locks.place.backend.write(forced, 20.0))
    assert until(lambda: told) == ["it was taken away by an operator: deploy"]
    assert not grant.held()
    hold.end()
    with pytest.raises(LockLost, match="deploy"):
        locks.give(grant)


def test_the_holder_is_told_when_its_session_ends(locks: Locks) -> None:
    lane = run(locks.place.backend.open_lane(LEASE, "", 20.0))
    grant = locks.taken(lane=lane)
    told: list[str] = []
    Hold(locks.place, grant, told.append)
    locks.place.backend._engine().propose(commands.session_end(lane.session, SessionEnd.FORCED), 20.0).wait()  # type: ignore[attr-defined]
    until(lambda: told)
    assert not grant.held()
    assert len(told) == 1


@pytest.mark.parametrize("error", [NotHappened("not sent in time"), NoQuorum("nobody answers")])
def test_a_wait_whose_turn_to_be_sent_did_not_come_is_over_without_an_error(locks: Locks, error: NotHappened) -> None:
    flow = permits.acquire(locks.place, locks.name, kind=PermitKind.MUTEX, lease=LEASE, timeout=0.0)
    next(flow)
    if isinstance(error, NoQuorum):
        with pytest.raises(NoQuorum):
            flow.throw(error)
    else:
        with pytest.raises(StopIteration) as end:
            flow.throw(error)
        assert end.value.value is None
