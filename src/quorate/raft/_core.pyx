# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""What every part of the protocol uses: messages out, chance, quorums, appending, and the end of a step.

Free functions over :class:`Core`; no rule about roles stands here. Nothing here reads a clock: ``core.now`` came in with
the event.
"""

from cython.operator cimport dereference, postincrement
from libc.stdint cimport uint8_t, uint64_t
from libcpp.deque cimport deque
from libcpp.map cimport map as ordered_map
from libcpp.utility cimport move, pair
from libcpp.vector cimport vector

from quorate.raft._configuration cimport configuration_decode, contains, is_member, is_voter
from quorate.raft._log cimport log_append, log_append_configuration, log_at, log_bury, log_truncate
from quorate.raft._types cimport (
    ACK_BEFORE_PERSIST,
    CONFIG_NOT_UNDONE,
    ENTRY_CONFIGURATION,
    JOINT_NEEDS_ONE_MAJORITY,
    LEADER,
    LEADER_COUNTS_UNPERSISTED,
    LEARNER_COUNTS_IN_QUORUM,
    PROBE,
    QUORATE_MUTATION,
    TERM_NOT_PERSISTED,
    VOTE_NOT_PERSISTED,
    Configuration,
    Core,
    EntryRef,
    HardState,
    Message,
    Progress,
    ProposalResult,
    Update,
    Write,
    entry,
    entry_bytes,
    entry_retained,
)


cdef enum:
    IDLE = 3_600_000_000  # microseconds: the deadline of a node that waits for nothing
    BURY_ENTRIES = 1024   # of a compacted log, freed in one step: a million at once would hold up what comes next


cdef uint64_t draw(Core *core, uint64_t bound) noexcept nogil:
    """A number from 0 to bound - 1 from the node's own generator (SplitMix64), so that a seed repeats a run."""
    cdef uint64_t z
    core.random += <uint64_t>0x9E3779B97F4A7C15
    z = core.random
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    z ^= z >> 31
    return z % bound if bound else 0


cdef void reset_election_deadline(Core *core) noexcept nogil:
    """A new random wait (Raft §5.2: randomised timeouts keep votes from splitting)."""
    core.election_deadline = core.now + core.settings.election_timeout_min + draw(
        core, core.settings.election_timeout_max - core.settings.election_timeout_min
    )


cdef Message *send(Core *core, Update *update, uint8_t type, uint64_t receiver, bint after) except NULL nogil:
    """A new message, to be filled in. ``after``: it promises what this step writes, so it waits for the disk.

    The pointer is good until the next message is made.
    """
    cdef vector[Message] *queue = &update.messages
    cdef Message *made
    if after and not QUORATE_MUTATION(core, ACK_BEFORE_PERSIST):
        queue = &update.messages_after
    queue.resize(queue.size() + 1)
    made = &queue.back()
    made.type = type
    made.group = core.group
    made.sender = core.id
    made.receiver = receiver
    made.term = core.current_term
    made.incarnation = core.incarnation
    return made


cdef Progress *progress_of(Core *core, uint64_t id) noexcept nogil:
    cdef ordered_map[uint64_t, Progress].iterator found = core.progress.find(id)
    if found == core.progress.end():
        return NULL
    return &dereference(found).second


cdef uint64_t own_value(Core *core, Quantity quantity) noexcept nogil:
    if quantity == MATCH:
        # The leader's own disk counts like any other (dissertation §10.2.1): only what is durable.
        if QUORATE_MUTATION(core, LEADER_COUNTS_UNPERSISTED):
            return core.log.last_index
        return core.persisted_index
    if quantity == ROOM:
        return 0 if core.disk_full else 1
    return core.round if quantity == ROUND else core.now


