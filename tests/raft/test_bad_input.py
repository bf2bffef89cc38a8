"""Bytes and messages from outside are hostile: they are refused with a counted reason, and move nothing.

Messages and events of all shapes are made by Hypothesis from the same fields that the codec carries.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quorate.errors import InvalidArgument
from quorate.raft import (
    AddLearner,
    AddVoter,
    Applied,
    Campaign,
    Compact,
    Configuration,
    DiskStalled,
    Entry,
    ForgetLeader,
    LeaderConnectionClosed,
    Message,
    MoveMember,
    Persisted,
    Propose,
    ProposeChange,
    Raft,
    ReadIndex,
    Receive,
    RemoveMember,
    SnapshotFailed,
    SnapshotPersisted,
    Tick,
    TransferLeadership,
    Unreachable,
    decode,
    encode,
)
from raft.harness import Cluster

LARGE = 2**64 - 1
TYPES = {
    "RequestVote": ["last_log_index", "last_log_term", "pre_vote", "transfer", "configuration_index"],
    "RequestVoteResponse": ["granted", "pre_vote"],
    "AppendEntries": ["prev_log_index", "prev_log_term", "leader_commit", "entries", "round"],
    "AppendEntriesResponse": ["success", "match_index", "reject_index", "hint_index", "hint_term", "round"],
    "Heartbeat": ["leader_commit", "round"],
    "HeartbeatResponse": ["round"],
    "InstallSnapshot": [
        "snapshot_index",
        "snapshot_term",
        "configuration",
        "offset",
        "length",
        "size",
        "digest",
        "data",
    ],
    "InstallSnapshotResponse": ["snapshot_index", "snapshot_term", "offset", "success"],
    "TimeoutNow": [],
    "ForwardProposal": ["id", "entries"],
    "ForwardProposalResponse": ["id", "status", "index", "leader"],
    "ForwardRead": ["id"],
    "ForwardReadResponse": ["id", "index", "status"],
}
MAY_BE_UNKNOWN = {"RequestVote", "AppendEntries", "Heartbeat", "InstallSnapshot"}
"""Who leads or campaigns may be of a newer configuration: these are believed, and transports must know their peers."""
STATUSES = ["accepted", "not_leader", "no_leader", "overloaded", "transferring", "invalid"]

small = st.integers(0, 6)
u64 = st.one_of(small, st.integers(0, LARGE), st.sampled_from([2**63, LARGE - 1, LARGE]))


@st.composite
def entry_lists(draw: Any, first: int | None = None) -> list[Entry]:
    """Mostly in order, as a sender would; sometimes not."""
    count = draw(st.integers(0, 4))
    index = draw(u64) if first is None else first
    term = draw(st.integers(0, 4))
    made = []
    for _ in range(count):
        index += draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
        term += draw(st.sampled_from([0, 0, 1, -1]))
        kind, data = draw(st.sampled_from([0, 0, 0, 1, 2])), draw(st.binary(max_size=6))
        made.append(Entry(index & LARGE, term & LARGE, kind, data))
    return made


@st.composite
def configurations(draw: Any) -> Configuration:
    ids = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6, unique=True))
    cut = draw(st.integers(1, len(ids)))
    places = tuple((id, draw(st.binary(min_size=1, max_size=9))) for id in sorted(ids) if id % 2)
    return Configuration(
        index=draw(small), incoming=tuple(sorted(ids[:cut])), learners=tuple(sorted(ids[cut:])), places=places
    )


@st.composite
def messages(draw: Any, members: Any = u64, numbers: Any = u64) -> Message:
    type = draw(st.sampled_from(sorted(TYPES)))
    fields: dict[str, Any] = {
        "group": draw(st.sampled_from([0, 0, 0, 0, 1, LARGE])),
        "sender": draw(members),
        "receiver": draw(members),
        "term": draw(numbers),
        "incarnation": draw(st.sampled_from([0, 0, 7])),
    }
    for name in TYPES[type]:
        if name in ("pre_vote", "transfer", "granted", "success"):
            fields[name] = draw(st.booleans())
        elif name == "entries":
            fields[name] = draw(entry_lists(fields.get("prev_log_index")))
        elif name == "configuration":
            fields[name] = draw(configurations())
        elif name == "status":
            fields[name] = draw(st.sampled_from(STATUSES))
        elif name == "data":
            fields[name] = draw(st.binary(max_size=8))
        else:
            fields[name] = draw(numbers)
    try:
        return Message.make(type, **fields)
    except (InvalidArgument, OverflowError):
        # What cannot be built needs no test of being received; take a plain one.
        return Message.make("TimeoutNow", sender=1, receiver=2, term=fields["term"])


def events(members: Any = u64, numbers: Any = u64) -> Any:
    now = st.integers(0, 10**9)
    change = st.one_of(
        st.builds(AddVoter, st.integers(1, 9), st.sampled_from([0, 7])),
        st.builds(AddLearner, st.integers(1, 9), st.sampled_from([0, 7])),
        st.builds(RemoveMember, st.integers(1, 9)),
        st.builds(MoveMember, st.integers(1, 9), st.binary(max_size=9)),
    )
    payload = st.binary(max_size=9)
    changes = st.lists(change, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Receive, message=messages(members, numbers), now=now),
        st.builds(Tick, now=now),
        st.builds(Propose, st.one_of(payload, st.lists(payload, min_size=1, max_size=3)), id=numbers, now=now),
        st.builds(ProposeChange, changes, id=numbers, joint=st.sampled_from(["auto", "explicit"]), now=now),
        st.builds(ProposeChange, id=numbers, joint=st.just("leave"), now=now),
        st.builds(Persisted, ticket=numbers, index=numbers, term=numbers, now=now),
        st.builds(Applied, index=numbers, now=now),
        st.builds(SnapshotPersisted, index=numbers, term=numbers, now=now),
        st.builds(SnapshotFailed, index=numbers, peer=members, now=now),
        st.builds(ReadIndex, id=numbers, now=now),
        st.builds(TransferLeadership, target=members, now=now),
        st.builds(Campaign, now=now),
        st.builds(ForgetLeader, now=now),
        st.builds(Compact, index=numbers, size=numbers, digest=numbers, now=now),
        st.builds(Unreachable, peer=members, now=now),
        st.builds(LeaderConnectionClosed, now=now),
        st.builds(DiskStalled, stalled=st.booleans(), now=now),
    )


# The codec


@given(messages())
@settings(max_examples=400, deadline=None)
def test_a_message_comes_back_as_it_went(message: Message) -> None:
    assert decode(encode(message)) == message


@given(events())
@settings(max_examples=400, deadline=None)
def test_an_event_comes_back_as_it_went(event: Any) -> None:
    assert decode(encode(event)) == event


@given(st.lists(events(st.integers(1, 4), small), max_size=12))
@settings(max_examples=150, deadline=None)
def test_an_update_comes_back_as_it_went(happenings: list[Any]) -> None:
    core = Raft(2, voters=[1, 2, 3], seed=1)
    for event in happenings:
        update = core.step(event)
        assert decode(encode(update)) == update


@given(st.one_of(messages(), events()), st.data())
@settings(max_examples=600, deadline=None)
def test_damaged_bytes_are_refused_or_mean_something_else(thing: Any, data: Any) -> None:
    """Cut, lengthened or flipped bytes: InvalidArgument, or another value that encodes to just these bytes."""
    raw = bytearray(encode(thing))
    how = data.draw(st.sampled_from(["cut", "longer", "flip", "replace"]))
    if how == "cut":
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    elif how == "longer":
        raw += data.draw(st.binary(min_size=1, max_size=9))
    elif how == "flip":
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        at = data.draw(st.integers(0, len(raw) - 1))
        width = min(8, len(raw) - at)
        raw[at : at + width] = data.draw(st.sampled_from([LARGE, 0, 2**63, 2**32 - 1])).to_bytes(8, "little")[:width]
    try:
        other = decode(bytes(raw))
    except InvalidArgument:
        return
    assert how not in ("cut", "longer"), "bytes are missing, or too many, and nobody saw it"
    assert decode(encode(other)) == other


@given(st.binary(max_size=200))
@settings(max_examples=400, deadline=None)
@example(b"")
def test_noise_is_refused(noise: bytes) -> None:
    try:
        decode(noise)
    except InvalidArgument:
        return
    assert decode(encode(decode(noise))) == decode(noise)


def test_every_cut_of_every_type_is_refused() -> None:
    for type in TYPES:
        entries = [Entry(6, 2, 0, b"abc")] if "entries" in TYPES[type] else None
        fields: dict[str, Any] = {"entries": entries} if entries else {}
        raw = encode(Message.make(type, group=3, sender=1, receiver=2, term=2, **fields))
        assert decode(raw).type == type
        for length in range(len(raw)):
            with pytest.raises(InvalidArgument):
                decode(raw[:length])


def test_an_unknown_version_is_refused_with_a_clear_word() -> None:
    raw = bytearray(encode(Message.make("TimeoutNow", sender=1, receiver=2, term=2)))
    seen = set()
    for at in range(min(4, len(raw))):
        changed = bytearray(raw)
        changed[at] = 0xEE
        with pytest.raises(InvalidArgument) as error:
            decode(bytes(changed))
        seen.add(str(error.value))
    assert any("version" in text for text in seen), seen


def test_a_claim_allocates_nothing() -> None:
    """A count of four billion entries in a hundred bytes is refused before memory is asked for."""
    raw = bytearray(encode(Message.make("AppendEntries", sender=1, receiver=2, term=2, entries=[Entry(1, 1, 0, b"x")])))
    for at in range(len(raw) - 3):
        for claim in (0xFFFFFFFF, 0x7FFFFFFF, 0x00FFFFFF):
            changed = bytearray(raw)
            struct.pack_into("<I", changed, at, claim)
            try:
                decode(bytes(changed))
            except InvalidArgument:
                pass


def test_what_is_not_bytes_is_a_type_error() -> None:
    with pytest.raises((TypeError, InvalidArgument)):
        decode("text")  # type: ignore[arg-type]
    with pytest.raises((TypeError, InvalidArgument)):
        encode(object())


# Step


def led() -> Cluster:
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"a")
    cluster.propose(1, b"b")
    cluster.settle()
    return cluster


def unmoved(cluster: Cluster, id: int, reason: str | None = None, **message: Any) -> None:
    """The message is refused, counted, answered by nothing that promises, and the state stands."""
    before = cluster[id].state
    update = cluster.receive(id, **{"type": "Heartbeat", "sender": 1, "term": before.term, **message})
    after = cluster[id].state
    for name in (
        "role",
        "term",
        "vote",
        "leader",
        "commit",
        "applied",
        "first_index",
        "last_index",
        "configuration",
        "persisted_index",
    ):
        assert getattr(after, name) == getattr(before, name), name
    assert sum(after.rejected.values()) == sum(before.rejected.values()) + 1
    if reason is not None:
        assert after.rejected[reason] == before.rejected.get(reason, 0) + 1
    assert (update.entries, update.hard_state, update.snapshot_chunk, update.apply) == ([], None, None, [])
    cluster.flying.clear()


@pytest.mark.parametrize("id", [1, 2])
@pytest.mark.parametrize("type", sorted(TYPES))
def test_another_group_is_refused(type: str, id: int) -> None:
    cluster = led()
    unmoved(cluster, id, type=type, sender=3, term=9, group=5)


@pytest.mark.parametrize("type", sorted(TYPES))
def test_a_message_for_somebody_else_is_refused(type: str) -> None:
    cluster = led()
    before = cluster[2].state
    cluster.step(2, Receive(message=Message.make(type, sender=1, receiver=3, term=9), now=cluster.now))
    after = cluster[2].state
    assert (after.term, after.role, after.last_index) == (before.term, before.role, before.last_index)
    assert sum(after.rejected.values()) == sum(before.rejected.values()) + 1


@pytest.mark.parametrize(
    "type", ["AppendEntriesResponse", "HeartbeatResponse", "RequestVoteResponse", "InstallSnapshotResponse"]
)
def test_a_strangers_answer_is_refused(type: str) -> None:
    cluster = led()
    fields = {"success": True} if "success" in TYPES[type] else {}
    unmoved(cluster, 1, type=type, sender=9, **fields)


@pytest.mark.parametrize("type", sorted(TYPES))
def test_a_message_from_oneself_or_from_nobody_is_refused(type: str) -> None:
    cluster = led()
    unmoved(cluster, 2, type=type, sender=2)
    unmoved(cluster, 2, type=type, sender=0)


def test_a_second_leader_of_the_term_is_refused() -> None:
    cluster = led()
    for type in ("AppendEntries", "Heartbeat", "InstallSnapshot"):
        unmoved(cluster, 1, type=type, sender=3)


@pytest.mark.parametrize(
    ("prev", "entries"),
    [
        ((3, 2), [(4, 1)]),
        ((3, 1), [(4, 0)]),
        ((3, 1), [(4, 9)]),
        ((3, 9), []),
        ((0, 1), []),
        ((3, 0), []),
        ((LARGE, 1), []),
        ((LARGE - 1, 1), [(LARGE, 1)]),
        ((LARGE, 1), [(0, 1)]),
    ],
    ids=str,
)
def test_impossible_appends_are_refused(prev: tuple[int, int], entries: list[tuple[int, int]]) -> None:
    """Falling terms, terms above the message's, indexes at the end of the numbers."""
    cluster = led()
    before = cluster[2].state
    try:
        message = Message.make(
            "AppendEntries",
            sender=1,
            receiver=2,
            term=1,
            prev_log_index=prev[0],
            prev_log_term=prev[1],
            entries=[Entry(index, term, 0, b"x") for index, term in entries],
        )
    except InvalidArgument:
        return  # such a message cannot even be built
    cluster.step(2, Receive(message=message, now=cluster.now))
    after = cluster[2].state
    assert (after.last_index, after.commit, after.term) == (before.last_index, before.commit, before.term)
    assert not [reply for reply in cluster.take(sender=2) if reply.type == "AppendEntriesResponse" and reply.success]


