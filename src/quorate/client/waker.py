"""Flows in an event loop of asyncio.

Knows nothing of what is asked. One waker serves one client in one event loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any, TypeVar, final

from quorate.client.flow import Flow, Pause, Step

__all__ = ["Waker"]

T = TypeVar("T")


@final
class Waker:
    """Carries flows out in the running event loop."""

    def __init__(self) -> None:
        self._threads = concurrent.futures.ThreadPoolExecutor(8, "quorate-waker")

    async def run(self, flow: Flow[T]) -> T:
        """What the flow returns; cancelling the task raises CancelledError inside the flow."""
        return await self._carry(flow, None)

    def start(self, flow: Flow[T]) -> asyncio.Future[T]:
        """Sends the first question of a flow at once; the future has what the flow returns."""
        loop = asyncio.get_running_loop()
        try:
            step = next(flow)
        except StopIteration as end:
            future: asyncio.Future[T] = loop.create_future()
            future.set_result(end.value)
            return future
        return loop.create_task(self._carry(flow, step))

    async def _carry(self, flow: Flow[T], step: Step | None) -> T:
        try:
            if step is None:
                step = next(flow)
            while True:
                try:
                    answer = await self._taken(step)
                except BaseException as error:  # noqa: PERF203
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found

    async def _taken(self, step: Step) -> Any:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        if step.done:
            return step.wait(0.0)
        return await asyncio.get_running_loop().run_in_executor(self._threads, step.wait)

    def close(self) -> None:
        """Ends it; what is still awaited goes on in vain."""
        self._threads.shutdown(wait=False, cancel_futures=True)
