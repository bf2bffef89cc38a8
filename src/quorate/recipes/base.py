"""What every recipe stands on: the place in which it was made, and the way in which a face carries flows out.

Knows nothing of any recipe.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, final

from quorate.client.backend import Backend
from quorate.client.flow import Flow, run, seconds
from quorate.client.waker import Waker
from quorate.errors import InvalidArgument

__all__ = ["Place", "TaskCarrier", "Teller", "ThreadCarrier", "callback_of", "lease_of", "number_of"]

T = TypeVar("T")

_log = logging.getLogger("quorate.recipes")


class Place(Protocol):
    """A client's core: where a recipe lives."""

    @property
    def backend(self) -> Backend:
        """The way to the cluster."""

    @property
    def prefix(self) -> bytes:
        """The namespace, in front of every name."""

    @property
    def timeout(self) -> float:
        """Seconds that a call waits unless it is told otherwise."""

    def seconds(self, timeout: float | None) -> float:
        """The time limit of a call: the one given, or the client's own."""


class Teller(Protocol):
    """The half of a carrier that the logic of a recipe needs."""

    def tell(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Calls a callback of the user back. Never raises, and never blocks for long."""


@final
class ThreadCarrier:
    """Carries flows out in the thread that asks; callbacks run in the thread that noticed."""

    def run(self, flow: Flow[T]) -> T:
        """What the flow returns. However the wait ends, the flow has seen its end when this returns."""
        try:
            return run(flow)
        except BaseException:
            # Ctrl-C between two steps: the flow stands at a wait still, and may have something to take back.
            flow.close()
            raise

    def tell(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Calls back here and now; what the callback raises is logged."""
        try:
            callback(*arguments)
        except Exception:
            _log.exception("a callback raised")


@final
class TaskCarrier:
    """Carries flows out in the event loop that uses it first; callbacks run there too, coroutine functions as tasks."""

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Future[Any]] = set()  # so that they are not collected while they run

    def run(self, flow: Flow[T]) -> Coroutine[Any, Any, T]:
        """What the flow returns; cancelling the task raises CancelledError inside the flow."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._waker.run(flow)

    def tell(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Has the loop call back; what the callback raises is logged. From any thread."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._call, callback, arguments)
        except RuntimeError:  # the loop is closed, and whoever wanted to know is gone
            _log.debug("nobody is told any more: the event loop is closed")

    def _call(self, callback: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            found = callback(*arguments)
        except Exception:
            _log.exception("a callback raised")
            return
        if inspect.isawaitable(found):
            task = asyncio.ensure_future(found)
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a callback raised", exc_info=task.exception())


def lease_of(lease: float, what: str = "lease") -> float:
    """A lease in seconds, as users give it. Raises InvalidArgument for what is none; the cluster has bounds of its own.

    >>> lease_of(10)
    10.0
    >>> lease_of(0)
    Traceback (most recent call last):
    quorate.errors.InvalidArgument: a lease is a number of seconds above 0, not 0
    """
    try:
        limit = seconds(lease)
    except InvalidArgument:
        limit = 0.0
    if not limit or isinstance(lease, bool):
        raise InvalidArgument(f"a {what} is a number of seconds above 0, not {lease!r}")
    return limit


def callback_of(callback: Callable[..., Any] | None, what: str) -> Callable[..., Any] | None:
    """What users want called back, or None. Raises InvalidArgument now, and not when it is too late.

    >>> callback_of("call me", "on_lost")
    Traceback (most recent call last):
    quorate.errors.InvalidArgument: on_lost is a function, or None, not 'call me'
    """
    if callback is not None and not callable(callback):
        raise InvalidArgument(f"{what} is a function, or None, not {callback!r}")
    return callback


def number_of(value: int, what: str, most: int = 1_000_000) -> int:
    """A count of at least 1, as users give it. Raises InvalidArgument.

    >>> number_of(0, "permits of a semaphore")
    Traceback (most recent call last):
    quorate.errors.InvalidArgument: permits of a semaphore: an integer from 1 to 1000000, not 0
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidArgument(f"{what}: an integer from 1 to {most}, not {value!r}")
    return value