def test_an_append_that_would_replace_what_is_committed_changes_nothing() -> None:
    cluster = led()
    log = cluster[2].log
    cluster.receive(
        2,
        "AppendEntries",
        sender=3,
        term=2,
        prev_log_index=1,
        prev_log_term=1,
        entries=[Entry(2, 2, 0, b"other"), Entry(3, 2, 0, b"other")],
    )
    assert cluster[2].log == log


def test_an_acknowledgement_beyond_the_log_is_refused() -> None:
    cluster = led()
    for index in (4, 10**6, LARGE):
        unmoved(cluster, 1, type="AppendEntriesResponse", sender=2, success=True, match_index=index)


def test_a_refusal_of_what_was_never_sent_is_refused() -> None:
    """It would move nextIndex beyond the leader's log, and break an invariant there."""
    cluster = led()
    for index in (3, 4, 100, LARGE):
        for hint in (0, 2, 100, LARGE):
            unmoved(cluster, 1, type="AppendEntriesResponse", sender=2, reject_index=index, hint_index=hint)
    cluster.propose(1, b"c")
    cluster.settle()
    assert cluster[2].commands == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    "type",
    [
        "AppendEntriesResponse",
        "HeartbeatResponse",
        "InstallSnapshotResponse",
        "RequestVoteResponse",
        "ForwardProposal",
        "ForwardRead",
        "ForwardProposalResponse",
        "ForwardReadResponse",
        "TimeoutNow",
    ],
)
def test_a_stranger_of_a_later_term_deposes_nobody(type: str) -> None:
    """Only what a new leader or candidate sends may come from somebody that this configuration does not know yet."""
    cluster = led()
    fields: dict[str, Any] = {"entries": [Entry(1, 1, 0, b"x")]} if type == "ForwardProposal" else {}
    for id in (1, 2):
        unmoved(cluster, id, type=type, sender=9, term=7, **fields)


