"""Flows: what they are given, what is thrown into them, and how they end, in threads and in asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from quorate.client.flow import Flow, Future, Pause, done, run, seconds
from quorate.client.waker import Waker
from quorate.errors import InvalidArgument, NoQuorum


class Said:
    """An answer that is there."""

    done = True

    def __init__(self, what: Any) -> None:
        self.what = what
        self.asked = 0

    def wait(self, timeout: float | None = None) -> Any:
        self.asked += 1
        if isinstance(self.what, BaseException):
            raise self.what
        return self.what

    def attach(self, completions: Any, attached: object) -> None:
        raise AssertionError("it is there")


def in_asyncio(flow: Flow[Any]) -> Any:
    async def carried() -> Any:
        waker = Waker()
        try:
            return await waker.run(flow)
        finally:
            waker.close()

    return asyncio.run(carried())


@pytest.fixture(params=[run, in_asyncio, lambda flow: Future(flow).result()], ids=["thread", "asyncio", "future"])
def carry(request: pytest.FixtureRequest) -> Callable[[Flow[Any]], Any]:
    found: Callable[[Flow[Any]], Any] = request.param
    return found


def test_answers_go_in_and_the_value_comes_out(carry: Callable[[Flow[Any]], Any]) -> None:
    def flow() -> Flow[list[int]]:
        first = yield Said(1)
        yield Pause(0.0)
        second = yield Said(2)
        return [first, second]

    assert carry(flow()) == [1, 2]
    assert carry(done(3)) == 3


def test_what_became_of_a_question_is_raised_in_the_flow(carry: Callable[[Flow[Any]], Any]) -> None:
    def flow() -> Flow[str]:
        try:
            yield Said(NoQuorum("none"))
        except NoQuorum:
            found: str = yield Said("asked again")
            return found
        return "not reached"

    def other() -> Flow[None]:
        yield Said(NoQuorum("none"))

    assert carry(flow()) == "asked again"
    with pytest.raises(NoQuorum):
        carry(other())


def test_an_interrupted_thread_can_take_back_what_it_began() -> None:
    withdrawn = []

    def flow() -> Flow[None]:
        try:
            yield Said(KeyboardInterrupt())
        except BaseException:
            withdrawn.append((yield Said("withdrawn")))
            raise

    with pytest.raises(KeyboardInterrupt):
        run(flow())
    assert withdrawn == ["withdrawn"]


def test_a_cancelled_task_can_take_back_what_it_began() -> None:
    withdrawn = []

    def flow() -> Flow[None]:
        try:
            yield Pause(60)
        except BaseException:
            withdrawn.append((yield Said("withdrawn")))
            raise

    async def cancelled() -> None:
        waker = Waker()
        task = asyncio.ensure_future(waker.run(flow()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        waker.close()

    asyncio.run(cancelled())
    assert withdrawn == ["withdrawn"]


def test_a_future_is_carried_out_once_and_tells_everybody() -> None:
    answer = Said(1)

    def flow() -> Flow[int]:
        found: int = yield answer
        return found

    future = Future(flow())
    assert answer.asked == 0
    assert future.done
    assert (future.result(), future.result(), answer.asked) == (1, 1, 1)


def test_an_interrupted_future_can_be_asked_again() -> None:
    answer = Said(KeyboardInterrupt())

    def flow() -> Flow[int]:
        found: int = yield answer
        return found

    future = Future(flow())
    with pytest.raises(KeyboardInterrupt):
        future.result()
    answer.what = 5
    assert future.result() == 5


@pytest.mark.parametrize("wrong", [-1, float("inf"), float("nan"), None, "1"])
def test_a_timeout_is_finite(wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        seconds(wrong)
