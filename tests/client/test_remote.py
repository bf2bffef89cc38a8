"""The engine of a client against nodes that say what the test wants: where it asks, asks again, and concludes."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.fake import (
    AWAIT,
    DONE,
    MEMBERS,
    NO_LEADER,
    NOT_LEADER,
    OVERLOADED,
    PROPOSE,
    QUERY,
    READ,
    RENEW,
    WATCH,
    Answer,
    Ask,
    FakeNode,
    cluster_of_fakes,
)
from quorate.client.remote import Remote
from quorate.errors import (
    ConfigError,
    ConnectionLost,
    Indeterminate,
    InvalidArgument,
    NodeFailed,
    NoQuorum,
    NotHappened,
    NotLeader,
    Overloaded,
    RequestTimeout,
)
from quorate.runtime._requests import Pending
from quorate.runtime.node import NativeNode
from quorate.store import commands
from runtime.clusters import until

PUT = commands.put("k", "v")
LOCAL_QUERY = struct.pack("<BQBH", 1, 0, 1, 1) + b"k"
LINEARIZABLE_QUERY = struct.pack("<BQBH", 0, 0, 1, 1) + b"k"
WATCH_ALL = struct.pack("<QIIIHH", 0, 1, 10, 1000, 0, 0)
LONG = 20.0


@pytest.fixture
def nodes() -> Iterator[list[FakeNode]]:
    made = cluster_of_fakes()
    yield made
    for node in made:
        node.stop()


@pytest.fixture
def remote(nodes: list[FakeNode]) -> Iterator[Remote]:
    with Remote([node.address for node in nodes]) as made:
        yield made


def silent(node: FakeNode, ask: Ask) -> Answer:
    return None


def refuses(outcome: int) -> Callable[[FakeNode, Ask], Answer]:
    return lambda node, ask: (outcome, 0, b"")


def kinds(node: FakeNode) -> list[int]:
    return [ask.kind for ask in node.asked]


def settled(remote: Remote, leader: str) -> None:
    """Until the leader is connected, and another node too."""
    until(lambda: remote.status()["leader"] == leader and leader in remote.status()["connections"]["nodes"], LONG)
    until(lambda: remote.status()["connections"]["open"] >= 2, LONG)


# Where it asks


def test_one_address_leads_to_the_whole_cluster(nodes: list[FakeNode]) -> None:
    with Remote(nodes[2].address, label="somebody") as remote:
        remote.wait_connected(LONG)
        settled(remote, "n1")
        assert remote.members() == [(node.id, f"n{node.id}", node.address, True) for node in nodes]
        assert remote.cluster == nodes[0].cluster
        assert remote.office() == (0, 1, 1)
        assert "leader n1" in repr(remote)
        hello = nodes[2].hellos[0]
        assert hello[0] == 1
        assert hello[1:17] == bytes(16)  # any cluster, at first
        assert nodes[0].hellos[0][1:17] == nodes[0].cluster
        assert struct.unpack_from("<I", hello, 33) == (os.getpid(),)
        assert hello[45:] == b"\x08somebody"


def test_changes_and_linearizable_reads_go_to_the_leader_and_local_ones_elsewhere(
    nodes: list[FakeNode], remote: Remote
) -> None:
    settled(remote, "n1")
    for kind, body in [
        (PROPOSE, PUT),
        (READ, b""),
        (QUERY, LINEARIZABLE_QUERY),
        (AWAIT, struct.pack("<QQ", 1, 2)),
        (RENEW, struct.pack("<HQ", 1, 5)),
        (MEMBERS, b""),
    ]:
        assert remote.ask(kind, body, LONG).wait() == (7, None)
    assert kinds(nodes[0]) == [PROPOSE, READ, QUERY, AWAIT, RENEW, MEMBERS]
    assert remote.ask(QUERY, LOCAL_QUERY, LONG).wait() == (7, None)
    assert remote.ask(WATCH, WATCH_ALL, LONG).wait() == (7, None)
    assert sorted(kinds(nodes[1]) + kinds(nodes[2])) == [QUERY, WATCH]


def test_local_reads_never_go_back_in_time(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    nodes[0].handler = lambda node, ask: (DONE, 41, b"")
    assert remote.propose(PUT, LONG).wait()[0] == 41
    remote.ask(QUERY, LOCAL_QUERY, LONG).wait()
    remote.ask(QUERY, struct.pack("<BQBH", 1, 99, 1, 1) + b"k", LONG).wait()
    asked = nodes[1].asked + nodes[2].asked
    assert [struct.unpack_from("<BQ", ask.body) for ask in asked] == [(1, 41), (1, 99)]
    remote.ask(AWAIT, struct.pack("<QQ", 1, 2), LONG).wait()
    remote.ask(AWAIT, struct.pack("<QQQ", 1, 2, 3), LONG).wait()
    assert [ask.body for ask in nodes[0].asked if ask.kind == AWAIT] == [struct.pack("<QQQ", 1, 2, 41)] * 2


def owes_local_reads(node: FakeNode, ask: Ask) -> Answer:
    """Alive, and cut off from the others: what it is to have applied, it will not hear of."""
    return None if ask.kind in (QUERY, WATCH) else (DONE, 7, b"")


def near_of(nodes: list[FakeNode], remote: Remote) -> FakeNode:
    """The node that a local read goes to."""
    remote.ask(QUERY, LOCAL_QUERY, LONG).wait()
    return next(node for node in nodes if kinds(node) == [QUERY])


def test_a_node_that_is_cut_off_is_left_by_local_reads_and_watches(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    near = near_of(nodes, remote)
    near.handler = owes_local_reads
    watch = remote.ask(WATCH, WATCH_ALL, LONG)
    until(lambda: WATCH in kinds(near), LONG)
    assert remote.ask(QUERY, LOCAL_QUERY, LONG).wait() == (7, None)
    assert watch.wait() == (7, None)
    asked = len(near.asked)
    assert remote.ask(QUERY, LOCAL_QUERY, LONG).wait() == (7, None)
    assert len(near.asked) == asked  # for a while


def test_a_local_read_whose_time_is_over_sends_the_next_one_elsewhere(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    near = near_of(nodes, remote)
    near.handler = owes_local_reads
    with pytest.raises(RequestTimeout):
        remote.ask(QUERY, LOCAL_QUERY, 0.05).wait()
    asked = len(near.asked)
    assert remote.ask(QUERY, LOCAL_QUERY, LONG).wait() == (7, None)
    assert len(near.asked) == asked


def test_nobody_else_to_ask_is_a_timeout() -> None:
    with FakeNode(1, handler=owes_local_reads) as node, Remote(node.address) as remote:
        remote.wait_connected(LONG)
        with pytest.raises(RequestTimeout):
            remote.ask(QUERY, LOCAL_QUERY, 1.0).wait()
        assert kinds(node) == [QUERY]


def test_members_that_were_not_given_are_left_alone_without_follow(nodes: list[FakeNode]) -> None:
    with Remote(nodes[1].address, follow=False) as remote:
        remote.wait_connected(LONG)
        assert remote.propose(PUT, LONG).wait()[0] == 7
        assert kinds(nodes[1]) == [PROPOSE]
        assert not nodes[0].hellos
        assert not nodes[2].hellos


def test_names_are_looked_up(nodes: list[FakeNode]) -> None:
    with Remote(f"localhost:{nodes[0].port}") as remote:
        assert remote.propose(PUT, LONG).wait()[0] == 7


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
def test_a_unix_socket(form: str, tmp_path: Path) -> None:
    path = tmp_path / "q.sock"
    with (
        NativeNode("a", 1, {1: ("a", f"unix:{path}")}, durability="memory") as node,
        Remote(form.format(path)) as remote,
    ):
        index, _ = remote.propose(PUT, LONG).wait()
        assert node.reader.get("k").mod_revision == index  # type: ignore[union-attr]
        assert remote.status()["leader"] == "a"


def test_large_answers_and_many_at_once(nodes: list[FakeNode], remote: Remote) -> None:
    nodes[0].handler = lambda node, ask: (DONE, 1, ask.body * (1000 if len(ask.body) > 1000 else 1))
    large = remote.ask(QUERY, LINEARIZABLE_QUERY + bytes(5000), LONG)
    many = [remote.ask(QUERY, LINEARIZABLE_QUERY + struct.pack("<I", number), LONG) for number in range(6000)]
    assert len(large.wait()[1] or b"") > 5_000_000
    for number, each in enumerate(many):
        assert each.wait()[1] == LINEARIZABLE_QUERY + struct.pack("<I", number)


def test_from_many_threads(nodes: list[FakeNode], remote: Remote) -> None:
    nodes[0].handler = lambda node, ask: (DONE, 1, ask.body)
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(200):
            body = LINEARIZABLE_QUERY + struct.pack("<II", number, turn)
            if remote.ask(QUERY, body, LONG).wait()[1] != body:
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


# Another leader


def test_it_follows_the_leader_by_news(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    seen = remote.office()
    for node in nodes:
        node.tell(3, 2)
    remote.wait_change(seen, LONG)
    until(lambda: remote.office() == (0, 2, 3), LONG)
    remote.propose(PUT, LONG).wait()
    assert kinds(nodes[2]) == [PROPOSE]
    nodes[0].tell(1, 1)  # old news
    remote.barrier(LONG).wait()
    assert kinds(nodes[2]) == [PROPOSE, READ]


def test_what_the_leader_took_with_it_is_not_known_and_what_changes_nothing_is_asked_again(
    nodes: list[FakeNode], remote: Remote
) -> None:
    settled(remote, "n1")
    nodes[0].handler = silent
    put = remote.propose(PUT, LONG)
    read = remote.barrier(LONG)
    query = remote.ask(QUERY, LINEARIZABLE_QUERY, LONG)
    until(lambda: len(nodes[0].asked) == 3, LONG)
    nodes[0].stop()
    with pytest.raises(ConnectionLost):
        put.wait()
    for node in nodes[1:]:
        node.tell(2, 2)
    assert read.wait() == (7, None)
    assert query.wait() == (7, None)
    assert PROPOSE not in kinds(nodes[1]) + kinds(nodes[2])


def test_a_refusal_is_asked_again_once_there_is_a_leader(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    nodes[0].handler = refuses(NO_LEADER)
    put = remote.propose(PUT, LONG)
    until(lambda: nodes[0].asked, LONG)
    for node in nodes:
        node.tell(2, 2)
    assert put.wait() == (7, None)
    assert kinds(nodes[1]) == [PROPOSE]


@pytest.mark.parametrize(("outcome", "error"), [(NO_LEADER, NoQuorum), (NOT_LEADER, NotLeader)])
def test_a_refusal_until_the_end_is_the_answer(
    outcome: int, error: type[NotHappened], nodes: list[FakeNode], remote: Remote
) -> None:
    for node in nodes:
        node.handler = refuses(outcome)
    with pytest.raises(error):
        remote.propose(PUT, 0.3).wait()
    assert len(nodes[0].asked) > 1


def test_other_refusals_are_passed_on_at_once(nodes: list[FakeNode], remote: Remote) -> None:
    nodes[0].handler = refuses(OVERLOADED)
    with pytest.raises(Overloaded):
        remote.propose(PUT, LONG).wait()
    assert len(nodes[0].asked) == 1


def test_a_leader_that_cannot_be_reached_is_asked_through_another_node(nodes: list[FakeNode]) -> None:
    nodes[0].stop()
    with Remote([node.address for node in nodes]) as remote:
        assert remote.propose(PUT, LONG).wait() == (7, None)


def test_a_node_that_hangs_is_left(nodes: list[FakeNode], remote: Remote) -> None:
    """As by SIGSTOP: the connection stays, and nothing comes. Somebody else is asked where the leader is."""
    settled(remote, "n1")
    nodes[0].handler = silent
    nodes[0].lively = False
    put = remote.propose(PUT, LONG)
    read = remote.barrier(LONG)
    until(lambda: len(nodes[0].asked) >= 2, LONG)
    for node in nodes[1:]:
        node.tell(2, 2)
    assert read.wait() == (7, None)  # at once: it changes nothing
    with pytest.raises(ConnectionLost):
        put.wait()
    assert remote.propose(PUT, LONG).wait() == (7, None)


def test_the_only_node_hangs(nodes: list[FakeNode]) -> None:
    with Remote(nodes[0].address, follow=False) as remote:
        remote.wait_connected(LONG)
        nodes[0].handler = silent
        nodes[0].lively = False
        with pytest.raises(RequestTimeout):
            remote.propose(PUT, 0.3).wait()
        with pytest.raises(ConnectionLost):
            remote.propose(PUT, LONG).wait()
        nodes[0].handler = lambda node, ask: (DONE, 9, b"")
        assert remote.barrier(LONG).wait()[0] == 9  # it was connected to anew


def test_a_long_poll_may_be_silent_for_long(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    for node in nodes:
        node.handler = silent
    watch = remote.ask(WATCH, WATCH_ALL, 2.5)
    with pytest.raises(RequestTimeout):
        watch.wait()
    assert sum(len(node.asked) for node in nodes) == 1  # not asked twice: the node said that it is there
    assert remote.status()["connections"]["lost"] == 0


# Nobody there


def test_no_node_reachable_names_each_address_and_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Remote([f"127.0.0.1:{port}", "no-such-host.invalid:7400", "unix:/nowhere/q.sock"]) as remote:
        put = remote.propose(PUT, 1.0)
        with pytest.raises(NoQuorum) as caught:
            put.wait()
    says = str(caught.value)
    assert f"127.0.0.1:{port} (connection refused)" in says
    assert "no-such-host.invalid:7400 (the host is not known" in says
    assert "unix:/nowhere/q.sock (no such file or directory)" in says


def serving(conversation: Callable[[socket.socket], None]) -> tuple[socket.socket, str]:
    """A listener that is no node."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    conversation(connection)
                except OSError:
                    pass

    threading.Thread(target=run, daemon=True).start()
    return listener, f"127.0.0.1:{listener.getsockname()[1]}"


