"""The two-call form, from several processes and threads: with none of the faults of a lock kept in a dictionary."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate.errors import ConfigError, InvalidArgument, LockLost, NotHappened, Rejected
from recipes.waiting import until

WORKER = """
import pathlib, quorate
lock, counter = quorate.DistributedLock(), pathlib.Path({counter!r})
for _ in range({rounds}):
    token = lock.acquire("counter", 60)
    found = int(counter.read_text())
    counter.write_text(str(found + 1))
    assert lock.held("counter") and token > 0
    lock.release("counter")
lock.close()
"""


@pytest.fixture
def url(one_node: quorate.Node, request: pytest.FixtureRequest) -> str:
    return f"quorate://{one_node.address}/{request.node.name}/"


@pytest.fixture
def lock(url: str) -> Iterator[quorate.DistributedLock]:
    with quorate.DistributedLock(url) as made:
        yield made


def test_it_is_acquired_and_released(lock: quorate.DistributedLock) -> None:
    token = lock.acquire("k")
    assert lock.held("k")
    assert not lock.held("other")
    lock.release("k")
    assert not lock.held("k")
    assert lock.acquire("k") > token
    lock.release("k")


def test_two_processes_exclude_each_other(url: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    code = WORKER.format(counter=str(counter), rounds=50)
    workers = [subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "QUORATE_URL": url}) for _ in range(2)]
    try:
        assert [each.wait(120) for each in workers] == [0, 0]
    finally:
        for each in workers:
            each.kill()
            each.wait()
    assert counter.read_text() == "100"


def test_no_race_between_looking_a_lock_up_and_making_it(lock: quorate.DistributedLock) -> None:
    # In a dictionary two threads that find no lock under a new key may each make one, and both hold it.
    inside: set[str] = set()
    met: list[str] = []
    together = threading.Barrier(8)

    def work() -> None:
        for number in range(12):
            together.wait(60)  # all come to the same new key at once
            key = f"new-{number}"
            lock.acquire(key, 60)
            if key in inside:
                met.append(key)
            inside.add(key)
            inside.discard(key)
            lock.release(key)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert not any(each.is_alive() for each in workers)
    assert met == []


def test_no_lock_is_deleted_under_a_waiter(lock: quorate.DistributedLock) -> None:
    # In a dictionary whoever releases may delete the lock for which another waits; a third then finds a new one.
    lock.acquire("k")
    order: list[str] = []
    first = threading.Thread(target=lambda: (lock.acquire("k", 60), order.append("waiter"), hold.wait(60)))
    hold = threading.Event()
    first.start()
    until(lambda: lock._client.lock("k").waiters())
    lock.release("k")
    gc.collect()
    until(lambda: order)
    with pytest.raises(NotHappened):
        lock.acquire("k", 0)
    hold.set()
    first.join(20)
    assert order == ["waiter"]


def test_no_release_by_one_who_does_not_hold(lock: quorate.DistributedLock, url: str) -> None:
    with pytest.raises(Rejected, match="not held by who releases it"):
        lock.release("k")
    token = lock.acquire("k")
    refused: list[Exception] = []

    def other(*arguments: Any) -> None:
        try:
            lock.release("k", *arguments)
        except Rejected as error:
            refused.append(error)

    for arguments in ((), (token + 1,)):
        thread = threading.Thread(target=other, args=arguments)
        thread.start()
        thread.join(20)
    assert len(refused) == 2
    with quorate.DistributedLock(url) as elsewhere, pytest.raises(Rejected, match="not held"):
        elsewhere.release("k", token)
    assert lock.held("k")
    thread = threading.Thread(target=other, args=(token,))  # who has the token may
    thread.start()
    thread.join(20)
    assert not lock.held("k")
    with pytest.raises(Rejected):
        lock.release("k")


def test_who_is_too_late_does_not_go_on(lock: quorate.DistributedLock, url: str) -> None:
    lock.acquire("k")
    with quorate.DistributedLock(url) as other:
        for timeout in (0, 0.02):
            with pytest.raises(NotHappened, match="holding since"):
                other.acquire("k", timeout)
        with pytest.raises(Rejected, match="held by this thread"):
            lock.acquire("k")
        lock.release("k")
        assert other.acquire("k", 20)


def test_a_lost_lock_is_told_at_its_release(lock: quorate.DistributedLock) -> None:
    token = lock.acquire("k")
    lock._client.lock("k").force_release("deploy")
    with pytest.raises(LockLost, match="deploy"):
        lock.release("k")
    assert lock.acquire("k") > token
    lock._client.lock("k").force_release("deploy")
    until(lambda: not lock.held("k"))
    assert lock.acquire("k", 20)  # a lost one is not in the way
    lock.release("k")


def test_without_a_cluster_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUORATE_URL", raising=False)
    for kind in (quorate.DistributedLock, quorate.aio.DistributedLock):
        with pytest.raises(ConfigError, match=r"quorate up.*quorate\.local\(\)"):
            kind()
        with pytest.raises(InvalidArgument):
            kind("quorate://127.0.0.1:7400", lease=0)


def test_the_same_in_asyncio(url: str) -> None:
    async def test() -> None:
        async with quorate.aio.DistributedLock(url) as lock:
            inside: list[int] = []

            async def work() -> None:
                for _ in range(5):
                    await lock.acquire("k", 60)
                    inside.append(1)
                    await asyncio.sleep(0)
                    assert len(inside) == 1
                    inside.pop()
                    await lock.release("k")

            await asyncio.gather(*(work() for _ in range(8)))
            token = await lock.acquire("k")
            assert lock.held("k")

            async def other(*arguments: Any) -> None:
                await lock.release("k", *arguments)

            with pytest.raises(Rejected, match="not held"):
                await asyncio.create_task(other())
            with pytest.raises(NotHappened):
                await asyncio.create_task(taken(lock))
            await asyncio.create_task(other(token))
            with pytest.raises(Rejected):
                await lock.release("k")

    async def taken(lock: Any) -> None:
        await lock.acquire("k", 0)

    asyncio.run(test())
