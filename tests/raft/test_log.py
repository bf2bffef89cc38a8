"""RaftLog against a plain list, and what it costs in memory. Its speed is measured in ``bench/test_raft.py``."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quorate.errors import Compacted, InvalidArgument, LimitExceeded
from quorate.limits import ENTRY_BYTES_MAX
from quorate.raft import (
    COMMAND,
    CONFIGURATION,
    NOOP,
    Configuration,
    Entry,
    HardState,
    Raft,
    RaftLog,
    encode_configuration,
)
from raft.counting import allocated

payloads = st.binary(max_size=12)


class LogAgainstList(RuleBasedStateMachine):
    """The model: a list of entries, and the index and term in front of the first one."""

    @initialize(index=st.integers(0, 5), term=st.integers(1, 3))
    def start(self, index: int, term: int) -> None:
        self.snapshot = (index, term) if index else (0, 0)
        self.model: list[Entry] = []
        self.log = RaftLog(snapshot_index=self.snapshot[0], snapshot_term=self.snapshot[1])

    @property
    def last(self) -> tuple[int, int]:
        return (self.model[-1].index, self.model[-1].term) if self.model else self.snapshot

    @rule(step=st.integers(0, 2), data=payloads, kind=st.sampled_from([COMMAND, NOOP]))
    def append(self, step: int, data: bytes, kind: int) -> None:
        index, term = self.last[0] + 1, max(1, self.last[1] + step)
        assert self.log.append(term, data, kind) == index
        self.model.append(Entry(index, term, kind, data))

    @rule(step=st.integers(0, 2), data=st.lists(payloads, max_size=700))
    def append_many(self, step: int, data: list[bytes]) -> None:
        term = max(1, self.last[1] + step)
        for index, payload in enumerate(data, self.last[0] + 1):
            self.model.append(Entry(index, term, COMMAND, payload))
        assert self.log.append_many(term, data) == self.last[0]

    @rule(part=st.floats(0, 1))
    def truncate(self, part: float) -> None:
        keep = int(part * len(self.model))
        index = self.snapshot[0] + keep + 1
        self.log.truncate(index)
        del self.model[keep:]

    @precondition(lambda self: self.model)
    @rule(part=st.floats(0, 1))
    def compact(self, part: float) -> None:
        count = max(1, int(part * len(self.model)))
        cut = self.model[count - 1]
        self.log.compact(cut.index)
        self.snapshot = (cut.index, cut.term)
        del self.model[:count]

    @rule(term=st.integers(0, 2))
    def a_falling_term_is_refused(self, term: int) -> None:
        if term < max(1, self.last[1]):
            with pytest.raises(InvalidArgument):
                self.log.append(term, b"x")

    @rule(lo=st.integers(0, 30), count=st.integers(0, 30))
    def entries(self, lo: int, count: int) -> None:
        lo += self.snapshot[0]
        if count and lo <= self.snapshot[0]:
            with pytest.raises(Compacted) as error:
                self.log.entries(lo, lo + count)
            assert error.value.first_available == self.snapshot[0] + 1
        elif count and lo + count - 1 > self.last[0]:
            with pytest.raises(InvalidArgument):
                self.log.entries(lo, lo + count)
        else:
            at = lo - self.snapshot[0] - 1
            assert self.log.entries(lo, lo + count) == (self.model[at : at + count] if count else [])

    @invariant()
    def agrees(self) -> None:
        log = self.log
        assert (log.snapshot_index, log.snapshot_term) == self.snapshot
        assert (log.first_index, log.last_index, len(log)) == (self.snapshot[0] + 1, self.last[0], len(self.model))
        assert log.payload_bytes == sum(len(entry.data) for entry in self.model)
        assert log.term(log.last_index) == self.last[1]
        if self.model:
            assert log.entries(self.model[-1].index, self.model[-1].index + 1) == self.model[-1:]
            assert log.entries(self.model[0].index, self.model[0].index + 1) == self.model[:1]
            assert [log.term(entry.index) for entry in self.model[::97]] == [entry.term for entry in self.model[::97]]

    def teardown(self) -> None:
        if hasattr(self, "model"):
            assert self.log.entries(self.log.first_index, self.log.last_index + 1) == self.model


LogAgainstList.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLogAgainstList = LogAgainstList.TestCase


def test_what_lies_outside_is_said() -> None:
    log = RaftLog(snapshot_index=4, snapshot_term=2)
    log.append_many(3, [b"a", b"b"])
    assert log.term(4) == 2
    with pytest.raises(Compacted):
        log.term(3)
    with pytest.raises(InvalidArgument):
        log.term(7)
    with pytest.raises(InvalidArgument):
        log.compact(7)
    with pytest.raises(Compacted):
        log.truncate(4)
    log.compact(2)
    assert len(log) == 2, "what is compacted already can be compacted again, and nothing happens"


def test_a_gap_in_the_entries_given_at_start_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no gap"):
        RaftLog(entries=[Entry(1, 1), Entry(3, 1)])
    with pytest.raises(InvalidArgument, match="both"):
        RaftLog(snapshot_index=4)


def test_an_unknown_kind_and_a_configuration_that_is_none_are_refused_and_leave_nothing() -> None:
    log = RaftLog()
    with pytest.raises(InvalidArgument, match="kind"):
        log.append(1, b"x", 3)
    with pytest.raises(InvalidArgument, match="configuration"):
        log.append(1, b"x", CONFIGURATION)
    with pytest.raises(LimitExceeded):
        log.append(1, bytes(ENTRY_BYTES_MAX + 1))
    with pytest.raises(LimitExceeded):
        log.append_many(1, [b"x", bytes(ENTRY_BYTES_MAX + 1)])
    with pytest.raises((TypeError, BufferError)):
        log.append_many(1, [b"x", 7])
    assert (len(log), log.payload_bytes) == (0, 0)


def test_any_buffer_is_copied_once_and_not_shared_with_the_caller() -> None:
    log = RaftLog()
    mine = bytearray(b"one")
    log.append(1, mine)
    log.append_many(1, [memoryview(mine), mine, b"three"])
    mine[:] = b"two"
    assert [entry.data for entry in log.entries(1, 5)] == [b"one", b"one", b"one", b"three"]


def test_the_configuration_follows_the_log() -> None:
    first = Configuration(incoming=(1, 2, 3))
    second = Configuration(incoming=(1, 2, 3, 4))
    log = RaftLog(snapshot_index=2, snapshot_term=1, configuration=first)
    log.append(1, b"x")
    log.append(1, encode_configuration(second), CONFIGURATION)
    log.append(1, encode_configuration(first), CONFIGURATION)
    assert (log.configuration.index, log.configuration.incoming) == (5, (1, 2, 3))
    log.truncate(5)
    assert (log.configuration.index, log.configuration.incoming) == (4, (1, 2, 3, 4))
    log.truncate(4)
    assert (log.configuration.index, log.configuration.incoming) == (0, (1, 2, 3))
    log.append(2, encode_configuration(second), CONFIGURATION)
    log.compact(4)
    assert (log.configuration.index, log.configuration.incoming) == (4, (1, 2, 3, 4))


def test_a_running_core_owns_its_log() -> None:
    log = RaftLog()
    log.append(1, b"x")
    core = Raft(1, voters=[1], seed=1, log=log, hard_state=HardState(term=1))
    for change in (
        lambda: log.append(1, b"y"),
        lambda: log.append_many(1, [b"y"]),
        lambda: log.truncate(1),
        lambda: log.compact(1),
    ):
        with pytest.raises(InvalidArgument, match="running"):
            change()
    assert core.log.last_index == 1


def test_an_entry_costs_at_most_48_bytes_besides_its_payload() -> None:
    count, payload = 100_000, b"x" * 64
    log = RaftLog()
    before = allocated()
    for _ in range(count):
        log.append(1, payload)
    single = (allocated() - before) / count - len(payload)
    batched = RaftLog()
    batch = [payload] * 1_000
    before = allocated()
    for _ in range(count // 1_000):
        batched.append_many(1, batch)
    many = (allocated() - before) / count - len(payload)
    assert single <= 48, f"{single:.1f} B an entry appended alone"
    assert many <= 28, f"{many:.1f} B an entry of a batch, which shares its buffer"


def test_truncation_and_compaction_give_memory_back() -> None:
    payload = b"x" * 64
    log = RaftLog()
    empty = allocated()
    log.append_many(1, [payload] * 10)
    for _ in range(50_000):
        log.append(1, payload)
    full = allocated() - empty
    log.compact(25_000)
    assert allocated() - empty < 0.55 * full
    log.truncate(25_100)
    assert allocated() - empty < 0.02 * full
    del log
    assert allocated() - empty < 4_096


def test_a_batch_is_freed_with_its_last_entry() -> None:
    """Entries of a batch share one buffer: it lives as long as one of them does."""
    log = RaftLog()
    log.append(1, b"first")
    before = allocated()
    log.append_many(1, [bytes(1_000)] * 1_000)
    log.compact(1_000)
    assert allocated() - before > 900_000
    assert log.entries(1_001, 1_002)[0].data == bytes(1_000)
    log.compact(1_001)
    assert allocated() - before < 20_000
