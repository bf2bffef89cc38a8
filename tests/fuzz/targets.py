"""The parsers behind Python that take bytes from outside: of other nodes, of clients, of files, of users.

Each target accepts any bytes: it returns when they are refused with the error that is documented, and when they are
accepted it checks what follows from that (that they are the form of what was read; that what was read can be used).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from quorate.client.urls import parse_url
from quorate.errors import ConfigError, InvalidArgument, NodeFailed, QuorateError, StorageError
from quorate.raft import (
    COMMAND,
    Configuration,
    Entry,
    Message,
    decode,
    decode_configuration,
    encode,
    encode_configuration,
)
from quorate.ring import Jump, JumpBack, Ketama, Maglev, Member, Rendezvous, Ring, SlotMap
from quorate.runtime import questions
from quorate.runtime.addresses import parse_address
from quorate.runtime.membership import Membership
from quorate.storage import Log, replay
from quorate.storage._snapshot import open_reader
from quorate.storage.directory import DataDirectory, Identity
from quorate.storage.snapshots import Snapshots
from quorate.store import Store, _decode, commands
from quorate.store._read import encoded
from quorate.store.views import Limit, PermitKind, Status
from store.driver import Driver


class Target(NamedTuple):
    """``seeds`` makes valid inputs; ``cost``: how many times dearer than the cheapest, for runs of equal length."""

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    cost: int = 1


# Raft -----------------------------------------------------------------------------------------------------------------


def raft_form(data: bytes) -> None:
    """A message between nodes. There is one form of each, so what is accepted encodes to the same bytes."""
    try:
        found = decode(data)
    except InvalidArgument:
        return
    assert encode(found) == data
    repr(found)


def raft_forms() -> list[bytes]:
    route: dict[str, Any] = {"sender": 1, "receiver": 2, "term": 300, "incarnation": 1 << 63}
    entries = [Entry(index, 3, COMMAND, bytes([index]) * 5) for index in range(1, 4)]
    two = Configuration(7, (1, 2, 3), (1, 2), (9,), incarnations=((1, 5),), places=((1, b"\x01a\x01b"),))
    shapes: list[tuple[str, dict[str, Any]]] = [
        ("RequestVote", {"last_log_index": 70_000, "last_log_term": 2, "pre_vote": True, "configuration_index": 1}),
        ("RequestVoteResponse", {"granted": True}),
        ("AppendEntries", {"prev_log_index": 9, "prev_log_term": 3, "entries": entries, "leader_commit": 9}),
        ("AppendEntriesResponse", {"reject_index": 4, "hint_index": 3, "hint_term": 2}),
        ("Heartbeat", {"leader_commit": 1 << 40, "round": 2}),
        ("HeartbeatResponse", {"round": 2}),
        ("InstallSnapshot", {"snapshot_index": 8, "snapshot_term": 2, "configuration": two, "offset": 3, "length": 4,
                             "size": 99, "digest": 5, "data": b"abcd"}),
        ("InstallSnapshotResponse", {"success": True, "snapshot_index": 8, "offset": 7}),
        ("TimeoutNow", {}),
        ("ForwardProposal", {"id": 1 << 61, "entries": [b"x", b"yy"]}),
        ("ForwardProposalResponse", {"id": 5, "status": "overloaded", "leader": 2}),
        ("ForwardRead", {"id": 5}),
        ("ForwardReadResponse", {"id": 5, "index": 6}),
    ]  # fmt: skip
    return [encode(Message.make(type, **route, **fields)) for type, fields in shapes]


def configuration(data: bytes) -> None:
    try:
        found = decode_configuration(data, 7)
    except InvalidArgument:
        return
    assert encode_configuration(found) == data


def configurations() -> list[bytes]:
    place = ((1, b"\x01a\x0b127.0.0.1:1"),)
    return [
        encode_configuration(each)
        for each in (
            Configuration(incoming=(1, 2, 3)),
            Configuration(7, (1, 2, 3), (2, 3, 4), (8, 9), (4,), True, ((1, 77),), place),
            Configuration(incoming=tuple(range(1, 8)), learners=tuple(range(10, 14))),
        )
    ]


# Store ----------------------------------------------------------------------------------------------------------------


def state() -> Driver:
    """A store with something in every table."""
    log = Driver()
    log.store.configure(1, 1, b"members")
    log.index = 1
    one, two = log.open(1), log.open(2)
    for number in range(6):
        log.ok(commands.put(f"k/{number}", bytes(number * 7)))
    log.ok(commands.put("mine", b"x", owned=True, session=one, number=1))
    pool: dict[str, Any] = {"kind": PermitKind.SEMAPHORE, "capacity": 2}
    for session in (one, two):
        log.ok(commands.acquire("pool", session=session, acquisition=1, units=2, value=b"v", **pool))
        log.ok(commands.acquire("lock", session=session, acquisition=2))
    log.ok(commands.delete("k/3", session=two, number=1))
    log.ok(commands.force_release("lock", "why"))
    return log


def snapshot(data: bytes) -> None:
    """A store's content, in pieces. Whatever is accepted is a store that works, and saves as it came."""
    step = 1 + len(data) // 3
    try:
        made = Store.restore([data[at : at + step] for at in range(0, len(data), step)])
    except (StorageError, NodeFailed):
        return
    log = Driver(made)
    assert log.saved() == data
    log.do(commands.put("k/1", b"after"))
    for session in made.reader.sessions():
        log.do(commands.session_end(session.id, 2))


