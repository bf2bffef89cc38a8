"""The rig plays what it says: late answers, lost sessions, stopped and cut off clients, cancellation at a wait."""

from __future__ import annotations

import time
from typing import Any

import pytest

from quorate.errors import NoQuorum, QuorateError, RequestTimeout, SessionLost
from quorate.recipes import permits
from quorate.recipes.permits import Grant, Hold
from quorate.store import commands
from quorate.store.views import PermitKind
from quorate.testing.flows import Cancelled, FlowClient, FlowRig, FlowTask


def wanted(client: FlowClient, timeout: float = 100.0, **options: Any) -> FlowTask[Grant | None]:
    flow = permits.acquire(client, b"lock", kind=PermitKind.MUTEX, lease=10.0, timeout=timeout, **options)
    return client.rig.spawn(flow, client, "wants the lock")


def queue(rig: FlowRig) -> tuple[int, int]:
    found = rig.store.reader.permit(b"lock")
    return (found.holders, found.waiters) if found else (0, 0)


def test_a_lock_goes_from_one_to_the_next() -> None:
    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        first = wanted(a)
        rig.settle()
        second = wanted(b)
        rig.settle()
        assert first.value is not None
        assert not second.done
        assert queue(rig) == (1, 1)
        rig.run(permits.release(a, first.value, 5.0), a)
        rig.settle()
        assert second.value is not None
        assert second.value.token > first.value.token


def test_time_is_simulated_and_given_back() -> None:
    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        wanted(a)
        before = time.monotonic()
        waiting = wanted(b, timeout=50.0)
        start = rig.now
        rig.drive(lambda: waiting.done)
        assert waiting.value is None
        assert rig.now == pytest.approx(start + 50.0)
        rig.settle()
        assert queue(rig) == (1, 0)
    assert time.monotonic() - before < 30
    assert permits.time is time  # type: ignore[attr-defined]


def test_what_is_applied_and_not_told_is_not_known() -> None:
    with FlowRig() as rig:
        a = rig.client("a")
        task = wanted(a, timeout=1.0)
        (lane,) = a.lanes
        lane.deliver()
        assert queue(rig) == (1, 0)
        lane.tell = lambda: None  # type: ignore[method-assign]
        write = rig.spawn(a.backend.write(commands.put("k", b"v"), 1.0, lane), a)
        lane.deliver()
        rig.advance(2.0)
        write.resume()
        with pytest.raises(RequestTimeout):
            _ = write.value
        assert not task.done


def test_a_session_is_lost_to_a_client_before_the_cluster_ends_it() -> None:
    with FlowRig() as rig:
        a = rig.client("a")
        grant = rig.run(permits.acquire(a, b"lock", kind=PermitKind.MUTEX, lease=10.0, timeout=5.0), a)
        assert grant is not None
        told: list[str] = []
        doubts: list[float] = []
        Hold(a, grant, told.append, lambda: doubts.append(rig.now))
        a.cut()
        assert doubts
        rig.advance(8.9)
        assert grant.held()
        rig.advance(0.2)
        assert told
        assert queue(rig) == (1, 0)
        rig.advance(1.0)
        assert queue(rig) == (0, 0)


def test_a_stopped_client_learns_late_but_its_clock_tells() -> None:
    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        grant = rig.run(permits.acquire(a, b"lock", kind=PermitKind.MUTEX, lease=10.0, timeout=5.0), a)
        assert grant is not None
        told: list[str] = []
        Hold(a, grant, told.append)
        a.stop()
        waiting = wanted(b)
        rig.drive(lambda: waiting.done)
        assert waiting.value is not None
        assert not grant.held()
        assert told == []
        a.go_on()
        rig.settle()
        assert told
        with pytest.raises(SessionLost):
            rig.run(permits.release(a, grant, 5.0), a)


def test_a_killed_client_leaves_its_place_at_once_or_at_the_end_of_its_lease() -> None:
    for seen in (True, False):
        with FlowRig() as rig:
            a, b = rig.client("a"), rig.client("b")
            wanted(a)
            rig.settle()
            waiting = wanted(b)
            start = rig.now
            a.crash(seen=seen)
            rig.drive(lambda task=waiting: task.done)  # type: ignore[misc]
            assert waiting.value is not None
            assert rig.now - start == (0 if seen else pytest.approx(10.0))


def test_cancellation_at_every_wait_leaves_nothing() -> None:
    for steps in range(20):
        with FlowRig() as rig:
            a, b = rig.client("a"), rig.client("b")
            holder = wanted(a)
            rig.settle()
            task = wanted(b)
            for _ in range(steps):
                rig.step(lambda count: count - 1)
            task.cancel()
            rig.settle()
            assert isinstance(task.error, Cancelled)
            assert queue(rig) == (1, 0)
            assert holder.value is not None
            rig.run(permits.release(a, holder.value, 5.0), a)
            assert queue(rig) == (0, 0)


def test_without_a_cluster_nothing_is_decided() -> None:
    with FlowRig() as rig:
        a = rig.client("a")
        lane = a.lane(10.0)
        a.cut()
        write = rig.spawn(a.backend.write(commands.put("k", b"v"), 1.0, lane), a)
        rig.drive(lambda: write.done)
        assert isinstance(write.error, NoQuorum)
        a.heal()
        assert rig.run(a.backend.get(b"k", False, 5.0), a) is None


def test_an_error_that_no_flow_may_raise_is_not_lost() -> None:
    def broken() -> Any:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError), FlowRig() as rig:
        rig.spawn(broken(), rig.client())
    assert not issubclass(ZeroDivisionError, QuorateError)
