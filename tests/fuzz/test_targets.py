"""A short run of each target; tests/fuzz/run makes long ones."""

from __future__ import annotations

import os
import random

import pytest

from fuzz.mutation import Found, fuzz, mutations
from fuzz.targets import TARGETS, Target

RUNS = int(os.environ.get("QUORATE_FUZZ_RUNS") or (4000 if os.environ.get("QUORATE_HYPOTHESIS") == "short" else 20_000))
SEED = int(os.environ.get("QUORATE_FUZZ_SEED", "1"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda each: each.name)
def test_target(target: Target) -> None:
    fuzz(target.run, target.seeds(), seed=SEED, runs=RUNS // target.cost)


def test_a_mistake_is_found_and_said_how_to_repeat() -> None:
    def mistaken(data: bytes) -> None:
        assert data[:1] != b"\xff"

    with pytest.raises(Found, match=r"input \d+ of seed 3: b'.xff"):
        fuzz(mistaken, [b"abc"], seed=3, runs=10_000)


def test_inputs_are_the_same_for_the_same_seed() -> None:
    seeds = [random.Random(1).randbytes(60), b"short", b""]
    first, again, other = (mutations(seeds, seed) for seed in (1, 1, 2))
    made = [next(first) for _ in range(1000)]
    assert made == [next(again) for _ in range(1000)]
    assert made != [next(other) for _ in range(1000)]
    assert len(set(made)) > 700
