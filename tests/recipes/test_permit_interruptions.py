"""Ctrl-C and cancellations at random points of read-write locks, semaphores, elections and sticky locks: nothing is
left behind."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import quorate
import quorate.aio

INTERRUPTED = """
import json, random, signal, sys, threading, time
import quorate
from quorate.client.flow import run

what, wanted = sys.argv[1], int(sys.argv[2])
draw = random.Random(7)
armed = False

def interrupt(number, frame):
    if armed:
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
client, other = quorate.connect(), quorate.connect()

def maker(client):
    if what == "rwlock":
        lock = client.rwlock(what, timeout=30.0)
        return lambda: lock.write()
    if what == "semaphore":
        pool = client.semaphore(what, 2, timeout=30.0)
        return lambda: pool.acquire(2)
    if what == "election":
        chief = client.election(what, timeout=30.0)
        return lambda: chief.campaign(b"me")
    lock = client.sticky_lock(what, timeout=30.0)
    return lambda: lock

ours, theirs = maker(client), maker(other)
ended = threading.Event()

def contend():
    while not ended.is_set():
        with theirs():
            time.sleep(draw.random() * 0.001)
        time.sleep(draw.random() * 0.002)

rival = threading.Thread(target=contend)
rival.start()
counts = {"interrupted": 0, "whole": 0}
within = 0.002  # that it comes in the middle of something, however fast that is here
while counts["interrupted"] < wanted:
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, 0.00001 + draw.random() * within)
        with ours() as held:
            assert held.held
            while draw.random() < 0.9:
                pass
        armed = False
        counts["whole"] += 1
        within *= 0.95
    except KeyboardInterrupt:
        armed = False
        counts["interrupted"] += 1
        within *= 1.1
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
ended.set()
rival.join()
core = client._core
name = core.prefix + what.encode()
most = 1 if what == "sticky" else 0  # who had it last keeps it
deadline = time.monotonic() + 20
while True:
    found = run(core.backend.permit(name, 10, 20.0))
    if found.holders <= most and not found.waiters:
        break
    assert time.monotonic() < deadline, found
    time.sleep(0.005)
with quorate.connect() as third, maker(third)() as held:
    assert held.held
print(json.dumps(counts))
client.close()
other.close()
"""


@pytest.mark.parametrize("what", ["rwlock", "semaphore", "election", "sticky"])
def test_interruptions_leave_nothing(one_node: quorate.Node, what: str) -> None:
    url = f"quorate://{one_node.address}/interrupted/"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, what, "60"],
        env={**os.environ, "QUORATE_URL": url}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["interrupted"] == 60


@pytest.mark.parametrize("what", ["rwlock", "semaphore", "election", "sticky"])
def test_cancelled_tasks_leave_nothing(one_node: quorate.Node, what: str) -> None:
    draw = random.Random(5)
    ends = {"cancelled": 0, "whole": 0}
    inside = 0

    def maker(client: quorate.aio.Client) -> Callable[[], Any]:
        options: dict[str, Any] = {"timeout": 60.0}
        if what == "rwlock":
            return lambda: client.rwlock(what, **options).write()
        if what == "semaphore":
            return lambda: client.semaphore(what, 2, **options).acquire(2)
        if what == "election":
            return lambda: client.election(what, **options).campaign(b"me")
        lock = client.sticky_lock(what, **options)
        return lambda: lock

    async def work(make: Callable[[], Any]) -> None:
        nonlocal inside
        async with make() as held:
            inside += 1
            assert inside == 1, "two are inside"
            try:
                assert held.held
                await asyncio.sleep(draw.random() * 0.0005)
            finally:
                inside -= 1

    async def cut_short(make: Callable[[], Any]) -> None:
        task = asyncio.create_task(work(make))
        await asyncio.sleep(draw.random() * 0.01)
        task.cancel()
        try:
            await task
            ends["whole"] += 1
        except asyncio.CancelledError:
            ends["cancelled"] += 1

    async def main() -> None:
        async with quorate.aio.connect(f"quorate://{one_node.address}/cancelled/") as client:
            make = maker(client)
            for _ in range(10):
                await asyncio.gather(*(cut_short(make) for _ in range(15)))
            core = client._core
            most = 1 if what == "sticky" else 0  # who had it last keeps it
            for _ in range(10_000):
                found = await client._waker.run(core.backend.permit(core.prefix + what.encode(), 100, 20.0))
                if found is None or (found.holders <= most and not found.waiters):
                    break
                await asyncio.sleep(0.002)
            else:
                pytest.fail(f"left behind: {found}")
            other = quorate.aio.connect(f"quorate://{one_node.address}/cancelled/")
            async with other as third, maker(third)() as held:
                assert held.held

    asyncio.run(asyncio.wait_for(main(), 120))
    assert sum(ends.values()) == 150
    assert ends["cancelled"] > 0