def snapshots() -> list[bytes]:
    return [Driver().saved(), state().saved()]


def command(data: bytes) -> None:
    """Whatever stands in the log is applied alike everywhere: no bytes bring the store down or into disorder."""
    log = state()
    before = log.index
    try:
        result = log.do(data)
    except NodeFailed:  # of a newer version
        return
    assert log.store.applied_index == before + 1
    if result.status is Status.OK:
        assert Store.restore([log.saved()]).applied_index == before + 1


def commands_of_all_kinds() -> list[bytes]:
    c = commands
    return [
        c.compare_and_set("k/1", b"value", 4),
        c.put("k/2", b"value", session=2, owned=True, number=3, mark=1),
        c.delete("k/1"),
        c.delete_range("k/", "k0"),
        c.increment("n", 5),
        c.acquire("lock", session=2, acquisition=9, value=b"v"),
        c.release(session=2, acquisition=2),
        c.cancel(session=3, acquisition=2),
        c.force_release("lock", "why"),
        c.session_open(bytes(16), 5000, label=b"label"),
        c.session_end(2, 1),
        c.transaction([], [c.do_get("k/1"), c.do_put("k/2", b"x")]),
        c.set_limits({Limit.KEYS: 100}),
        c.compact_history(5),
        c.set_version(1),
    ]


ANSWERS: list[Callable[[bytes], object]] = [
    lambda data: _decode.decode_key(data, 1),
    lambda data: _decode.decode_range(data, False, 1),
    lambda data: _decode.decode_range(data, True, 1),
    _decode.decode_count,
    _decode.decode_session,
    lambda data: _decode.decode_acquisition(data, 2, 1),
    lambda data: _decode.decode_permit(data, b"pool"),
    lambda data: _decode.decode_parts(data, 1),
    lambda data: _decode.decode_events(data, 1),
]


def answer(data: bytes) -> None:
    """What a node answers to queries and watches, as a client reads it."""
    for decode_it in ANSWERS:
        with contextlib.suppress(InvalidArgument):
            decode_it(data)


def answers() -> list[bytes]:
    reader = state().store.reader
    return [
        encoded(reader, "key", "k/1"),
        encoded(reader, "range", "k/", "k0", 3, False, 1 << 20),
        encoded(reader, "range", "k/", "k0", 0, True, 1 << 20),
        encoded(reader, "count", "k/", "k0"),
        encoded(reader, "session", 2),
        encoded(reader, "acquisition", 2, 1),
        encoded(reader, "permit", "pool", 10),
    ]


def members(data: bytes) -> None:
    """The answers that are read by Python."""
    for decode_it in (Membership.decode, questions.decode_status):
        with contextlib.suppress(InvalidArgument):
            decode_it(data)


def lists_of_members() -> list[bytes]:
    one = (1).to_bytes(8, "little") + b"\x01a\x0b127.0.0.1:1" + bytes([1 | 4 | 16]) + bytes(24)
    status = b"\x02\x00" + b"\x03a.b" + bytes(8) + b"\x01c" + bytes(8) + b"\x01\x00" + b"\x04role\x06leader"
    return [bytes(24) + b"\x00" + b"\x02\x00" + one + one, status]


