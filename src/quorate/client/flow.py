"""What a caller does with a cluster, written once for threads and for asyncio: a generator that yields what it waits
for.

A :data:`Flow` sends questions itself, because sending never blocks, and yields each :class:`Answer` that it needs
before it goes on, or a :class:`Pause`. :func:`run` carries a flow out in a thread, :mod:`quorate.client.waker` in an
event loop. A flow sees what became of its question as the value of ``yield``, or as an exception raised there: also
KeyboardInterrupt and asyncio's cancellation, so that it can take back what it began.

Knows nothing of what is asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, final

from quorate.errors import InvalidArgument, QuorateError

__all__ = ["Answer", "Flow", "Future", "Pause", "Step", "done", "run", "seconds"]

T = TypeVar("T")


class Answer(Protocol):
    """A question on its way."""

    def wait(self, timeout: float | None = None) -> Any:
        """The answer, once it is there; raises what became of the question."""

    def attach(self, completions: Any, attached: object) -> None:
        """Has the answer told to a :class:`~quorate.runtime._completions.Completions`."""

    @property
    def done(self) -> bool:
        """Whether :meth:`wait` would return at once."""


@dataclass(frozen=True)
class Pause:
    """Yielded by a flow that goes on after so many seconds."""

    seconds: float


Step: TypeAlias = "Answer | Pause"
Flow: TypeAlias = Generator[Step, Any, T]


def run(flow: Flow[T]) -> T:
    """Carries a flow out in this thread. Ctrl-C interrupts every wait of it.

    >>> def twice() -> Flow[int]:
    ...     yield Pause(0.0)
    ...     return 2
    >>> run(twice())
    2
    """
    return _carry(flow, None)


def _carry(flow: Flow[T], step: Step | None) -> T:
    """Carries on behind a step that was taken; None: nothing was."""
    try:
        if step is None:
            step = next(flow)
        while True:
            try:
                answer = _taken(step)
            except BaseException as error:  # noqa: PERF203
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        found: T = end.value
        return found


def _taken(step: Step) -> Any:
    if isinstance(step, Pause):
        time.sleep(step.seconds)
        return None
    return step.wait()


def done(value: T) -> Flow[T]:
    """A flow that waits for nothing."""
    return value
    yield


def seconds(timeout: float) -> float:
    """A finite time limit in seconds, as callers give it. Raises InvalidArgument for what is none."""
    if not isinstance(timeout, (int, float)) or not 0 <= timeout < 1e9:
        raise InvalidArgument(f"a timeout is a finite number of seconds, at least 0, not {timeout!r}")
    return float(timeout)


@final
class Future(Generic[T]):
    """A flow that has begun: its first question is on its way. :meth:`result` carries it to its end.

    May be asked by several threads; whoever comes first waits for the others too.
    """

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._ended = False  # its value or error is there
        self._value: T
        self._error: BaseException | None = None
        try:
            self._step = next(flow)
        except StopIteration as end:
            self._value = end.value
            self._ended = True

    @property
    def done(self) -> bool:
        """Whether :meth:`result` would most likely return at once."""
        step = self._step
        return self._ended or (step is not None and not isinstance(step, Pause) and step.done)

    def result(self) -> T:
        """What it came to; raises what became of it. The time limit is the one that it was given when it was sent."""
        with self._lock:
            while not self._ended:
                self._go_on()
        if self._error is not None:
            raise self._error
        return self._value

    def _go_on(self) -> None:
        step = self._step
        assert step is not None, "what has not ended waits for something"
        try:
            try:
                # Ctrl-C comes out of here and not into the flow: what was sent goes on, and can be asked for again.
                answer = _taken(step)
            except QuorateError as error:
                self._step = self._flow.throw(error)
            else:
                self._step = self._flow.send(answer)
        except StopIteration as end:
            self._value = end.value
            self._ended = True
        except QuorateError as error:
            self._error = error
            self._ended = True

    def __repr__(self) -> str:
        return f"<Future {'done' if self.done else 'waiting'}>"
