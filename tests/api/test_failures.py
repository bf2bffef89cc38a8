"""Clients of a real cluster whose nodes are killed, paused and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import quorate
import quorate.aio
from quorate import ConfigError, NoQuorum, SessionLost, op
from quorate.testing import ProcessCluster
from runtime.clusters import PATIENT, until


@pytest.fixture
def cluster() -> Iterator[ProcessCluster]:
    with ProcessCluster(config=PATIENT) as cluster:
        yield cluster


def test_a_killed_leader_costs_no_write_and_doubles_none(cluster: ProcessCluster) -> None:
    client = cluster.client()
    assert client.increment("n", timeout=60) == 1
    futures = []
    for number in range(2000):
        futures.append(client.submit(op.increment("n"), timeout=60))
        if number == 500:
            killed = cluster.leader()
            cluster.kill(killed)
    assert [each.result() for each in futures] == list(range(2, 2002))
    cluster.restart(killed)
    with client.watch("after", timeout=60) as watch:
        cluster.kill(cluster.leader(30))
        revision = client.put("after", b"v", timeout=60)
        event = watch.next(60)
        assert event is not None
        assert (event.value, event.revision) == (b"v", revision)
    pairs = [(f"k{number}", b"v" * 100) for number in range(5000)]
    assert len(set(client.put_many(pairs, timeout=60))) == 5000
    assert client.count(prefix="k", timeout=60) == 5000


def test_local_reads_through_a_change_of_nodes_do_not_go_back(cluster: ProcessCluster) -> None:
    client = cluster.client()
    for number in range(200):
        client.put("n", str(number).encode(), timeout=60)
        found = client.get("n", consistency="local", timeout=60)
        assert found is not None
        assert int(found.value) == number
        if number == 100:
            cluster.kill(cluster.leader(30))


def test_a_session_lives_through_an_election_and_not_without_a_majority(cluster: ProcessCluster) -> None:
    client = cluster.client()
    with client.session(ttl=6, timeout=60) as session:
        client.put("mine", b"v", session=session, timeout=60)
        killed = cluster.leader()
        cluster.kill(killed)
        for _ in range(20):
            client.increment("n", session=session, timeout=60)
        assert session.alive
        for name in cluster.running:
            cluster.pause(name)
        assert until(lambda: not session.alive, 60)  # its own clock says so; nobody else can
        for name in cluster.names:
            if name != killed:
                cluster.resume(name)
        assert until(lambda: client.get("mine", timeout=60) is None, 60)
        with pytest.raises(SessionLost):
            client.put("mine", b"v", session=session, timeout=60)
    assert client.put("other", b"v", timeout=60) > 0


def test_asyncio_through_a_killed_leader(cluster: ProcessCluster) -> None:
    async def body() -> None:
        async with quorate.aio.connect(cluster.url, timeout=60) as client:
            await client.wait_ready(60)
            first = [asyncio.ensure_future(client.increment("n")) for _ in range(500)]
            await asyncio.sleep(0)
            await asyncio.get_running_loop().run_in_executor(None, cluster.kill, cluster.leader())
            second = [asyncio.ensure_future(client.increment("n")) for _ in range(500)]
            assert sorted(await asyncio.gather(*first, *second)) == list(range(1, 1001))

    asyncio.run(body())


def test_nobody_there_and_no_majority(cluster: ProcessCluster) -> None:
    client = cluster.client()
    client.put("k", b"v", timeout=60)
    for name in cluster.names[1:]:
        cluster.kill(name)
    with pytest.raises(NoQuorum):
        client.wait_ready(1.0)
    cluster.kill(cluster.names[0])
    with pytest.raises(NoQuorum, match=r"127\.0\.0\.1"):
        client.wait_ready(1.0)
    for name in cluster.names:
        cluster.restart(name)
    found = client.get("k", timeout=60)
    assert found is not None
    assert found.value == b"v"


def test_an_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUORATE_URL", raising=False)
    with pytest.raises(ConfigError, match=r"quorate up.*quorate\.local\(\)"):
        quorate.connect()
    with ProcessCluster(1) as cluster:
        monkeypatch.setenv("QUORATE_URL", f"{cluster.url}/app/?timeout=60")
        with quorate.connect() as client, cluster.client() as whole:
            client.put("k", b"v")
            assert client._core.timeout == 60
            assert whole.get("app/k", timeout=60) is not None