# Files ----------------------------------------------------------------------------------------------------------------


@cache
def folder() -> Path:
    """In memory where there is such a place: this is about parsing."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    made = Path(tempfile.mkdtemp(prefix="quorate-fuzz-", dir=place))
    atexit.register(shutil.rmtree, made, True)
    return made


def log_segment(data: bytes) -> None:
    """A segment file. What is read from a damaged one is a prefix of what was written, or it is refused."""
    where = folder() / "log"
    where.mkdir(exist_ok=True)
    (where / "0000000000000001.log").write_bytes(data)
    try:
        found = replay(str(where))
    except StorageError:
        return
    for index, term, kind, payload in found.entries():
        assert index > 0
        assert term >= 0
        assert kind in range(16)
        assert len(payload) <= len(data)


def log_segments() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name, DataDirectory(Path(name) / "d", node=1, cluster=bytes(16)) as directory:
        with Log(directory, segment_bytes=4096) as log:
            log.append([(1, b"a"), (1, b"bb" * 300)], hard_state=(1, 1, 0))
            log.wait(log.append([(2, b"")], hard_state=(2, 1, 1)))
            log.wait(log.append([(2, b"x" * 40)], first_index=3))
        return [next((Path(name) / "d" / "log").glob("*.log")).read_bytes()]


def snapshot_file(data: bytes) -> None:
    """A snapshot file. Its content is given out only if all of it is proven."""
    path = folder() / "snapshot"
    path.write_bytes(data)
    try:
        with open_reader(str(path)) as reader:
            reader.prove()
            content = b"".join(reader.chunks())
    except (StorageError, NodeFailed):
        return
    assert content == CONTENT


CONTENT = b"content of a snapshot" * 5


def snapshot_files() -> list[bytes]:
    kept = Snapshots(None, identity=Identity.new(node=1, cluster=bytes(16)))
    writer = kept.create(term=2, index=10, configuration=b"a b c", configuration_index=1)
    writer.write(CONTENT)
    writer.finish()
    with kept.file() as made:
        return [made.read()]


# Rings ----------------------------------------------------------------------------------------------------------------

PLACEMENTS: list[Any] = [Ring, Jump, JumpBack, Rendezvous, Maglev, SlotMap, Ketama]


def ring(data: bytes) -> None:
    """A ring or another placement as a program stored it. What is accepted has one form, and finds an owner."""
    for kind in PLACEMENTS:
        try:
            found = kind.from_bytes(data)
        except QuorateError:
            continue
        assert found.to_bytes() == data
        if len(found):
            assert found["key"] is not None


def rings() -> list[bytes]:
    nodes = ["n1", "n2", "n3"]
    made: list[Any] = [
        Ring(["n1", "n2", Member("n3", weight=2)], vnodes=3),
        Jump(nodes),
        JumpBack(nodes),
        Rendezvous(nodes),
        Maglev(nodes, table_size=7),
        SlotMap(nodes, slots=8),
        Ketama(nodes),
    ]
    return [each.to_bytes() for each in made]


# Texts ----------------------------------------------------------------------------------------------------------------


def text(data: bytes) -> None:
    """An address or a URL, as users write them."""
    written = data.decode(errors="replace")
    with contextlib.suppress(ConfigError):
        assert str(parse_address(written))
    with contextlib.suppress(ConfigError):
        assert parse_url(written or "?", environ={}).addresses


def texts() -> list[bytes]:
    return [
        b"127.0.0.1:7400",
        b"[::1]:7400",
        b"unix:/run/a.sock",
        b"quorate://db1,db2:7500/billing/?near=no&timeout=2.5&cluster=00112233445566778899aabbccddeeff",
        b"quorate://[::1]:1,unix:/a?label=x%20y",
    ]


TARGETS = [
    Target("raft_form", raft_form, raft_forms),
    Target("configuration", configuration, configurations),
    Target("snapshot", snapshot, snapshots, 10),
    Target("command", command, commands_of_all_kinds, 20),
    Target("answer", answer, answers, 3),
    Target("members", members, lists_of_members, 3),
    Target("log_segment", log_segment, log_segments, 30),
    Target("snapshot_file", snapshot_file, snapshot_files, 20),
    Target("ring", ring, rings, 5),
    Target("text", text, texts, 5),
]
