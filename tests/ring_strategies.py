"""Rings for Hypothesis: few vnodes, so that walks wrap and neighbours are often one node's; names that look alike."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from quorate.ring import Member, Ring
from quorate.ring.reference import ReferenceRing

NAMES = st.one_of(
    st.integers(0, 30).map("n{:02d}".format),
    st.integers(0, 30).map("cache-{}.example".format),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
)
WEIGHTS = st.one_of(st.just(1.0), st.floats(0.001, 5.0), st.integers(1, 5))
ZONES = st.sampled_from([None, None, "a", "b", "c"])
VNODES = st.one_of(st.integers(1, 8), st.integers(1, 60))
SEEDS = st.one_of(st.just(0), st.integers(0, 2**64 - 1))
KEYS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.binary(max_size=300))
MEMBERS = st.builds(Member, NAMES, WEIGHTS, ZONES)


def member_lists(min_size: int = 0, max_size: int = 12) -> st.SearchStrategy[list[Member]]:
    return st.lists(MEMBERS, min_size=min_size, max_size=max_size, unique_by=lambda member: member.name)


def both(members: Sequence[Member], vnodes: int, seed: int) -> tuple[Ring, ReferenceRing]:
    """The compiled ring and its specification, of the same members."""
    reference = ReferenceRing(
        {member.name: member.weight for member in members},
        zones={member.name: member.zone for member in members},
        vnodes=vnodes,
        seed=seed,
    )
    return Ring(members, vnodes=vnodes, seed=seed), reference
