"""What happens seldom to those who wait for a permit and hold one: over a store at hand, one step at a time."""

from __future__ import annotations

from typing import Any

import pytest

from quorate.errors import Indeterminate, LockLost, NotHappened, Overloaded, Rejected
from quorate.recipes import inspection, permits
from quorate.recipes.permits import Grant, Hold
from quorate.store import commands
from quorate.store.views import PermitKind
from quorate.testing.flows import FlowClient, FlowRig, FlowTask


def asked(client: FlowClient, timeout: float = 100.0) -> FlowTask[Grant | None]:
    flow = permits.acquire(client, b"lock", kind=PermitKind.MUTEX, lease=10.0, timeout=timeout)
    return client.rig.spawn(flow, client)


def taken(client: FlowClient) -> Grant:
    task = asked(client)
    client.rig.drive(lambda: task.done)
    assert task.value is not None
    return task.value


def places(rig: FlowRig) -> tuple[int, int]:
    found = rig.store.reader.permit(b"lock")
    return (found.holders, found.waiters) if found else (0, 0)


def goes_by(rig: FlowRig, seconds: float) -> None:
    """In small steps, with everything that happens meanwhile."""
    end = rig.now + seconds
    while rig.now < end:
        rig.advance(min(0.25, end - rig.now))
        rig.settle()


def test_overdue_renewals_put_a_hold_in_doubt_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with FlowRig() as rig:
        a = rig.client("a")
        grant = taken(a)
        doubts: list[float] = []
        hold = Hold(a, grant, pytest.fail, lambda: doubts.append(rig.now))
        goes_by(rig, 20.0)
        assert doubts == []
        for times in (1, 2):
            with monkeypatch.context() as silent:  # a connection that hangs: nobody says that it does
                silent.setattr(rig, "_renews", lambda lane: False)
                goes_by(rig, 7.0)
            assert len(doubts) == times
            assert grant.held()
            goes_by(rig, 5.0)
        hold.end()
        goes_by(rig, 5.0)
        assert a.timers == [] or all(each.call is None for each in a.timers)


def test_a_watch_of_a_hold_goes_on_behind_history_that_is_gone() -> None:
    with FlowRig() as rig:
        a = rig.client("a")
        grant = taken(a)
        told: list[str] = []
        Hold(a, grant, told.append)
        for number in range(5):
            rig.apply(commands.put(f"k{number}", b"v"))
        rig.apply(commands.compact_history(rig.index))
        goes_by(rig, 2.0)
        assert told == []
        assert grant.held()
        rig.apply(commands.force_release(b"lock", b"deploy"))
        goes_by(rig, 1.0)
        assert told == ["it was taken away by an operator: deploy"]


def test_a_hold_that_lost_everything_while_history_was_gone_learns_it() -> None:
    with FlowRig() as rig:
        a = rig.client("a")
        grant = taken(a)
        told: list[str] = []
        Hold(a, grant, told.append)
        rig.apply(commands.force_release(b"lock", b""))
        rig.apply(commands.put(b"k", b"v"))
        rig.apply(commands.compact_history(rig.index))
        goes_by(rig, 2.0)
        assert told == ["it was taken away by an operator: no reason given"]


def test_a_withdrawal_that_finds_no_room_goes_on_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        taken(a)
        waiting = asked(b)
        rig.settle()
        (lane,) = b.lanes
        refusals = iter([Overloaded("full"), Overloaded("full"), NotHappened("no")])
        submit = lane.submit

        def crowded(command: bytes, timeout: float) -> Any:
            refusal = next(refusals, None)
            if isinstance(refusal, Overloaded):
                raise refusal
            answer = submit(command, timeout)
            if refusal is not None:
                lane.line.remove(answer)
                answer.tell(error=refusal)
            return answer

        monkeypatch.setattr(lane, "submit", crowded)
        waiting.cancel()
        rig.settle()
        assert places(rig) == (1, 1)
        goes_by(rig, 1.0)
        assert places(rig) == (1, 0)
        assert next(refusals, None) is None


def test_a_release_without_a_cluster_is_done_when_there_is_one() -> None:
    with FlowRig() as rig:
        a = rig.client("a")
        grant = taken(a)
        a.cut()
        release = rig.spawn(permits.release(a, grant, 1.0), a)
        rig.drive(lambda: release.done)
        assert isinstance(release.error, NotHappened)
        assert not grant.held()
        assert places(rig) == (1, 0)
        a.heal()
        rig.settle()
        assert places(rig) == (0, 0)
        again = rig.spawn(permits.release(a, grant, 1.0), a)
        rig.settle()
        assert isinstance(again.error, LockLost)


def test_a_waiter_waits_on_where_there_is_nobody_to_ask() -> None:
    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        grant = taken(a)
        waiting = asked(b)
        rig.settle()
        b.cut()
        rig.advance(3.0)  # the question is lost
        rig.settle()
        assert not waiting.done
        b.heal()
        release = rig.spawn(permits.release(a, grant, 5.0), a)
        rig.drive(lambda: waiting.done and release.done)
        assert waiting.value is not None
        assert waiting.value.held()


def test_a_waiter_from_whom_it_was_taken_before_it_knew_is_told() -> None:
    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        grant = taken(a)
        waiting = asked(b)
        rig.settle()
        rig.spawn(permits.release(a, grant, 5.0), a)
        a.lanes[0].deliver()
        rig.apply(commands.force_release(b"lock", b"deploy"))
        rig.drive(lambda: waiting.done)
        assert isinstance(waiting.error, LockLost)
        assert "deploy" in str(waiting.error)
        rig.settle()
        assert places(rig) == (0, 0)


def test_what_was_asked_and_not_answered_is_withdrawn() -> None:
    with FlowRig() as rig:
        a = rig.client("a")
        for wait in (True, False):
            flow = permits.acquire(a, b"lock", kind=PermitKind.MUTEX, lease=10.0, timeout=1.0, wait=wait)
            task = rig.spawn(flow, a)
            a.lanes[0].deliver()
            rig.advance(6.0)
            rig.settle()
            assert (task.error is None) == wait
            assert wait or isinstance(task.error, Indeterminate)
            assert places(rig) == (0, 0)


def test_operators_see_labels_and_say_why() -> None:
    with FlowRig() as rig:
        a, b, operator = rig.client("a"), rig.client("b"), rig.client("operator")
        grant = taken(a)
        asked(b)
        rig.settle()
        found = rig.run(inspection.claims(operator, b"lock", 5.0), operator)
        assert [(each.label, each.waiting, each.token) for each in found] == [("a", False, grant.token), ("b", True, 0)]
        assert str(found[0]).startswith(f"'a', session {grant.lane.session}, holding since ")
        force = inspection.force_release(operator, b"lock", "the lock 'lock'", "deploy", grant.token, 5.0)
        assert rig.run(force, operator) == 1
        again = rig.spawn(
            inspection.force_release(operator, b"lock", "the lock 'lock'", "deploy", grant.token, 5.0), operator
        )
        rig.settle()
        assert isinstance(again.error, Rejected)