def test_a_leader_that_contradicts_what_is_committed_is_refused() -> None:
    """Such a leader cannot exist (leader completeness); appending behind a made-up past would make terms fall."""
    cluster = Cluster(1, 2, 3, logs={id: [1, 4, 4, 4] for id in (1, 2, 3)})
    cluster.elect(1)
    log = cluster[2].log
    assert [term for _, term in log] == [1, 4, 4, 4, 5]
    for terms in ([2, 2, 2, 2, 2], [4, 4, 4, 4, 4], [4, 4, 6, 6, 6]):
        entries = [Entry(index, term, 0, b"x") for index, term in enumerate(terms, 2)]
        unmoved(
            cluster, 2, type="AppendEntries", term=5, prev_log_index=1, prev_log_term=1, entries=entries
        )  # fmt: skip
    assert cluster[2].log == log


def test_an_entry_that_claims_to_be_a_configuration_is_looked_at() -> None:
    cluster = led()
    before = cluster[2].state
    try:
        cluster.receive(
            2,
            "AppendEntries",
            sender=1,
            term=1,
            prev_log_index=3,
            prev_log_term=1,
            entries=[Entry(4, 1, 2, b"not one")],
        )
    except InvalidArgument:
        return
    after = cluster[2].state
    assert after.configuration == before.configuration
    assert after.last_index == before.last_index
    assert sum(after.rejected.values()) == sum(before.rejected.values()) + 1


