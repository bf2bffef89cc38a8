# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Elections (Raft §5.2, §5.4.1; dissertation §3.10, §6.2, §9.6): who may lead, how one is chosen, kept and handed over.

Pre-votes find out whether an election could be won before the term is raised. Check-quorum makes a leader that is cut off
step down, and makes voters that hear a leader refuse others. Knows nothing of what is replicated, but for how new a log is.
"""

from cython.operator cimport dereference, postincrement
from libc.stdint cimport uint64_t
from libcpp.map cimport map as ordered_map

from quorate.raft._configuration cimport incarnation_of, is_voter
from quorate.raft._core cimport (
    CONTACT,
    TALLY_LOST,
    TALLY_WON,
    Tally,
    answer_proposal,
    append_own,
    configuration_changed,
    configuration_of,
    disk_is_slow,
    draw,
    is_elector,
    log_cut,
    majority_value,
    progress_of,
    reset_election_deadline,
    send,
    tally_votes,
    vote_promised,
)
from quorate.raft._log cimport log_at
from quorate.raft._reads cimport forwarded_refused
from quorate.raft._replication cimport hand_over, send_appends, send_round
from quorate.raft._roles cimport become_follower
from quorate.raft._types cimport (
    ACCEPTED,
    CANDIDATE,
    CHECK_QUORUM_NEVER,
    COUNT_REPLY_TWICE,
    ENTRY_NOOP,
    FOLLOWER,
    INVALID,
    LEADER,
    LEADER_APPENDS_OVER,
    LEADER_CHANGED,
    LEASE_IGNORES_VOTE_PROMISE,
    NO_LEADER,
    NOT_LEADER,
    NOT_VOTER,
    PRE_CANDIDATE,
    PRE_VOTE_BUMPS_TERM,
    QUORATE_MUTATION,
    REJECT_EVENT,
    REJECT_INCARNATION,
    REJECT_STALE,
    REPLICATE,
    REQUEST_VOTE,
    REQUEST_VOTE_RESPONSE,
    TRANSFERRING,
    VOTE_STALE_LOG,
    VOTE_TWICE,
    Configuration,
    Core,
    EntryRef,
    Event,
    Message,
    Progress,
    Update,
)


cdef enum:
    HANDOVER_TIMEOUTS = 10  # election timeouts between two attempts of a full leader to find somebody with room


# Campaigns

cdef bint may_campaign(Core *core) noexcept nogil:
    """Electors that can write and are not in the middle of taking a snapshot in."""
    if core.disk_full or core.aside:
        return False
    return is_elector(core) and not core.incoming.done and not disk_is_slow(core)


cdef int ask_votes(Core *core, Update *update, uint64_t voter, uint64_t term, bint pre_vote, bint transfer) except -1 nogil:
    cdef Message *made
    if voter == core.id:
        return 0
    made = send(core, update, REQUEST_VOTE, voter, not pre_vote)
    made.term = term
    made.index = core.log.last_index
    made.log_term = core.log.last_term
    made.pre_vote = pre_vote
    made.transfer = transfer
    made.configuration_index = core.configuration_index
    return 0


cdef int campaign(Core *core, Update *update, bint pre_vote, bint transfer) except -1 nogil:
    """Ask everybody for a vote, or first whether they would give it (dissertation §9.6)."""
    cdef Configuration *it = configuration_of(core)
    cdef uint64_t term = core.current_term + 1
    cdef bint suspected = core.leader_suspect
    cdef size_t i
    core.votes.clear()
    if core.leader:
        forwarded_refused(core, update, LEADER_CHANGED, False)
    # Forget the leader also before a pre-vote: else two pre-candidates would refuse each other for ever.
    core.leader = 0
    core.campaign_transfer = False
    if pre_vote:
        core.role = PRE_CANDIDATE
        if QUORATE_MUTATION(core, PRE_VOTE_BUMPS_TERM):
            core.current_term = term
            term += 1
    else:
        core.role = CANDIDATE
        core.current_term = term
        core.voted_for = core.id
    reset_election_deadline(core)
    if suspected and (pre_vote or core.settings.pre_vote):
        # The others may not have noticed yet that the leader is gone, or the vote may split between those that have: ask
        # again soon. Only where each attempt begins with a pre-vote, or a node that is cut off would race up its term.
        core.leader_suspect = True
        core.election_deadline = core.now + core.settings.heartbeat + draw(core, core.settings.heartbeat // 2 + 1)
    if pre_vote:
        record_vote(core, core.id, True)
        if tally_votes(core) == TALLY_WON:
            return won(core, update, True)
    for i in range(it.incoming.size()):
        ask_votes(core, update, it.incoming[i], term, pre_vote, transfer)
    for i in range(it.outgoing.size()):
        if not is_incoming(it, it.outgoing[i]):
            ask_votes(core, update, it.outgoing[i], term, pre_vote, transfer)
    return 0


cdef bint is_incoming(const Configuration *it, uint64_t id) noexcept nogil:
    cdef size_t i
    for i in range(it.incoming.size()):
        if it.incoming[i] == id:
            return True
    return False


cdef int record_vote(Core *core, uint64_t voter, bint granted) except -1 nogil:
    """Remember a voter's first answer; a second one of the same voter changes nothing."""
    cdef size_t i
    if not QUORATE_MUTATION(core, COUNT_REPLY_TWICE):
        for i in range(core.votes.size()):
            if core.votes[i].first == voter:
                return 0
    core.votes.resize(core.votes.size() + 1)
    core.votes.back().first = voter
    core.votes.back().second = granted
    return 0