cdef uint64_t majority_of(Core *core, const vector[uint64_t] *voters, Quantity quantity) noexcept nogil:
    """The largest value that a majority of ``voters`` has reached."""
    cdef uint64_t values[128]
    cdef size_t i, j, count = 0
    cdef uint64_t value
    cdef Progress *peer
    if voters.empty():
        return <uint64_t>-1
    for i in range(voters.size()):
        if voters[0][i] == core.id:
            value = own_value(core, quantity)
        else:
            peer = progress_of(core, voters[0][i])
            if peer == NULL:
                value = 0
            elif quantity == MATCH:
                value = peer.match_index
            elif quantity == ROUND:
                value = peer.acked_round
            elif quantity == ROOM:
                value = 0 if peer.full else 1
            else:
                value = peer.last_response
        j = count
        while j > 0 and values[j - 1] < value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
        count += 1
    return values[count // 2]


cdef uint64_t majority_value(Core *core, Quantity quantity) noexcept nogil:
    """The largest value that each majority has reached: of the voters, or of both halves of a joint configuration."""
    cdef Configuration *it = configuration_of(core)
    cdef uint64_t incoming, outgoing
    cdef vector[uint64_t] everybody
    if QUORATE_MUTATION(core, LEARNER_COUNTS_IN_QUORUM) and it.learners.size():
        everybody = it.incoming
        everybody.insert(everybody.end(), it.learners.begin(), it.learners.end())
        return majority_of(core, &everybody, quantity)
    incoming = majority_of(core, &it.incoming, quantity)
    if it.outgoing.empty() or QUORATE_MUTATION(core, JOINT_NEEDS_ONE_MAJORITY):
        return incoming
    outgoing = majority_of(core, &it.outgoing, quantity)
    return min(incoming, outgoing)


cdef Tally tally_of(Core *core, const vector[uint64_t] *voters) noexcept nogil:
    cdef size_t i, granted = 0, refused = 0
    if voters.empty():
        return TALLY_WON
    for i in range(core.votes.size()):
        # By voter and not by message, so that one voter's two answers count once.
        if contains(voters, core.votes[i].first):
            if core.votes[i].second:
                granted += 1
            else:
                refused += 1
    if granted > voters.size() // 2:
        return TALLY_WON
    if refused >= (voters.size() + 1) // 2:
        return TALLY_LOST
    return TALLY_OPEN


cdef Tally tally_votes(Core *core) noexcept nogil:
    """Where this campaign stands; a joint configuration must be won in both halves (Raft §6)."""
    cdef Configuration *it = configuration_of(core)
    cdef Tally incoming = tally_of(core, &it.incoming)
    cdef Tally outgoing = tally_of(core, &it.outgoing)
    if QUORATE_MUTATION(core, JOINT_NEEDS_ONE_MAJORITY):
        return incoming
    if it.incoming.empty() or incoming == TALLY_LOST or outgoing == TALLY_LOST:
        return TALLY_LOST
    if incoming == TALLY_WON and outgoing == TALLY_WON:
        return TALLY_WON
    return TALLY_OPEN


cdef int append_own(Core *core, EntryRef *it) except -1 nogil:
    """Put ``it`` behind the log; a configuration is in force from here on (Raft §6)."""
    cdef entry kept = entry_retained(<const entry *>it)
    cdef Configuration configuration
    log_append(&core.log, &kept)
    if kept.kind == ENTRY_CONFIGURATION:
        configuration_decode(entry_bytes(&kept), kept.length, &configuration)
        log_append_configuration(&core.log, core.log.last_index, &configuration)
        configuration_changed(core)
    return 0


cdef int configuration_changed(Core *core) except -1 nogil:
    """Follow the log's newest configuration: a leader keeps progress of exactly its members."""
    cdef Configuration *it = configuration_of(core)
    cdef ordered_map[uint64_t, Progress].iterator at
    cdef vector[uint64_t] gone
    cdef size_t i
    core.configuration_index = core.log.configurations.back().first
    if core.role != LEADER:
        return 0
    at = core.progress.begin()
    while at != core.progress.end():
        if not is_member(it, dereference(at).first):
            gone.push_back(dereference(at).first)
        postincrement(at)
    for i in range(gone.size()):
        core.progress.erase(gone[i])
    for i in range(it.incoming.size()):
        follow_member(core, it.incoming[i], False)
    for i in range(it.outgoing.size()):
        follow_member(core, it.outgoing[i], False)
    for i in range(it.learners.size()):
        follow_member(core, it.learners[i], True)
    if core.transfer_target and not is_voter(it, core.transfer_target):
        core.transfer_target = 0
    return 0


cdef int follow_member(Core *core, uint64_t id, bint learner) except -1 nogil:
    cdef Progress *peer
    if id == core.id:
        return 0
    peer = progress_of(core, id)
    if peer == NULL:
        peer = &core.progress[id]
        peer.mode = PROBE
        peer.next_index = core.log.last_index + 1
        peer.last_response = core.now  # a chance to answer before it counts as silent
    peer.learner = learner
    return 0


cdef int log_cut(Core *core, uint64_t index) except -1 nogil:
    """Remove a conflicting tail; what was durable or handed out of it counts no more, and its configurations are undone."""
    cdef deque[pair[uint64_t, Configuration]] kept
    if QUORATE_MUTATION(core, CONFIG_NOT_UNDONE):
        kept = core.log.configurations
        log_truncate(&core.log, index)
        core.log.configurations.swap(kept)
    else:
        log_truncate(&core.log, index)
    core.persisted_index = min(core.persisted_index, core.log.last_index)
    core.handed_index = min(core.handed_index, core.log.last_index)
    return configuration_changed(core)


cdef bint disk_is_slow(Core *core) noexcept nogil:
    """Whether the oldest unfinished write has waited too long, or the disk was reported as stalled."""
    if core.disk_stalled:
        return True
    return not core.writes.empty() and core.now - core.writes.front().since > core.settings.disk_stall


cdef bint vote_promised(Core *core) noexcept nogil:
    """With lease reads: whether this node promised its leader not to vote yet (dissertation §6.4.1)."""
    return core.settings.lease_reads and core.now < core.last_leader_contact + core.settings.election_timeout_min


cdef int answer_proposal(
    Core *core, Update *update, uint64_t id, uint8_t status, uint64_t index
) except -1 nogil:
    cdef ProposalResult *made
    update.proposals.resize(update.proposals.size() + 1)
    made = &update.proposals.back()
    made.id = id
    made.status = status
    made.index = index
    made.term = core.current_term if index else 0
    made.leader = core.leader
    return 0


cdef bint is_elector(Core *core) noexcept nogil:
    """Whether this node may stand for election: a voter, also one that a change not known to be committed takes out.

    Such a node may hold the only log with that change, and then nobody else can win: it leads, without counting itself,
    until the change is committed (dissertation §4.2.2, Figure 4.6).
    """
    cdef size_t i = core.log.configurations.size()
    while i > 0:
        i -= 1
        if is_voter(&core.log.configurations[i].second, core.id):
            return True
        if core.log.configurations[i].first <= core.commit_index:
            return False
    return False


cdef uint64_t next_deadline(Core *core) noexcept nogil:
    """When the next Tick has something to do."""
    cdef uint64_t due = core.now + IDLE
    if core.role == LEADER:
        due = min(due, core.heartbeat_deadline)
        if core.transfer_target:
            due = min(due, core.transfer_deadline)
    elif is_elector(core):
        due = min(due, core.election_deadline)
    if not core.forwarded_reads.empty():
        due = min(due, core.forwarded_reads.front().expires_at)
    return due


cdef int finish(Core *core, Update *update) except -1 nogil:
    """List what this step owes: writes, entries to apply, reads that became safe; and when time matters next."""
    cdef uint64_t index, size
    cdef HardState hard
    cdef bint vital, hold
    cdef size_t i
    cdef Write write

    hard.term = core.current_term
    hard.vote = core.voted_for
    hard.commit = core.commit_index
    if QUORATE_MUTATION(core, VOTE_NOT_PERSISTED):
        hard.vote = 0
    if QUORATE_MUTATION(core, TERM_NOT_PERSISTED):
        hard.term = 0
    vital = hard.term != core.handed_hard_state.term or hard.vote != core.handed_hard_state.vote
    if core.handed_index < core.log.last_index:
        update.first_index = core.handed_index + 1
        update.entries.reserve(core.log.last_index - core.handed_index)
        for index in range(core.handed_index + 1, core.log.last_index + 1):
            update.entries.push_back(EntryRef(log_at(&core.log, index)[0]))
        core.handed_index = core.log.last_index
    if vital or hard.commit != core.handed_hard_state.commit:
        # A commit index alone is worth remembering, but not worth waiting for: the leader tells it again.
        update.has_hard_state = True
        update.hard_state = hard
        core.handed_hard_state = hard
    update.sync = vital or not update.entries.empty() or update.has_chunk
    if update.sync or update.has_hard_state:
        write.ticket = core.next_ticket
        core.next_ticket += 1
        update.ticket = write.ticket
        write.since = core.now
        write.last_index = core.log.last_index if not update.entries.empty() else 0
        write.last_term = core.log.last_term if not update.entries.empty() else 0
        if update.sync:
            core.writes.push_back(write)
        if vital:
            core.hard_state_ticket = write.ticket

    # A term or vote must be durable before any message of that term (Raft, Figure 2: persistent state).
    hold = core.hard_state_ticket > core.durable_ticket and not QUORATE_MUTATION(core, ACK_BEFORE_PERSIST)
    if hold and not update.messages.empty():
        if not update.messages_after.empty():
            update.messages.reserve(update.messages.size() + update.messages_after.size())
            for i in range(update.messages_after.size()):
                update.messages.push_back(move(update.messages_after[i]))
            update.messages_after.clear()
        update.messages_after.swap(update.messages)

    # While a snapshot is being loaded the state machine is not fed: what it applied meanwhile would be overwritten.
    if core.applying == core.last_applied and core.applying < core.commit_index and not core.incoming.done:
        update.apply_index = core.applying + 1
        size = 0
        index = core.applying + 1
        while index <= core.commit_index:
            size += log_at(&core.log, index).length
            if size > core.settings.max_apply_bytes and index > update.apply_index:
                break
            update.apply.push_back(EntryRef(log_at(&core.log, index)[0]))
            core.applying = index
            index += 1

    while not core.ready_reads.empty() and core.ready_reads.front().index <= core.last_applied:
        update.reads.push_back(core.ready_reads.front())
        core.ready_reads.pop_front()

    if not core.log.dead.empty():
        log_bury(&core.log, BURY_ENTRIES)
    update.role = core.role
    update.term = core.current_term
    update.leader = core.leader
    update.commit = core.commit_index
    update.deadline = next_deadline(core)
    return 0
