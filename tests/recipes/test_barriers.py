"""Barriers: nobody goes on before all have come, whoever goes away is not counted, and rounds do not mix."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate import InvalidArgument, NotHappened, Rejected, SessionLost
from runtime.clusters import until


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What each call gave or raised, each made in a thread."""
    found: list[Any] = [None] * len(calls)

    def call(at: int) -> None:
        try:
            found[at] = calls[at]()
        except BaseException as error:
            found[at] = error

    threads = [threading.Thread(target=call, args=(at,)) for at in range(len(calls))]
    for each in threads:
        each.start()
    for each in threads:
        each.join(90)
        assert not each.is_alive()
    return found


def test_rounds_of_a_barrier(client: Any) -> None:
    came = [0] * 6
    lock = threading.Lock()

    def party() -> list[int]:
        barrier = client.barrier("b", 3)
        places = []
        for number in range(6):
            with lock:
                came[number] += 1
            places.append(barrier.wait(60))
            assert came[number] == 3
        return places

    found = together(party, party, party)
    assert [sorted(places) for places in zip(*found, strict=True)] == [[0, 1, 2]] * 6
    assert client.barrier("b", 3).waiting() == 0
    assert client.count(prefix=".quorate/barrier/b/a/") == 0


def test_more_come_than_are_needed(client: Any) -> None:
    barrier = client.barrier("b", 2)
    assert sorted(together(*[lambda: barrier.wait(60)] * 6)) == [0, 0, 0, 1, 1, 1]


def test_whoever_waits_no_longer_is_not_counted(client: Any) -> None:
    barrier = client.barrier("b", 2)
    with pytest.raises(NotHappened, match=r"2 parties did not come together within 0\.05 s"):
        barrier.wait(0.05)
    assert barrier.waiting() == 0
    assert isinstance(together(lambda: barrier.wait(0.05))[0], NotHappened)
    assert sorted(together(lambda: barrier.wait(60), lambda: barrier.wait(60))) == [0, 1]


def test_a_barrier_of_one(client: Any) -> None:
    barrier = client.barrier("b", 1)
    assert [barrier.wait(60) for _ in range(3)] == [0, 0, 0]
    assert repr(barrier).endswith("'b' of 1 parties>")


def test_a_party_that_dies_has_left(one_node: quorate.Node, threads: quorate.Client) -> None:
    barrier = threads.barrier("b", 2)
    with one_node.client() as dying:
        inside = dying.namespace(threads._core.prefix)
        waits = threading.Thread(target=together, args=(lambda: inside.barrier("b", 2, lease=2.0).wait(60),))
        waits.start()
        assert until(lambda: barrier.waiting() == 1, 20)
    waits.join(30)
    assert not waits.is_alive()
    assert barrier.waiting() == 0
    with pytest.raises(NotHappened):
        barrier.wait(0.05)


def test_a_lost_session_is_told(threads: quorate.Client) -> None:
    barrier = threads.barrier("b", 2, lease=2.0)
    lane = threads._core.backend.pooled(2.0)

    def end() -> None:
        assert until(lambda: barrier.waiting() == 1, 20)
        assert lane.close(20).wait(20) is not None

    found = together(lambda: barrier.wait(60), end)
    assert isinstance(found[0], SessionLost)
    assert barrier.waiting() == 0
    assert sorted(together(lambda: barrier.wait(60), lambda: barrier.wait(60))) == [0, 1]


def test_pieces_of_work_begin_and_end_together(client: Any) -> None:
    inside = set()
    wrong = []

    def party(name: int) -> None:
        barrier = client.double_barrier("d", 3)
        for number in range(4):
            barrier.enter(60)
            inside.add((name, number))
            if not barrier.inside:
                wrong.append(("outside", name, number))
            barrier.leave(60)
            if {other for other, of in inside.copy() if of == number} != {0, 1, 2}:
                wrong.append(("left early", name, number))

    assert together(*[lambda name=name: party(name) for name in range(3)]) == [None] * 3
    assert not wrong
    assert client.count(prefix=".quorate/double_barrier/d/a/") == 0