cdef int on_vote_durable(Core *core, Update *update) except -1 nogil:
    """A candidate's vote for itself counts like any other's: when it is on disk (Raft, Figure 2: persistent state).

    Else a lone voter would lead before, crash, forget it, and give its vote in the same term to somebody else.
    """
    if core.role != CANDIDATE or core.durable_ticket < core.hard_state_ticket:
        return 0
    record_vote(core, core.id, True)
    return won(core, update, False) if tally_votes(core) == TALLY_WON else 0


cdef int won(Core *core, Update *update, bint pre_vote) except -1 nogil:
    if pre_vote:
        return campaign(core, update, False, False)
    return become_leader(core, update)


cdef int become_leader(Core *core, Update *update) except -1 nogil:
    cdef EntryRef noop
    cdef uint64_t index
    if QUORATE_MUTATION(core, LEADER_APPENDS_OVER) and core.log.last_index > core.commit_index:
        log_cut(core, core.commit_index + 1)
    core.role = LEADER
    core.leader = core.id
    core.leader_suspect = False
    core.votes.clear()
    core.progress.clear()
    core.rounds.clear()
    core.round = 0
    core.confirmed_round = 0
    core.round_wanted = False
    core.lease_until = 0
    core.transfer_target = 0
    core.transfer_sent = False
    core.heard_incarnations.clear()
    core.uncommitted_bytes = 0
    for index in range(core.commit_index + 1, core.log.last_index + 1):
        core.uncommitted_bytes += log_at(&core.log, index).length
    configuration_changed(core)
    # An entry of the own term, which alone can commit what earlier terms left (§5.4.2) and shows what is committed (§8).
    core.term_start_index = core.log.last_index + 1
    noop.term = core.current_term
    noop.kind = ENTRY_NOOP
    append_own(core, &noop)
    send_appends(core, update)
    return send_round(core, update)


# Votes

cdef bint leader_is_near(Core *core, bint pre_vote) noexcept nogil:
    """Whether this node heard from its leader so lately that an election would only disturb (dissertation §4.2.3).

    For a pre-vote this is the rule itself (§9.6); for a vote it is a part of check-quorum.
    """
    if vote_promised(core) and not QUORATE_MUTATION(core, LEASE_IGNORES_VOTE_PROMISE):
        return True
    if not (core.settings.check_quorum or pre_vote) or core.leader == 0 or core.leader_suspect:
        return False
    if core.role == LEADER:
        return True  # check-quorum is what ends a leader that is cut off
    return core.now < core.last_leader_contact + core.settings.election_timeout_min


