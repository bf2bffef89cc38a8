"""Locks in an event loop: the body of a block is cancelled when the lock is lost, and nothing else looks like that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate.errors import LockLost, Rejected


@pytest.fixture
def carried(one_node: quorate.Node, request: pytest.FixtureRequest) -> Callable[[Callable[[Any], Awaitable[Any]]], Any]:
    """Carries a test out with a client of its own."""

    def carry(test: Callable[[Any], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            async with await quorate.aio.connect(f"quorate://{one_node.address}") as client:
                return await asyncio.wait_for(test(client.namespace(f"{request.node.name}/")), 60)

        return asyncio.run(whole())

    return carry


def test_the_body_is_cancelled_and_the_loss_comes_out(carried: Any) -> None:
    async def test(client: Any) -> None:
        steps: list[str] = []

        async def on_lost(why: str) -> None:
            steps.append(why)

        async def block() -> None:
            async with client.lock("x", on_lost=on_lost) as lock:
                await client.lock("x").force_release("deploy")
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    steps.append("cancelled")
                    assert not lock.held
                    raise

        with pytest.raises(LockLost, match="deploy"):
            await block()
        assert "cancelled" in steps
        task = asyncio.current_task()
        assert task is not None
        if hasattr(task, "cancelling"):
            assert task.cancelling() == 0
        await asyncio.sleep(0)  # nothing is left over
        while len(steps) < 2:
            await asyncio.sleep(0.002)
        assert sorted(steps) == ["cancelled", "it was taken away by an operator: deploy"]

    carried(test)


def test_a_body_that_does_not_wait_learns_at_its_end(carried: Any) -> None:
    async def test(client: Any) -> None:
        lost = asyncio.Event()

        async def block() -> None:
            async with client.lock("x", on_lost=lambda why: lost.set()):
                await client.lock("x").force_release("deploy")
                try:
                    await lost.wait()
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass  # as bad code does

        with pytest.raises(LockLost, match="deploy"):
            await block()
        await asyncio.sleep(0)

    carried(test)


def test_a_cancellation_from_outside_stays_one(carried: Any) -> None:
    async def test(client: Any) -> None:
        inside = asyncio.Event()

        async def body() -> None:
            async with client.lock("x"):
                inside.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(body())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.lock("x").acquire(20)

    carried(test)


def test_a_cancellation_from_outside_wins_over_the_loss(carried: Any) -> None:
    async def test(client: Any) -> None:
        inside, cancelled = asyncio.Event(), asyncio.Event()

        async def body() -> None:
            async with client.lock("x"):
                inside.set()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    cancelled.set()
                    await asyncio.sleep(0.01)  # the loss may come here, or the cancellation
                    raise

        task = asyncio.create_task(body())
        await inside.wait()
        await client.lock("x").force_release("deploy")
        await cancelled.wait()
        task.cancel()
        with pytest.raises((asyncio.CancelledError, LockLost)) as caught:
            await task
        if hasattr(task, "cancelling"):
            assert caught.type is asyncio.CancelledError

    carried(test)


def test_a_timeout_around_the_block_is_told_from_a_loss(carried: Any) -> None:
    async def test(client: Any) -> None:
        async def body() -> None:
            async with client.lock("x"):
                await asyncio.sleep(60)

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(body(), 0.1)
        assert await client.lock("x").acquire(20)

    carried(test)


def test_the_tasks_of_a_loop_exclude_each_other_by_one_handle(carried: Any) -> None:
    async def test(client: Any) -> None:
        lock = client.lock("x", timeout=60.0)
        inside: list[int] = []
        tokens: list[int] = []

        async def work() -> None:
            for _ in range(10):
                async with lock:
                    inside.append(1)
                    assert len(inside) == 1
                    assert lock.held
                    tokens.append(lock.token)
                    await asyncio.sleep(0)
                    inside.pop()

        await asyncio.gather(*(work() for _ in range(8)))
        assert len(tokens) == 80
        assert tokens == sorted(set(tokens))

    carried(test)


def test_it_is_taken_again_by_its_task_alone(carried: Any) -> None:
    async def test(client: Any) -> None:
        lock = client.lock("x", reentrant=True)

        async def other() -> bool:
            found: bool = await lock.acquire(0)
            return found

        async with lock:
            token = lock.token
            async with lock:
                assert lock.token == token
            assert lock.held
            assert not await asyncio.create_task(other())
        assert not lock.held
        plain = client.lock("y")
        async with plain:
            with pytest.raises(Rejected, match="reentrant"):
                await plain.acquire()

    carried(test)


def test_the_loss_inside_of_an_inner_block_comes_out_of_the_outer_one(carried: Any) -> None:
    async def test(client: Any) -> None:
        lock = client.lock("x", reentrant=True)

        async def block() -> None:
            async with lock, lock:
                await client.lock("x").force_release("deploy")
                await asyncio.sleep(60)

        with pytest.raises(LockLost, match="deploy"):
            await block()

    carried(test)


def test_several_locks_cancel_the_body_once(carried: Any) -> None:
    async def test(client: Any) -> None:
        async def block() -> None:
            async with client.multi_lock(["a", "b"]):
                await client.lock("a").force_release("deploy")
                await asyncio.sleep(60)

        with pytest.raises(LockLost, match="deploy"):
            await block()
        async with client.multi_lock(["a", "b"], timeout=20.0) as again:
            assert again.held

    carried(test)
