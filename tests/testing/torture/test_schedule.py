"""The schedule: a pure function of the seed, which leaves nothing out."""

from __future__ import annotations

import itertools

import pytest

from quorate.errors import InvalidArgument
from quorate.testing.torture.faults import Torment
from quorate.testing.torture.schedule import ALONE, FAULTS, GROUPS, chosen, plan


def test_the_same_seed_gives_the_same_schedule() -> None:
    first = plan(17, 120.0, tuple(FAULTS), 5)
    assert first == plan(17, 120.0, tuple(FAULTS), 5)
    assert first != plan(18, 120.0, tuple(FAULTS), 5)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_in_order_and_leaves_nothing_out(seed: int) -> None:
    planned = plan(seed, 300.0, tuple(FAULTS), 5)
    assert {each.kind for each in planned} == set(FAULTS)
    assert all(one.number < other.number for one, other in itertools.pairwise(planned))
    assert all(0 <= each.draw < 1 and each.seconds >= 0 and 0 < each.at < 300 for each in planned)
    for one, other in itertools.combinations(planned, 2):
        if one.kind in ALONE:
            assert other.at > one.at + one.seconds or other.at + other.seconds < one.at, (one, other)


def test_a_short_run_has_a_fault_and_one_without_has_none() -> None:
    assert len(plan(1, 1.0, ("pause",), 3)) <= 1
    assert plan(1, 60.0, (), 3) == ()


def test_words_for_faults() -> None:
    assert chosen("all") == tuple(FAULTS)
    assert chosen("none") == chosen("") == ()
    assert chosen("pause, kill") == ("kill", "pause")
    assert set(chosen("network")) == set(GROUPS["network"])
    assert set(itertools.chain(*GROUPS.values())) == set(FAULTS)
    with pytest.raises(InvalidArgument, match="no fault 'fire'"):
        chosen("kill,fire")


def test_every_kind_can_be_done() -> None:
    assert all(callable(getattr(Torment, kind)) for kind in FAULTS)
