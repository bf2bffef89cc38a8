"""Queues: in order, each item worked on by one consumer at a time, again when that one is gone, and never lost."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate import InvalidArgument, Rejected, SessionLost
from quorate.recipes import items
from runtime.clusters import until


def keys(client: Any, name: str, kind: str) -> int:
    found: int = client.count(prefix=f".quorate/queue/{name}/{kind}/")
    return found


def test_first_in_first_out(client: Any) -> None:
    jobs = client.queue("jobs")
    assert jobs.get(0) is None
    ids = [jobs.put(b"1"), *jobs.put_many([b"2", bytearray(b"3")]), jobs.put(b"4")]
    assert ids == sorted(set(ids))
    assert jobs.size() == 4
    for number in range(1, 5):
        item = jobs.get()
        assert (item.value, item.deliveries, item.id) == (b"%d" % number, 1, ids[number - 1])
        assert item.held
        item.ack()
        assert not item.held
    assert jobs.get(0.05) is None
    assert until(lambda: client.count(prefix=".quorate/queue/") == 0, 20)
    assert repr(jobs).endswith("'jobs'>")


def test_what_is_not_done_is_handed_out_again_where_it_stood(client: Any) -> None:
    jobs = client.queue("jobs")
    jobs.put_many([b"1", b"2", b"3"])
    first, second = jobs.get(), jobs.get()
    assert (first.value, second.value, jobs.size()) == (b"1", b"2", 3)
    second.reject()
    first.reject()
    again = jobs.get()
    assert (again.value, again.deliveries) == (b"1", 2)
    again.ack()
    with pytest.raises(Rejected, match="acknowledged before"):
        again.ack()
    with pytest.raises(Rejected, match="handed back before"):
        second.ack()
    assert [jobs.get().value for _ in range(1)] == [b"2"]


def test_blocks_acknowledge(client: Any) -> None:
    jobs = client.queue("jobs")
    jobs.put_many([b"1", b"2"])
    with jobs.get() as item:
        assert item.value == b"1"
    with jobs.get() as item:
        assert item.value == b"2"
        item.reject()
    assert jobs.size() == 1


def test_a_block_that_fails_hands_back(threads: quorate.Client) -> None:
    jobs = threads.queue("jobs")
    jobs.put(b"1")
    with pytest.raises(ValueError, match="no luck"), jobs.get() as item:  # type: ignore[union-attr]
        raise ValueError("no luck")
    assert "handed back" in repr(item)
    assert jobs
    assert len(jobs) == 1
    with jobs.get(20) as item:  # type: ignore[union-attr]
        assert item.deliveries == 2
    assert len(jobs) == 0


def test_an_item_that_is_forgotten_is_handed_back(threads: quorate.Client) -> None:
    jobs = threads.queue("jobs")
    jobs.put(b"1")
    assert jobs.get() is not None
    gc.collect()
    item = jobs.get(20)
    assert item is not None
    assert item.deliveries == 2


def test_consumers_are_woken_and_iterate(client: Any) -> None:
    jobs = client.queue("jobs")
    found: list[bytes] = []
    lock = threading.Lock()

    def consume() -> None:
        for item in jobs:
            with item:
                if item.value == b"stop":
                    return
                with lock:
                    found.append(item.value)

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    for each in consumers:
        each.start()
    assert until(lambda: keys(client, "jobs", "w") == 3, 20)
    for number in range(60):
        jobs.put(b"%d" % number)
    jobs.put_many([b"stop"] * 3)
    for each in consumers:
        each.join(60)
        assert not each.is_alive()
    assert sorted(found) == sorted(b"%d" % number for number in range(60))
    assert until(lambda: client.count(prefix=".quorate/queue/") == 0, 20)


def test_a_consumer_that_is_gone_gives_its_items_back(one_node: quorate.Node, threads: quorate.Client) -> None:
    jobs = threads.queue("jobs")
    jobs.put_many([b"%d" % number for number in range(5)])
    with one_node.client() as dying:
        theirs = dying.namespace(threads._core.prefix).queue("jobs")
        items = [theirs.get() for _ in range(3)]
        ours = jobs.get()
        assert ours is not None
        assert ours.value == b"3"
    assert items[0] is not None
    assert not items[0].held
    with pytest.raises((SessionLost, Rejected)):
        items[0].ack()
    again = [jobs.get() for _ in range(4)]
    assert [(each.value, each.deliveries) for each in again if each] == [(b"0", 2), (b"1", 2), (b"2", 2), (b"4", 1)]


def test_a_lost_session_gives_back_and_says_so(threads: quorate.Client) -> None:
    jobs = threads.queue("jobs", lease=2.0)
    jobs.put_many([b"1", b"2"])
    item = jobs.get()
    assert item is not None
    threads._core.backend.pooled(2.0).close(20).wait(20)
    assert not item.held
    with pytest.raises(SessionLost):
        item.ack()
    assert "because the session was lost" in repr(item)
    again = jobs.get(20)
    assert again is not None
    assert (again.value, again.deliveries) == (b"1", 2)
    again.ack()


def test_a_waiting_consumer_lives_through_the_loss_of_its_session(threads: quorate.Client) -> None:
    jobs = threads.queue("jobs", lease=2.0)
    found: list[Any] = []
    consumer = threading.Thread(target=lambda: found.append(jobs.get(60)))
    consumer.start()
    assert until(lambda: keys(threads, "jobs", "w") == 1, 20)
    threads._core.backend.pooled(2.0).close(20).wait(20)
    jobs.put(b"1")
    consumer.join(60)
    assert found[0].value == b"1"
    found[0].ack()


def test_those_who_wait_do_not_all_try(
    one_node: quorate.Node, threads: quorate.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item costs its put, its claim, its acknowledgement, and the place of its consumer in the row; however many
    wait."""
    monkeypatch.setattr(items, "TURN_SECONDS", 30.0)  # so that a slow machine passes nobody over
    jobs = threads.queue("jobs")

    def consume() -> None:
        while True:
            item = jobs.get(60)
            if item is not None:
                item.ack()
                if item.value == b"stop":
                    return

    consumers = [threading.Thread(target=consume) for _ in range(8)]
    for each in consumers:
        each.start()
    with one_node.client() as other:
        assert until(lambda: keys(threads, "jobs", "w") == 8, 20)
        before = other.status()["commit"]
        for number in range(20):
            jobs.put(b"%d" % number)
            assert until(lambda: jobs.size() == 0 and keys(threads, "jobs", "w") == 8, 20)
        spent = other.status()["commit"] - before
    jobs.put_many([b"stop"] * 8)
    for each in consumers:
        each.join(60)
        assert not each.is_alive()
    assert 80 <= spent <= 100, spent