def test_reports_of_what_was_never_handed_out_are_refused() -> None:
    cluster = led()
    for event in (
        Applied(index=99, now=cluster.now),
        Applied(index=0, now=cluster.now),
        Persisted(ticket=0, index=0, term=0, now=cluster.now),
        Persisted(ticket=LARGE, index=3, term=1, now=cluster.now),
        SnapshotPersisted(index=9, term=1, now=cluster.now),
        SnapshotFailed(index=9, now=cluster.now),
        Compact(index=99, size=1, now=cluster.now),
        Compact(index=0, size=1, now=cluster.now),
    ):
        before = cluster[2].state
        cluster.step(2, event)
        after = cluster[2].state
        assert after._replace(rejected={}, deadline=0) == before._replace(rejected={}, deadline=0), event
        assert sum(after.rejected.values()) == sum(before.rejected.values()) + 1, event


def test_an_event_that_is_none_is_a_type_error() -> None:
    cluster = led()
    for wrong in (None, 7, "Tick", Message.make("TimeoutNow", sender=1, receiver=2, term=1)):
        with pytest.raises((TypeError, InvalidArgument)):
            cluster[2].core.step(wrong)
    cluster.settle()


@given(st.lists(messages(st.integers(0, 4), st.one_of(small, u64)), max_size=25), st.integers(1, 3))
@settings(max_examples=250, deadline=None)
def test_arbitrary_messages_never_undo_what_is_committed(mail: list[Message], victim: int) -> None:
    """One member gets anything at all: it neither crashes nor breaks an invariant, and what it committed stays.

    The forged messages may carry a member's name, so the group may lose its leader; what was committed may not change.
    """
    cluster = led()
    core = cluster[victim].core
    committed = core.log.entries(1, core.commit + 1)
    for message in mail:
        core.step(Receive(message=message, now=cluster.now))
        assert core.commit >= len(committed)
    state = core.state()
    assert not state.failed
    if state.first_index == 1:
        assert core.log.entries(1, len(committed) + 1) == committed
    assert state.applied <= state.commit <= state.last_index


