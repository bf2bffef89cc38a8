"""Sticky locks: kept until another asks, handed over then, and never taken again behind a recall."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate.errors import InvalidArgument, LockLost, NotHappened, Rejected
from recipes.waiting import Aside, forced, queue_of, until


def test_it_is_kept_and_taken_again_with_the_same_token(client: Any) -> None:
    lock = client.sticky_lock("shard")
    with pytest.raises(Rejected):
        _ = lock.token
    with lock:
        assert (lock.held, lock.kept) == (True, True)
        token = lock.token
    assert (lock.held, lock.kept) == (False, True)
    assert "kept, token" in repr(lock)
    assert queue_of(client, "shard") == (1, 0), "it is held in the cluster all the time"
    for _ in range(100):
        with lock:
            assert (lock.held, lock.token) == (True, token)
    assert 0 < lock.remaining <= 10


def test_who_asks_has_it_at_once_if_nobody_is_inside(client: Any) -> None:
    lock, other = client.sticky_lock("shard"), client.sticky_lock("shard")
    with lock:
        first = lock.token
    for _ in range(3):
        with other:
            assert other.token > first
            assert not lock.kept
        with lock:
            assert lock.token > other.token
            first = lock.token
        assert not other.kept


def test_who_asks_waits_for_the_end_of_the_block(client: Any) -> None:
    lock, other = client.sticky_lock("shard"), client.sticky_lock("shard")
    with lock:
        waits = Aside(lambda: other.acquire(timeout=20.0))
        until(lambda: queue_of(client, "shard") == (1, 1))
        until(lambda: "somebody waits" in repr(lock))
        assert lock.held
        assert waits.waits
    assert waits.result() is True
    assert not lock.kept
    assert lock.acquire(timeout=0) is False
    other.release()
    assert other.kept
    assert lock.acquire() is True
    lock.release()


def test_an_ordinary_waiter_of_the_same_name_recalls_it_too(threads: quorate.Client) -> None:
    from quorate.client.flow import run
    from quorate.recipes import permits
    from quorate.store.views import PermitKind

    lock = threads.sticky_lock("shard")
    with lock:
        pass
    core = threads._core
    grant = run(permits.acquire(core, core.prefix + b"shard", kind=PermitKind.MUTEX, lease=10.0, timeout=20.0))
    assert grant is not None
    assert grant.token > lock.token
    run(permits.release(core, grant, 20.0))


def test_threads_that_share_a_handle_exclude_each_other(threads: quorate.Client) -> None:
    lock = threads.sticky_lock("shard", timeout=60.0)
    inside: list[int] = []
    seen: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for _ in range(15):
            with lock:
                inside.append(number)
                assert inside == [number], "two are inside"
                seen.append((lock.token, number))
                inside.remove(number)

    workers = [Aside(lambda number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    for each in workers:
        each.result()
    assert len(seen) == 60
    assert [token for token, _ in seen] == sorted(token for token, _ in seen)


def test_who_is_inside_and_asks_again_is_refused(threads: quorate.Client) -> None:
    lock = threads.sticky_lock("shard")
    with lock, pytest.raises(Rejected, match="would wait for ever"):
        lock.acquire()
    with pytest.raises(Rejected, match="not held by the one who releases it"):
        lock.release()
    lock.acquire()
    Aside(lock.release).result()  # another thread may, as long as it is clear for whom
    assert lock.kept
    assert not lock.held


def test_what_was_taken_away_is_not_taken_again(client: Any) -> None:
    told: list[str] = []
    lock = client.sticky_lock("shard", on_lost=told.append)
    with lock:
        first = lock.token
    forced(client, "shard", "maintenance")
    until(lambda: not lock.kept)
    assert told == [], "nobody was inside"
    with lock:
        assert lock.token > first
    with pytest.raises(LockLost, match="maintenance"), lock:  # noqa: PT012
        forced(client, "shard", "maintenance")
        until(lambda: not lock.held)
    assert until(lambda: told) == ["it was taken away by an operator: maintenance"]
    assert "lost: it was taken away" in repr(lock)
    with lock:
        assert lock.held


def test_a_timeout_says_who_keeps_it(threads: quorate.Client) -> None:
    lock = threads.sticky_lock("shard")
    with lock, pytest.raises(NotHappened, match=r"the sticky lock 'shard' was not granted in time: .*holding since"):
        Aside(lambda: threads.sticky_lock("shard", timeout=0.05).__enter__()).result()
    until(lambda: queue_of(threads, "shard")[1] == 0)


@pytest.mark.parametrize(("name", "options"), [("", {}), ("x", {"lease": 0}), ("x", {"timeout": -1})])
def test_wrong_arguments(threads: quorate.Client, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        threads.sticky_lock(name, **options)


def test_closing_the_client_gives_it_back(one_node: quorate.Node, threads: quorate.Client) -> None:
    with one_node.client() as first, first.sticky_lock("closing"):
        pass
    with one_node.client() as second, second.sticky_lock("closing", timeout=20.0) as lock:
        assert lock.held


def test_in_asyncio_the_body_is_cancelled_and_the_lock_can_be_had_again(threads: quorate.Client) -> None:
    async def main() -> None:
        lock = quorate.aio.Client(threads._core).sticky_lock("shard")
        async with lock:
            first = lock.token
        async with lock:
            assert lock.token == first
            with pytest.raises(Rejected, match="would wait for ever"):
                await lock.acquire()
        with pytest.raises(LockLost, match="maintenance"):  # noqa: PT012
            async with lock:
                forced(threads, "shard", "maintenance")
                await asyncio.sleep(30)
        async with lock:
            assert lock.token > first
        task = asyncio.current_task()
        assert task is not None
        if hasattr(task, "cancelling"):
            assert task.cancelling() == 0

    asyncio.run(main())


def test_a_busy_event_loop_does_not_delay_who_asks(threads: quorate.Client) -> None:
    async def main() -> None:
        lock = quorate.aio.Client(threads._core).sticky_lock("shard")
        async with lock:
            pass
        # The loop does not run while another one asks and is let in.
        assert Aside(lambda: threads.sticky_lock("shard").acquire(timeout=20.0)).result() is True
        assert not lock.kept

    asyncio.run(main())


def test_tasks_that_share_a_handle_exclude_each_other(threads: quorate.Client) -> None:
    async def main() -> None:
        lock = quorate.aio.Client(threads._core).sticky_lock("shard", timeout=60.0)
        inside: list[int] = []

        async def work(number: int) -> None:
            for _ in range(10):
                async with lock:
                    inside.append(number)
                    await asyncio.sleep(0)
                    assert inside == [number], "two are inside"
                    inside.remove(number)

        await asyncio.gather(*(work(number) for number in range(4)))

    asyncio.run(main())


def test_who_was_lost_and_followed_by_another_thread_is_told_so(threads: quorate.Client) -> None:
    lock = threads.sticky_lock("shard", timeout=20.0)
    lost, followed = threading.Event(), threading.Event()

    def first() -> None:
        with lock:
            forced(threads, "shard", "maintenance")
            until(lambda: not lock.held)
            lost.set()
            assert followed.wait(20)

    one = Aside(first)
    assert lost.wait(20)
    with lock:
        followed.set()
        with pytest.raises(LockLost, match="maintenance"):
            one.result()
        assert lock.held, "the release of the one who lost it is not that of the one who holds it"
