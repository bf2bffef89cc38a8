"""Members come, go and move while the cluster works; a node that lost its data is told so."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quorate
from quorate.errors import ConfigError, ConnectionLost, InvalidArgument, NoQuorum, Rejected, RequestTimeout
from quorate.runtime.addresses import parse_address
from quorate.runtime.joining import learn
from quorate.runtime.membership import Manager, Membership, encode_change, member_id
from quorate.runtime.node import NativeNode, cluster_of
from quorate.store import commands
from runtime.clusters import PATIENT, Cluster, free_sockets, until

PATIENCE = 30.0


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(path=tmp_path) as made:
        made.leader()
        yield made


def joiner(cluster: Cluster, name: str, path: Path, *, listen: str | socket.socket | None = None) -> NativeNode:
    """A node that is no member yet, started; the cluster stops it at its end."""
    made = NativeNode(
        name,
        None,
        {},
        join=[str(address) for _, address in cluster.nodes["a"].first_members.values()],
        data_dir=path / name,
        segment_bytes=1 << 20,
        listen=free_sockets(1)[0] if listen is None else listen,
        config=PATIENT,
    )
    cluster.nodes[name] = made
    return made.start()


def where(node: NativeNode) -> str:
    return str(node.first_members[node.id][1])


def roles(node: NativeNode) -> dict[str, str]:
    return {each.name: each.role for each in node.members()}


def holds(node: NativeNode, key: str, value: bytes) -> bool:
    node.barrier(timeout=PATIENCE)
    return node.reader.value(key) == value


def other_than(cluster: Cluster, *nodes: NativeNode) -> NativeNode:
    return next(each for each in cluster.running if each not in nodes)


def test_members_are_the_same_asked_anywhere(cluster: Cluster) -> None:
    leader = cluster.leader()
    for node in cluster.nodes.values():
        found = node.members()
        assert [(each.name, each.role, each.leader) for each in found] == [
            (name, "voter", name == leader.name) for name in "abc"
        ]
        assert [each.address for each in found] == [where(cluster.nodes[each.name]) for each in found]
        assert {each.name for each in node.members(local=True)} == {"a", "b", "c"}
        assert node.status()["standing"] == "voter"
    until(lambda: all(each.incarnation and each.connected and each.match for each in leader.members()))


def test_a_new_member_catches_up_and_votes(cluster: Cluster, tmp_path: Path) -> None:
    follower = other_than(cluster, cluster.leader())
    for number in range(200):
        follower.execute(commands.put(f"k{number}", "v"))
    new = joiner(cluster, "d", tmp_path)
    assert new.status()["standing"] == "joining"
    with pytest.raises((NoQuorum, RequestTimeout)):
        new.execute(commands.put("too", "early"), timeout=0.3)
    assert [each.name for each in new.members(local=True)] == []
    made = follower.add_member("d", where(new), promote=False, timeout=PATIENCE)
    assert (made.role, made.id, made.address) == ("learner", member_id("d"), where(new))
    until(lambda: new.status()["standing"] == "learner")
    assert holds(new, "k199", b"v"), "a learner reads, by asking the leader"
    new.execute(commands.put("from", "d"), timeout=PATIENCE)
    assert new.promote_member("d", timeout=PATIENCE).role == "voter"
    assert new.add_member("d", where(new), timeout=PATIENCE).role == "voter", "what is done is not done again"
    assert roles(follower) == {"a": "voter", "b": "voter", "c": "voter", "d": "voter"}
    # It has the votes and the data that it says: two of the others may go.
    assert new.transfer_leadership("d", timeout=PATIENCE).name == "d"
    until(lambda: cluster.leader() is new)
    new.remove_member("a", timeout=PATIENCE)
    cluster.nodes["a"].stop()
    cluster.nodes["b"].stop()
    new.execute(commands.put("after", "1"), timeout=PATIENCE)
    assert holds(cluster.nodes["c"], "after", b"1")


def test_a_joined_node_restarts_as_what_it_is(cluster: Cluster, tmp_path: Path) -> None:
    new = joiner(cluster, "d", tmp_path)
    cluster.leader().add_member("d", where(new), timeout=PATIENCE)
    new.stop()
    cluster.leader().execute(commands.put("meanwhile", "1"), timeout=PATIENCE)
    new.start()
    assert holds(new, "meanwhile", b"1")
    assert new.status()["standing"] == "voter"


def test_a_removed_node_knows_it_and_keeps_quiet(cluster: Cluster) -> None:
    leader = cluster.leader()
    gone = other_than(cluster, leader)
    leader.remove_member(gone.name, timeout=PATIENCE)
    until(lambda: gone.status()["standing"] == "removed", PATIENCE)
    term = leader.status()["term"]
    # It is not heard again, whatever it does: started anew, it is told so by the others.
    gone.stop()
    gone.start()
    until(lambda: gone.status()["standing"] == "removed", PATIENCE)
    assert gone.status()["role"] == "follower"
    leader.execute(commands.put("k", "v"), timeout=PATIENCE)
    assert leader.status()["term"] == term
    with pytest.raises((NoQuorum, RequestTimeout)):
        gone.execute(commands.put("never", "v"), timeout=0.3)


def test_a_leader_that_is_removed_hands_over(cluster: Cluster) -> None:
    leader = cluster.leader()
    other = other_than(cluster, leader)
    other.remove_member(leader.name, timeout=PATIENCE)
    other.execute(commands.put("k", "v"), timeout=PATIENCE)
    assert roles(other) == dict.fromkeys(sorted({"a", "b", "c"} - {leader.name}), "voter")
    until(lambda: leader.status()["standing"] == "removed", PATIENCE)


def test_a_dead_node_is_replaced_in_one_step(cluster: Cluster, tmp_path: Path) -> None:
    leader = cluster.leader()
    dead = other_than(cluster, leader)
    dead.stop()
    leader.execute(commands.put("k", "v"), timeout=PATIENCE)
    new = joiner(cluster, "d", tmp_path)
    assert leader.replace_member(dead.name, "d", where(new), timeout=PATIENCE).role == "voter"
    assert sorted(roles(new)) == sorted({"a", "b", "c", "d"} - {dead.name})
    assert holds(new, "k", b"v")
    assert leader.replace_member(dead.name, "d", where(new), timeout=PATIENCE).role == "voter", "and not twice"


def test_a_member_without_its_data_is_refused_and_can_be_added_again(cluster: Cluster, tmp_path: Path) -> None:
    leader = cluster.leader()
    wiped = other_than(cluster, leader)
    until(lambda: all(each.incarnation for each in leader.members()))
    wiped.stop()
    shutil.rmtree(tmp_path / wiped.name)
    wiped.start()
    until(lambda: wiped.status()["standing"] == "refused", PATIENCE)

    def told() -> str | None:
        return next(each.trouble for each in leader.members() if each.name == wiped.name)

    assert "remove this member" in (until(told, PATIENCE) or "")
    leader.execute(commands.put("k", "v"), timeout=PATIENCE)
    leader.remove_member(wiped.name, timeout=PATIENCE)
    leader.add_member(wiped.name, where(wiped), id=wiped.id, timeout=PATIENCE)
    assert holds(wiped, "k", b"v")
    until(lambda: wiped.status()["standing"] == "voter", PATIENCE)


def test_every_member_moves_one_after_the_other(cluster: Cluster, tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        moved = cluster.nodes[name]
        moved.stop()
        (listener,) = free_sockets(1)
        new = NativeNode(
            name,
            moved.id,
            {
                **{id: (each, str(at)) for id, (each, at) in moved.first_members.items()},
                moved.id: (name, address_of(listener)),
            },
            data_dir=tmp_path / name,
            segment_bytes=1 << 20,
            listen=listener,
            config=PATIENT,
            cluster=cluster_of(moved.first_members),
        )
        cluster.nodes[name] = new
        new.start()
        helper = other_than(cluster, new)
        assert helper.change_address(name, where(new), timeout=PATIENCE).address == where(new)
        new.wait_ready(PATIENCE)
        new.execute(commands.put("moved", str(number)), timeout=PATIENCE)
    for node in cluster.nodes.values():
        assert holds(node, "moved", b"2")
        assert {each.address for each in node.members()} == {where(each) for each in cluster.nodes.values()}


def test_all_members_move_at_once(tmp_path: Path) -> None:
    """As when a cluster is brought to other machines: what each is started with tells it where the others are now."""
    with Cluster(path=tmp_path) as old:
        old.leader().execute(commands.put("k", "v"), timeout=PATIENCE)
        first = old.nodes["a"].first_members
    sockets = free_sockets(3)
    moved = {id: (name, address_of(each)) for (id, (name, _)), each in zip(first.items(), sockets, strict=True)}
    new: dict[str, NativeNode] = {}
    try:
        for (id, (name, _)), listener in zip(moved.items(), sockets, strict=True):
            settings: dict[str, Any] = {"data_dir": tmp_path / name, "segment_bytes": 1 << 20, "config": PATIENT}
            new[name] = NativeNode(name, id, moved, listen=listener, cluster=cluster_of(first), **settings).start()
        for node in new.values():
            node.wait_ready(PATIENCE)
            assert holds(node, "k", b"v")
        # The others, and clients, hear of it once it stands in the log.
        for name, node in new.items():
            assert new["a"].change_address(name, where(node), timeout=PATIENCE).address == where(node)
        assert {each.address for each in new["b"].members()} == {where(node) for node in new.values()}
    finally:
        for node in new.values():
            node.stop()


def test_members_and_clients_find_each_other_by_ipv6(tmp_path: Path) -> None:
    sockets = [socket.socket(socket.AF_INET6) for _ in range(2)]
    try:
        for each in sockets:
            each.bind(("::1", 0))
            each.listen(128)
    except OSError:
        for each in sockets:
            each.close()
        pytest.skip("this system has no IPv6 on its loopback")
    members = {
        id: (name, f"[::1]:{each.getsockname()[1]}")
        for id, (name, each) in enumerate(zip("ab", sockets, strict=True), 1)
    }
    nodes = [
        NativeNode(name, id, members, durability="memory", listen=listener, config=PATIENT)
        for (id, (name, _)), listener in zip(members.items(), sockets, strict=True)
    ]
    with nodes[0], nodes[1], quorate.connect(f"quorate://{members[1][1]}", timeout=PATIENCE) as client:
        client.put("k", b"v")
        assert {each.address for each in client.members()} == {address for _, address in members.values()}
        assert holds(nodes[1], "k", b"v")


def test_what_makes_no_sense_is_refused_with_a_reason(cluster: Cluster) -> None:
    leader = cluster.leader()
    node = other_than(cluster, leader)
    with pytest.raises(Rejected, match="this name"):
        node.add_member("b", "127.0.0.1:9")
    with pytest.raises(Rejected, match="this id"):
        node.add_member("z", "127.0.0.1:9", id=2)
    with pytest.raises(InvalidArgument, match="address is none"):
        node.add_member("z", "nowhere")
    with pytest.raises(Rejected, match="no member 'z'"):
        node.remove_member("z")
    with pytest.raises(Rejected, match="no member 'z'"):
        node.transfer_leadership("z")
    with pytest.raises(InvalidArgument, match="name"):
        node.add_member("", "127.0.0.1:9")
    for body in (b"", b"\0\1\0", encode_change((1, 5, "x", "h:1"))[:-1], encode_change((9, 1, "", ""))):
        with pytest.raises(InvalidArgument, match="malformed"):
            node._running().ask(9, body, 5.0).wait()
    with pytest.raises(InvalidArgument):
        node._running().ask(10, b"", 5.0).wait()
    with pytest.raises(InvalidArgument):
        Membership.decode(b"x")
    with pytest.raises(ConfigError, match="join="):
        NativeNode("x", 9, {1: ("a", "127.0.0.1:1")}, durability="memory")
    assert roles(node) == {"a": "voter", "b": "voter", "c": "voter"}


def test_a_change_that_would_end_the_majority_is_refused(cluster: Cluster) -> None:
    leader = cluster.leader()
    stopped = other_than(cluster, leader)
    stopped.stop()
    left = other_than(cluster, leader)
    # Until the leader knows that one is silent, it would allow this.
    until(lambda: next(each.silent or 0 for each in leader.members() if each.name == stopped.name) > 1, PATIENCE)
    with pytest.raises(Rejected, match="too few"):
        leader.remove_member(left.name)
    leader.remove_member(stopped.name, timeout=PATIENCE)
    assert sorted(roles(leader)) == sorted([leader.name, left.name])


def test_the_last_voter_stays() -> None:
    with Cluster(1) as cluster:
        node = cluster.leader()
        with pytest.raises(Rejected, match="last member"):
            node.remove_member("a")
        with pytest.raises(Rejected, match="nobody to hand over to"):
            node.transfer_leadership()
        with quorate.connect(f"quorate://{where(node)}") as client, pytest.raises(Rejected, match="last member"):
            client.remove_member("a")  # the reason reaches a client far away too


def test_leadership_goes_round(cluster: Cluster) -> None:
    for name in "abcabc":
        asked = cluster.nodes["b"]
        assert asked.transfer_leadership(name, timeout=PATIENCE).name == name
        until(lambda name=name: cluster.leader().name == name)
        asked.execute(commands.put("led by", name), timeout=PATIENCE)
    leader = cluster.leader()
    assert leader.transfer_leadership(timeout=PATIENCE).name != leader.name


def test_a_leader_that_stops_hands_over(cluster: Cluster) -> None:
    leader = cluster.leader()
    term = leader.status()["term"]
    leader.stop()
    survivor = cluster.running[0]
    survivor.execute(commands.put("k", "v"), timeout=PATIENCE)
    assert survivor.status()["term"] == term + 1, "one election, asked for"


def test_a_name_is_looked_up_by_the_node_itself(tmp_path: Path) -> None:
    sockets = free_sockets(3)
    members = {
        number: (name, f"localhost:{each.getsockname()[1]}")
        for number, (name, each) in enumerate(zip("abc", sockets, strict=True), 1)
    }
    nodes = [
        NativeNode(name, id, members, durability="memory", listen=listener, config=PATIENT)
        for (id, (name, _)), listener in zip(members.items(), sockets, strict=True)
    ]
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_ready(PATIENCE)
        assert nodes[0].execute(commands.put("k", "v"), timeout=PATIENCE).revision
    finally:
        for node in nodes:
            node.stop()


def test_a_node_that_joins_says_whom_it_did_not_reach(tmp_path: Path) -> None:
    (listener,) = free_sockets(1)
    nobody = f"unix:{tmp_path}/nobody"
    with pytest.raises(ConfigError, match="no member of the cluster to join answers"):
        learn([parse_address(nobody)], timeout=0.2)
    with listener, pytest.raises(ConfigError, match="has to listen"):
        NativeNode("d", None, {}, join=[nobody], durability="memory", listen=None)


def test_a_manager_finds_out_that_a_lost_answer_was_a_yes(cluster: Cluster, tmp_path: Path) -> None:
    node = cluster.leader()
    new = joiner(cluster, "d", tmp_path)
    asked: list[int] = []

    def forgetful(kind: int, body: bytes, timeout: float) -> tuple[int, bytes | None]:
        found: tuple[int, bytes | None] = node._running().ask(kind, body, timeout).wait()
        asked.append(kind)
        if kind == 9:
            raise ConnectionLost("the answer was lost")
        return found

    manager = Manager(forgetful)
    assert manager.add("d", where(new), timeout=PATIENCE).role == "voter"
    assert asked.count(9) == 2, "one to add, one to promote, none again"
