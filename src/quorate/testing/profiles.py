"""What can go wrong in a run and how often, and what a seed draws of it.

A profile is the weather of a whole class of runs; a seed draws a run from it. Rates are in mean seconds between two
faults of a kind in the whole cluster; 0 means never. In a *swarm* (Groce and others, "Swarm testing", 2012) each seed
leaves some kinds out, because a fault that always happens can hide what another one would show.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from quorate.errors import InvalidArgument

__all__ = ["PROFILES", "Profile", "drawn_profile", "drawn_settings"]


@dataclass(frozen=True)
class Profile:
    """How rough a run is. Times without a unit are seconds; ``*_us`` are microseconds, from–to."""

    name: str
    description: str

    # Faults: mean seconds between two.
    crash: float = 0
    pause: float = 0
    partition: float = 0
    one_way: float = 0
    isolate_leader: float = 0
    weather: float = 0
    slow_disk: float = 0
    disk_error: float = 0
    disk_stall: float = 0
    clock_rate: float = 0
    clock_jump: float = 0
    hint: float = 0
    transfer: float = 0
    campaign: float = 0
    forget_leader: float = 0
    flood: float = 0
    membership: float = 0
    wipe: float = 0
    restart_all: float = 0

    # Weather of the network.
    latency_us: tuple[int, int] = (300, 3_000)
    loss: float = 0
    duplicate: float = 0
    late: float = 0
    late_us: int = 300_000

    # Disks, clocks, snapshots.
    disk_us: tuple[int, int] = (100, 2_000)
    clock_drift: float = 0.0
    """Greatest difference of a clock's rate from 1."""
    clock_back: bool = True
    """May a clock jump back?"""
    snapshot_every: int = 200
    """Applied entries between two snapshots; 0: none."""
    slow_apply: float = 0
    """Share of seeds in which applying takes time."""
    install_error: float = 0
    """Chance that a received snapshot cannot be installed."""

    # Clients.
    clients: int = 4
    rate: float = 10.0
    keys: int = 5
    reads: float = 0.4
    padding: int = 0

    swarm: bool = True
    codec: float = 0.2
    """Share of seeds in which each message passes through the codec."""
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Settings of `RaftConfig`."""
    vary_config: bool = True
    """May a seed choose settings, within what keeps the liveness phase meaningful?"""


_ROUGH: Final = dict[str, Any](
    crash=4,
    pause=5,
    partition=5,
    one_way=7,
    isolate_leader=8,
    weather=6,
    slow_disk=8,
    clock_rate=15,
    clock_jump=10,
    hint=6,
    transfer=8,
    campaign=15,
    forget_leader=15,
    flood=6,
    rate=20.0,
    loss=0.02,
    duplicate=0.02,
    late=0.02,
)

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                "calm", "no faults: for figures and for state machines alone", swarm=False, codec=0, vary_config=False
            ),
            Profile("rough", "crashes, pauses, partitions, lost, late and doubled messages, clocks, hints", **_ROUGH),
            Profile(
                "membership",
                "changes of members, simple and joint, learners, wiped disks, under the faults of rough",
                **{**_ROUGH, "crash": 6, "pause": 9, "partition": 9, "membership": 1.0, "wipe": 4, "transfer": 5},
                snapshot_every=40,
            ),
            Profile(
                "snapshots",
                "short logs, snapshots in many chunks, slow followers",
                **{**_ROUGH, "crash": 3, "isolate_leader": 3, "flood": 1},
                snapshot_every=15,
                install_error=0.1,
                slow_apply=0.3,
                padding=200,
                config={"snapshot_chunk_bytes": 64},
            ),
            Profile(
                "disks",
                "disk errors, slow and stalled disks, crashes of all nodes at once",
                **{**_ROUGH, "crash": 2, "disk_error": 4, "slow_disk": 3, "disk_stall": 6, "restart_all": 10},
                disk_us=(100, 15_000),
                slow_apply=0.3,
            ),
            Profile(
                "clocks",
                "clocks that run apart and jump, pauses",
                **{**_ROUGH, "clock_rate": 2, "clock_jump": 2, "pause": 3},
                clock_drift=0.5,
            ),
            Profile(
                "storm",
                "everything of the others at once, with reads by lease",
                **{
                    **_ROUGH,
                    "crash": 2,
                    "pause": 2,
                    "isolate_leader": 2,
                    "flood": 2,
                    "transfer": 3,
                    "disk_error": 8,
                    "slow_disk": 6,
                    "disk_stall": 15,
                    "membership": 0.7,
                    "wipe": 5,
                    "clock_jump": 0,
                    "clock_rate": 3,
                    "rate": 40.0,
                },
                clock_drift=0.04,
                clock_back=False,
                snapshot_every=20,
                slow_apply=0.3,
                install_error=0.1,
                clients=8,
                keys=2,
                reads=0.6,
                config={"lease_reads": True, "check_quorum": True},
            ),
            Profile(
                "reads",
                "many reads at all nodes, quick restarts, late answers",
                **{**_ROUGH, "crash": 0.5, "weather": 1, "late": 0.1, "late_us": 500_000, "rate": 120.0},
                clients=16,
                reads=0.8,
                keys=1,
            ),
            Profile(
                "lease",
                "reads by lease, with clocks within the promised drift and long pauses",
                **{
                    **_ROUGH,
                    "clock_jump": 0,
                    "clock_rate": 3,
                    "pause": 1.5,
                    "isolate_leader": 2,
                    "transfer": 4,
                    "rate": 60.0,
                },
                clock_drift=0.04,
                clock_back=False,
                reads=0.6,
                clients=8,
                keys=2,
                config={"lease_reads": True, "check_quorum": True, "pre_vote": True},
            ),
        )
    }
)
"""By name. ``mixed`` is not here: it draws one of these but calm for each seed."""


def drawn_profile(profile: str | Profile, draw: random.Random) -> Profile:
    """A profile by itself, by name, or for ``mixed`` by the seed."""
    if isinstance(profile, Profile):
        return profile
    if profile == "mixed":
        return PROFILES[draw.choice([name for name in PROFILES if name != "calm"])]
    if profile not in PROFILES:
        raise InvalidArgument(f"profile {profile!r} is not known; choose mixed or one of {', '.join(PROFILES)}")
    return PROFILES[profile]


def drawn_settings(profile: Profile, draw: random.Random, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `RaftConfig` for a run: the seed's choice, under the profile's, under the caller's."""
    chosen: dict[str, Any] = {"max_inflight_messages": 256, "compaction_tail": 0}
    if profile.vary_config:
        chosen["max_inflight_messages"] = draw.choice([1, 2, 8, 256])
        chosen["max_message_bytes"] = draw.choice([64, 1024, 1 << 20])
        chosen["max_apply_bytes"] = draw.choice([64, 1024, 1 << 20])
        chosen["compaction_tail"] = draw.choice([0, 0, 5, 50])
        chosen["forward"] = draw.random() < 0.8
        chosen["max_inflight_bytes"] = draw.choice([200, 8 << 20])
        chosen["max_uncommitted_bytes"] = draw.choice([1_000, 64 << 20])
        chosen["max_pending_reads"] = draw.choice([3, 65_536])
        chosen["disk_stall_ms"] = draw.choice([300, 1_000])
        chosen["snapshot_chunk_bytes"] = draw.choice([32, 256, 256 << 10])
        if draw.random() < 0.15:
            chosen["pre_vote"] = False
        if draw.random() < 0.1:
            chosen["check_quorum"] = False
        if draw.random() < 0.2:
            chosen["heartbeat_ms"], chosen["election_timeout_min_ms"] = 100, 500
            chosen["election_timeout_max_ms"] = draw.choice([600, 1000])
    return {**chosen, **profile.config, **fixed}