@given(st.lists(events(st.integers(0, 4), st.one_of(small, u64)), max_size=40), st.integers(1, 3))
@settings(max_examples=250, deadline=None)
def test_arbitrary_events_never_break_an_invariant(happenings: list[Any], victim: int) -> None:
    cluster = led()
    core = cluster[victim].core
    for event in happenings:
        core.step(event)
    state = core.state()
    assert not state.failed
    assert state.applied <= state.commit <= state.last_index
    assert state.persisted_index <= state.last_index


@given(
    st.lists(
        st.tuples(messages(st.sampled_from([0, 1, 2, 3, 8, 9]), st.one_of(small, u64)), st.integers(1, 3)), max_size=20
    ),
    st.integers(0, 2**32),
)
@settings(max_examples=120, deadline=None)
def test_strangers_cannot_harm_an_honest_cluster(mail: list[tuple[Message, int]], seed: int) -> None:
    """Everybody gets messages of strangers and of other groups; the logs stay one log, and the group works on."""
    cluster = Cluster(1, 2, 3, seed=seed)
    cluster.elect(1)
    for number, (message, receiver) in enumerate(mail):
        if message.group == 0 and (message.sender in (1, 2, 3) or message.type in MAY_BE_UNKNOWN):
            continue
        cluster.step(receiver, Receive(message=message, now=cluster.now))
        if number % 3 == 0 and cluster.leader:
            cluster.propose(cluster.leader, b"%d" % number)
            cluster.deliver()
    if not cluster.leader:
        cluster.elect(2)
    result = cluster.propose(cluster.leader, b"last")
    if result.status == "transferring":
        return
    for _ in range(4):
        cluster.settle()
    assert {tuple(cluster[id].commands) for id in (1, 2, 3)} == {tuple(cluster[cluster.leader].commands)}
    assert cluster[1].commands[-1] == b"last"
