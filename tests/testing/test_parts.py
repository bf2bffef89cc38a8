"""The simulator's parts alone: clock, disk, network, registers."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.testing.clock import Clock
from quorate.testing.disk import Disk, DiskMisuse, Snapshot
from quorate.testing.machine import CAS, WRITE, Registers, StateMachine
from quorate.testing.network import Network


class Entry(NamedTuple):
    index: int
    term: int


class Hard(NamedTuple):
    term: int
    vote: int
    commit: int


def entries(first: int, *terms: int) -> list[Entry]:
    return [Entry(first + n, term) for n, term in enumerate(terms)]


def terms(disk: Disk) -> list[int]:
    return [entry.term for entry in disk.entries]


@given(st.floats(0.5, 2.0), st.integers(0, 10**9), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_tick_is_due_at_the_first_moment_that_shows_the_deadline(
    rate: float, local: int, true: int, left: int
) -> None:
    clock = Clock(local=local, true=true, rate=rate)
    deadline = clock.now(true) + left
    due = clock.due(deadline, true)
    assert clock.now(due) >= deadline
    assert due == true or clock.now(due - 2) < deadline


def test_changing_the_rate_does_not_make_time_jump() -> None:
    clock = Clock(local=100, true=0, rate=1.5)
    before = clock.now(1_000)
    clock.set_rate(1_000, 0.5)
    assert clock.now(1_000) == before
    assert clock.now(2_000) == before + 500


def test_a_crash_keeps_what_is_synced_and_any_prefix_of_the_rest() -> None:
    seen = set()
    for seed in range(200):
        disk = Disk()
        disk.write(Hard(1, 1, 0), 1, entries(1, 1, 1, 1))
        disk.sync()
        disk.write(Hard(2, 3, 2), 2, entries(2, 2, 2))
        lost = disk.crash(random.Random(seed))
        seen.add((lost, disk.term, disk.vote, disk.commit, tuple(terms(disk))))
    assert seen == {
        (4, 1, 1, 0, (1, 1, 1)),
        (3, 2, 3, 1, (1, 1, 1)),
        (2, 2, 3, 1, (1, 2)),
        (1, 2, 3, 1, (1, 2, 2)),
        (0, 2, 3, 2, (1, 2, 2)),
    }, "the commit index never comes before the entries that it speaks of"


def test_an_overwrite_drops_what_follows() -> None:
    disk = Disk()
    disk.write(None, 1, entries(1, 1, 1, 1, 1))
    disk.write(None, 3, entries(3, 2))
    assert disk.last == 0, "not durable yet"
    disk.sync()
    assert terms(disk) == [1, 1, 2]
    assert disk.holds(3, 2)
    assert not disk.holds(3, 1)
    assert not disk.holds(4, 1)


def test_a_snapshot_keeps_a_matching_tail_and_drops_a_divergent_log() -> None:
    for term, kept in ((1, [1]), (2, [])):
        disk = Disk()
        disk.write(None, 1, entries(1, 1, 1, 1))
        disk.keep_received(Snapshot(2, term, None, b"state"))
        disk.write_beginning(Snapshot(2, term, None, b"state"))
        disk.sync()
        assert terms(disk) == kept
        assert disk.first == 3
        assert disk.snapshot is not None


def test_a_received_snapshot_is_found_although_the_log_never_came_to_name_it() -> None:
    for seed in range(20):
        disk = Disk()
        disk.write(None, 1, entries(1, 1))
        disk.sync()
        disk.keep_received(Snapshot(5, 2, None, b"state"))
        assert disk.last == 5
        disk.write(None, 2, entries(2, 1, 1))
        disk.write_beginning(Snapshot(5, 2, None, b"state"))
        disk.crash(random.Random(seed))
        assert (disk.first, disk.last, disk.snapshot.index, disk.entries) == (6, 5, 5, [])


def test_the_disk_sees_misuse() -> None:
    disk = Disk()
    disk.write(None, 2, entries(2, 1))
    with pytest.raises(DiskMisuse, match="hole"):
        disk.sync()
    disk = Disk()
    disk.write(None, 1, entries(1, 1, 1))
    disk.sync()
    with pytest.raises(DiskMisuse, match="not durable in the log"):
        disk.save_own(Snapshot(3, 1, None, b""))
    disk.save_own(Snapshot(2, 1, None, b""))
    disk.write(None, 2, entries(2, 2))
    with pytest.raises(DiskMisuse, match="overwrite a snapshot"):
        disk.sync()


@pytest.mark.parametrize(
    ("hard_state", "says"),
    [(Hard(1, 1, 0), "goes back"), (Hard(2, 3, 0), "changes the vote"), (Hard(3, 0, 4), "beyond the log")],
)
def test_the_disk_sees_hard_states_that_cannot_be(hard_state: Hard, says: str) -> None:
    disk = Disk()
    disk.write(Hard(2, 1, 2), 1, entries(1, 1, 1, 2))
    disk.sync()
    disk.write(hard_state, 0, [])
    with pytest.raises(DiskMisuse, match=says):
        disk.sync()


def test_the_disk_sees_that_a_committed_entry_is_replaced() -> None:
    disk = Disk()
    disk.write(Hard(2, 1, 2), 1, entries(1, 1, 1, 2))
    disk.write(Hard(3, 0, 2), 2, entries(2, 3))
    with pytest.raises(DiskMisuse, match="overwrite what is committed"):
        disk.sync()


def network(**weather: float) -> tuple[Network, list[tuple[int, object]]]:
    planned: list[tuple[int, object]] = []
    net = Network("seed", lambda delay, deliver, message: planned.append((delay, message)), lambda message: None)
    net.set(latency_us=(100, 200), **weather)
    return net, planned


def test_weather_has_the_shares_it_says() -> None:
    net, planned = network(loss=0.1, duplicate=0.2, late=0.1)
    message = SimpleNamespace(type="Heartbeat")
    arrived = sum(net.send(1, 2, message) for _ in range(10_000))
    assert 8_800 < arrived < 9_200
    assert 10_700 < len(planned) < 11_300
    assert 0.05 < sum(delay > 200 for delay, _ in planned) / 10_000 < 0.4


def test_a_forwarded_proposal_travels_at_most_once() -> None:
    net, planned = network(duplicate=1.0)
    net.send(1, 2, SimpleNamespace(type="ForwardProposal"))
    assert len(planned) == 1


def test_cuts_have_a_direction() -> None:
    net, planned = network()
    net.cut([1], [1, 2], both=False)
    assert not net.send(1, 2, "m")
    assert net.send(2, 1, "m")
    net.cut([1], [3])
    assert not net.open(3, 1)
    net.mend()
    assert net.send(1, 2, "m")
    assert len(planned) == 2
    assert net.counts["cut"] == 1


def test_a_command_takes_effect_once() -> None:
    machine = Registers()
    assert isinstance(machine, StateMachine)
    assert machine.apply(1, Registers.command(1, 1, WRITE, 7, 10)) == 1
    assert machine.apply(2, Registers.command(2, 1, CAS, 7, 11, expected=10)) == 1
    assert machine.apply(3, Registers.command(1, 1, WRITE, 7, 10)) == 1, "the old answer"
    assert machine.values == {7: 11}
    assert machine.apply(4, Registers.command(1, 2, CAS, 7, 12, expected=10)) == 0
    other = Registers()
    other.restore(machine.snapshot())
    assert other.values == machine.values
    assert other.apply(5, Registers.command(1, 2, CAS, 7, 12, expected=11)) == 0, "sessions are restored too"
