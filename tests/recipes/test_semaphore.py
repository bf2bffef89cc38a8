"""Semaphores: never more than their units, in order, in threads and in asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate.errors import InvalidArgument, LockLost, NotHappened, Rejected
from recipes.waiting import Aside, forced, queue_of, until


def test_never_more_than_its_units(client: Any) -> None:
    pool = client.semaphore("pool", 3)
    assert pool.permits == 3
    with pool.acquire() as one, pool.acquire(units=2) as two:
        assert (one.held, two.held, one.units, two.units) == (True, True, 1, 2)
        assert two.token > one.token
        with pytest.raises(NotHappened, match=r"session \d+, holding since .*; .*session \d+, holding since"):
            pool.acquire(timeout=0)
        waits = Aside(lambda: pool.acquire(2, timeout=20.0))
        until(lambda: queue_of(client, "pool") == (2, 1))
    late = waits.result()
    assert late.held
    late.release()
    assert queue_of(client, "pool") == (0, 0)
    with pytest.raises(Rejected):
        late.release()


def test_who_waits_for_many_is_not_overtaken_by_who_wants_few(client: Any) -> None:
    pool = client.semaphore("pool", 3)
    first = pool.acquire(1)
    many = Aside(lambda: pool.acquire(3, timeout=20.0))
    until(lambda: queue_of(client, "pool") == (1, 1))
    with pytest.raises(NotHappened):
        pool.acquire(1, timeout=0)
    few = Aside(lambda: pool.acquire(1, timeout=20.0))
    until(lambda: queue_of(client, "pool") == (1, 2))
    first.release()
    all_of_them = many.result()
    assert few.waits
    all_of_them.release()
    few.result().release()


def test_a_capacity_that_disagrees_is_refused_and_named(client: Any) -> None:
    held = client.semaphore("pool", 3).acquire()
    with pytest.raises(Rejected, match="a capacity of 3"):
        client.semaphore("pool", 4).acquire()
    held.release()
    # Also when nobody is there any more.
    with pytest.raises(Rejected, match="a capacity of 3"):
        client.semaphore("pool", 4).acquire()


@pytest.mark.parametrize(("permits", "units"), [(0, 1), (-1, 1), (True, 1), (1.5, 1), (3, 0), (3, 4), (3, "1")])
def test_wrong_numbers(threads: quorate.Client, permits: Any, units: Any) -> None:
    with pytest.raises(InvalidArgument):
        threads.semaphore("pool", permits).acquire(units)


def test_what_is_taken_away_is_lost_alone(threads: quorate.Client) -> None:
    pool = threads.semaphore("pool", 2)
    with pytest.raises(LockLost, match="rebalanced"), pool.acquire() as one:  # noqa: PT012
        forced(threads, "pool", "rebalanced")
        until(lambda: not one.held)
        with pool.acquire(2) as others:
            assert others.held


def test_in_asyncio_it_is_awaited_or_entered(threads: quorate.Client) -> None:
    async def main() -> None:
        pool = quorate.aio.Client(threads._core).semaphore("pool", 2)
        one = await pool.acquire()
        async with pool.acquire() as other:
            assert (one.held, other.held, other.units) == (True, True, 1)
            with pytest.raises(NotHappened):
                await pool.acquire(timeout=0)
        await one.release()
        with pytest.raises(LockLost, match="rebalanced"):  # noqa: PT012
            async with pool.acquire(units=2):
                forced(threads, "pool", "rebalanced")
                await asyncio.sleep(30)

    asyncio.run(main())


def test_a_cancelled_wait_leaves_nothing(threads: quorate.Client) -> None:
    async def main() -> None:
        pool = quorate.aio.Client(threads._core).semaphore("pool", 1)

        async def taken() -> None:
            async with pool.acquire(timeout=20.0):
                pytest.fail("it must not be entered")

        async with pool.acquire():
            tasks = [asyncio.create_task(taken()) for _ in range(20)]
            while queue_of(threads, "pool")[1] < 10:
                await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
            until(lambda: queue_of(threads, "pool") == (1, 0))
        until(lambda: queue_of(threads, "pool") == (0, 0))

    asyncio.run(main())


def test_what_is_dropped_is_given_back(threads: quorate.Client) -> None:
    told: list[str] = []
    pool = threads.semaphore("pool", 1, on_lost=told.append)
    permits = pool.acquire()
    assert queue_of(threads, "pool") == (1, 0)
    del permits
    until(lambda: queue_of(threads, "pool") == (0, 0))
    reader = threads.rwlock("prices").read()
    assert reader.acquire()
    del reader
    until(lambda: queue_of(threads, "prices") == (0, 0))

    async def main() -> None:
        term = await quorate.aio.Client(threads._core).election("chief").campaign(b"me")
        assert term.held

    asyncio.run(main())
    until(lambda: queue_of(threads, "chief") == (0, 0))
    with pool.acquire(timeout=20.0):
        assert told == [], "nobody was there to be told"