def http(connection: socket.socket) -> None:
    connection.recv(1)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def test_another_protocol_is_told_at_once_from_a_node() -> None:
    listener, address = serving(http)
    with listener, Remote(address) as remote:
        with pytest.raises(ConfigError, match="it speaks another protocol; is this the port of a node"):
            remote.wait_connected(LONG)
        with pytest.raises(NoQuorum, match="another protocol"):
            remote.propose(PUT, 0.1).wait()


def test_a_server_that_waits_for_more_is_given_up() -> None:
    listener, address = serving(lambda connection: connection.recv(1 << 20, socket.MSG_WAITALL) and None)
    with listener, Remote(address) as remote:
        until(lambda: "does not answer as a node" in str(remote.status()["troubles"]), LONG)
        with pytest.raises(NoQuorum, match="does not answer as a node of Quorate"):
            remote.wait_connected(0.01)


def test_another_cluster(nodes: list[FakeNode]) -> None:
    with (
        Remote(nodes[0].address, cluster=b"x" * 16) as remote,
        pytest.raises(ConfigError, match="belongs to another cluster"),
    ):
        remote.wait_connected(LONG)


def test_two_clusters_are_not_mixed(nodes: list[FakeNode]) -> None:
    with FakeNode(1, cluster=b"quite another 16") as stranger, Remote(nodes[0].address) as first:
        first.wait_connected(LONG)
        with Remote([stranger.address, nodes[0].address], cluster=first.cluster) as remote:
            assert remote.propose(PUT, LONG).wait() == (7, None)
            assert not stranger.asked


