"""Locks of several processes over three real nodes: holders that are stopped and killed, leaders that change, a
majority that is gone, and the order of the queue as the cluster saw it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import quorate
from quorate.client.flow import run
from quorate.errors import LockLost, NoQuorum, QuorateError, Rejected
from quorate.store.views import EventKind
from quorate.testing import ProcessCluster
from recipes import lock_worker
from recipes.waiting import until
from runtime.clusters import PATIENT

PATIENCE = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProcessCluster]:
    with ProcessCluster(config=PATIENT) as made:
        made.wait_ready(60)
        yield made


@pytest.fixture
def client(cluster: ProcessCluster) -> Iterator[quorate.Client]:
    with quorate.connect(cluster.url, timeout=PATIENCE) as made:
        yield made


@contextmanager
def holder(face: str, url: str, name: str, lease: float) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, lock_worker.__file__, face, url, name, str(lease)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("face", ["threads", "asyncio"])
def test_a_holder_that_was_stopped_beyond_its_lease(cluster: ProcessCluster, client: quorate.Client, face: str) -> None:
    name = f"stopped-{face}"
    with holder(face, cluster.url, name, 1.5) as process:
        token = int(line(process))
        process.send_signal(signal.SIGSTOP)
        lock = client.lock(name)
        assert lock.acquire()  # when the cluster has given up the one that is stopped
        assert lock.token > token
        client.put("guarded", b"fresh", if_fence=(name, lock.token))
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.write("go on\n")
        process.stdin.flush()
        found: dict[str, Any] = json.loads(line(process))
        assert found["held"] is False
        assert found["out"] == "LockLost"
        assert found["write"] == "Rejected"  # by its token, which is a stale one
        assert face == "threads" or found["cancelled"]
        assert lock.held
        row = client.get("guarded")
        assert row is not None
        assert row.value == b"fresh"
        lock.release()


def test_a_holder_that_is_killed_hands_over_at_once(cluster: ProcessCluster, client: quorate.Client) -> None:
    with holder("threads", cluster.url, "killed", 600.0) as process:
        token = int(line(process))
        lock = client.lock("killed")
        assert not lock.acquire(0)
        process.send_signal(signal.SIGKILL)
        assert lock.acquire(PATIENCE)  # and not at the end of the lease, in ten minutes
        assert lock.token > token
        lock.release()


def test_it_is_held_over_a_change_of_leader(cluster: ProcessCluster, client: quorate.Client) -> None:
    told: list[str] = []
    with client.lock("transferred", lease=20.0, on_lost=told.append) as lock:
        for _ in range(3):
            client.transfer_leadership(timeout=PATIENCE)
            assert client.increment("counted") > 0
            assert lock.held
            assert [each.token for each in lock.holders()] == [lock.token]
    assert told == []
    row = client.get("counted")
    assert row is not None
    assert row.value == b"3"


def test_the_queue_is_served_in_order(cluster: ProcessCluster, client: quorate.Client) -> None:
    begin = run(client._core.backend.barrier(PATIENCE))
    clients = [quorate.connect(cluster.url, timeout=PATIENCE) for _ in range(4)]

    def work(mine: quorate.Client) -> None:
        for _ in range(25):
            with mine.lock("contended"):
                pass

    workers = [threading.Thread(target=work, args=(each,)) for each in clients]
    for each in workers:
        each.start()
    for each in workers:
        each.join(PATIENCE)
    for each in clients:
        each.close()
    seen, after = [], begin
    while len([event for event in seen if event.kind is EventKind.RELEASE]) < 100:
        found = run(client._core.backend.events(b"contended", b"contended\0", after, True, PATIENCE))
        assert not found.compacted
        seen += found.events
        after = found.complete
    queue: list[tuple[int, int]] = []
    waited = 0
    tokens: list[int] = []
    for event in seen:
        who = (event.session, event.acquisition)
        if event.kind is EventKind.WAIT:
            queue.append(who)
        elif event.kind is EventKind.GRANT:
            tokens.append(event.token)
            if who in queue:
                assert queue[0] == who, "somebody was overtaken"
                queue.pop(0)
                waited += 1
            else:
                assert not queue, "somebody came in front of those who wait"
    assert len(tokens) == 100
    assert tokens == sorted(set(tokens))
    assert waited > 0


def test_without_a_majority_nothing_is_granted_and_a_block_ends_ahead_of_the_lease() -> None:
    doubts: list[float] = []
    told: list[str] = []
    with ProcessCluster(config=PATIENT) as cluster, quorate.connect(cluster.url, timeout=PATIENCE) as client:
        cluster.wait_ready(60)
        client.put("k", b"v")
        lock = client.lock("x", lease=3.0, on_suspect=lambda: doubts.append(lock.remaining), on_lost=told.append)
        lock.acquire()
        spare, *others = sorted(cluster.names, key=lambda name: name == cluster.leader())
        for name in others:
            cluster.kill(name)
        until(lambda: told, PATIENCE)
        assert not lock.held
        assert doubts
        with pytest.raises(LockLost):
            lock.release(0.1)
        with pytest.raises(QuorateError) as refused:
            client.lock("y").acquire(0.5)
        assert isinstance(refused.value, (NoQuorum, quorate.RequestTimeout, quorate.NotHappened))
        row = client.get("k", consistency="local", timeout=10)
        assert row is not None
        assert row.value == b"v"
        assert not isinstance(refused.value, Rejected)
        assert spare in cluster.running
