"""A member that says anything that has the form of a message: the node goes on, and takes nothing back.

What has not the form costs the connection (tests/runtime/test_strangers.py); the core alone is tried in
tests/raft/test_bad_input.py. This goes through sockets, threads, the log and the snapshots of a real node.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from fuzz.mutation import mutations
from fuzz.targets import raft_forms
from quorate.config import RaftConfig
from quorate.errors import InvalidArgument
from quorate.raft import COMMAND, Configuration, Entry, Message, decode, encode
from quorate.runtime.node import NativeNode
from quorate.store import commands
from runtime.client_wire import frame
from runtime.clusters import free_sockets, members_of, until
from runtime.fake_member import INCARNATION, KIND_RAFT, FakeMember

MESSAGES = 2000
CALM = RaftConfig(election_timeout_min_ms=30_000, election_timeout_max_ms=60_000)


def valid() -> list[bytes]:
    """Messages that this node could get from its other member, in the order in which they make sense."""
    entries = [Entry(index, 1, COMMAND, commands.put("k", str(index))) for index in range(1, 5)]
    said = {"sender": 2, "receiver": 1, "incarnation": INCARNATION}
    two = Configuration(incoming=(1, 2))
    return [
        encode(Message.make(type, **said, **fields))
        for type, fields in [
            ("RequestVote", {"term": 1}),
            ("AppendEntries", {"term": 1, "entries": entries, "leader_commit": 2}),
            ("Heartbeat", {"term": 1, "leader_commit": 2, "round": 1}),
            ("AppendEntriesResponse", {"term": 1, "success": True, "match_index": 4}),
            ("InstallSnapshot", {"term": 2, "snapshot_index": 9, "snapshot_term": 1, "configuration": two, "size": 5,
                                 "length": 5, "digest": 3, "data": b"abcde"}),
            ("InstallSnapshotResponse", {"term": 2, "success": True, "snapshot_index": 9, "offset": 5}),
            ("ForwardProposal", {"term": 1, "id": 4, "entries": [commands.put("f", "x")]}),
            ("ForwardProposalResponse", {"term": 1, "id": 4, "status": "accepted", "index": 4, "leader": 2}),
            ("ForwardRead", {"term": 1, "id": 4}),
            ("ForwardReadResponse", {"term": 1, "id": 4, "index": 4}),
            ("TimeoutNow", {"term": 1}),
        ]
    ]  # fmt: skip


def well_formed(data: bytes) -> bool:
    try:
        found = decode(data)
    except InvalidArgument:
        return False
    # Terms so high that nobody could be elected any more would end the test, and not the node.
    return isinstance(found, Message) and found.sender == 2 and found.group == 0 and found.term < 1000


@pytest.mark.parametrize("seed", [1, 2])
def test_a_member_that_says_anything_brings_nobody_down(seed: int, tmp_path: Path) -> None:
    own, other = free_sockets(2)
    members = members_of(f"127.0.0.1:{each.getsockname()[1]}" for each in (own, other))
    node = NativeNode("a", 1, members, listen=own, data_dir=tmp_path / "a", segment_bytes=1 << 20, config=CALM)
    with FakeMember(node, 2, other) as member:
        with node:
            anything = filter(well_formed, mutations([*valid(), *raft_forms()], seed))
            member.connect(*(frame(KIND_RAFT, each) for each in itertools.islice(anything, MESSAGES)))
            until(lambda: node.status()["connections"]["received"] == MESSAGES, 60.0)
            assert node.running
            seen = node.status()
            assert seen["connections"]["damaged"] == 0
            assert seen["applied"] <= seen["commit"] <= seen["last_index"]
        # What it took in it has, and starts over it.
        with node:
            until(lambda: node.status()["term"] >= seen["term"], 60.0)
            assert node.status()["last_index"] >= seen["durable_index"]
