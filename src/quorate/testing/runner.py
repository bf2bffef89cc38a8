"""Many seeds, one after the other or on several cores; and the search for a seed that shows a known bug.

Knows how to run a :class:`SimCluster` from its seed to its verdict, and nothing of what happens in between.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from typing import Any, Final

from quorate.testing.cluster import SimCluster
from quorate.testing.failure import SimulationFailed

__all__ = ["PROFILES_OF", "Outcome", "find_violation", "run_many", "run_seed"]


@dataclass(frozen=True)
class Outcome:
    """What one seed gave. ``rule`` is empty if all held; else it names what was broken."""

    seed: int
    rule: str = ""
    detail: str = ""
    at_seconds: float = 0.0
    command: str = ""
    transcript: str = field(default="", repr=False)
    cpu_seconds: float = 0.0
    stats: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return not self.rule


def run_seed(
    seed: int,
    *,
    nodes: int = 3,
    seconds: float = 30.0,
    profile: str = "mixed",
    config: Mapping[str, Any] | None = None,
    mutation: str | None = None,
    trace: int = 40,
) -> Outcome:
    """Run one seed: faults and load for so many simulated seconds, then heal, then judge. Never raises for a finding.

    >>> bool(run_seed(1, seconds=2, profile="calm"))
    True
    """
    began = time.process_time()
    cluster: SimCluster | None = None
    broken: dict[str, Any] = {}
    try:
        cluster = SimCluster(nodes=nodes, seed=seed, profile=profile, config=config, mutation=mutation, trace=trace)
        cluster.run(seconds).heal().check()
    except SimulationFailed as failure:
        broken = {
            "rule": failure.rule,
            "detail": failure.detail,
            "command": failure.command,
            "transcript": failure.transcript,
        }
    except Exception as error:
        # A core that raises is a finding like any other, and must not end the other seeds.
        broken = {"rule": "exception", "detail": f"{error!r}\n{traceback.format_exc()}"}
        if cluster is not None:
            broken.update(command=cluster.replay_command(), transcript=cluster.transcript())
    return Outcome(
        seed,
        at_seconds=0.0 if cluster is None else cluster.now / 1e6,
        cpu_seconds=time.process_time() - began,
        stats={} if cluster is None else cluster.stats(),
        **broken,
    )


def run_many(seeds: Iterable[int], *, jobs: int = 1, **arguments: Any) -> Iterator[Outcome]:
    """Run many seeds, ``jobs`` at a time in processes of their own; gives outcomes as they come."""
    if jobs <= 1:
        for seed in seeds:
            yield run_seed(seed, **arguments)
        return
    waiting = iter(seeds)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: set[Future[Outcome]] = set()
        try:
            while True:
                for seed in islice(waiting, 2 * jobs - len(running)):
                    running.add(pool.submit(run_seed, seed, **arguments))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


PROFILES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "change_before_commit": ("membership",),
    "two_changes_in_flight": ("membership",),
    "config_not_undone": ("membership",),
    "joint_needs_one_majority": ("membership",),
    "learner_counts_in_quorum": ("membership",),
    "removed_leader_stays": ("membership",),
    "snapshot_keeps_conflict": ("snapshots",),
    "snapshot_without_configuration": ("membership", "snapshots"),
    "persisted_by_index_alone": ("disks", "rough"),
    "leader_counts_unpersisted": ("disks", "rough"),
    "ack_before_persist": ("disks", "rough"),
    "vote_not_persisted": ("disks", "rough"),
    "term_not_persisted": ("disks", "rough"),
    "read_token_reused": ("reads",),
    "lease_ignores_pause": ("lease",),
    "lease_ignores_vote_promise": ("lease",),
}
"""Which profiles show a known bug soonest; the others are found by ``rough``."""


def find_violation(
    mutation: str,
    seeds: Iterable[int] = range(1, 201),
    *,
    nodes: int = 3,
    seconds: float = 30.0,
    profiles: Iterable[str] | None = None,
    config: Mapping[str, Any] | None = None,
    within: float | None = None,
) -> Outcome | None:
    """Search seeds for one in which a known bug breaks a rule; None if none does within ``within`` real seconds.

    ``mutation`` is a name of :func:`quorate.raft.mutations`; the build must be a debug build.
    """
    chosen = tuple(profiles) if profiles is not None else PROFILES_OF.get(mutation, ("rough", "membership"))
    until = None if within is None else time.perf_counter() + within
    for seed in seeds:
        for profile in chosen:
            if until is not None and time.perf_counter() > until:
                return None
            outcome = run_seed(seed, nodes=nodes, seconds=seconds, profile=profile, config=config, mutation=mutation)
            if not outcome:
                return outcome
    return None