cdef int on_request_vote(Core *core, Update *update, const Message *message) except -1 nogil:
    """RequestVote (Raft, Figure 2), real or pre-vote. The term was looked at before: a real one is ours by now."""
    cdef Message *made
    cdef bint free, fresh, granted
    cdef uint64_t bound = incarnation_of(configuration_of(core), message.sender)
    if bound and bound != message.incarnation and message.configuration_index <= core.configuration_index:
        # A member whose memory is gone may have voted before it was lost. It is asked to be removed and added again;
        # a candidate that knows of a newer configuration than ours was.
        core.rejected[REJECT_INCARNATION] += 1
        return 0
    # §5.4.1: a log is newer if its last term is higher, or it is longer at the same term.
    fresh = message.log_term > core.log.last_term or (
        message.log_term == core.log.last_term and message.index >= core.log.last_index
    )
    if QUORATE_MUTATION(core, VOTE_STALE_LOG):
        fresh = True
    if message.pre_vote:
        free = message.term > core.current_term
    else:
        free = core.voted_for == message.sender or (core.voted_for == 0 and core.leader == 0)
        if QUORATE_MUTATION(core, VOTE_TWICE):
            free = True
    if free and vote_promised(core) and not QUORATE_MUTATION(core, LEASE_IGNORES_VOTE_PROMISE):
        free = False
    granted = free and fresh
    if granted and not message.pre_vote:
        core.voted_for = message.sender
        reset_election_deadline(core)
    elif granted and core.leader_suspect and core.role == FOLLOWER:
        # Somebody else noticed first. Leave it the time that an election takes, so that the vote does not split.
        core.election_deadline = max(
            core.election_deadline, core.now + core.settings.heartbeat + draw(core, core.settings.hint_delay_max + 1)
        )
    made = send(core, update, REQUEST_VOTE_RESPONSE, message.sender, not message.pre_vote)
    made.success = granted
    made.pre_vote = message.pre_vote
    if message.pre_vote and granted:
        made.term = message.term  # no promise: an answer about a term that need not come
    return 0


cdef int on_request_vote_response(Core *core, Update *update, const Message *message) except -1 nogil:
    cdef Tally tally
    if not is_voter(configuration_of(core), message.sender):
        core.rejected[REJECT_STALE] += 1
        return 0
    if message.pre_vote:
        if core.role != PRE_CANDIDATE or (message.success and message.term != core.current_term + 1):
            core.rejected[REJECT_STALE] += 1
            return 0
    elif core.role != CANDIDATE:
        core.rejected[REJECT_STALE] += 1
        return 0
    record_vote(core, message.sender, message.success)
    tally = tally_votes(core)
    if tally == TALLY_WON:
        return won(core, update, core.role == PRE_CANDIDATE)
    if tally == TALLY_LOST:
        return become_follower(core, update, core.current_term, 0)
    return 0


# Time

cdef int lead_on(Core *core, Update *update) except -1 nogil:
    """What a leader owes to time: keep the office only with a majority and a disk, and be heard."""
    if core.settings.check_quorum and not QUORATE_MUTATION(core, CHECK_QUORUM_NEVER):
        if core.now - min(core.now, majority_value(core, CONTACT)) > core.settings.election_timeout_max:
            return become_follower(core, update, core.current_term, 0)
    if disk_is_slow(core):
        # A leader that cannot write must not keep its office by heartbeats (FACTS: hashicorp/raft#683).
        return become_follower(core, update, core.current_term, 0)
    if core.transfer_target and core.now >= core.transfer_deadline:
        core.transfer_target = 0  # it did not come to it; proposals are taken again
        core.transfer_sent = False
    if core.disk_full and core.now >= core.next_handover:
        seek_room(core, update)
    if core.now >= core.heartbeat_deadline:
        send_round(core, update)
    return 0


cdef int on_tick(Core *core, Update *update) except -1 nogil:
    """Timers fire here alone, so that a process that was paused takes in what waits before it judges time."""
    forwarded_refused(core, update, NO_LEADER, True)
    if core.role == LEADER:
        return lead_on(core, update)
    if core.now < core.election_deadline:
        return 0
    if not may_campaign(core):
        reset_election_deadline(core)
        return become_follower(core, update, core.current_term, 0) if core.aside and core.role != FOLLOWER else 0
    if core.campaign_transfer:
        return campaign(core, update, False, True)
    return campaign(core, update, core.settings.pre_vote, False)


cdef int on_campaign(Core *core, Update *update) except -1 nogil:
    if core.role == LEADER or not may_campaign(core) or (
        vote_promised(core) and not QUORATE_MUTATION(core, LEASE_IGNORES_VOTE_PROMISE)
    ):
        core.rejected[REJECT_EVENT] += 1
        return 0
    return campaign(core, update, core.settings.pre_vote, False)


