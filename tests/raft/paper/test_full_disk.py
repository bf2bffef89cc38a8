"""DESIGN §6, "A full disk": who leads, and what is taken in, while there is no room for the next part of the log."""

from __future__ import annotations

from quorate.raft import DiskStalled, Propose
from raft.harness import Cluster


def fill_up(cluster: Cluster, *ids: int, full: bool = True) -> None:
    """Their disks become full, or have room again; a round of heartbeats tells the others."""
    for id in ids:
        cluster.step(id, DiskStalled(False, full=full, now=cluster.now))
    cluster.advance(60)
    cluster.settle()


def asked(cluster: Cluster, id: int, *, frees: bool = False) -> str:
    """What becomes of a proposal, also of a forwarded one."""
    before = len(cluster[id].proposals)
    cluster.step(id, Propose([b"command"], id=77, frees=frees, now=cluster.now))
    cluster.settle()
    status: str = cluster[id].proposals[before:][-1].status
    return status


def test_a_full_leader_hands_over_to_a_voter_with_room() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle()
    fill_up(cluster, 2)
    fill_up(cluster, 1)
    assert cluster[3].core.role == "leader"
    assert asked(cluster, 3) == "no_room", "two of three could not keep it"
    fill_up(cluster, 2, full=False)
    assert asked(cluster, 3) == "accepted"


def test_a_full_leader_without_anybody_better_goes_on() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.settle()
    fill_up(cluster, 2, 3)
    fill_up(cluster, 1)
    assert cluster[1].core.role == "leader"
    assert asked(cluster, 1) == "no_room"
    assert asked(cluster, 1, frees=True) == "accepted"
    # Room on one follower: it gets the office at the next look.
    fill_up(cluster, 3, full=False)
    for _ in range(70):
        cluster.advance(50)
        cluster.settle()
    assert cluster[3].core.role == "leader"


def test_what_a_majority_cannot_keep_is_refused_by_a_leader_with_room() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.settle()
    fill_up(cluster, 2, 3)
    assert asked(cluster, 1) == "no_room"
    assert asked(cluster, 1, frees=True) == "accepted"
    fill_up(cluster, 2, full=False)
    assert asked(cluster, 1) == "accepted"


def test_what_is_forwarded_to_a_full_leader_is_refused_like_its_own() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.settle()
    fill_up(cluster, 2, 3)
    fill_up(cluster, 1)
    assert asked(cluster, 2) == "no_room"


def test_a_full_server_does_not_campaign() -> None:
    cluster = Cluster(1, 2, 3)
    fill_up(cluster, 2)
    for _ in range(5):
        cluster.pass_ms(300)
        cluster.tick(2)
    assert cluster[2].core.role == "follower"
    cluster.step(2, DiskStalled(False, now=cluster.now))
    cluster.timeout(2)
    assert cluster[2].core.role == "pre_candidate"


def test_a_full_server_still_votes_and_stores() -> None:
    cluster = Cluster(1, 2, 3)
    fill_up(cluster, 2, 3)
    cluster.elect(1)
    cluster.settle()
    assert cluster[1].core.role == "leader"
    assert cluster[2].core.commit >= 1
