"""A thousand waits and holds that are cut short at random points leave nothing behind: in threads by Ctrl-C, in asyncio
by cancellation. Each moment of a lock's life is hit, also those between two lines of its own code."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from typing import Any

import pytest

import quorate
import quorate.aio
from recipes.waiting import until

INTERRUPTED = """
import json, random, signal, sys, threading, time
import quorate

draw = random.Random(7)
armed = False

def interrupt(number, frame):
    if armed:
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
client = quorate.connect()
lock = client.lock("x", timeout=30.0)
other = quorate.connect()
ended = threading.Event()

def contend():
    theirs = other.lock("x", timeout=30.0)
    while not ended.is_set():
        with theirs:
            time.sleep(draw.random() * 0.001)

rival = threading.Thread(target=contend)
rival.start()
counts = {"interrupted": 0, "whole": 0}
for _ in range(int(sys.argv[1])):
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, 0.0001 + draw.random() * 0.002)
        with lock:
            assert lock.held
            while draw.random() < 0.9:
                pass
        armed = False
        counts["whole"] += 1
    except KeyboardInterrupt:
        armed = False
        counts["interrupted"] += 1
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
ended.set()
rival.join()
deadline = time.monotonic() + 20
while lock.holders() or lock.waiters():
    assert time.monotonic() < deadline, (lock.holders(), lock.waiters())
counts["held"] = lock.held
print(json.dumps(counts))
client.close()
other.close()
"""


def test_interrupted_threads_leave_nothing(one_node: quorate.Node) -> None:
    url = f"quorate://{one_node.address}/interrupted/"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "500"], env={**os.environ, "QUORATE_URL": url}, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["interrupted"] + counts["whole"] == 500
    assert counts["interrupted"] > 50
    assert not counts["held"]


@pytest.mark.parametrize("way", ["embedded", "remote"])
def test_cancelled_tasks_leave_nothing(one_node: quorate.Node, way: str) -> None:
    draw = random.Random(11)
    ends = {"cancelled": 0, "whole": 0}

    async def work(client: Any) -> None:
        async with client.lock("x", timeout=60.0) as lock:
            assert lock.held
            await asyncio.sleep(draw.random() * 0.0005)

    async def cut_short(client: Any) -> None:
        task = asyncio.create_task(work(client))
        await asyncio.sleep(draw.random() * 0.02)
        task.cancel()
        try:
            await task
            ends["whole"] += 1
        except asyncio.CancelledError:
            ends["cancelled"] += 1

    async def test() -> None:
        client: Any
        if way == "embedded":
            client = quorate.aio.Client(one_node.client()._core)
        else:
            client = await quorate.aio.connect(f"quorate://{one_node.address}")
        async with client:
            client = client.namespace(f"cancelled-{way}/")
            for _ in range(25):
                await asyncio.gather(*(cut_short(client) for _ in range(20)))
            lock = client.lock("x", timeout=30.0)
            while await lock.holders() or await lock.waiters():
                await asyncio.sleep(0.01)
            async with lock:
                assert lock.held

    asyncio.run(asyncio.wait_for(test(), 120))
    assert sum(ends.values()) == 500
    assert ends["cancelled"] > 50


def test_a_block_that_is_interrupted_as_it_ends_gives_up(threads: quorate.Client) -> None:
    lock = threads.lock("x")
    lock.__enter__()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    flows = lock._flows
    lock._flows = Interrupted(flows, interrupted)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        lock.__exit__(None, None, None)
    lock._flows = flows
    assert not lock.held
    until(lambda: not lock.holders())


class Interrupted:
    """The flows of a lock, with Ctrl-C in the first line that leaves."""

    def __init__(self, flows: Any, leave: Any) -> None:
        self._flows = flows
        self.leave = leave

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flows, name)
