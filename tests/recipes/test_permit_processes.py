"""Read-write locks, semaphores, elections and sticky locks of several processes, over a cluster of three."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

import quorate
from quorate.errors import Rejected
from quorate.testing import ProcessCluster
from recipes import permit_worker
from recipes.waiting import Aside
from runtime.clusters import PATIENT

PATIENCE = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProcessCluster]:
    with ProcessCluster(config=PATIENT) as made:
        made.wait_ready(60)
        yield made


@contextmanager
def worker(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, permit_worker.__file__, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        said(process).close()


def said(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def test_what_a_killed_process_held_goes_to_those_who_wait(cluster: ProcessCluster) -> None:
    with quorate.connect(cluster.url, timeout=PATIENCE) as client, worker("hold", cluster.url, "killed") as holder:
        token = int(said(holder).readline())
        reader = client.rwlock("killed/rwlock").read()
        units = client.semaphore("killed/semaphore", 3)
        chief = client.election("killed/election")
        lock = client.sticky_lock("killed/sticky")
        leader = chief.leader()
        assert leader is not None
        assert leader.value == b"first"
        assert not reader.acquire(timeout=0)
        waiting = [
            Aside(lambda: reader.acquire(timeout=PATIENCE)),
            Aside(lambda: units.acquire(1, timeout=PATIENCE)),
            Aside(lambda: chief.campaign(b"second", timeout=PATIENCE)),
        ]
        holder.send_signal(signal.SIGKILL)
        granted, permit, term = [each.result() for each in waiting]
        assert granted is True
        assert lock.acquire(PATIENCE) is True
        assert min(reader.token, permit.token, term.token, lock.token) > token
        leader = chief.leader()
        assert leader is not None
        assert leader.value == b"second"


def test_two_processes_take_a_sticky_lock_in_turns(cluster: ProcessCluster, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.touch()
    turns = 12
    with (
        worker("contend", cluster.url, "turns", rows, turns) as one,
        worker("contend", cluster.url, "turns", rows, turns) as other,
    ):
        assert [each.wait(2 * PATIENCE) for each in (one, other)] == [0, 0]
    seen = [tuple(map(int, row.split())) for row in rows.read_text().splitlines()]
    tokens = [token for _, token in seen]
    assert tokens == sorted(tokens), "a token of before came after another one's"
    holders = dict.fromkeys(seen)  # in order, each grant once
    assert len({pid for pid, _ in holders}) == 2
    assert len({token for _, token in holders}) == len(holders), "two had the same token"
    changes = sum(
        1 for (before, _), (after, _) in zip(list(holders), list(holders)[1:], strict=False) if before != after
    )
    assert changes >= turns - 3, "whoever asked had it next"


def test_a_leader_that_is_stopped_beyond_its_lease_is_followed_and_learns_of_it(cluster: ProcessCluster) -> None:
    with quorate.connect(cluster.url, timeout=PATIENCE) as client, worker("lead", cluster.url, "stopped") as first:
        token = int(said(first).readline())
        seen = client.election("stopped").observe()
        assert next(seen).token == token
        os.kill(first.pid, signal.SIGSTOP)
        try:
            with client.election("stopped").campaign(b"second", timeout=PATIENCE) as term:
                assert term.token > token
                assert next(seen).value == b"second"
                client.put("stopped/done", b"second", if_fence=("stopped", term.token))
                os.kill(first.pid, signal.SIGCONT)
                assert said(first).readline() == "not held\n"
                assert said(first).readline() == "LockLost\n"
                with pytest.raises(Rejected, match="if_fence"):
                    client.put("stopped/done", b"first", if_fence=("stopped", token))
        finally:
            os.kill(first.pid, signal.SIGCONT)
        found = client.get("stopped/done")
        assert found is not None
        assert found.value == b"second"
