"""Read-write locks: many readers or one writer, in order, in threads and in asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate.errors import InvalidArgument, LockLost, NotHappened, Rejected
from recipes.waiting import Aside, forced, queue_of, until


def test_readers_are_together_and_a_writer_is_alone(client: Any) -> None:
    lock = client.rwlock("prices")
    with lock.read() as one, lock.read() as other:
        assert (one.held, other.held) == (True, True)
        assert 0 < one.remaining <= 10
        assert "held, token" in repr(one)
        writer = lock.write()
        waits = Aside(lambda: writer.acquire(timeout=20.0))
        until(lambda: queue_of(client, "prices") == (2, 1))
        assert not writer.held
    assert waits.result() is True
    assert writer.token > max(one.token, other.token)
    assert not one.held
    # Nobody reads while it writes.
    assert lock.read().acquire(timeout=0) is False
    writer.release()
    assert queue_of(client, "prices") == (0, 0)
    assert writer.acquire() is True, "an object can be used again"
    writer.release()


def test_a_writer_that_waits_is_not_overtaken_by_readers(client: Any) -> None:
    lock = client.rwlock("prices")
    first, writer, late = lock.read(), lock.write(), lock.read()
    assert first.acquire()
    writes = Aside(lambda: writer.acquire(timeout=20.0))
    until(lambda: queue_of(client, "prices") == (1, 1))
    # There is room for a reader, but it came later.
    assert lock.read().acquire(timeout=0) is False
    reads = Aside(lambda: late.acquire(timeout=20.0))
    until(lambda: queue_of(client, "prices") == (1, 2))
    first.release()
    assert writes.result() is True
    assert reads.waits
    writer.release()
    assert reads.result() is True
    assert late.token > writer.token > first.token
    late.release()


def test_a_timeout_says_who_holds_it_and_leaves_nothing(client: Any) -> None:
    lock = client.rwlock("prices", timeout=0.05)
    writer = lock.write()
    assert Aside(writer.acquire).result()
    said = r"the read lock 'prices' was not granted in time: .*session \d+, holding since 20"
    with pytest.raises(NotHappened, match=said), lock.read():
        pytest.fail("it must not be entered")
    until(lambda: queue_of(client, "prices") == (1, 0))
    writer.release()


def test_what_is_not_held_cannot_be_given_back(client: Any) -> None:
    lock = client.rwlock("prices")
    with pytest.raises(Rejected, match="the write lock 'prices' is not held by this object"):
        lock.write().release()
    reader = lock.read()
    assert reader.acquire()
    with pytest.raises(Rejected, match="other holders need other objects"):
        reader.acquire()
    reader.release()
    with pytest.raises(Rejected):
        reader.release()


def test_a_forced_release_is_told_at_the_end_of_the_block(client: Any) -> None:
    told: list[str] = []
    lock = client.rwlock("prices", on_lost=told.append)
    with pytest.raises(LockLost, match="maintenance"):  # noqa: PT012, SIM117
        with lock.write() as writer:
            forced(client, "prices", "maintenance")
            until(lambda: not writer.held)
            assert "lost: it was taken away by an operator: maintenance" in repr(writer)
    assert until(lambda: told) == ["it was taken away by an operator: maintenance"]


@pytest.mark.parametrize(
    ("name", "options"), [("", {}), ("x" * 600, {}), ("x", {"lease": 0}), ("x", {"lease": "1"}), ("x", {"timeout": -1})]
)
def test_wrong_arguments(threads: quorate.Client, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        threads.rwlock(name, **options)


def test_one_name_has_one_kind(threads: quorate.Client) -> None:
    with threads.semaphore("one", 3).acquire(), pytest.raises(Rejected, match=r"in use as a semaphore"):
        threads.rwlock("one").read().acquire()


def test_an_upgrade_is_refused_because_it_would_wait_for_itself(threads: quorate.Client) -> None:
    with threads.rwlock("prices").read():
        with pytest.raises(Rejected, match="a reader cannot become a writer"):
            threads.rwlock("prices").write().acquire()
        # Another thread has to wait for this one, which is no upgrade.
        assert Aside(lambda: threads.rwlock("prices").write().acquire(timeout=0)).result() is False
        with threads.rwlock("prices").read(), threads.rwlock("others").write():
            pass
    with threads.rwlock("prices").write(), pytest.raises(Rejected, match="a writer may read already"):
        threads.rwlock("prices").read().acquire()
    assert queue_of(threads, "prices") == (0, 0)


def test_in_asyncio_the_one_who_asks_is_a_task(threads: quorate.Client) -> None:
    async def main() -> None:
        client = quorate.aio.Client(threads._core)
        lock = client.rwlock("prices")

        async def writes() -> bool:
            return await lock.write().acquire(timeout=0)

        async with lock.read():
            with pytest.raises(Rejected, match="a reader cannot become a writer"):
                await lock.write().acquire()
            assert await asyncio.create_task(writes()) is False

    asyncio.run(main())


def test_the_body_is_cancelled_when_it_is_lost(threads: quorate.Client) -> None:
    async def main() -> None:
        client = quorate.aio.Client(threads._core)
        reached: list[str] = []
        with pytest.raises(LockLost, match="maintenance"):  # noqa: PT012
            async with client.rwlock("prices").write():
                forced(threads, "prices", "maintenance")
                await asyncio.sleep(30)
                reached.append("the end of the body")
        assert reached == []
        task = asyncio.current_task()
        assert task is not None
        if hasattr(task, "cancelling"):
            assert task.cancelling() == 0
        await asyncio.sleep(0)  # no cancellation is left behind

    asyncio.run(main())


def test_a_cancellation_from_outside_stays_one(threads: quorate.Client) -> None:
    async def body(client: quorate.aio.Client, entered: asyncio.Event) -> None:
        async with client.rwlock("prices").write():
            entered.set()
            await asyncio.sleep(30)

    async def main() -> None:
        client = quorate.aio.Client(threads._core)
        entered = asyncio.Event()
        task = asyncio.create_task(body(client, entered))
        await asyncio.wait_for(entered.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.rwlock("prices").write().acquire(timeout=20.0), "it was given back"

    asyncio.run(main())


def test_a_body_that_ends_before_it_could_be_cancelled_raises_all_the_same(threads: quorate.Client) -> None:
    async def main() -> None:
        client = quorate.aio.Client(threads._core)
        lost = asyncio.Event()
        lock = client.rwlock("prices", on_lost=lambda why: lost.set()).write()
        with pytest.raises(LockLost, match="maintenance"):  # noqa: PT012
            async with lock:
                forced(threads, "prices", "maintenance")
                # No await between the loss and the end: blocks the loop on purpose.
                until(lambda: not lock.held)
        await asyncio.wait_for(lost.wait(), 20)
        await asyncio.sleep(0)

    asyncio.run(main())


def test_what_the_body_raises_comes_before_the_loss(threads: quorate.Client) -> None:
    with pytest.raises(ZeroDivisionError), threads.rwlock("prices").write() as lock:  # noqa: PT012
        forced(threads, "prices", "maintenance")
        until(lambda: not lock.held)
        raise ZeroDivisionError
