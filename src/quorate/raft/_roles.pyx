# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Becoming a follower, and hearing from a leader: what every part of the protocol may have to do."""

from libc.stdint cimport uint64_t

from quorate.raft._core cimport reset_election_deadline
from quorate.raft._reads cimport forwarded_refused, reads_refused
from quorate.raft._types cimport FOLLOWER, LEADER, LEADER_CHANGED, Core, Update


cdef int become_follower(Core *core, Update *update, uint64_t term, uint64_t leader) except -1 nogil:
    """Follow ``leader`` (0: not known yet) in ``term``, which is the own one or a newer one."""
    if term > core.current_term:
        core.current_term = term
        core.voted_for = 0
    if core.role == LEADER:
        reads_refused(core, update, LEADER_CHANGED)
        core.progress.clear()
        core.rounds.clear()
        core.confirmed_round = 0
        core.round = 0
        core.round_wanted = False
        core.lease_until = 0
        core.transfer_target = 0
        core.uncommitted_bytes = 0
    if core.leader != leader:
        forwarded_refused(core, update, LEADER_CHANGED, False)
    core.role = FOLLOWER
    core.leader = leader
    core.leader_suspect = False
    core.campaign_transfer = False
    core.votes.clear()
    reset_election_deadline(core)
    return 0


cdef int heard_leader(Core *core, Update *update, uint64_t leader) except -1 nogil:
    """A message of the current term's leader came: it is alive, and no election is due."""
    cdef bint ordered = core.campaign_transfer
    if core.role != FOLLOWER or core.leader != leader:
        become_follower(core, update, core.current_term, leader)
    core.last_leader_contact = core.now
    core.leader_suspect = False
    reset_election_deadline(core)
    if ordered and core.now < core.transfer_campaign_until:
        # With leases an ordered campaign waits until the promise of this node has run out.
        core.campaign_transfer = True
        core.election_deadline = core.now + core.settings.election_timeout_min
    return 0
