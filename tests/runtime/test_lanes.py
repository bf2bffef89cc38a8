"""Lanes of real nodes: exactly once and in order while leaders are killed and paused; sessions that live and end."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quorate.config import RaftConfig
from quorate.errors import (
    Indeterminate,
    InvalidArgument,
    NodeFailed,
    NoQuorum,
    NotHappened,
    Overloaded,
    RequestTimeout,
    SessionLost,
)
from quorate.runtime._completions import Completions
from quorate.runtime._lane import Lane
from quorate.runtime.node import NativeNode
from quorate.store import commands
from quorate.store.views import Result, SessionEnd, Status
from runtime.clusters import Cluster, free_sockets, members_of, until
from runtime.test_processes import Process

LONG = 600.0
"""Seconds: a time to live that no pause of a busy machine exceeds."""


def alone() -> NativeNode:
    return NativeNode("a", 1, {1: ("a", "unix:/unused")}, durability="memory", listen=None)


def opened(node: NativeNode, ttl: float = LONG) -> Lane:
    lane = node.lane(ttl, timeout=20.0)
    lane.opening.wait()
    return lane


def numbers(pending: list[Any]) -> list[int]:
    return [Result.decode(each.wait(60.0)[1]).number for each in pending]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        made.leader()
        yield made


def test_a_lane_of_every_node_is_one_line(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        lane = opened(node)
        assert (lane.state, lane.held(), lane.loss, lane.ttl) == ("open", True, None, LONG)
        assert LONG * 0.5 < lane.deadline - time.monotonic() <= LONG * 0.9
        pending = [lane.submit(commands.increment(node.name), 30.0) for _ in range(3000)]
        assert numbers(pending) == list(range(1, 3001))
        many = lane.submit_many([commands.increment(node.name) for _ in range(5000)], 30.0)
        assert len(many) == 5000
        results = [Result.decode(each) for each in many.wait() if isinstance(each, bytes)]
        assert [each.number for each in results] == list(range(3001, 8001))
        assert [each.revision for each in results] == sorted(each.revision for each in results)
        lane.close(30.0).wait()
        assert (lane.state, lane.held(), lane.deadline) == ("closed", False, 0.0)
        node.barrier()
        assert node.reader.session(lane.session) is None


def test_the_leader_stops_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    with Cluster(path=tmp_path) as cluster:
        leader = cluster.leader()
        node = next(each for each in cluster.nodes.values() if each is not leader)
        lane = opened(node)
        pending = []
        for number in range(2000):
            pending.append(lane.submit(commands.increment("n"), 60.0))
            if number == 700:
                pending[600].wait(30.0)
                leader.stop()
            if number == 1400:
                pending[1300].wait(30.0)
                leader.start()
        assert numbers(pending) == list(range(1, 2001))
        for each in cluster.nodes.values():
            each.wait_ready(20.0)
            assert each.reader.value("n") == b"2000"


def test_leaders_are_killed_and_paused_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    """This process is a member that does not want to lead; the others are processes that are treated badly."""
    sockets = free_sockets(3)
    members = members_of(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets[1:]:
        each.close()
    others: dict[str, Process] = {}
    reluctant = RaftConfig(election_timeout_min_ms=4000, election_timeout_max_ms=8000)
    node = NativeNode("a", 1, members, listen=sockets[0], data_dir=tmp_path / "here", config=reluctant)
    try:
        for id in (2, 3):
            name = members[id][0]
            others[name] = Process(name, id, members, tmp_path)
        with node:
            node.wait_ready(20.0)
            lane = opened(node)
            pending: list[Any] = []

            def stream(count: int) -> None:
                pending.extend(lane.submit(commands.increment("n"), 120.0) for _ in range(count))

            stream(1000)
            pending[500].wait(30.0)
            killed = until(lambda: node.status()["leader"], 20.0)
            if killed in others:
                others[killed].kill()
            stream(1000)
            pending[1500].wait(60.0)
            if killed in others:
                others[killed].start()
            stream(1000)
            pending[2500].wait(60.0)
            paused = until(lambda: node.status()["leader"], 20.0)
            if paused in others:
                os.kill(others[paused].process.pid, signal.SIGSTOP)
            stream(1000)
            pending[3500].wait(60.0)  # somebody else leads by now
            if paused in others:
                os.kill(others[paused].process.pid, signal.SIGCONT)
            stream(1000)
            assert numbers(pending) == list(range(1, 5001))
            assert lane.held()
            node.barrier(timeout=20.0)
            assert node.reader.value("n") == b"5000"
            for name, process in others.items():
                assert until(lambda: process.order("content").get("n") == "5000", 20.0), name  # noqa: B023
    finally:
        for each in others.values():
            if each.process.poll() is None:
                os.kill(each.process.pid, signal.SIGCONT)
            each.end()


def test_timeouts_say_what_is_known_and_the_line_goes_on(tmp_path: Path) -> None:
    with Cluster(path=tmp_path) as cluster:
        leader = cluster.leader()
        lane = opened(leader)
        others = [each for each in cluster.nodes.values() if each is not leader]
        for each in others:
            each.stop()
        first = lane.submit(commands.put("first", ""), 0.2)
        with pytest.raises((RequestTimeout, NotHappened)) as told:
            first.wait()
        until(lambda: leader.status()["leader"] is None)
        never = lane.submit(commands.put("never", ""), 0.1)
        with pytest.raises((NoQuorum, NotHappened)):
            never.wait()
        waits = lane.submit(commands.put("waits", ""), 60.0)
        for each in others:
            each.start()
        assert Result.decode(waits.wait()[1] or b"").status is Status.OK
        assert leader.reader.get("never") is None
        if isinstance(told.value, NotHappened):
            assert leader.reader.get("first") is None
        else:
            # It went on to use up its number, before what came behind it.
            assert leader.reader.get("first") is not None


def test_a_session_that_was_ended_elsewhere_is_lost(cluster: Cluster) -> None:
    leader = cluster.leader()
    node = next(each for each in cluster.nodes.values() if each is not leader)
    lane = opened(node)
    node._running().notices(0.0)
    leader.execute(commands.session_end(lane.session, SessionEnd.FORCED))
    with pytest.raises(SessionLost) as told:
        lane.submit(commands.put("k", ""), 30.0).wait()
    assert isinstance(told.value.outcome, NotHappened)
    assert (lane.state, lane.loss, lane.held()) == ("lost", "the cluster has ended the session", False)
    assert ("lane", lane.id, "lost") in node._running().notices(10.0)
    assert node.reader.get("k") is None
    assert lane.close(5.0).wait() == (0, None)


def test_the_holder_knows_first_when_renewals_fail(tmp_path: Path) -> None:
    with Cluster(path=tmp_path) as cluster:
        leader = cluster.leader()
        lane = leader.lane(3.0, timeout=20.0)
        lane.opening.wait()
        for each in cluster.nodes.values():
            if each is not leader:
                each.stop()
        pending = lane.submit(commands.put("k", ""), 60.0)
        until(lambda: not lane.held(), 20.0)
        # The time has passed before the loop says so.
        with pytest.raises(SessionLost) as told:
            pending.wait(20.0)
        assert isinstance(told.value.outcome, (Indeterminate, NotHappened))
        assert (lane.state, lane.loss) == ("lost", "no renewal was acknowledged in time")
        assert leader.reader.session(lane.session) is not None, "the cluster has not ended it: it cannot yet"


def test_thousands_of_lanes_are_kept_alive_together(cluster: Cluster) -> None:
    leader = cluster.leader()
    nodes = [leader, next(each for each in cluster.nodes.values() if each is not leader)]
    lanes = [node.lane(9.0, timeout=30.0) for node in nodes for _ in range(1000)]
    for each in lanes:
        each.opening.wait()
    before = [each.deadline for each in lanes]
    # A later deadline: a renewal was acknowledged for each.
    until(lambda: all(each.deadline > then + 1.0 for each, then in zip(lanes, before, strict=True)), 20.0)
    assert all(each.held() for each in lanes)
    assert len({each.session for each in lanes}) == 2000


def test_a_new_leader_keeps_the_sessions(cluster: Cluster) -> None:
    leader = cluster.leader()
    node = next(each for each in cluster.nodes.values() if each is not leader)
    lane = node.lane(12.0, timeout=30.0)
    lane.opening.wait()
    leader.stop()
    cluster.leader()
    before = lane.deadline
    until(lambda: lane.deadline > before + 1.0, 20.0)
    assert numbers([lane.submit(commands.increment("n"), 30.0)]) == [1]
    assert lane.held()


def test_many_threads_share_a_lane(cluster: Cluster) -> None:
    lane = opened(cluster.leader())
    found: list[list[int]] = [[] for _ in range(4)]

    def work(place: int) -> None:
        found[place] = numbers([lane.submit(commands.increment("n"), 60.0) for _ in range(1000)])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert all(each == sorted(each) for each in found)
    assert sorted(number for each in found for number in each) == list(range(1, 4001))


def test_an_event_loop_awaits_lanes(cluster: Cluster) -> None:
    async def body(lane: Lane) -> list[int]:
        loop = asyncio.get_running_loop()
        with Completions() as completions:
            loop.add_reader(completions.fd, completions.settle)

            async def count() -> list[int]:
                seen = []
                for _ in range(10):
                    future: asyncio.Future[int] = loop.create_future()
                    lane.submit(commands.increment("n"), 60.0).attach(
                        completions, future, lambda _, result: Result.decode(result).number
                    )
                    seen.append(await future)
                return seen

            found = await asyncio.gather(*(count() for _ in range(500)))
            future = loop.create_future()
            lane.submit_many([commands.increment("n")] * 100, 60.0).attach(completions, future)
            last = [Result.decode(each).number for each in await future]
            loop.remove_reader(completions.fd)
        assert last == list(range(5001, 5101))
        return [number for each in found for number in each]

    assert sorted(asyncio.run(body(opened(cluster.leader())))) == list(range(1, 5001))


def test_an_event_loop_is_told_of_timeouts_natively(tmp_path: Path) -> None:
    async def body(node: NativeNode, lane: Lane) -> None:
        loop = asyncio.get_running_loop()
        with Completions() as completions:
            loop.add_reader(completions.fd, completions.settle)
            for pending in (lane.submit(commands.put("k", ""), 0.1), node.propose(commands.put("k", ""), timeout=0.1)):
                future = loop.create_future()
                pending.attach(completions, future)
                with pytest.raises((RequestTimeout, NotHappened)):
                    await asyncio.wait_for(future, 20.0)
            loop.remove_reader(completions.fd)

    with Cluster(path=tmp_path) as cluster:
        leader = cluster.leader()
        lane = opened(leader)
        for each in cluster.nodes.values():
            if each is not leader:
                each.stop()
        asyncio.run(body(leader, lane))


def test_a_lane_that_is_dropped_ends_its_session() -> None:
    with alone() as node:
        node.wait_ready()
        lane = opened(node)
        session = lane.session
        pending = lane.submit(commands.put("k", ""), 30.0)
        assert node.reader.session(session) is not None
        del lane
        gc.collect()
        pending.wait()
        until(lambda: node.reader.session(session) is None)


def test_a_stopped_node_answers_its_lanes() -> None:
    node = alone()
    with node:
        node.wait_ready()
        lane = opened(node)
        lane.submit(commands.put("k", ""), 30.0).wait()
    assert (lane.state, lane.held()) == ("lost", False)
    with pytest.raises(NodeFailed):
        lane.submit(commands.put("k", ""), 30.0).wait()
    with pytest.raises(NodeFailed):
        node.lane()
    del lane  # with nobody to tell


def test_a_full_line_pushes_back() -> None:
    with Cluster() as cluster:
        leader = cluster.leader()
        lane = opened(leader)
        for node in cluster.nodes.values():
            if node is not leader:
                node.stop()
        until(lambda: leader.status()["leader"] is None)
        body = [commands.put("k", "")] * 65_536
        pending = [lane.submit_many(body, 60.0) for _ in range(5)]
        found = pending[4].wait(20.0)
        assert len(found) == 65_536
        assert all(isinstance(each, Overloaded) for each in found)
        assert not any(each.done for each in pending[:4])


def test_a_refused_opening_tells_the_limit() -> None:
    with alone() as node:
        node.wait_ready()
        lane = node.lane(0.1)
        assert Result.decode(lane.opening.wait()[1] or b"").status is Status.LIMIT
        assert lane.state == "lost"
        with pytest.raises(SessionLost):
            lane.submit(commands.put("k", ""), 5.0).wait()
        with pytest.raises(InvalidArgument):
            node.lane(-1.0)


def test_a_forked_child_holds_nothing() -> None:
    with alone() as node:
        node.wait_ready()
        lane = opened(node)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                lane.submit(commands.put("k", ""), 1.0)
                says = "handed in"
            except NodeFailed as error:
                says = type(error.outcome).__name__
            del node._run
            os.write(writing, json.dumps([says, lane.held(), gc.collect() >= 0]).encode())
            os._exit(0)
        os.close(writing)
        try:
            assert json.loads(os.read(reading, 1000)) == ["NotHappened", False, True]
        finally:
            os.close(reading)
            os.waitpid(child, 0)
        assert lane.held()
        assert numbers([lane.submit(commands.increment("n"), 30.0)]) == [1]


def test_notices_tell_one_thread_of_leaders(cluster: Cluster) -> None:
    leader = cluster.leader()
    node = next(each for each in cluster.nodes.values() if each is not leader)
    run = node._running()
    run.notices(0.0)
    seen: list[tuple[Any, ...]] = []
    stopped = threading.Event()

    def listen() -> None:
        while not any(each == ("state", "stopped") for each in seen):
            seen.extend(run.notices(1.0))
        stopped.set()

    thread = threading.Thread(target=listen)
    thread.start()
    leader.stop()
    following = cluster.leader()
    until(lambda: any(each[0] == "leader" and each[1] == following.name for each in seen), 20.0)
    node.stop()
    assert stopped.wait(20.0)
    thread.join()
    assert ("state", "suspended") in seen
    assert seen.index(("state", "suspended")) < len(seen) - 1


def test_what_its_holder_limited_is_lost_here_first_and_then_in_the_cluster() -> None:
    with alone() as node:
        node.wait_ready(20.0)
        lane = opened(node, 2.0)
        begin = time.monotonic()
        lane.limit(0.6)
        until(lambda: lane.state == "lost", 20.0)
        assert time.monotonic() - begin >= 0.6
        assert (lane.held(), lane.deadline, lane.loss) == (False, 0.0, "its holder passed the limit it was given")
        until(lambda: node.reader.session(lane.session) is None, 20.0)
