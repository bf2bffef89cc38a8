"""Flows in an event loop of asyncio: woken once for all answers that are there, and no thread waits for a request.

Knows nothing of what is asked. One waker serves one client in one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, final

from quorate.client.flow import Flow, Pause, Step
from quorate.errors import ConfigError, ConnectionLost
from quorate.runtime._completions import Completions
from quorate.runtime._requests import Cork

__all__ = ["Waker"]

T = TypeVar("T")

MANY: Final = 16
"""With so many answers on their way, an engine is woken once for each pass of the event loop, and not by each question;
with fewer it would only wait longer for the first."""


@final
class Waker:
    """Carries flows out in the running event loop; all methods belong to its thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._completions: Completions | None = None
        self._cork = Cork()

    def _here(self) -> tuple[asyncio.AbstractEventLoop, Completions]:
        """The running loop, and what wakes it."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._completions is None:
            if self._loop is not None and not self._loop.is_closed():
                raise ConfigError("this client is used in another event loop; each loop needs a client of its own")
            if self._completions is not None:
                self._completions.close()
            self._completions = Completions()
            self._loop = loop
            loop.add_reader(self._completions.fd, self._completions.settle)
        return loop, self._completions

    def run(self, flow: Flow[T]) -> Coroutine[Any, Any, T]:
        """What the flow returns; cancelling the task raises CancelledError inside the flow."""
        return self._carry(flow, None)

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
        # In one coroutine, because each further one would be paid for by every request.
        loop, completions = self._here()
        cork = self._cork
        try:
            if step is None:
                if completions.waiting < MANY:
                    step = next(flow)
                else:
                    cork.begin()
                    try:
                        step = next(flow)
                    finally:
                        if cork.end():
                            loop.call_soon(cork.flush)
            while True:
                try:
                    if isinstance(step, Pause):
                        answer: Any = await asyncio.sleep(step.seconds, None)
                    elif step.done:
                        answer = step.wait(0.0)
                    else:
                        future = loop.create_future()
                        step.attach(completions, future)
                        answer = await future
                except BaseException as error:  # noqa: PERF203
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found

    def close(self) -> None:
        """Ends it; what is still awaited raises ConnectionLost. Does nothing the second time."""
        if self._completions is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._completions.fd)
            for future in self._completions.close():
                if not future.done():
                    future.set_exception(ConnectionLost("the client was closed before the answer came"))
            self._completions = None
            self._loop = None