def test_a_refusal_of_the_node_is_passed_on() -> None:
    with FakeNode(1, refusal="too many clients") as node, Remote(node.address) as remote:
        until(lambda: "too many clients" in str(remote.status()["troubles"]), LONG)
        with pytest.raises(NoQuorum, match="it refuses: too many clients"):
            remote.propose(PUT, 0.1).wait()


def test_a_cluster_without_a_leader(nodes: list[FakeNode]) -> None:
    for node in nodes:
        node.office = (0, 4)
        node.handler = refuses(NO_LEADER)
    with Remote([node.address for node in nodes]) as remote:
        with pytest.raises(NoQuorum, match="a majority of the members must run"):
            remote.propose(PUT, 0.2).wait()
        with pytest.raises(NoQuorum, match="no leader is known"):
            remote.wait_connected(0.2)
        put = remote.propose(PUT, LONG)
        nodes[1].handler = lambda node, ask: (DONE, 8, b"")
        for node in nodes:
            node.tell(2, 5)
        assert put.wait() == (8, None)


def test_garbage_costs_the_connection_alone(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    lost = remote.status()["connections"]["lost"]
    nodes[0]._everywhere(b"QRT\x01 and then something that is no frame at all")
    until(lambda: remote.status()["connections"]["lost"] > lost, LONG)
    assert remote.propose(PUT, LONG).wait() == (7, None)


def test_all_nodes_go_away_and_come_back(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    seen = remote.office()
    for node in nodes:
        node.stop()
    remote.wait_change(seen, LONG)
    until(lambda: not remote.connected, LONG)
    with pytest.raises(NoQuorum, match="no node reachable"):
        remote.propose(PUT, 0.2).wait()
    put = remote.propose(PUT, LONG)
    for node in nodes:
        node.again()
    assert put.wait() == (7, None)
    until(lambda: remote.connected, LONG)


# Bounds


def test_a_node_is_not_buried_and_a_full_queue_refuses(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    nodes[0].handler = silent
    pending: list[Pending] = []

    def bury() -> None:
        while len(pending) < 200_000:
            pending.append(remote.barrier(LONG))

    with pytest.raises(Overloaded, match="queue of requests is full"):
        bury()
    assert remote.status()["queues"]["in_flight"] <= 4096 + 1  # one asks whether the node is still there
    assert 65_536 <= len(pending) <= 65_536 + 32_768
    remote.close()
    outcomes = set()
    for each in pending[:5000]:
        with pytest.raises(NodeFailed) as caught:
            each.wait()
        outcomes.add(type(caught.value.outcome))
    assert outcomes == {NotHappened, Indeterminate}


def test_questions_that_nobody_can_take_leave_nothing_behind() -> None:
    with Remote("127.0.0.1:1") as remote:
        for _ in range(5):
            pending = [remote.barrier(0.01) for _ in range(5000)]
            for each in pending:
                with pytest.raises(NoQuorum):
                    each.wait()
        until(lambda: remote.status()["queues"] == {"requests": 0, "in_flight": 0, "parked": 0, "output_bytes": 0})


def test_arguments(nodes: list[FakeNode], remote: Remote) -> None:
    with pytest.raises(InvalidArgument, match="malformed"):
        remote.propose(PUT + b"more", LONG)
    with pytest.raises(InvalidArgument, match="finite number"):
        remote.barrier(float("inf"))
    with pytest.raises(InvalidArgument, match="no kind"):
        remote.ask(77, b"", LONG)
    for addresses, says in [([], "at least one node"), ("h1", "host:port"), (["unix:" + "x" * 200], "too long")]:
        with pytest.raises(ConfigError, match=says):
            Remote(addresses)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="255 bytes"):
        Remote("h1:1", label="x" * 256)
    with pytest.raises(InvalidArgument, match="16 bytes"):
        Remote("h1:1", cluster=b"short")


# The end


def test_close_answers_whoever_waits_and_is_idempotent(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    nodes[0].handler = silent
    sent = remote.propose(PUT, LONG)
    until(lambda: nodes[0].asked, LONG)
    remote.close()
    remote.close()
    with pytest.raises(NodeFailed) as caught:
        sent.wait()
    assert isinstance(caught.value.outcome, Indeterminate)
    with pytest.raises(NodeFailed) as caught:
        remote.propose(PUT, LONG)
    assert isinstance(caught.value.outcome, NotHappened)
    with pytest.raises(NodeFailed, match="the client is closed"):
        remote.wait_connected(LONG)
    assert not remote.alive
    assert "closed" in repr(remote)


def test_many_clients_come_and_go(nodes: list[FakeNode]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with Remote([node.address for node in nodes]) as remote:
            remote.barrier(LONG).wait()
        del remote
    for node in nodes:
        node.cut()
    until(lambda: len(os.listdir("/proc/self/fd")) <= before, LONG)


def test_a_forked_child_has_no_client(nodes: list[FakeNode], remote: Remote) -> None:
    settled(remote, "n1")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            remote.propose(PUT, 1.0)
        except NodeFailed as error:
            remote.close()
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert b"a forked child has none. Connect after the fork" in os.read(reading, 1000)
    os.close(reading)
    assert remote.propose(PUT, LONG).wait() == (7, None)


def in_a_process(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


BEGIN = (
    "import sys; from quorate.client.remote import Remote; remote = Remote(sys.argv[1]); remote.barrier(20.0).wait();"
)


def test_the_interpreter_ends_without_close(nodes: list[FakeNode]) -> None:
    with in_a_process(BEGIN + "kept = remote.ask(4, bytes(24), 100.0); print('bye')", nodes[0].address) as process:
        out, _ = process.communicate(timeout=60)
        assert out == "bye\n"
        assert process.returncode == 0


def test_ctrl_c_ends_a_wait_at_once(nodes: list[FakeNode]) -> None:
    nodes[0].handler = lambda node, ask: None if ask.kind == PROPOSE else (DONE, 7, b"")
    code = BEGIN + (
        "from quorate.store import commands\n"
        "try:\n"
        "    put = remote.propose(commands.put('k', 'v'), 1000.0)\n"
        "    print('waits', flush=True)\n"
        "    put.wait()\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')"
    )
    with in_a_process(code, nodes[0].address) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        until(lambda: PROPOSE in kinds(nodes[0]), LONG)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "interrupted\n"


def test_the_thread_has_a_name_and_no_signals(nodes: list[FakeNode], remote: Remote) -> None:
    names = {
        (task / "comm").read_text().strip(): (task / "status").read_text() for task in Path("/proc/self/task").iterdir()
    }
    assert "quorate-client" in names
    blocked = next(line for line in names["quorate-client"].splitlines() if line.startswith("SigBlk"))
    assert int(blocked.split()[1], 16) & (1 << (signal.SIGINT - 1))
