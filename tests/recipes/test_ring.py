"""The ring of a group: whole at every moment, the same for all, and its changes exact."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate import EmptyRing, InvalidArgument, Rejected
from quorate.ring import Member, Ring
from quorate.store import commands
from runtime.clusters import until


def names(live: Any) -> list[str]:
    return sorted(live.ring)


def test_it_follows_its_group(client: Any) -> None:
    group = client.group("cache")
    first = group.join("c1", zone="east")
    live = client.ring("cache")
    assert live.ring == Ring([Member("c1", 1.0, "east")])
    assert live.ring["k"] == "c1"
    second = group.join("c2", weight=2.0, zone="west")
    assert until(lambda: names(live) == ["c1", "c2"], 20)
    expected = Ring([Member("c1", 1.0, "east"), Member("c2", 2.0, "west")])
    assert live.ring == expected
    assert live.ring.fingerprint == expected.fingerprint
    assert live.nodes("k", 2, zones=True) == expected.nodes("k", 2, zones=True)
    assert live.epoch == live.ring.epoch == group.members()[1].joined
    # Data are no matter of the ring.
    before = live.ring
    first.update(b"data")
    second.update(weight=1.0)
    assert until(lambda: live.ring.member("c2").weight == 1.0, 20)
    assert before.member("c2").weight == 2.0
    assert live.epoch == group.members()[1].changed
    second.leave()
    assert until(lambda: names(live) == ["c1"], 20)
    assert "of the group 'cache': 1 members, epoch" in repr(live)
    live.close()
    live.close()
    first.leave()
    assert names(live) == ["c1"]
    assert "closed" in repr(live)


def test_looking_up_is_the_ring_s_own(threads: quorate.Client) -> None:
    group = threads.group("cache")
    with threads.ring("cache") as live:
        assert live
        assert len(live) == 0
        with pytest.raises(EmptyRing):
            live["k"]
        members = [group.join(f"c{number}") for number in range(5)]
        assert until(lambda: len(live) == 5, 20)
        assert "c3" in live
        assert [live[f"k{number}"] for number in range(100)] == [live.ring[f"k{number}"] for number in range(100)]
        assert live.age < 60
        assert all(each.held for each in members)


def test_all_see_the_same_at_an_epoch(one_node: quorate.Node, threads: quorate.Client) -> None:
    group = threads.group("cache")
    kept = [group.join(f"c{number}") for number in range(4)]
    with one_node.client() as other, threads.ring("cache") as one:
        kept.pop().leave()
        inside = other.namespace(threads._core.prefix)
        with inside.ring("cache") as two:
            assert until(lambda: one.ring == two.ring, 20)
            kept.append(group.join("last"))
            assert until(lambda: one.epoch == two.epoch == group.members()[-1].joined, 20)
            assert one.ring.fingerprint == two.ring.fingerprint
            assert one.ring.to_bytes() == two.ring.to_bytes()
            assert one.ring.epoch == two.ring.epoch


def test_changes_are_told_with_what_moves(client: Any) -> None:
    group = client.group("cache")
    group.join("c1")
    live = client.ring("cache")
    told: list[tuple[Ring, Ring, list[Any]]] = []
    end = live.on_change(lambda *what: told.append(what))
    live.on_change(lambda *what: 1 / 0)  # logged, and harms nobody
    second = group.join("c2")
    assert until(lambda: len(told) == 1, 20)
    second.leave()
    assert until(lambda: len(told) == 2, 20)
    for old, new, moves in told:
        assert moves == old.diff(new)
        assert old.epoch < new.epoch
    assert told[0][1] is told[1][0]
    assert all(move.source == "c1" and move.target == "c2" for move in told[0][2])
    assert all(move.source == "c2" and move.target == "c1" for move in told[1][2])
    end()
    end()
    group.join("c3")
    assert until(lambda: len(live.ring) == 2, 20)
    assert len(told) == 2
    live.close()


def test_the_loop_is_called_back_in_asyncio(one_node: quorate.Node) -> None:
    async def body() -> None:
        async with quorate.aio.Client(one_node.client()._core) as whole:
            client = whole.namespace("async-ring/")
            told: asyncio.Queue[Any] = asyncio.Queue()

            async def changed(old: Ring, new: Ring, moves: list[Any]) -> None:
                await told.put((threading.current_thread(), len(new)))

            async with client.ring("cache") as live, client.group("cache").join("c1"):
                live.on_change(changed)
                async with client.group("cache").join("c2"):
                    while (await asyncio.wait_for(told.get(), 30)) != (threading.current_thread(), 2):
                        pass
                    assert live["k"] in ("c1", "c2")

    asyncio.run(body())


def test_rings_that_are_made_differently_are_told(client: Any) -> None:
    live = client.ring("cache", vnodes=40, seed=7)
    assert (live.ring.vnodes, live.ring.seed) == (40, 7)
    with pytest.raises(Rejected, match=r"vnodes=40 seed=7, and not with vnodes=160 seed=0"):
        client.ring("cache")
    live.close()
    with pytest.raises(InvalidArgument, match="vnodes"):
        client.ring("cache", vnodes=0)
    with pytest.raises(InvalidArgument, match="1 to 512 bytes"):
        client.ring("")
    client.counter("n").increment()
    with pytest.raises(Rejected, match="'n' is a counter, and not a group"):
        client.ring("n")


def test_history_that_is_gone_is_read_anew(threads: quorate.Client) -> None:
    group = threads.group("cache")
    kept = [group.join(f"c{number}") for number in range(3)]
    with threads.ring("cache") as live:
        follower = live._follower
        assert follower._errand is not None
        follower._errand.cancel()
        assert until(lambda: follower._errand.done, 20)  # type: ignore[union-attr]
        kept.pop().leave()
        kept.append(group.join("new"))
        last = threads.put("k", b"")
        threads._core.backend._engine().propose(commands.compact_history(last), 20.0).wait()
        follower._errand = threads._core.backend.attendant.start(follower.follow())
        assert until(lambda: names(live) == ["c0", "c1", "new"], 20)
        assert live.epoch >= last


def test_a_member_that_fits_into_no_ring_is_left_out(threads: quorate.Client) -> None:
    group = threads.group("cache")
    group.join("c1")
    threads.put(".quorate/group/cache/m/" + "n" * 300, b"by hand")
    threads.put(".quorate/group/cache/m/heavy", b'{"weight":-1,"zone":null,"token":""}\n')
    with threads.ring("cache") as live:
        assert names(live) == ["c1"]


def test_one_that_is_forgotten_follows_no_more(threads: quorate.Client) -> None:
    live = threads.ring("cache")
    follower = live._follower
    del live
    gc.collect()
    assert follower.closed


def test_readers_never_see_half_a_change(threads: quorate.Client) -> None:
    """Many look up while members come and go: each answer is that of a whole ring of some moment."""
    group = threads.group("cache")
    group.join("c0")
    stop = threading.Event()
    wrong: list[Any] = []
    with threads.ring("cache") as live:

        def read() -> None:
            while not stop.is_set():
                ring = live.ring
                if ring["k"] != Ring(ring.members)["k"]:
                    wrong.append(ring)
                live["k"]

        readers = [threading.Thread(target=read) for _ in range(2)]
        for each in readers:
            each.start()
        for number in range(10):
            with group.join(f"c{number + 1}"):
                pass
        stop.set()
        for each in readers:
            each.join(30)
        assert not wrong
        assert until(lambda: names(live) == ["c0"], 20)
