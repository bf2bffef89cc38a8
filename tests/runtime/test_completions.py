"""Answers to an event loop: woken once for many, whenever they were attached, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from quorate.errors import InvalidArgument, NodeFailed
from quorate.runtime._completions import Completions
from quorate.runtime._requests import Cork, Pending
from quorate.runtime.node import NativeNode
from quorate.store import commands
from quorate.store.views import Result
from runtime.clusters import Cluster, until


def alone() -> NativeNode:
    return NativeNode("a", 1, {1: ("a", "unix:/unused")}, durability="memory", listen=None)


def drained(completions: Completions, count: int) -> list[tuple[object, object, Exception | None]]:
    """Everything, as an event loop takes it: only when the descriptor says so."""
    made: list[tuple[object, object, Exception | None]] = []
    while len(made) < count:
        assert select.select([completions.fd], [], [], 10.0)[0], "the descriptor did not tell"
        made += completions.drain()
    return made


def test_every_answer_comes_once_with_its_object() -> None:
    with alone() as node, Completions() as completions:
        node.wait_ready()
        for number in range(500):
            node.propose(commands.increment("n")).attach(completions, number)
        found = drained(completions, 500)
        assert [attached for attached, _, _ in found] == list(range(500))
        values = [Result.decode(value[1]).number for _, value, _ in found]  # type: ignore[index]
        assert values == list(range(1, 501))
        assert all(error is None for _, _, error in found)
        assert completions.waiting == 0
        assert completions.drain() == []


def test_what_was_answered_before_is_told_at_once() -> None:
    with alone() as node, Completions() as completions:
        node.wait_ready()
        pending = node.propose(commands.put("a", "1"))
        index, _ = pending.wait()
        assert pending.done
        pending.attach(completions, "late")
        ((attached, value, error),) = drained(completions, 1)
        assert (attached, value[0], error) == ("late", index, None)  # type: ignore[index]
        # It can still be asked itself, and not be attached again.
        assert pending.wait()[0] == index
        with pytest.raises(InvalidArgument):
            pending.attach(completions, "again")


def test_a_node_that_stops_answers_with_its_error() -> None:
    with Completions() as completions:
        with Cluster() as cluster:
            leader = cluster.leader()
            for node in cluster.nodes.values():
                if node is not leader:
                    node.stop()
            leader.propose(commands.put("a", "1"), timeout=30.0).attach(completions, "pending")
            leader.stop()
            ((attached, value, error),) = drained(completions, 1)
        assert (attached, value) == ("pending", None)
        assert isinstance(error, NodeFailed)


def test_thousands_of_tasks_await_without_a_thread_each() -> None:
    async def body(node: NativeNode) -> list[int]:
        loop = asyncio.get_running_loop()
        with Completions() as completions:
            loop.add_reader(completions.fd, completions.settle)

            def number(index: int, result: bytes) -> int:
                return Result.decode(result).number

            async def count() -> list[int]:
                seen = []
                for _ in range(10):
                    future: asyncio.Future[int] = loop.create_future()
                    node.propose(commands.increment("n"), timeout=30.0).attach(completions, future, number)
                    seen.append(await future)
                return seen

            found = await asyncio.gather(*(count() for _ in range(1000)))
            loop.remove_reader(completions.fd)
        assert all(each == sorted(each) for each in found)
        return [number for each in found for number in each]

    with alone() as node:
        node.wait_ready()
        assert sorted(asyncio.run(body(node))) == list(range(1, 10_001))


def test_a_cancelled_future_and_a_bad_converter_harm_nobody_else() -> None:
    async def body(node: NativeNode) -> None:
        loop = asyncio.get_running_loop()
        with Completions() as completions:
            futures = [loop.create_future() for _ in range(3)]
            futures[0].cancel()
            for future, convert in zip(futures, (None, lambda *_: 1 // 0, None), strict=True):
                node.propose(commands.put("a", "1")).attach(completions, future, convert)
            loop.add_reader(completions.fd, completions.settle)
            await asyncio.wait(futures, timeout=10.0)
            loop.remove_reader(completions.fd)
            assert isinstance(futures[1].exception(), ZeroDivisionError)
            assert futures[2].result()[0] > 0

    with alone() as node:
        node.wait_ready()
        asyncio.run(body(node))


def test_dropped_completions_leave_nothing() -> None:
    class Attached:
        pass

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    with alone() as node:
        node.wait_ready()
        gc.collect()  # what earlier tests left is not to be counted
        inside = descriptors()
        seen = []
        for _ in range(20):
            completions, thing = Completions(), Attached()
            seen.append(weakref.ref(thing))
            for _ in range(10):
                node.propose(commands.put("a", "1")).attach(completions, (completions, thing))
            del completions, thing
        gc.collect()
        assert all(each() is None for each in seen)
        node.barrier()
        until(lambda: descriptors() <= inside)


def test_closed_completions_take_nothing() -> None:
    with alone() as node:
        node.wait_ready()
        completions = Completions()
        pending = node.propose(commands.put("a", "1"))
        completions.close()
        assert completions.fd == -1
        assert completions.drain() == []
        with pytest.raises(InvalidArgument):
            pending.attach(completions, None)
        assert pending.wait()[0] > 0


def test_a_wake_up_that_is_held_back_comes_with_the_flush() -> None:
    cork = Cork()
    with alone() as node:
        node.wait_ready()

        def held_back() -> bool:
            """Whether the loop slept when the question came; it does not always."""
            cork.begin()
            try:
                pending.append(node.propose(commands.increment("n")))
            finally:
                told = cork.end()
            assert not cork.end(), "it is told once, for whoever flushes"
            cork.flush()
            return told

        pending: list[Pending] = []
        until(held_back)
        values = [Result.decode(each.wait(20.0)[1] or b"").number for each in pending]
        assert values == list(range(1, len(pending) + 1))
        assert not cork.end()


def test_a_cork_holds_back_in_its_own_thread_and_while_it_is_begun() -> None:
    cork = Cork()
    with alone() as node:
        node.wait_ready()
        cork.begin()
        with ThreadPoolExecutor(1) as other:
            assert other.submit(lambda: node.execute(commands.put("a", "1"))).result(20.0).revision
        assert not cork.end()
        for _ in range(100):
            node.propose(commands.put("a", "2")).wait(20.0)
        assert not cork.end(), "nothing is held back behind the end"