def test_a_double_barrier_with_a_party_that_dies(one_node: quorate.Node, threads: quorate.Client) -> None:
    ours = threads.double_barrier("d", 2)
    with one_node.client() as dying:
        theirs = dying.namespace(threads._core.prefix).double_barrier("d", 2, lease=2.0)
        assert sorted(together(lambda: ours.enter(60), lambda: theirs.enter(60))) == [0, 1]
        with pytest.raises(NotHappened, match="others are inside still"):
            ours.leave(0.05)
        with pytest.raises(Rejected, match="is inside or entering"):
            ours.enter(0.05)
        assert "inside in round 0" in repr(ours)
        late = threads.double_barrier("d", 2)
        with pytest.raises(NotHappened, match="the round before are inside still"):
            late.enter(0.05)
    ours.leave(60)
    assert not ours.inside
    assert sorted(together(lambda: ours.enter(60), lambda: late.enter(60))) == [0, 1]


def test_those_inside_who_all_died_hold_nobody_up(one_node: quorate.Node, threads: quorate.Client) -> None:
    with one_node.client() as dying:
        dying.namespace(threads._core.prefix).double_barrier("d", 1).enter(60)
    with threads.double_barrier("d", 1) as party:
        assert party.inside
    with pytest.raises(Rejected, match="is not inside"):
        party.leave()


@pytest.mark.parametrize("kind", ["barrier", "double_barrier"])
def test_bad_input(client: Any, kind: str) -> None:
    make = getattr(client, kind)
    for parties in (0, -1, 1.5, True, 1001):
        with pytest.raises(InvalidArgument, match="parties of a barrier: an integer from 1 to 1000"):
            make("b", parties)
    for name in ("", "n" * 513):
        with pytest.raises(InvalidArgument, match="1 to 512 bytes"):
            make(name, 2)
    with pytest.raises(InvalidArgument, match="lease"):
        make("b", 2, lease=0)
    enter = "wait" if kind == "barrier" else "enter"
    with pytest.raises(quorate.LimitExceeded, match="SESSION_TTL_MIN_MS"):
        getattr(make("b", 1, lease=0.1), enter)(60)
    getattr(make("b", 1), enter)(60)
    with pytest.raises(Rejected, match=r"barrier of 1 parties, and not a .*barrier of 2 parties"):
        getattr(make("b", 2), enter)(60)
    with pytest.raises(Rejected, match="of 1 parties, and not a counter"):
        client.counter("b").increment()
    if kind == "barrier":
        with pytest.raises(Rejected, match="of 1 parties"):
            client.barrier("b", 3).waiting()


def test_cancelled_waits_leave_nothing(one_node: quorate.Node) -> None:
    generator = random.Random(6)

    async def body() -> None:
        async with quorate.aio.Client(one_node.client()._core) as client:
            client = client.namespace("cancelled/")
            for kind in ("barrier", "double_barrier"):
                for _ in range(60):
                    parties = generator.choice((1, 2))
                    barrier = getattr(client, kind)(f"b{parties}", parties)
                    task = asyncio.ensure_future(barrier.wait(60) if kind == "barrier" else barrier.enter(60))
                    await asyncio.sleep(generator.choice((0, 0.0003, 0.001, 0.003)))
                    task.cancel()
                    await asyncio.wait([task])
                    if kind == "double_barrier" and not task.cancelled() and not task.exception():
                        await barrier.leave(60)

            async def empty() -> bool:
                return not [key for key in await client.range(prefix=".quorate/") if b"/a/" in key.key]

            for _ in range(2000):
                if await empty():
                    break
                await asyncio.sleep(0.01)
            assert await empty()

    asyncio.run(body())
