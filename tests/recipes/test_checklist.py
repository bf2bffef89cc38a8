"""What a lock has to get right, one test a line of the list; the docstring of each is the line."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate.client.flow import run
from quorate.errors import LockLost, NodeFailed, NotHappened, Rejected, SessionLost
from quorate.recipes import permits
from quorate.recipes.permits import Grant, Hold
from quorate.store import Store, commands
from quorate.store.views import Limit, PermitKind, SessionEnd, Status
from quorate.testing.flows import FlowClient, FlowRig, FlowTask
from recipes.waiting import until

DOCUMENTS = Path(__file__).parents[2] / "docs"


def asked(client: FlowClient, timeout: float = 100.0) -> FlowTask[Grant | None]:
    flow = permits.acquire(client, b"lock", kind=PermitKind.MUTEX, lease=10.0, timeout=timeout)
    return client.rig.spawn(flow, client)


def taken(client: FlowClient) -> Grant:
    task = asked(client)
    client.rig.drive(lambda: task.done)
    assert task.value is not None
    return task.value


def given(client: FlowClient, grant: Grant) -> None:
    client.rig.run(permits.release(client, grant, 5.0), client)


def test_the_token_is_the_index_of_the_grant_and_grows_over_deletion_snapshot_and_restore() -> None:
    """The token is the log index of the grant: it grows over the lock's deletion, snapshot and restore."""
    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        first = taken(a)
        assert first.token == rig.index
        waiting = asked(b)
        rig.settle()
        given(a, first)
        rig.settle()
        assert waiting.value is not None
        assert waiting.value.token == rig.index  # that of the release, which made it possible
        rig.apply(commands.set_limits({int(Limit.IDLE_PERMITS): 0}))
        given(b, waiting.value)
        assert rig.store.reader.permit(b"lock") is None  # nobody remembers the name
        third = taken(a)
        assert third.token > waiting.value.token
        with rig.store.snapshot() as snapshot:
            saved = b"".join(snapshot)
        rig.store = Store.restore([saved])  # type: ignore[misc]
        rig.store.rebase(rig.index + 1000)
        rig.index = rig.store.applied_index
        assert rig.run(a.backend.permit(b"lock", 10, 5.0), a).token == third.token
        given(a, third)
        assert taken(b).token > third.token


def test_asking_again_in_the_same_acquisition_answers_the_same_token(threads: quorate.Client) -> None:
    """A lock's identity is (session, acquisition), never a thread; asking again is idempotent."""
    core = threads._core
    lane = core.backend.pooled(60.0)
    command = commands.acquire(core.prefix + b"x", session=1, acquisition=1 << 60)
    answers = [quorate.store.views.Result.decode(lane.submit(command, 20.0).wait()[1]) for _ in range(3)]
    assert {each.number for each in answers} == {answers[0].revision}
    lane.submit(commands.release(session=1, acquisition=1 << 60), 20.0).wait()
    lock = threads.lock("x")
    lock.acquire()
    # The grant is held, and not by a thread.
    elsewhere = threading.Thread(target=lock.release, kwargs={"token": lock.token})
    elsewhere.start()
    elsewhere.join(20)
    assert not lock.held
    assert lock.holders() == []


def test_the_token_is_checked_where_we_own_the_resource(threads: quorate.Client) -> None:
    """Checks by token are built in (if_fence=); for others the documents give the line, and say that without a check
    every lock is advisory."""
    with threads.lock("x") as lock:
        threads.put("k", b"1", if_fence=("x", lock.token))
        with pytest.raises(Rejected):
            threads.put("k", b"2", if_fence=("x", lock.token + 1))
    text = (DOCUMENTS / "concepts" / "locks.md").read_text(encoding="utf-8")
    assert "fence <= " in text
    assert "every lock over a network is advice, *unless the guarded resource checks the token*" in text


