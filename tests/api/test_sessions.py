"""Sessions: what belongs to one goes with it, writes through it are its own, and its end is told."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

import quorate
import quorate.aio
from api.test_nodes import three
from quorate import EventKind, InvalidArgument, LimitExceeded, NotHappened, SessionLost, State, op
from runtime.clusters import until


def test_keys_go_with_their_session(client: Any) -> None:
    client.put("kept", b"v")
    with client.watch("", prefix=True) as watch:
        with client.session(ttl=30, label="a test") as session:
            assert session.id > 0
            assert session.ttl == 30
            assert session.alive
            assert 0 < session.remaining <= 30
            assert "alive" in repr(session)
            client.put("mine", b"v", session=session)
            client.increment("count", session=session)
            client.compare_and_set("swapped", b"v", 0, session=session)
            client.put_many({"many/1": b"", "many/2": b""}, session=session)
            done = client.transaction().then(op.put("owned", b"", owned=True), op.put("not owned", b""))
            done.commit(session=session)
            assert client.get("mine").session == session.id
            owners = {each.key: each.session for each in client.range()}
            assert owners.pop(b"kept") == owners.pop(b"not owned") == 0
            assert set(owners.values()) == {session.id}
            assert client.transaction().when(op.session("mine") == session.id).commit()
        assert [each.key for each in client.range()] == [b"kept", b"not owned"]
        seen = [watch.next(20) for _ in range(13)]
        assert [each.kind for each in seen[:7]] == [EventKind.PUT] * 7
        gone = {each.key for each in seen if each.kind is EventKind.EXPIRE}
        assert gone == {b"mine", b"count", b"swapped", b"many/1", b"many/2", b"owned"}
    assert not session.alive
    assert session.remaining == 0
    session.close()


def test_a_session_that_is_over_takes_no_writes(client: Any) -> None:
    session = client.session(ttl=30)
    client.put("mine", b"v", session=session)
    session.close()
    for write in (
        lambda: client.put("mine", b"v", session=session),
        lambda: client.delete("mine", session=session),
        lambda: client.transaction().then(op.put("k", b"")).commit(session=session),
        lambda: client.put_many({"k": b""}, session=session),
    ):
        with pytest.raises(SessionLost) as caught:
            write()
        assert isinstance(caught.value.outcome, NotHappened)
    assert client.count() == 0


def test_sessions_that_cannot_be(client: Any) -> None:
    for wrong in (0, -1, "1", float("inf")):
        with pytest.raises(InvalidArgument), client.session(ttl=wrong):
            pass
    with pytest.raises(InvalidArgument, match="label"), client.session(label="x" * 256):
        pass
    with pytest.raises(LimitExceeded, match=r"SESSION_TTL_MIN_MS.*longer lease or ttl"), client.session(ttl=0.1):
        pass


def test_a_client_that_is_closed_ends_its_sessions(one_node: quorate.Node) -> None:
    with one_node.client() as watcher:
        for _ in range(3):
            client = one_node.client()
            session = client.session(ttl=3600)
            client.put("of a session", b"v", session=session)
            assert watcher.get("of a session") is not None
            client.close()
            assert watcher.get("of a session") is None


def test_a_session_that_is_forgotten_ends(one_node: quorate.Node) -> None:
    with one_node.client() as client:
        session = client.session(ttl=3600)
        client.put("forgotten", b"v", session=session)
        del session
        gc.collect()
        assert until(lambda: client.get("forgotten") is None, 20)


def test_writes_happen_once_and_in_order_while_leaders_change() -> None:
    with three() as nodes:
        for node in nodes.values():
            node.start()
        for node in nodes.values():
            node.wait_ready(30)
        client = nodes["a"].client()
        futures = []
        for number in range(600):
            futures.append(client.submit(op.increment("n"), timeout=60))
            if number in (100, 300):
                # Whoever leads, but the client's own node.
                leader = client.status()["leader"]
                if leader not in (None, "a"):
                    nodes[leader].stop()
                    break
        assert [each.result() for each in futures] == list(range(1, len(futures) + 1))
        for _ in range(100):
            client.increment("n", timeout=60)
        found = client.get("n", timeout=60)
        assert found is not None
        assert int(found.value) == len(futures) + 100


def test_the_state_is_told() -> None:
    with three() as nodes:
        states: list[State] = []

        def told(state: State) -> None:
            states.append(state)
            raise RuntimeError("a callback that raises harms nobody")

        def wait_for(state: State) -> None:
            assert until(lambda: bool(states) and states[-1] is state, 30)

        node = nodes["a"].start()
        client = node.client()
        client.on_state(told)
        until_then: list[State] = []
        end = client.on_state(until_then.append)
        nodes["b"].start()
        wait_for(State.CONNECTED)
        assert until(lambda: bool(until_then) and until_then[-1] is State.CONNECTED, 30)
        end()
        end()
        nodes["b"].stop()
        wait_for(State.SUSPENDED)
        nodes["c"].start()
        wait_for(State.CONNECTED)
        node.stop()
        wait_for(State.LOST)
        assert State.LOST not in until_then


def test_the_state_is_told_in_the_event_loop() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        async with quorate.aio.Node("a", durability="memory") as node:
            told: asyncio.Future[State] = loop.create_future()
            client = node.client()
            client.on_state(lambda state: None if told.done() else told.set_result(state))
            await node.stop()
            assert await asyncio.wait_for(told, 30) in (State.SUSPENDED, State.LOST, State.CONNECTED)

    asyncio.run(body())