def test_one_that_does_not_take_its_turn_is_passed_over(threads: quorate.Client) -> None:
    """A consumer that is stopped stands in the row, and nobody waits for it."""
    jobs = threads.queue("jobs")
    session = threads.session(ttl=30)
    for number in range(2):
        threads.put(f".quorate/queue/jobs/w/{number:016x}", b"", session=session)
    found: list[Any] = []
    consumer = threading.Thread(target=lambda: found.append(jobs.get(60)))
    consumer.start()
    assert until(lambda: keys(threads, "jobs", "w") == 3, 20)
    jobs.put(b"1")
    consumer.join(60)
    assert found[0].value == b"1"


def test_many_items_and_few_reads(threads: quorate.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = threads.queue("jobs")
    ids = jobs.put_many([b"%d" % number for number in range(2000)])
    assert ids == sorted(ids)
    held = [jobs.get() for _ in range(300)]
    assert [each.value for each in held if each] == [b"%d" % number for number in range(300)]
    backend = type(threads._core.backend)
    rows: list[int] = []
    whole = backend.range

    def counted(self: Any, *arguments: Any) -> Any:
        found = yield from whole(self, *arguments)
        rows.append(len(found.rows))
        return found

    monkeypatch.setattr(backend, "range", counted)
    item = jobs.get()
    assert item is not None
    assert item.value == b"300"
    # Two small rows for each that is worked on, and never the whole queue.
    assert sum(rows) <= 2 * 300 + items.FIRST_PAGE + items.PAGE


def test_what_is_put_once_is_put_once(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = client.queue("jobs")
    first = jobs.put(b"1", once="order-1")
    assert jobs.put(b"1", once="order-1") == first
    assert jobs.put(b"2", once=b"order-2") > first
    with jobs.get() as item:
        assert item.id == first
    # Also when it is done already; but not for ever.
    assert jobs.put(b"1", once="order-1") == first
    assert jobs.size() == 1
    assert keys(client, "jobs", "o") == keys(client, "jobs", "e") == 2
    monkeypatch.setattr(items, "ONCE_SECONDS", -1.0)
    jobs.put(b"3", once="order-3")
    assert keys(client, "jobs", "o") == keys(client, "jobs", "e") == 1
    assert jobs.put(b"1", once="order-1") > first
    for wrong in ("", "n" * 256):
        with pytest.raises(InvalidArgument):
            jobs.put(b"", once=wrong)


def test_bad_input(client: Any) -> None:
    for name in ("", "n" * 513):
        with pytest.raises(InvalidArgument, match="1 to 512 bytes"):
            client.queue(name)
    with pytest.raises(InvalidArgument, match="lease"):
        client.queue("q", lease=-1)
    jobs = client.queue("q")
    with pytest.raises(InvalidArgument, match="values are bytes"):
        jobs.put("text")
    with pytest.raises(InvalidArgument, match="a list of bytes"):
        jobs.put_many(b"text")
    assert jobs.put_many([]) == []
    assert client.count() == 0
    client.counter("taken").increment()
    taken = client.queue("taken")
    for use in (lambda: taken.put(b"1"), lambda: taken.get(0), lambda: taken.get(1), lambda: taken.size()):
        with pytest.raises(Rejected, match="'taken' is a counter, and not a queue"):
            use()


def test_a_lease_that_the_cluster_does_not_allow(client: Any) -> None:
    jobs = client.queue("q", lease=0.1)
    jobs.put(b"1")
    with pytest.raises(quorate.LimitExceeded, match="SESSION_TTL_MIN_MS"):
        jobs.get()


def test_many_at_once_put_together_what_comes_out(threads: quorate.Client) -> None:
    jobs = threads.queue("jobs")
    found: list[bytes] = []

    def produce(which: int) -> None:
        for number in range(40):
            jobs.put(b"%d %d" % (which, number))

    producers = [threading.Thread(target=produce, args=(which,)) for which in range(4)]
    for each in producers:
        each.start()
    while len(found) < 160:
        item = jobs.get(30)
        assert item is not None
        found.append(item.value)
        item.ack()
    for each in producers:
        each.join(30)
    assert len(set(found)) == 160
    for which in range(4):  # each producer's own come in its order
        own = [int(value.split()[1]) for value in found if value.startswith(b"%d " % which)]
        assert own == list(range(40))


def test_cancelled_consumers_and_producers_lose_and_double_nothing(one_node: quorate.Node) -> None:
    generator = random.Random(66)

    async def body() -> None:
        async with quorate.aio.Client(one_node.client()._core) as whole:
            client = whole.namespace("cancelled-queue/")
            jobs = client.queue("jobs")
            done: list[bytes] = []
            put = 0
            for _ in range(300):
                while await jobs.size() < 3:
                    await jobs.put(b"%d" % put)
                    put += 1
                task = asyncio.ensure_future(jobs.get(60))
                await asyncio.sleep(generator.choice((0, 0.0002, 0.0005, 0.001)))
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    item = task.result()
                    assert item is not None
                    await item.ack()
                    done.append(item.value)
                    del item
                del task
            gc.collect()
            while (item := await jobs.get(20 if await jobs.size() else 0)) is not None:
                await item.ack()
                done.append(item.value)
            assert sorted(int(value) for value in done) == list(range(put))
            await jobs.put(b"last")
            with pytest.raises(ValueError, match="no luck"):
                async with await jobs.get(20):  # type: ignore[union-attr]
                    raise ValueError("no luck")
            async with await jobs.get(20) as item:  # type: ignore[union-attr]
                assert item.deliveries == 2
            for _ in range(2000):
                if not await client.count(prefix=".quorate/queue/"):
                    return
                await asyncio.sleep(0.01)
            raise AssertionError("something was left behind")

    asyncio.run(body())
