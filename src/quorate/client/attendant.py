"""The one Python thread of a client in which recipes go on by themselves: it withdraws waits that were cancelled, looks
whether a lock was taken away, and keeps timers.

Background flows of threads and of asyncio run here alike, because an event loop of the host may be busy, and a recall
or a withdrawal must not wait for it. Knows nothing of recipes.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import os
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, final

from quorate.client.flow import Flow
from quorate.client.waker import Waker
from quorate.errors import NodeFailed, NotHappened, Rejected

__all__ = ["Attendant", "Errand"]

T = TypeVar("T")

LEAVE_SECONDS: Final = 5.0
"""How long the end of a client waits for what runs here to come to its end."""
STALE_MOST: Final = 256
"""Timers that were cancelled and still stand in the row, before it is tidied."""
CALM_SECONDS: Final = 0.25
"""How often the timers are looked at while they come and go."""

_log = logging.getLogger("quorate.client")


@final
class Errand:
    """Something that the attendant does, or will do at its time. Both methods may be called from any thread."""

    __slots__ = ("_attendant", "_call", "_task", "cancelled", "done")

    def __init__(self, attendant: Attendant) -> None:
        self._attendant = attendant
        self._call: Callable[[], Any] | None = None  # at its time
        self._task: asyncio.Task[Any] | None = None
        self.cancelled = False
        self.done = False

    def cancel(self) -> None:
        """It is not done, or not done to its end: a flow gets CancelledError where it waits. Returns at once."""
        if self.cancelled or self.done:
            return
        self.cancelled = True
        if self._call is not None:
            self._call = None
            self.done = True
            self._attendant._dropped()
        else:
            self._attendant._soon(self._stop)

    def _stop(self) -> None:
        task, loop = self._task, self._attendant._loop
        if task is not None and loop is not None:
            # Behind its first step: a flow that has not begun could take nothing back.
            loop.call_soon(task.cancel)

    def __repr__(self) -> str:
        return f"<Errand {'cancelled' if self.cancelled else 'done' if self.done else 'under way'}>"


@final
class Attendant:
    """A daemon thread with an event loop of its own, started at first use. All methods may be called from any thread.

    A forked child has none: there every method raises NodeFailed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Final = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._waker: Final = Waker()  # of the attendant's loop
        self._timers: list[tuple[float, int, Errand]] = []  # a heap
        self._stale = 0  # of the timers, those that were cancelled
        self._numbers = itertools.count()
        self._wakes_at = math.inf  # when the loop looks at the timers next
        self._alarm: asyncio.TimerHandle | None = None  # the loop's own
        self._errands: set[Errand] = set()  # the flows under way; the loop's own
        self._closed = False

    @property
    def thread(self) -> threading.Thread | None:
        """Its thread, if it was needed."""
        return self._thread

    def start(self, flow: Flow[Any]) -> Errand:
        """Carries a flow out; an error that comes out of it is logged, for nobody takes it."""
        errand = Errand(self)
        self._soon(lambda: self._begin(errand, flow))
        return errand

    def at(self, seconds: float, call: Callable[[], Any]) -> Errand:
        """Calls at this time of ``time.monotonic()``. Cancelled in time, it wakes nobody."""
        self._mine()
        errand = Errand(self)
        errand._call = call
        with self._lock:
            if self._stale > STALE_MOST and 2 * self._stale > len(self._timers):
                self._timers = [each for each in self._timers if not each[2].cancelled]
                heapq.heapify(self._timers)
                self._stale = 0
            heapq.heappush(self._timers, (seconds, next(self._numbers), errand))
            sooner = seconds < self._wakes_at
            if sooner:
                self._wakes_at = seconds
        if sooner:
            self._soon(self._look)
        return errand

    def _dropped(self) -> None:
        if self._process != os.getpid():
            return  # the lock may have been taken at the time of the fork
        with self._lock:
            self._stale += 1

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Calls soon; what it raises is logged."""
        self._soon(lambda: self._call(function, *arguments))

    def close(self) -> None:
        """Ends it: flows under way are cancelled. Does nothing the second time, nor in a forked child."""
        if self._process != os.getpid():
            return
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        try:
            loop.call_soon_threadsafe(self._leave)
        except RuntimeError:
            return  # it has left already
        if thread is not threading.current_thread():
            thread.join(LEAVE_SECONDS)

    def _mine(self) -> None:
        """Before any lock is taken, which another thread may have held at the time of a fork."""
        if self._process != os.getpid():
            raise NodeFailed(
                "this client belongs to the parent process; connect again in the child",
                outcome=NotHappened("nothing was begun"),
            )

    def _soon(self, call: Callable[[], Any]) -> None:
        self._mine()
        with self._lock:
            if self._closed:
                raise Rejected("the client is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._work, name="quorate-attendant", daemon=True)
                self._thread.start()
            self._loop.call_soon_threadsafe(call)

    # In its thread

    def _work(self) -> None:
        loop = self._loop
        assert loop is not None, "who starts the thread has made the loop"
        try:
            loop.run_forever()
            loop.run_until_complete(asyncio.sleep(0))  # so that each has begun
            left = [errand._task for errand in self._errands if errand._task is not None]
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=LEAVE_SECONDS))
        finally:
            self._waker.close()
            loop.close()

    def _leave(self) -> None:
        assert self._loop is not None, "it runs in this loop"
        self._loop.stop()

    def _begin(self, errand: Errand, flow: Flow[Any]) -> None:
        assert self._loop is not None, "it runs in this loop"
        self._errands.add(errand)
        errand._task = self._loop.create_task(self._carry(errand, flow))

    async def _carry(self, errand: Errand, flow: Flow[Any]) -> None:
        try:
            await self._waker.run(flow)
        except asyncio.CancelledError:
            if not errand.cancelled and not self._closed:
                raise
        except NodeFailed:
            pass  # the client is closed, or its node has stopped: who holds something is told natively
        except Exception:
            _log.exception("a flow in the background failed")
        finally:
            errand.done = True
            self._errands.discard(errand)

    def _look(self) -> None:
        """Calls what is due, and sets the alarm for what comes next."""
        loop = self._loop
        assert loop is not None, "it runs in this loop"
        due: list[Errand] = []
        now = loop.time()  # that of time.monotonic()
        with self._lock:
            stale = self._stale
            while self._timers and (self._timers[0][0] <= now or self._timers[0][2].cancelled):
                errand = heapq.heappop(self._timers)[2]
                if errand.cancelled:
                    self._stale -= 1
                else:
                    due.append(errand)
            self._wakes_at = self._timers[0][0] if self._timers else math.inf
            if stale != self._stale:
                # Timers come and go, as of locks that are held for a moment: the next ones shall not wake it.
                self._wakes_at = min(self._wakes_at, now + CALM_SECONDS)
            following = self._wakes_at
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if math.isinf(following) else loop.call_at(following, self._look)
        for errand in due:
            call = errand._call
            if call is not None:
                errand._call = None
                errand.done = True
                self._call(call)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception:
            _log.exception("a call in the background failed")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not needed yet" if self._thread is None else "running"
        return f"<Attendant {state}, {len(self._errands)} flows, {len(self._timers)} timers>"
