"""Counters: every addition once, through retries, elections and disagreement."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate import InvalidArgument, Rejected
from quorate.testing import ProcessCluster
from runtime.clusters import PATIENT


def test_a_counter_counts(client: Any) -> None:
    hits = client.counter("hits")
    assert hits.get() == 0
    assert (hits.increment(), hits.increment(41), hits.decrement(2), hits.get()) == (1, 42, 40, 40)
    assert hits.decrement(50) == -10
    assert client.counter(b"hits").get() == -10
    assert client.counter("other").get() == 0
    assert repr(hits).endswith("'hits'>")
    assert client.get(".quorate/names/hits").value == b"counter"
    assert client.get(".quorate/counter/hits/value").value == b"-10"


def test_it_is_set_if_it_is_as_expected(client: Any) -> None:
    counter = client.counter("schema")
    assert not counter.set(8, expected=7)
    assert counter.set(7, expected=0)
    assert not counter.set(8, expected=0)
    assert counter.set(8, expected=7)
    assert counter.set(-1)
    assert counter.get() == -1
    assert counter.increment(1) == 0
    assert counter.set(5, expected=0)


def test_a_sum_that_does_not_fit_changes_nothing(client: Any) -> None:
    counter = client.counter("n")
    most, least = 2**63 - 1, -(2**63)
    assert counter.increment(most) == most
    with pytest.raises(Rejected, match="does not fit"):
        counter.increment()
    assert counter.get() == most
    assert counter.set(least)
    with pytest.raises(Rejected, match="does not fit"):
        counter.decrement()
    assert counter.get() == least


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda c: c.counter(""), "1 to 512 bytes"),
        (lambda c: c.counter("n" * 513), "1 to 512 bytes"),
        (lambda c: c.counter(7), "str or bytes"),
        (lambda c: c.counter("n").increment(2**63), "64 bits"),
        (lambda c: c.counter("n").increment(True), "64 bits"),
        (lambda c: c.counter("n").decrement(-(2**63)), "64 bits"),
        (lambda c: c.counter("n").set(1.0), "64 bits"),
        (lambda c: c.counter("n").set(1, expected="0"), "64 bits"),
        (lambda c: c.counter("n").get(timeout=-1), "timeout"),
    ],
)
def test_wrong_arguments(client: Any, wrong: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        wrong(client)
    assert client.count() == 0


def test_names_do_not_lie_inside_each_other(client: Any) -> None:
    for name in ("a", "a/value", "a%2Fvalue", "%", "/"):
        assert client.counter(name).increment() == 1


def test_a_name_of_another_kind(client: Any) -> None:
    client.put(".quorate/names/n", b"barrier 3")
    for use in (lambda c: c.increment(), lambda c: c.get(), lambda c: c.set(1, expected=0)):
        with pytest.raises(Rejected, match="'n' is a barrier of 3 parties, and not a counter"):
            use(client.counter("n"))
    # Its keys deleted, the name is free again.
    client.delete_range(prefix=".quorate/names/n")
    assert client.counter("n").increment() == 1
    client.put(".quorate/counter/n/value", b"seven")
    with pytest.raises(Rejected, match="no number"):
        client.counter("n").get()


def test_the_first_use_by_many_at_once(one_node: quorate.Node, threads: quorate.Client) -> None:
    sums: list[int] = []

    def add() -> None:
        sums.extend(threads.counter("n").increment() for _ in range(50))

    together = [threading.Thread(target=add) for _ in range(8)]
    for each in together:
        each.start()
    for each in together:
        each.join(60)
    assert sorted(sums) == list(range(1, 401))


def test_a_killed_leader_doubles_no_addition() -> None:
    async def body(cluster: ProcessCluster) -> None:
        async with quorate.aio.connect(cluster.url, timeout=60) as client:
            counter = client.counter("n")
            assert await counter.increment() == 1
            first = [asyncio.ensure_future(counter.increment()) for _ in range(300)]
            await asyncio.sleep(0)
            await asyncio.get_running_loop().run_in_executor(None, cluster.kill, cluster.leader())
            second = [asyncio.ensure_future(counter.increment()) for _ in range(300)]
            assert sorted(await asyncio.gather(*first, *second)) == list(range(2, 602))
            assert await counter.get() == 601

    with ProcessCluster(config=PATIENT) as cluster:
        asyncio.run(body(cluster))
