"""Locks as their users see them, by each way to a cluster and in both faces."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import quorate
from quorate.errors import InvalidArgument, LimitExceeded, LockLost, NotHappened, Rejected
from recipes.waiting import Aside, until


def test_it_excludes_and_its_token_grows(client: Any) -> None:
    first, second = client.lock("x"), client.lock("x")
    assert first.acquire()
    assert not second.acquire(0)
    assert first.held
    assert not second.held
    token = first.token
    first.release()
    assert second.acquire(0)
    assert second.token > token
    second.release()
    assert not first.held


def test_a_wait_ends_with_the_timeout_and_leaves_nothing(client: Any) -> None:
    first, second = client.lock("x"), client.lock("x", timeout=0.05)
    assert first.acquire()
    assert not second.acquire()
    assert not second.acquire(0.01)
    with pytest.raises(NotHappened, match="holding since"):
        second.__enter__()
    until(lambda: not first.waiters())
    first.release()
    assert second.acquire(20)
    second.release()


def test_lease_and_timeout_are_not_confused(client: Any) -> None:
    holder, waiter = client.lock("x", lease=60.0), client.lock("x", lease=9.0, timeout=0.02)
    assert holder.acquire()
    assert not waiter.acquire()
    assert 20 < holder.remaining <= 60
    holder.release()
    assert waiter.acquire(20)
    assert 0 < waiter.remaining <= 9
    waiter.release()


def test_a_block_holds_and_leaving_it_releases(client: Any) -> None:
    lock = client.lock("x")
    lock.__enter__()
    assert lock.held
    assert len(lock.holders()) == 1
    lock.__exit__(None, None, None)
    assert not lock.held
    assert lock.holders() == []


def test_who_holds_it_already_would_wait_for_ever(threads: quorate.Client) -> None:
    lock = threads.lock("x")
    with lock, pytest.raises(Rejected, match="reentrant=True"):
        lock.acquire()
    assert not lock.held


def test_it_is_taken_again_on_request(threads: quorate.Client) -> None:
    lock = threads.lock("x", reentrant=True)
    with lock:
        token = lock.token
        with lock:
            assert lock.token == token
            assert lock.acquire(0)
            lock.release()
        assert lock.held
        assert len(lock.holders()) == 1
    assert not lock.held
    assert lock.holders() == []


def test_the_threads_of_a_process_exclude_each_other_by_one_handle(threads: quorate.Client) -> None:
    lock = threads.lock("x", timeout=60.0)
    inside: list[int] = []
    tokens: list[int] = []

    def work() -> None:
        for _ in range(20):
            with lock:
                inside.append(1)
                assert len(inside) == 1
                assert lock.held
                tokens.append(lock.token)
                inside.pop()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert len(tokens) == 80
    assert tokens == sorted(set(tokens))


def test_releasing_what_is_not_held_says_so(client: Any) -> None:
    lock = client.lock("x")
    with pytest.raises(Rejected, match="not held"):
        lock.release()
    with pytest.raises(Rejected, match="no token"):
        _ = threads_token(lock)


def threads_token(lock: Any) -> int:
    token: int = getattr(lock, "_thing", lock).token
    return token


def test_who_did_not_acquire_it_releases_it_by_its_token_alone(threads: quorate.Client) -> None:
    for lock in (threads.lock("x"), threads.multi_lock(["x", "y"])):
        assert lock.acquire()
        token = lock.token if isinstance(lock, quorate.Lock) else lock.tokens["x"]
        with pytest.raises(Rejected, match="not held by the one who releases"):
            Aside(lock.release).result()
        with pytest.raises(Rejected, match="not held"):
            Aside(lambda lock=lock, token=token: lock.release(token=token + 1)).result()
        assert lock.held
        Aside(lambda lock=lock, token=token: lock.release(token=token)).result()
        assert not lock.held
        with pytest.raises(Rejected):
            lock.release()


def test_who_holds_and_who_waits_is_known(client: Any, threads: quorate.Client) -> None:
    lock = client.lock("x")
    assert lock.holders() == lock.waiters() == []
    assert lock.acquire()
    (holder,) = lock.holders()
    assert holder.token == lock.token
    assert not holder.waiting
    waiters = [threading.Thread(target=lambda: _shortly(client.lock("x"))) for _ in range(2)]
    for number, each in enumerate(waiters):
        each.start()
        until(lambda number=number: len(lock.waiters()) == number + 1)  # type: ignore[misc]
    assert all(each.waiting and each.token == 0 for each in lock.waiters())
    lock.release()
    for each in waiters:
        each.join(20)
    assert lock.holders() == []


def _shortly(lock: Any) -> None:
    assert lock.acquire(20)
    lock.release()


def test_an_operator_takes_it_away_and_the_holder_learns_why(client: Any) -> None:
    told: list[str] = []
    lock = client.lock("x", on_lost=told.append)
    operator = client.lock("x")
    with pytest.raises(Rejected, match="nobody holds it"):
        operator.force_release("nothing to do")
    assert lock.acquire()
    with pytest.raises(Rejected, match="with the token"):
        operator.force_release("another one", lock.token + 1)
    assert operator.force_release("it hangs", lock.token) == 1
    assert operator.acquire(20)
    assert until(lambda: told) == ["it was taken away by an operator: it hangs"]
    assert not lock.held
    assert lock.token < operator.token
    with pytest.raises(LockLost, match="it hangs"):
        lock.release()
    operator.release()
    for reason, token in (("", None), ("x" * 256, None), ("x", 0)):
        with pytest.raises(InvalidArgument):
            operator.force_release(reason, token)


def test_a_token_that_is_not_the_holders_writes_nothing(client: Any) -> None:
    lock = client.lock("x")
    assert lock.acquire()
    old = lock.token
    client.put("k", b"1", if_fence=("x", old))
    lock.release()
    with pytest.raises(Rejected, match="if_fence"):
        client.put("k", b"2", if_fence=("x", old))
    assert lock.acquire()
    client.put("k", b"3", if_fence=("x", lock.token))
    lock.release()


def test_hung_code_does_not_hold_for_ever(client: Any) -> None:
    told: list[str] = []
    lock = client.lock("x", lease=1.0, max_hold=0.3, on_lost=told.append)
    other = client.lock("x")
    assert lock.acquire()
    assert lock.remaining <= 0.3
    assert other.acquire(30)
    assert not lock.held
    assert until(lambda: told)
    with pytest.raises(LockLost):
        lock.release()
    other.release()
    # The limit is one of each acquisition, and the session serves the next one.
    limited = client.lock("x", lease=60.0, max_hold=30.0)
    for _ in range(2):
        assert limited.acquire(20)
        assert limited.remaining <= 30
        assert limited.held
        limited.release()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("", {}),
        ("x" * 513, {}),
        (7, {}),
        ("x", {"lease": 0}),
        ("x", {"lease": -1}),
        ("x", {"lease": "10"}),
        ("x", {"lease": True}),
        ("x", {"timeout": -1}),
        ("x", {"max_hold": 0}),
    ],
)
def test_what_cannot_be_is_refused_at_once(client: Any, name: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        client.lock(name, **options)


def test_a_lease_that_the_cluster_refuses_is_an_error_before_anything_is_granted(client: Any) -> None:
    with pytest.raises(LimitExceeded, match="SESSION_TTL_MIN_MS"):
        client.lock("x", lease=0.002).acquire()
    with pytest.raises(LimitExceeded, match="SESSION_TTL_MIN_MS"):
        client.lock("x", lease=0.002, max_hold=1.0).acquire()
    assert client.lock("x").holders() == []


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_was_lost_is_released_before_it_is_acquired_again(threads: quorate.Client, reentrant: bool) -> None:
    lock = threads.lock("x", reentrant=reentrant)
    assert lock.acquire()
    threads.lock("x").force_release("deploy")
    until(lambda: not lock.held)
    for use in (lock.acquire, lock.release):
        with pytest.raises(LockLost, match="deploy"):
            use()
    with lock:
        assert lock.held


def test_it_says_how_it_stands(threads: quorate.Client) -> None:
    lock = threads.lock("billing/nightly")
    assert repr(lock) == "<Lock 'billing/nightly', not held here, lease 10 s>"
    with lock:
        assert f"held, token {lock.token}" in repr(lock)


def test_what_the_body_raises_comes_first(threads: quorate.Client) -> None:
    lock = threads.lock("x")

    def fails() -> None:
        with lock:
            threads.lock("x").force_release("deploy")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fails()
    notes = getattr(caught.value, "__notes__", None)
    assert notes is None or "deploy" in notes[0]
    with pytest.raises(LockLost, match="deploy"), lock:
        threads.lock("x").force_release("deploy")
