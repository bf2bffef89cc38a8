"""What Python holds of the core: values that compare, hash, print and pickle; and what cannot be is refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from quorate.errors import Compacted, ConfigError, InvalidArgument
from quorate.limits import MEMBER_PLACE_MAX
from quorate.raft import (
    AddLearner,
    AddVoter,
    Campaign,
    Configuration,
    Entry,
    HardState,
    Message,
    Persisted,
    Propose,
    Raft,
    RaftConfig,
    RaftLog,
    Receive,
    RemoveMember,
    Update,
    change_configuration,
    decode,
    decode_configuration,
    encode,
    encode_configuration,
)

TWO = Configuration(incoming=(1, 2))


def message(type: str = "Heartbeat", **fields: Any) -> Message:
    return Message.make(type, **{"sender": 1, "receiver": 2, "term": 3, **fields})


def test_messages_are_values() -> None:
    chunk: dict[str, Any] = {"snapshot_index": 8, "snapshot_term": 2, "configuration": TWO, "size": 4, "digest": 5}
    made = [
        message(leader_commit=7),
        message(leader_commit=8),
        message("AppendEntries", prev_log_index=1, prev_log_term=1, entries=[Entry(2, 3, 0, b"x")], incarnation=9),
        message("AppendEntries", prev_log_index=1, prev_log_term=1, entries=[Entry(2, 3, 0, b"y")], incarnation=9),
        message("InstallSnapshot", data=b"abcd", length=4, **chunk),
        message("InstallSnapshot", data=b"abce", length=4, **chunk),
        message("ForwardProposal", id=5, entries=[b"one"]),
        message("ForwardProposalResponse", id=5, status="overloaded", group=4),
    ]
    assert len(set(made)) == len(made)
    for one in made:
        again = pickle.loads(pickle.dumps(one))
        assert again == one
        assert hash(again) == hash(one)
        assert repr(again) == repr(one)
        assert one != "a message"
    assert made[2].incarnation == 9
    assert "group 4" in repr(made[7])


def test_fields_of_other_types_read_as_nothing() -> None:
    heartbeat = message(leader_commit=7)
    assert (heartbeat.entries, heartbeat.data, heartbeat.status, heartbeat.success) == ([], b"", "", False)
    assert (heartbeat.prev_log_index, heartbeat.configuration) == (0, None)
    with pytest.raises(AttributeError, match="Heartbeat has no attribute 'colour'"):
        _ = heartbeat.colour


def test_messages_that_cannot_be() -> None:
    with pytest.raises(TypeError, match="made by the core"):
        Message()
    with pytest.raises(TypeError, match=r"Raft\.step"):
        Update()
    with pytest.raises(InvalidArgument, match="no message type"):
        Message.make("Nonsense")
    with pytest.raises(InvalidArgument, match="has no field 'colour'"):
        message(colour=1)
    with pytest.raises(InvalidArgument, match="kind 99"):
        message("AppendEntries", entries=[Entry(1, 1, 99, b"")])
    with pytest.raises(InvalidArgument, match="no snapshot data"):
        message().with_data(b"x")
    asked = message("InstallSnapshot", snapshot_index=1, snapshot_term=1, configuration=TWO, size=2, length=2, digest=1)
    assert asked.with_data(b"ab").data == b"ab"
    with pytest.raises(InvalidArgument, match="1 bytes, and 2 were asked for"):
        asked.with_data(b"a")


def test_updates_are_values() -> None:
    alone, raft = Raft(1, voters=[1], seed=7), Raft(1, voters=[1, 2], seed=7)
    updates = [alone.step(Campaign(now=0))]
    updates.append(alone.step(Persisted(updates[0].ticket, now=1)))
    updates.append(alone.step(Propose([b"x"], 5, now=2)))
    updates.append(alone.step(Persisted(updates[-1].ticket, index=2, term=1, now=3)))
    updates.append(raft.step(Campaign(now=0)))
    chunk = message(
        "InstallSnapshot", sender=2, receiver=1, term=9, snapshot_index=8, snapshot_term=2, configuration=TWO, size=4,
        length=4, digest=5, data=b"abcd",
    )  # fmt: skip
    updates.append(raft.step(Receive(chunk, now=4)))
    assert "snapshot 8 at 0" in repr(updates[-1])
    assert any("entries" in repr(each) for each in updates)
    assert len(set(updates)) == len(updates)
    for each in updates:
        again = decode(encode(each))
        assert again == each
        assert hash(again) == hash(each)
        assert repr(again) == repr(each)
        assert pickle.loads(pickle.dumps(each)) == each
        assert each != "an update"
        whole = encode(each)
        for length in range(len(whole)):
            with pytest.raises(InvalidArgument):
                decode(whole[:length])


def log(*terms: int) -> RaftLog:
    made = RaftLog()
    for term in terms:
        made.append(term, b"x")
    return made


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no settings": ({"config": 5}, "must be a RaftConfig"),
    "nobody": ({"id": 0}, "at least 1"),
    "an unknown bug": ({"mutation": "no such"}, "mutation"),
    "a term that is missing": ({"log": [1, 2]}, "term and vote of the last life are missing"),
    "a vote without a term": ({"hard_state": HardState(0, 1, 0)}, "a vote without a term"),
    "a commit behind the log": ({"hard_state": HardState(1, 0, 9), "log": [1]}, "a part of the log is missing"),
    "a state machine behind the log": ({"applied": 9}, "beyond the log's"),
    "nobody to decide": ({"voters": []}, "somebody must decide"),
    "a learner that votes": ({"learners": [1]}, "learners are no voters"),
    "a place that is none": ({"places": {2: b""}}, "a place has"),
    "a place that is too long": ({"places": {2: bytes(MEMBER_PLACE_MAX + 1)}}, "a place has"),
}


@pytest.mark.parametrize(("settings", "why"), REFUSED.values(), ids=REFUSED)
def test_a_start_that_cannot_be_is_refused(settings: dict[str, Any], why: str) -> None:
    whole: dict[str, Any] = {"id": 1, "voters": [1, 2], "seed": 1, "config": RaftConfig(), **settings}
    if settings == REFUSED["nobody to decide"][0]:
        whole["learners"] = [3]
    if "log" in settings:
        whole["log"] = log(*settings["log"])
    with pytest.raises((InvalidArgument, ConfigError), match=why):
        Raft(whole.pop("id"), **whole)


def test_a_log_serves_one_life() -> None:
    shared = log(1)
    raft = Raft(1, voters=[1], seed=1, log=shared, hard_state=HardState(1, 0, 0), group=3, incarnation=9)
    with pytest.raises(InvalidArgument, match="another running Raft"):
        Raft(1, voters=[1], seed=1, log=shared, hard_state=HardState(1, 0, 0))
    assert (raft.group, raft.incarnation, raft.applied) == (3, 9, 0)
    assert raft.deadline > 0
    assert (len(raft.log), raft.log.payload_bytes, raft.log.term(1)) == (1, 1, 1)
    assert repr(raft.log) == "<log of node 1: 1..1>"
    assert raft.log.entries(1, 2) == [Entry(1, 1, 0, b"x")]
    for wrong in (lambda: raft.log.term(2), lambda: raft.log.entries(1, 3), lambda: raft.configuration_at(2)):
        with pytest.raises((InvalidArgument, Compacted)):
            wrong()
    assert raft.configuration_at(1) == raft.configuration == Configuration(incoming=(1,))


def test_changes_of_a_configuration() -> None:
    now = Configuration(7, (1, 2, 3), learners=(5,), incarnations=((1, 11),), places=((1, b"\x01a"), (5, b"\x01e")))
    after = change_configuration(now, [AddVoter(5), RemoveMember(1), AddLearner(6, incarnation=8, place=b"\x01f")])
    assert set(after.incoming) == {2, 3, 5}
    assert after.outgoing == (1, 2, 3)
    assert after.joint
    assert after.members == (1, 2, 3, 5, 6)
    assert dict(after.incarnations)[6] == 8
    assert dict(after.places)[6] == b"\x01f"
    assert change_configuration(now, [RemoveMember(5)]).members == (1, 2, 3)
    for wrong in ([RemoveMember(9)], [RemoveMember(1), RemoveMember(2), RemoveMember(3)]):
        with pytest.raises(InvalidArgument, match="cannot be applied"):
            change_configuration(now, wrong)


def test_configurations_that_cannot_be() -> None:
    for wrong in (
        Configuration(incoming=(0,)),
        Configuration(incoming=(1,), learners=(1,)),
        Configuration(incoming=tuple(range(1, 2000))),
    ):
        with pytest.raises(InvalidArgument):
            encode_configuration(wrong)
    whole = encode_configuration(
        Configuration(7, (1, 2), (2, 3), (8,), (3,), True, ((1, 5), (8, 6)), ((1, b"\x01a"), (8, b"\x01b")))
    )
    assert decode_configuration(whole, 7).learners_next == (3,)
    for length in range(len(whole)):
        with pytest.raises(InvalidArgument):
            decode_configuration(whole[:length], 7)
    for at in range(len(whole)):
        for byte in (0, 0x7F, 0xFF):
            changed = whole[:at] + bytes([byte]) + whole[at + 1 :]
            try:
                found = decode_configuration(changed, 7)
            except InvalidArgument:
                continue
            assert encode_configuration(found) == changed  # there is one form of each
