"""What a client's process measures with any peer. Knows no peer, and nothing of how a table looks."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from contract import Lock, Turn

VALUE = bytes(100)
KEYS = 1000
HOLD_SECONDS = 0.001
"""A holder's work: time enough for the others to stand in the queue."""
FIRST_HOLD_SECONDS = 0.15
PATIENCE = 30.0


def key(number: int) -> str:
    return f"key-{number % KEYS:012d}"


def singly(work: Callable[[int], Any], seconds: float) -> Turn:
    """One after the other, from one thread."""
    times: list[float] = []
    begin = now = time.perf_counter()
    while now - begin < seconds:
        work(len(times))
        then, now = now, time.perf_counter()
        times.append(now - then)
    return Turn(times, now - begin)


async def locked(lock: Any, seconds: float) -> Turn:
    """A lock of asyncio, taken and given back one after the other."""
    await lock.acquire()
    await lock.release()
    times: list[float] = []
    begin = now = time.perf_counter()
    while now - begin < seconds:
        await lock.acquire()
        await lock.release()
        then, now = now, time.perf_counter()
        times.append(now - then)
    return Turn(times, now - begin)


async def flooded(put: Callable[[str, bytes], Awaitable[Any]], window: int, seconds: float) -> Turn:
    """So many tasks of asyncio, each of which awaits its put and begins the next."""
    times: list[float] = []
    # Connections are opened, and queues have their size, before anything counts.
    await asyncio.gather(*(put(key(number), VALUE) for number in range(window)))
    begin = time.perf_counter()
    end = begin + seconds

    async def work(number: int) -> None:
        mine = key(number)
        now = time.perf_counter()
        while True:
            await put(mine, VALUE)
            then, now = now, time.perf_counter()
            times.append(now - then)
            if now >= end:
                return

    await asyncio.gather(*(work(number) for number in range(window)))
    return Turn(times, time.perf_counter() - begin)


def flooded_by_callbacks(
    begin_put: Callable[[str, bytes, Callable[[], None]], Any], window: int, seconds: float
) -> Turn:
    """For libraries that call back, from whatever thread: each answer begins the next put."""
    times: list[float] = []
    over = threading.Semaphore(0)
    begin = time.perf_counter()
    end = begin + seconds

    def one(number: int) -> None:
        sent = time.perf_counter()

        def answered() -> None:
            now = time.perf_counter()
            times.append(now - sent)
            if now < end:
                one(number + window)
            else:
                over.release()

        begin_put(key(number), VALUE, answered)

    for number in range(window):
        one(number)
    for _ in range(window):
        if not over.acquire(timeout=PATIENCE):
            raise TimeoutError("puts were begun that nobody answered")
    return Turn(times, time.perf_counter() - begin)


class _Relay:
    """Who had the lock last. A releaser stands back until the lock was seen with another: a hand-over, not a retake."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begin = time.perf_counter()
        self.end = math.inf
        self.released = 0.0
        self.by = -1
        self.times: list[float] = []

    def taken(self, me: int) -> float:
        """How long to hold it now."""
        now = time.perf_counter()
        if self.by >= 0 and self.by != me and (now < self.end or not self.times):
            self.times.append(now - self.released)
        first = self.by < 0
        self.by = me
        return FIRST_HOLD_SECONDS if first else HOLD_SECONDS

    def let_go(self) -> None:
        """It will be released now; with the first time the clock begins to run."""
        self.released = time.perf_counter()
        if self.end == math.inf:
            self.end = self.released + self.seconds

    def turn(self) -> Turn:
        return Turn(self.times, time.perf_counter() - self.begin)


def contended(make: Callable[[], Lock], contenders: int, seconds: float) -> Turn:
    """From the call of release to the next holder's running code; every contender is a thread with its own lock."""
    relay = _Relay(seconds)
    changed = threading.Condition()
    errors: list[BaseException] = []

    def work(me: int) -> None:
        try:
            lock = make()
            while True:
                lock.acquire()
                with changed:
                    hold = relay.taken(me)
                    changed.notify_all()
                time.sleep(hold)
                relay.let_go()
                lock.release()
                with changed:
                    if not changed.wait_for(lambda: relay.by != me or time.perf_counter() > relay.end, PATIENCE):
                        raise TimeoutError("a lock was released and nobody got it")
                if time.perf_counter() > relay.end:
                    return
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(me,), daemon=True) for me in range(contenders)]
    for each in threads:
        each.start()
    for each in threads:
        # Whoever stands back when the time is over is told by nobody.
        while each.is_alive() and time.perf_counter() < relay.begin + seconds + 2 * PATIENCE:
            each.join(0.05)
            with changed:
                changed.notify_all()
    if errors:
        raise errors[0]
    return relay.turn()


async def contended_by_tasks(make: Callable[[], Any], contenders: int, seconds: float) -> Turn:
    """The same with tasks of asyncio; ``make`` gives an object whose acquire and release are awaited."""
    relay = _Relay(seconds)

    async def work(me: int) -> None:
        lock = make()
        while True:
            await lock.acquire()
            hold = relay.taken(me)
            await asyncio.sleep(hold)
            relay.let_go()
            await lock.release()
            while relay.by == me and time.perf_counter() < relay.end:
                await asyncio.sleep(0.002)  # one task at most is here
            if time.perf_counter() > relay.end:
                return

    await asyncio.wait_for(asyncio.gather(*(work(me) for me in range(contenders))), seconds + PATIENCE)
    return relay.turn()