cdef int on_leader_connection_closed(Core *core, Update *update) except -1 nogil:
    """A hint that the leader is gone: ask for pre-votes after a small random delay, so that two followers do not split."""
    cdef uint64_t due
    if core.role != FOLLOWER or core.leader == 0:
        core.rejected[REJECT_EVENT] += 1
        return 0
    core.leader_suspect = True
    due = core.now + draw(core, core.settings.hint_delay_max + 1)
    if core.settings.lease_reads:
        due = max(due, core.last_leader_contact + core.settings.election_timeout_min)
    core.election_deadline = min(core.election_deadline, due)
    return 0


cdef int on_forget_leader(Core *core, Update *update) except -1 nogil:
    """Be ready to vote at once, as if the leader had been silent; a promise of a lease is kept."""
    if core.role != FOLLOWER or core.leader == 0 or vote_promised(core):
        core.rejected[REJECT_EVENT] += 1
        return 0
    forwarded_refused(core, update, LEADER_CHANGED, False)
    core.leader = 0
    return 0


cdef int on_disk_stalled(Core *core, Update *update, int mode) except -1 nogil:
    core.disk_stalled = mode == 1
    core.disk_full = mode == 2
    if core.disk_stalled and core.role != FOLLOWER:
        return become_follower(core, update, core.current_term, 0)
    if core.disk_full and core.role == LEADER:
        return seek_room(core, update)
    return 0


cdef int seek_room(Core *core, Update *update) except -1 nogil:
    """A leader whose disk is full hands its office to the voter that is furthest and has room. If there is none it goes on:

    nobody else could do better, and what frees something is still taken in.
    """
    cdef ordered_map[uint64_t, Progress].iterator at = core.progress.begin()
    cdef Progress *peer
    cdef uint64_t best = 0, match = 0
    core.next_handover = core.now + HANDOVER_TIMEOUTS * core.settings.election_timeout_max
    while at != core.progress.end():
        peer = &dereference(at).second
        if (
            peer.mode == REPLICATE and not peer.full and is_voter(configuration_of(core), dereference(at).first)
            and core.now - peer.last_response <= core.settings.election_timeout_max
            and (best == 0 or peer.match_index > match)
        ):
            best = dereference(at).first
            match = peer.match_index
        postincrement(at)
    if best == 0 or core.transfer_target:
        return 0
    core.transfer_target = best
    core.transfer_sent = False
    core.transfer_deadline = core.now + core.settings.election_timeout_max
    return hand_over(core, update)


# Transfer

cdef int on_transfer_leadership(Core *core, Update *update, const Event *event) except -1 nogil:
    """Hand the office to ``event.id`` (dissertation §3.10): bring it up to date, then let it campaign at once."""
    cdef Progress *peer
    if core.role != LEADER:
        return answer_proposal(core, update, event.ticket, NOT_LEADER, 0)
    if event.id == core.id:
        return answer_proposal(core, update, event.ticket, INVALID, 0)
    peer = progress_of(core, event.id)
    if peer == NULL or not is_voter(configuration_of(core), event.id):
        return answer_proposal(core, update, event.ticket, NOT_VOTER, 0)
    if core.transfer_target:
        return answer_proposal(core, update, event.ticket, TRANSFERRING, 0)
    core.transfer_target = event.id
    core.transfer_sent = False
    core.transfer_deadline = core.now + core.settings.election_timeout_max
    answer_proposal(core, update, event.ticket, ACCEPTED, 0)
    return hand_over(core, update)


cdef int on_timeout_now(Core *core, Update *update, const Message *message) except -1 nogil:
    """The leader asks us to take over. No pre-vote: it is the leader itself that wants the election."""
    if not may_campaign(core) or core.role == LEADER or core.leader != message.sender:
        core.rejected[REJECT_STALE] += 1
        return 0
    if vote_promised(core):
        # The others promised as we did; ask when the promises have run out.
        core.campaign_transfer = True
        core.transfer_campaign_until = core.now + 2 * core.settings.election_timeout_max
        core.election_deadline = core.last_leader_contact + core.settings.election_timeout_min
        return 0
    return campaign(core, update, False, True)
