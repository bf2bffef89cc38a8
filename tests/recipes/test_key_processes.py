"""Recipes made of keys in processes of their own, over three nodes; some of them are killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import quorate
from quorate.ring import Move, Ring
from quorate.testing import ProcessCluster
from runtime.clusters import PATIENT, until

WORKER = Path(__file__).with_name("key_worker.py")


class Worker:
    """One of those processes, and what it has said."""

    def __init__(self, url: str, role: str, name: str, argument: str) -> None:
        self.lines: list[str] = []
        command = [sys.executable, str(WORKER), url, role, name, argument]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def said(self, start: str) -> list[str]:
        return [line[len(start) :].strip() for line in self.lines if line.startswith(start)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self._reader.join(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProcessCluster]:
    with ProcessCluster(config=PATIENT) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: ProcessCluster) -> Iterator[quorate.Client]:
    with quorate.connect(cluster.url, timeout=60) as client:
        yield client


@pytest.fixture
def worker(cluster: ProcessCluster) -> Iterator[Callable[..., Worker]]:
    begun: list[Worker] = []

    def begin(role: str, name: str, argument: str) -> Worker:
        begun.append(Worker(cluster.url, role, name, argument))
        return begun[-1]

    yield begin
    for each in begun:
        each.kill()


def test_what_a_killed_consumer_had_goes_to_others_and_comes_first(
    client: quorate.Client, worker: Callable[..., Worker]
) -> None:
    jobs = client.queue("jobs")
    slow = worker("consume", "jobs", "600")
    jobs.put(b"held")
    assert until(lambda: slow.said("took") == ["held 1"], 60)
    jobs.put_many([b"%d" % number for number in range(40)])
    quick = [worker("consume", "jobs", "0.001") for _ in range(2)]
    assert until(lambda: jobs.size() == 1, 60)
    jobs.put_many([b"last", b"stop", b"stop"])
    assert until(lambda: all(each.process.poll() is not None for each in quick), 60)
    assert not any("held" in line for each in quick for line in each.lines)
    slow.kill()  # which a node on this host sees
    item = jobs.get(60)
    assert item is not None
    assert (item.value, item.deliveries) == (b"held", 2)
    item.ack()
    assert jobs.size() == 0
    done = [value for each in quick for value in each.said("did")]
    assert sorted(done) == sorted([*map(str, range(40)), "last"])
    for each in quick:
        # What one consumer got, it got in the order in which it was put.
        numbers = [int(value) for value in each.said("did") if value != "last"]
        assert numbers == sorted(numbers)


def test_a_killed_member_leaves_its_group_and_its_ring(client: quorate.Client, worker: Callable[..., Worker]) -> None:
    group = client.group("workers")
    with client.ring("workers") as live, group.watch() as watch:
        workers = [worker("join", "workers", f"w{number}") for number in range(3)]
        assert until(lambda: len(live) == 3, 60)
        assert {change.member.name for _ in range(3) if (change := watch.next(60))} == {"w0", "w1", "w2"}
        before = live.ring
        told: list[tuple[Ring, Ring, list[Move]]] = []
        live.on_change(lambda *what: told.append(what))
        with pytest.raises(quorate.Rejected, match=r"'w1' is a member of the group 'workers' already: .*key_worker"):
            group.join("w1")
        workers[1].kill()  # which a node on this host sees
        assert until(lambda: told, 60)
        old, new, moves = told[0]
        assert (old, new) == (before, before.remove("w1"))
        assert {move.source for move in moves} == {"w1"}
        assert [each.name for each in group.members()] == ["w0", "w2"]
        change = watch.next(60)
        assert change is not None
        assert (change.kind, change.member.name) == ("left", "w1")
        # The name is free.
        with group.join("w1", b"again"):
            assert until(lambda: live.ring == before, 60)
            assert live.ring.fingerprint == before.fingerprint


def test_a_killed_party_is_not_counted(client: quorate.Client, worker: Callable[..., Worker]) -> None:
    start = client.barrier("start", 3)
    first, second = worker("wait", "start", "3"), worker("wait", "start", "3")
    assert until(lambda: start.waiting() == 2, 60)
    first.kill()  # which a node on this host sees
    assert until(lambda: start.waiting() == 1, 60)
    third = worker("wait", "start", "3")
    assert until(lambda: start.waiting() == 2, 60)
    assert not second.said("passed")
    mine = start.wait(60)
    assert until(lambda: second.said("passed") and third.said("passed"), 60)
    assert sorted([mine, int(second.said("passed")[0]), int(third.said("passed")[0])]) == [0, 1, 2]
