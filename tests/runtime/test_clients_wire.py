"""What a client may say to a node over its connection, what it is answered, and what it cannot do to the node."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quorate.runtime import questions
from quorate.runtime.node import NativeNode, cluster_of
from quorate.runtime.questions import Kind
from quorate.store import commands
from quorate.store.views import Result
from runtime.client_wire import (
    DONE,
    KIND_ASK,
    KIND_CLIENT,
    MALFORMED,
    OVERLOADED,
    STOPPED_BEFORE,
    Gone,
    News,
    WireClient,
    ask_frame,
    client_hello,
    frame,
)
from runtime.clusters import Cluster, until

SOON = 20.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        made.leader()
        yield made


@pytest.fixture
def leader(cluster: Cluster) -> NativeNode:
    return cluster.leader()


@pytest.fixture
def follower(cluster: Cluster) -> NativeNode:
    leading = cluster.leader()
    return next(node for node in cluster.nodes.values() if node is not leading)


@pytest.fixture
def alone() -> Iterator[NativeNode]:
    """A cluster of one that takes three clients."""
    with Cluster(1, max_clients=3) as made:
        yield made.leader()


def count(node: NativeNode, what: str) -> int:
    return int(node.status()["clients"][what])


def parked(node: NativeNode) -> int:
    return int(node.status()["queues"]["parked"])


def test_a_client_is_welcomed_and_told_who_leads(cluster: Cluster, leader: NativeNode) -> None:
    right = cluster_of(leader.first_members)
    for node in cluster.nodes.values():
        for hello in (client_hello(), client_hello(right), client_hello(label=b""), client_hello(label=b"x" * 255)):
            with WireClient(node, hello=hello) as client:
                found = client.welcome()
                assert (found.cluster, found.node, found.leader) == (right, node.id, leader.id)
                assert found.members.keys() == leader.first_members.keys()
                assert all(flags == 1 for _, _, flags in found.members.values())
    until(lambda: all(count(node, "connected") == 0 for node in cluster.nodes.values()))


def test_every_kind_of_question_on_every_node(cluster: Cluster) -> None:
    for number, node in enumerate(cluster.nodes.values()):
        key = f"kinds/{number}"
        with WireClient(node) as client:
            done = client.answer(client.ask(Kind.PROPOSE, commands.put(key, "v")))
            assert done.outcome == DONE
            revision = Result.decode(done.result).revision
            assert done.index == revision
            assert client.answer(client.ask(Kind.READ)).index >= revision
            found = client.answer(client.ask(Kind.QUERY, questions.key_question(key.encode())))
            row = questions.decode_key(found.result)[1]
            assert row is not None
            assert row.mod_revision == revision
            body = questions.watch_question(key.encode(), key.encode() + b"\0", after=0)
            events = questions.decode_watch(client.answer(client.ask(Kind.WATCH, body)).result).events
            assert [event.revision for event in events] == [revision]
            waited = client.answer(client.ask(Kind.AWAIT, questions.await_question(1, 1)))
            assert waited.outcome == DONE
            status = questions.decode_status(client.answer(client.ask(Kind.STATUS)).result)
            assert status["name"] == node.name
            assert status["clients"]["connected"] >= 1


def test_many_questions_in_one_piece_are_one_step_and_answered_in_one_piece(leader: NativeNode) -> None:
    with WireClient(leader) as client:
        client.welcome()
        before = leader.status()["steps"]
        client.send(b"".join(ask_frame(id, Kind.PROPOSE, commands.increment("count")) for id in range(1, 1001)))
        found = [client.answer(id) for id in range(1, 1001)]
    assert [Result.decode(each.result).number for each in found] == list(range(1, 1001))
    assert [each.index for each in found] == list(range(found[0].index, found[0].index + 1000))
    assert leader.status()["steps"] - before < 700


def test_a_question_in_single_bytes(leader: NativeNode) -> None:
    said = client_hello() + ask_frame(7, Kind.PROPOSE, commands.put("bytes", "v"))
    with WireClient(leader, hello=b"") as client:
        for each in said:
            client.send(bytes([each]))
        assert isinstance(client.receive(), News)
        assert client.answer(7).outcome == DONE


def test_large_questions_and_answers(leader: NativeNode) -> None:
    value = os.urandom(1 << 20)
    with WireClient(leader) as client:
        ids = [client.ask(Kind.PROPOSE, commands.put(f"large/{i}", value), patience=60) for i in range(8)]
        assert all(client.answer(id).outcome == DONE for id in ids)
        body = questions.range_question(b"large/", b"large0")
        _, more, rows = questions.decode_range(client.answer(client.ask(Kind.QUERY, body)).result)
        assert more  # the rest is asked for from there
        assert [row.value == value for row in rows] == [True] * 3


def test_bodies_that_are_none_are_answered_and_the_connection_goes_on(leader: NativeNode) -> None:
    with WireClient(leader) as client:
        for kind, body in [
            (Kind.PROPOSE, b""),
            (Kind.PROPOSE, b"no command"),
            (Kind.QUERY, b"?"),
            (0, b""),
            (200, b"x"),
        ]:
            assert client.answer(client.ask(kind, body)).outcome == MALFORMED
        assert client.answer(client.ask(Kind.READ)).outcome == DONE


HELLOS = {
    "another cluster": (client_hello(b"someone else's.."), "wrong_cluster", 1),
    "a newer version": (client_hello(version=2), "newer_version", 2),
    "no version": (client_hello(version=0), "malformed", 16),
    "nothing": (frame(KIND_CLIENT, b""), "malformed", 16),
    "half a hello": (frame(KIND_CLIENT, b"\x01" + bytes(30)), "malformed", 16),
    "too long a hello": (frame(KIND_CLIENT, b"\x01" + bytes(45) + b"ab"), "malformed", 16),
}


@pytest.mark.parametrize(("said", "counter", "reason"), HELLOS.values(), ids=HELLOS)
def test_a_hello_that_is_refused(leader: NativeNode, said: bytes, counter: str, reason: int) -> None:
    before = count(leader, counter)
    with WireClient(leader, hello=said) as client:
        found = client.over()
        assert found is not None
        assert found.reason == reason
        assert found.text
    until(lambda: count(leader, counter) == before + 1)


NONSENSE = {
    "no frame": (b"not a frame at all", "malformed"),
    "a wrong checksum": (frame(KIND_ASK, bytes(20), crc=1), "malformed"),
    "a newer frame": (frame(KIND_ASK, bytes(20), version=2), "malformed"),
    "a huge claim": (frame(KIND_ASK, b"", length=0xFFFFFFFF), "too_large"),
    "a claim over the bound": (frame(KIND_ASK, b"", length=(16 << 20) + 65), "too_large"),
    "a question without a head": (frame(KIND_ASK, bytes(12)), "malformed"),
    "a message of a member": (frame(2, bytes(50)), "malformed"),
    "a second hello": (client_hello(), "malformed"),
    "an answer": (frame(6, bytes(50)), "malformed"),
    "an unknown kind": (frame(99, b""), "malformed"),
}


@pytest.mark.parametrize(("said", "counter"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_ends_the_connection_and_nothing_else(leader: NativeNode, said: bytes, counter: str) -> None:
    before = count(leader, counter)
    with WireClient(leader) as other, WireClient(leader) as client:
        other.welcome()
        client.welcome()
        client.send(said)
        client.over()
        until(lambda: count(leader, counter) == before + 1)
        assert other.answer(other.ask(Kind.PROPOSE, commands.put("k", "v"))).outcome == DONE


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=300).map(lambda raw: frame(KIND_ASK, raw)),
            st.tuples(st.integers(0, 12), st.binary(max_size=80)).map(lambda made: ask_frame(1, *made, patience=0.01)),
            st.binary(min_size=1, max_size=60),
        ),
        max_size=12,
    )
)
def test_anything_behind_a_hello(cluster: Cluster, said: list[bytes]) -> None:
    node = cluster.nodes["a"]
    with WireClient(node) as client:
        client.welcome()
        try:
            client.send(b"".join(said))
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        client.over()
    assert node.running


def test_one_client_too_many_is_told_to_go_elsewhere(alone: NativeNode) -> None:
    clients = [WireClient(alone) for _ in range(3)]
    try:
        for client in clients:
            client.welcome()
        with WireClient(alone) as more:
            found = more.over()
            assert found is not None
            assert found.reason == 3
        until(lambda: count(alone, "turned_away") == 1)
        clients.pop().socket.close()
        until(lambda: count(alone, "connected") == 2)
        with WireClient(alone) as again:
            again.welcome()
        for client in clients:
            assert client.answer(client.ask(Kind.READ)).outcome == DONE
    finally:
        for client in clients:
            client.socket.close()


def test_what_a_closed_connection_asked_is_let_go_of(leader: NativeNode) -> None:
    body = questions.watch_question(b"nobody/", b"nobody0", after=1 << 60)
    with WireClient(leader) as client:
        client.send(b"".join(ask_frame(id, Kind.WATCH, body, patience=3000) for id in range(1, 2001)))
        until(lambda: parked(leader) == 2000)
    until(lambda: parked(leader) == 0)
    until(lambda: count(leader, "connected") == 0)


def test_a_client_with_too_many_questions_waits_until_some_are_answered(leader: NativeNode) -> None:
    body = questions.watch_question(b"stall/", b"stall0", after=leader.barrier())
    before = count(leader, "stalled")
    with WireClient(leader) as client, WireClient(leader) as other:
        for start in range(1, 10_001, 500):
            client.send(b"".join(ask_frame(id, Kind.WATCH, body) for id in range(start, start + 500)))
        until(lambda: count(leader, "stalled") > before)
        until(lambda: parked(leader) == 8192)
        other.answer(other.ask(Kind.PROPOSE, commands.put("stall/x", "now")))
        for id in range(1, 10_001):
            assert len(questions.decode_watch(client.answer(id).result).events) == 1


def test_a_client_that_reads_late_gets_everything(leader: NativeNode) -> None:
    leader.execute(commands.put("late", os.urandom(20_000)))
    before = count(leader, "stalled")
    with WireClient(leader, small_window=True) as client:
        body = questions.key_question(b"late", local=True)
        sender = threading.Thread(target=lambda: [client.ask(Kind.QUERY, body) for _ in range(1500)])
        sender.start()
        until(lambda: count(leader, "stalled") > before)
        for id in range(1, 1501):
            assert len(client.answer(id).result) > 20_000
        sender.join(SOON)


def test_a_client_that_does_not_read_is_closed(leader: NativeNode) -> None:
    leader.execute(commands.put("stuck", os.urandom(1 << 20)))
    before = count(leader, "stuck")
    with WireClient(leader, small_window=True) as client, WireClient(leader) as other:
        body = questions.key_question(b"stuck", local=True)
        client.send(b"".join(ask_frame(id, Kind.QUERY, body) for id in range(1, 41)))
        while count(leader, "stuck") == before:
            # Meanwhile it costs the others nothing.
            assert other.answer(other.ask(Kind.PROPOSE, commands.put("k", "v"))).outcome == DONE
        until(lambda: count(leader, "connected") == 1)
    assert leader.status()["running"]


def test_a_client_whose_answers_are_more_than_any_queue_is_closed(leader: NativeNode) -> None:
    leader.execute(commands.put("flood", os.urandom(1 << 20)))
    before = count(leader, "stuck")
    body = questions.watch_question(b"flood", b"flood\0", after=leader.barrier())
    with WireClient(leader, small_window=True) as client:
        client.send(b"".join(ask_frame(id, Kind.WATCH, body) for id in range(1, 201)))
        until(lambda: parked(leader) == 200)
        # One event answers all of them at once: 200 MiB for one who reads nothing.
        leader.execute(commands.put("flood", os.urandom(1 << 20)))
        until(lambda: count(leader, "stuck") == before + 1)
    until(lambda: count(leader, "connected") == 0)


def test_questions_that_pile_up_do_not_keep_a_node_from_answering() -> None:
    with Cluster(3) as made:
        leading = made.leader()
        for node in made.nodes.values():
            if node is not leading:
                node.stop()
        # Without a majority nothing is committed, and more is asked than a node takes.
        clients = [WireClient(leading) for _ in range(10)]
        try:
            for client in clients:
                client.send(b"".join(ask_frame(id, Kind.PROPOSE, commands.put("k", "v")) for id in range(1, 8001)))
            until(lambda: count(leading, "asks") == 80_000)
            with WireClient(leading) as other:
                status = questions.decode_status(other.answer(other.ask(Kind.STATUS)).result)
            assert status["queues"]["pending"] < 66_000
        finally:
            for client in clients:
                client.socket.close()
        until(lambda: count(leading, "connected") == 0)


def test_news_of_a_new_leader() -> None:
    with Cluster() as made:
        leading = made.leader()
        others = [node for node in made.nodes.values() if node is not leading]
        clients = [WireClient(node) for node in others]
        try:
            for client in clients:
                assert client.welcome().leader == leading.id
            leading.stop()
            for client in clients:
                while not client.news or client.news[-1].leader in (0, leading.id):
                    client.receive()
                assert client.news[-1].leader in {node.id for node in others}
                assert client.news[-1].term > client.news[0].term
        finally:
            for client in clients:
                client.socket.close()


def test_a_node_that_stops_answers_first() -> None:
    with Cluster(1) as made:
        node = made.leader()
        with WireClient(node) as client:
            body = questions.watch_question(b"a", b"b", after=0)
            id = client.ask(Kind.WATCH, body)
            until(lambda: parked(node) == 1)
            node.stop()
            assert client.answer(id).outcome == STOPPED_BEFORE
            with pytest.raises(Gone):
                client.receive()


def test_many_clients_at_once_count_together(cluster: Cluster) -> None:
    nodes = list(cluster.nodes.values())

    def count_up(number: int) -> None:
        with WireClient(nodes[number % 3]) as client:
            for _ in range(10):
                ids = [client.ask(Kind.PROPOSE, commands.increment("together")) for _ in range(20)]
                for id in ids:
                    assert client.answer(id).outcome == DONE

    threads = [threading.Thread(target=count_up, args=(number,)) for number in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    with WireClient(nodes[1]) as client:
        row = questions.decode_key(client.answer(client.ask(Kind.QUERY, questions.key_question(b"together"))).result)[1]
    assert row is not None
    assert row.value == b"2400"


@pytest.mark.slow
def test_the_rest_of_a_frame_has_to_come(leader: NativeNode) -> None:
    before = count(leader, "slow")
    with WireClient(leader) as client:
        client.welcome()
        client.socket.settimeout(60)
        client.send(frame(KIND_ASK, bytes(100))[:50])
        found = client.over()
        assert found is not None
    until(lambda: count(leader, "slow") == before + 1)


def test_the_numbers_of_the_outcomes() -> None:
    """They are on the wire: these never change."""
    assert (DONE, OVERLOADED, STOPPED_BEFORE, MALFORMED) == (1, 4, 10, 15)
    assert struct.calcsize("<QBQQQ") == 33