def test_the_holder_knows_first_and_by_no_wall_clock(threads: quorate.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's deadline is the time before the renewal was sent, plus ttl, minus a margin; no wall clock."""
    with threads.lock("x", lease=20.0) as lock:
        assert 0 < lock.remaining <= 0.9 * 20.0
        monkeypatch.setattr(time, "time", lambda: 4e9)
        monkeypatch.setattr(time, "time_ns", lambda: 4 * 10**18)
        assert lock.held
        assert 0 < lock.remaining <= 0.9 * 20.0
        other = threads.lock("x")
        assert not other.acquire(0)
    with FlowRig() as rig:
        a = rig.client("a")
        grant = taken(a)
        told: list[float] = []
        Hold(a, grant, lambda why: told.append(rig.now))
        a.cut()
        begin = rig.now
        rig.drive(lambda: a.lanes[0].ended)
        assert told[0] < rig.now == pytest.approx(begin + 10.0)


def test_expiry_and_grant_are_entries_of_the_log() -> None:
    """What decides is the state when an entry is applied, never a timer. Renewals are not logged."""
    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        taken(a)
        waiting = asked(b)
        rig.settle()
        a.stop()
        before = rig.index
        for _ in range(9):
            rig.advance(1.0)  # b is renewed meanwhile
        assert rig.index == before
        assert not waiting.done
        rig.advance(2.0)
        assert rig.index == before + 1  # one entry ends the session, and grants
        rig.settle()
        assert waiting.value is not None
        assert waiting.value.token == rig.index


# "A new leader gives every session a full TTL" takes a cluster: `tests/runtime/test_sessions.py`,
# test_a_change_of_leader_gives_everybody_full_time; of a lock that is held, `test_lock_processes.py`.


def test_after_waiting_the_session_is_checked_again() -> None:
    """After waiting for a lock, the session is checked again before "acquired" is returned."""
    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        held = taken(a)
        waiting = asked(b)
        rig.settle()
        rig.spawn(permits.release(a, held, 5.0), a)
        a.lanes[0].deliver()  # b is granted it, and is stopped before it hears of that
        b.stop()
        rig.advance(9.5)
        b.go_on()
        while not waiting.done and any("a question" in name or "goes on" in name for name, _ in rig.enabled()):
            next(act for name, act in rig.enabled() if "a question" in name or "goes on" in name)()
        assert not waiting.done  # it waits anew, in another session
        rig.drive(lambda: waiting.done)
        assert waiting.value is not None
        assert waiting.value.held()
        assert len(b.lanes) == 2


def test_in_doubt_and_lost_are_told_ahead_of_the_cluster() -> None:
    """Connection in doubt: on_suspect. Local deadline passed: LockLost, ahead of the server's expiry."""
    with FlowRig() as rig:
        a = rig.client("a")
        grant = taken(a)
        steps: list[str] = []
        Hold(a, grant, lambda why: steps.append("lost"), lambda: steps.append("in doubt"))
        a.cut()
        assert steps == ["in doubt"]
        rig.advance(9.1)
        assert steps == ["in doubt", "lost"]
        assert not a.lanes[0].ended
        release = rig.spawn(permits.release(a, grant, 5.0), a)
        rig.settle()
        assert isinstance(release.error, LockLost)


def test_a_block_that_cannot_be_entered_raises_and_release_says_when_one_was_not_the_owner(
    threads: quorate.Client,
) -> None:
    """`__enter__` raises when it fails; `release()` says when one was not the owner."""
    first, second = threads.lock("x"), threads.lock("x", timeout=0.01)
    entered = False
    with first:
        try:
            with second:
                entered = True
        except NotHappened:
            pass
        with pytest.raises(Rejected):
            second.release()
    assert not entered


def test_every_write_is_applied_once() -> None:
    """Every write carries (session, number) and is applied once; what cannot be known is Indeterminate."""
    with FlowRig() as rig:
        a = rig.client("a")
        grant = taken(a)
        (lane,) = a.lanes
        release = rig.spawn(permits.release(a, grant, 1.0), a)
        lane.deliver()
        rig.advance(1.5)  # the answer does not come in time
        rig.settle()
        assert isinstance(release.error, quorate.Indeterminate)
        assert rig.store.reader.permit(b"lock").holders == 0  # type: ignore[union-attr]
        again = bytearray(commands.release(session=lane.session, acquisition=grant.acquisition, number=2, mark=1))
        assert rig.apply(bytes(again)).status in (Status.OK, Status.BELOW_MARK)  # the old answer, or none


def test_a_minority_decides_nothing() -> None:
    """A minority refuses writes and linearizable reads: `test_lock_processes.py` with real nodes; local reads are asked
    for by name."""
    with FlowRig() as rig:
        a = rig.client("a")
        a.lane(10.0)
        a.backend.pooled(10.0)
        a.cut()
        task = asked(a, timeout=1.0)
        rig.drive(lambda: task.done)
        assert isinstance(task.error, NotHappened)
        assert rig.store.reader.permit(b"lock") is None


def test_a_waiter_that_is_cancelled_leaves_nothing(threads: quorate.Client) -> None:
    """In any way and at any moment: `test_lock_cancellations.py`, `test_lock_histories.py`. Here: by its timeout."""
    with threads.lock("x"):
        assert not threads.lock("x").acquire(0.01)
        until(lambda: not threads.lock("x").waiters())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("way", ["embedded", "remote"])
def test_after_a_fork_the_childs_handles_say_that_they_are_invalid(one_node: quorate.Node, way: str) -> None:
    """After `fork` the child's handles are invalid and say so."""
    client = one_node.client() if way == "embedded" else quorate.connect(f"quorate://{one_node.address}")
    with client:
        lock = client.lock(f"forked-{way}", max_hold=None)
        with lock:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = 2
                    assert not lock.held
                    assert lock.remaining == 0
                    code = 3
                    for use in (lock.release, client.lock("another").acquire, lock.holders):
                        with pytest.raises((NodeFailed, SessionLost)):
                            use()
                        code += 1
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
            assert lock.held


def test_the_same_in_asyncio_for_a_block(one_node: quorate.Node) -> None:
    """The body of `async with` is cancelled: `test_lock_in_asyncio.py`. Here: by the loss of the session."""

    async def test() -> Any:
        client = await quorate.aio.connect(f"quorate://{one_node.address}")
        async with client, client.lock("expired", max_hold=0.2):
            await asyncio.sleep(60)

    with pytest.raises(LockLost):
        asyncio.run(test())


def test_a_session_that_the_cluster_ended_is_noticed(threads: quorate.Client) -> None:
    told: list[str] = []
    lock = threads.lock("x", lease=61.0, on_lost=told.append)
    lock.acquire()
    backend: Any = threads._core.backend
    session = backend.pooled(61.0).session
    backend._engine().propose(commands.session_end(session, SessionEnd.FORCED), 20.0).wait()
    until(lambda: told)
    assert not lock.held
    assert run(backend.permit(threads._core.prefix + b"x", 1, 20.0)).holders == 0
