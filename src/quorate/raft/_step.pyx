# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""One step of the protocol: look at what came, hand it to the rule that it belongs to, list what follows.

This is where messages are checked and terms compared (Raft, Figure 2, Rules for Servers). A message that no honest node
would send, or that is not for us, changes nothing but a counter.
"""

from libc.stdint cimport uint8_t, uint64_t
from libcpp.vector cimport vector

from quorate.raft._configuration cimport (
    configuration_change,
    configuration_decode,
    configuration_encode,
    configuration_valid,
    incarnation_of,
    is_member,
)
from quorate.raft._core cimport (
    ROOM,
    answer_proposal,
    append_own,
    configuration_of,
    disk_is_slow,
    finish,
    majority_value,
    send,
    vote_promised,
)
from quorate.raft._election cimport (
    leader_is_near,
    on_campaign,
    on_disk_stalled,
    on_forget_leader,
    on_leader_connection_closed,
    on_request_vote,
    on_request_vote_response,
    on_tick,
    on_timeout_now,
    on_transfer_leadership,
    on_vote_durable,
)
from quorate.raft._invariants cimport broken_deeply, broken_invariant, remember
from quorate.raft._reads cimport read_asked, read_forward, read_forward_answered
from quorate.raft._replication cimport (
    keep_configuration,
    on_append_entries,
    on_append_entries_response,
    on_applied,
    on_heartbeat,
    on_heartbeat_response,
    on_persisted,
    on_unreachable,
    send_appends,
    send_round,
)
from quorate.raft._roles cimport become_follower
from quorate.raft._snapshots cimport (
    on_compact,
    on_install_snapshot,
    on_install_snapshot_response,
    on_snapshot_failed,
    on_snapshot_persisted,
)
from quorate.raft._types cimport (
    ACCEPTED,
    APPEND_ENTRIES,
    APPEND_ENTRIES_RESPONSE,
    APPLIED,
    CAMPAIGN,
    CHANGE_BEFORE_COMMIT,
    CHANGE_IN_FLIGHT,
    COMPACT,
    DISK_STALLED,
    ENTRY_BYTES_MAX,
    ENTRY_COMMAND,
    ENTRY_CONFIGURATION,
    ENTRY_KINDS,
    FORGET_LEADER,
    FORWARD_PROPOSAL,
    FORWARD_PROPOSAL_RESPONSE,
    FORWARD_READ,
    FORWARD_READ_RESPONSE,
    FORWARDED,
    HEARTBEAT,
    HEARTBEAT_RESPONSE,
    INSTALL_SNAPSHOT,
    INSTALL_SNAPSHOT_RESPONSE,
    INVALID,
    JOINT_LEAVE,
    LEADER,
    LEADER_CONNECTION_CLOSED,
    LEASE_IGNORES_VOTE_PROMISE,
    MESSAGE_ENTRIES_MAX,
    MESSAGE_TYPES,
    NO_COMMIT_IN_TERM,
    NO_LEADER,
    NO_ROOM,
    NOT_LEADER,
    OVERLOADED,
    PERSISTED,
    PROPOSE,
    PROPOSE_CHANGE,
    QUORATE_MUTATION,
    READ_INDEX,
    RECEIVE,
    REJECT_EVENT,
    REJECT_GROUP,
    REJECT_INCARNATION,
    REJECT_INDEX,
    REJECT_LIMIT,
    REJECT_RECEIVER,
    REJECT_SENDER,
    REJECT_SNAPSHOT,
    REJECT_STALE,
    REJECT_TERM,
    REJECT_TYPE,
    REQUEST_VOTE,
    REQUEST_VOTE_RESPONSE,
    SNAPSHOT_FAILED,
    SNAPSHOT_PERSISTED,
    STALLED,
    STATUSES,
    TICK,
    TIMEOUT_NOW,
    TRANSFER_LEADERSHIP,
    TRANSFERRING,
    TWO_CHANGES_IN_FLIGHT,
    UNREACHABLE,
    Configuration,
    Core,
    EntryRef,
    Event,
    Message,
    Update,
    entry,
    entry_bytes,
)


cdef extern from *:
    """
    #ifdef QUORATE_DEBUG
    #define QUORATE_DEEP_CHECKS 1
    #else
    #define QUORATE_DEEP_CHECKS 0
    #endif
    """
    const bint QUORATE_DEEP_CHECKS

cdef enum:
    ROUNDS_AHEAD = 4  # unanswered rounds; what asks meanwhile shares the next one

cdef uint64_t BEYOND = <uint64_t>1 << 62  # no honest index or term gets there


# Is it a message that an honest node could send?

cdef int entries_fault(const Message *message) except -1 nogil:
    """0 if the entries can stand behind (index, log_term) in a log of the message's term; else the reason."""
    cdef uint64_t term = message.log_term
    cdef size_t i
    cdef const EntryRef *it
    cdef Configuration configuration
    if message.entries.size() > MESSAGE_ENTRIES_MAX:
        return REJECT_LIMIT
    for i in range(message.entries.size()):
        it = &message.entries[i]
        if it.kind >= ENTRY_KINDS or it.length > ENTRY_BYTES_MAX:
            return REJECT_LIMIT
        if it.term < term or it.term == 0 or it.term > message.term:
            return REJECT_TERM
        term = it.term
        if it.kind == ENTRY_CONFIGURATION:
            if configuration_decode(entry_bytes(<const entry *>it), it.length, &configuration) != <Py_ssize_t>it.length:
                return REJECT_TYPE
    return 0


cdef int fault(Core *core, const Message *message) except -2 nogil:
    """-1 if the message may be looked at; else the reason why not."""
    cdef uint8_t type = message.type
    cdef int found
    if message.group != core.group:
        return REJECT_GROUP
    if message.receiver != core.id:
        return REJECT_RECEIVER
    if message.sender == 0 or message.sender == core.id:
        return REJECT_SENDER
    if type == 0 or type >= MESSAGE_TYPES:
        return REJECT_TYPE
    if message.term == 0 or message.term >= BEYOND or message.log_term > message.term:
        return REJECT_TERM
    if message.index >= BEYOND or message.commit >= BEYOND or message.status >= STATUSES:
        return REJECT_INDEX
    if type == REQUEST_VOTE:
        if message.log_term >= message.term:
            return REJECT_TERM  # a candidate's term is above all that its log holds
        if (message.index == 0) != (message.log_term == 0):
            return REJECT_INDEX
    elif type == APPEND_ENTRIES:
        if (message.index == 0) != (message.log_term == 0):
            return REJECT_INDEX
        found = entries_fault(message)
        if found:
            return found
    elif type == INSTALL_SNAPSHOT:
        if (
            message.index == 0 or message.log_term == 0 or message.offset > message.size
            or message.length > message.size - message.offset or message.configuration_index > message.index
            or message.configuration.incoming.empty() or not configuration_valid(&message.configuration)
        ):
            return REJECT_SNAPSHOT
    elif type == FORWARD_PROPOSAL:
        if message.entries.empty() or message.entries.size() > MESSAGE_ENTRIES_MAX:
            return REJECT_LIMIT
        for i in range(message.entries.size()):
            if message.entries[i].kind != ENTRY_COMMAND or message.entries[i].length > ENTRY_BYTES_MAX:
                return REJECT_LIMIT
    return -1


cdef int note_incarnation(Core *core, Update *update, const Message *message) except -1 nogil:
    """A member that no configuration binds yet is heard: the leader binds it with its next configuration."""
    cdef Configuration *it = configuration_of(core)
    if core.role != LEADER or core.incarnation == 0 or message.incarnation == 0:
        return 0
    if not is_member(it, message.sender) or incarnation_of(it, message.sender):
        return 0
    core.heard_incarnations[message.sender] = message.incarnation
    return keep_configuration(core, update)


cdef bint impostor(Core *core, const Message *message) noexcept nogil:
    """Whether it comes from a member whose memory is not the one that the configuration knows.

    Its votes and acknowledgements may contradict what the lost memory promised. What a leader sends is taken from any
    incarnation: a majority elected it. A candidate is believed if its configuration is newer than ours, for it may be the
    one that bound the new incarnation.
    """
    cdef uint64_t bound = incarnation_of(configuration_of(core), message.sender)
    if bound == 0 or bound == message.incarnation:
        return False
    if message.type == REQUEST_VOTE:
        return message.configuration_index <= core.configuration_index
    return message.type in (
        REQUEST_VOTE_RESPONSE, APPEND_ENTRIES_RESPONSE, HEARTBEAT_RESPONSE, INSTALL_SNAPSHOT_RESPONSE,
    )


cdef bint may_be_unknown(uint8_t type) noexcept nogil:
    """Who leads or campaigns may have become a member in a configuration that did not reach us yet; nobody else may."""
    return type in (APPEND_ENTRIES, HEARTBEAT, INSTALL_SNAPSHOT, REQUEST_VOTE)


cdef int answer_older_term(Core *core, Update *update, const Message *message) except -1 nogil:
    """Whoever leads or campaigns in an older term is told ours, and steps down (Raft §5.1)."""
    cdef Message *made
    if message.type in (APPEND_ENTRIES, HEARTBEAT, INSTALL_SNAPSHOT):
        made = send(core, update, APPEND_ENTRIES_RESPONSE, message.sender, False)
        made.reject_index = message.index
    elif message.type == REQUEST_VOTE:
        made = send(core, update, REQUEST_VOTE_RESPONSE, message.sender, False)
        made.pre_vote = message.pre_vote
    else:
        core.rejected[REJECT_STALE] += 1
    return 0


cdef int on_receive(Core *core, Update *update, const Message *message) except -1 nogil:
    cdef uint8_t type = message.type
    cdef int reason = fault(core, message)
    cdef bint leads
    if reason < 0 and impostor(core, message):
        reason = REJECT_INCARNATION
    elif reason < 0 and not may_be_unknown(type) and message.sender != core.leader and not is_member(
        configuration_of(core), message.sender
    ):
        reason = REJECT_SENDER
    if reason >= 0:
        core.rejected[reason] += 1
        return 0
    # What is forwarded belongs to a client and not to a term.
    if type == FORWARD_PROPOSAL:
        return on_forward_proposal(core, update, message)
    if type == FORWARD_PROPOSAL_RESPONSE:
        answer_proposal(core, update, message.id, message.status, message.index)
        update.proposals.back().term = message.term if message.status == ACCEPTED else 0
        update.proposals.back().leader = message.leader
        return 0
    if type == FORWARD_READ:
        return on_forward_read(core, update, message)
    if type == FORWARD_READ_RESPONSE:
        return read_forward_answered(core, update, message)

    leads = type in (APPEND_ENTRIES, HEARTBEAT, INSTALL_SNAPSHOT)
    if message.term < core.current_term:
        return answer_older_term(core, update, message)
    if message.term > core.current_term:
        if type == REQUEST_VOTE:
            # A leader that was heard lately is not given up for a candidate; only the leader's own wish overrides that,
            # and nothing overrides the promise of a lease.
            if leader_is_near(core, message.pre_vote) and (
                not message.transfer or (
                    vote_promised(core) and not QUORATE_MUTATION(core, LEASE_IGNORES_VOTE_PROMISE)
                )
            ):
                core.rejected[REJECT_STALE] += 1
                return 0
            if not message.pre_vote:
                become_follower(core, update, message.term, 0)
        elif type == REQUEST_VOTE_RESPONSE and message.pre_vote and message.success:
            pass  # the term that we asked about
        else:
            become_follower(core, update, message.term, message.sender if leads else 0)
    elif leads and (core.role == LEADER or (core.leader and core.leader != message.sender)):
        core.rejected[REJECT_SENDER] += 1  # a term has one leader: this one is not it
        return 0
    note_incarnation(core, update, message)

    if type == APPEND_ENTRIES:
        return on_append_entries(core, update, message)
    if type == APPEND_ENTRIES_RESPONSE:
        return on_append_entries_response(core, update, message)
    if type == HEARTBEAT:
        return on_heartbeat(core, update, message)
    if type == HEARTBEAT_RESPONSE:
        return on_heartbeat_response(core, update, message)
    if type == REQUEST_VOTE:
        return on_request_vote(core, update, message)
    if type == REQUEST_VOTE_RESPONSE:
        return on_request_vote_response(core, update, message)
    if type == INSTALL_SNAPSHOT:
        return on_install_snapshot(core, update, message)
    if type == INSTALL_SNAPSHOT_RESPONSE:
        return on_install_snapshot_response(core, update, message)
    return on_timeout_now(core, update, message)


# Proposals and reads

cdef uint8_t why_not(Core *core, const vector[EntryRef] *entries) noexcept nogil:
    """ACCEPTED if the leader takes the proposal in; else the reason."""
    cdef uint64_t size = 0
    cdef uint64_t most = core.settings.max_uncommitted_bytes
    cdef size_t i
    if core.transfer_target:
        return TRANSFERRING
    if disk_is_slow(core):
        return STALLED
    if not core.reserve and majority_value(core, ROOM) == 0:
        return NO_ROOM  # a majority could not keep it
    for i in range(entries.size()):
        size += entries[0][i].length
    if core.reserve:
        most += most // 8 + ENTRY_BYTES_MAX  # on top of one that was larger than the limit
    # One that is larger than the whole limit still goes when nothing else is under way.
    if core.uncommitted_bytes and core.uncommitted_bytes + size > most:
        return OVERLOADED
    return ACCEPTED


cdef int append_proposal(Core *core, Update *update, const vector[EntryRef] *entries) except -1 nogil:
    cdef size_t i
    cdef EntryRef made
    for i in range(entries.size()):
        made = entries[0][i]
        made.term = core.current_term
        core.uncommitted_bytes += made.length
        append_own(core, &made)
    return send_appends(core, update)


cdef int on_propose(Core *core, Update *update, const Event *event) except -1 nogil:
    cdef uint8_t status
    cdef Message *made
    if core.role == LEADER:
        status = why_not(core, &event.entries)
        if status != ACCEPTED:
            return answer_proposal(core, update, event.id, status, 0)
        answer_proposal(core, update, event.id, ACCEPTED, core.log.last_index + 1)
        return append_proposal(core, update, &event.entries)
    if core.leader == 0:
        return answer_proposal(core, update, event.id, NO_LEADER, 0)
    if not core.settings.forward:
        return answer_proposal(core, update, event.id, NOT_LEADER, 0)
    made = send(core, update, FORWARD_PROPOSAL, core.leader, False)
    made.id = event.id
    made.entries = event.entries
    return answer_proposal(core, update, event.id, FORWARDED, 0)


cdef int on_forward_proposal(Core *core, Update *update, const Message *message) except -1 nogil:
    cdef uint8_t status = NOT_LEADER
    cdef Message *made
    if core.role == LEADER:
        status = why_not(core, &message.entries)
    made = send(core, update, FORWARD_PROPOSAL_RESPONSE, message.sender, False)
    made.id = message.id
    made.status = status
    made.leader = core.leader
    if status != ACCEPTED:
        return 0
    made.index = core.log.last_index + 1
    return append_proposal(core, update, &message.entries)


cdef int on_forward_read(Core *core, Update *update, const Message *message) except -1 nogil:
    cdef Message *made
    if core.role == LEADER:
        return read_asked(core, update, message.id, message.sender, False)
    made = send(core, update, FORWARD_READ_RESPONSE, message.sender, False)
    made.id = message.id
    made.status = NOT_LEADER
    return 0


cdef int on_propose_change(Core *core, Update *update, const Event *event) except -1 nogil:
    """A change of members (Raft §6). One at a time, and none before this term committed something.

    The second rule closes the hole of 2015: a leader that does not know yet what is committed could begin a change whose
    majority does not overlap that of another leader's.
    """
    cdef Configuration *it = configuration_of(core)
    cdef Configuration next
    cdef EntryRef made
    cdef uint8_t status = ACCEPTED
    if core.role != LEADER:
        status = NOT_LEADER if core.leader else NO_LEADER
    elif core.transfer_target:
        status = TRANSFERRING
    elif disk_is_slow(core):
        status = STALLED
    elif core.commit_index < core.term_start_index and not QUORATE_MUTATION(core, CHANGE_BEFORE_COMMIT):
        status = NO_COMMIT_IN_TERM
    elif core.configuration_index > core.commit_index and not QUORATE_MUTATION(core, TWO_CHANGES_IN_FLIGHT):
        status = CHANGE_IN_FLIGHT
    elif not it.outgoing.empty() and event.mode != JOINT_LEAVE:
        status = CHANGE_IN_FLIGHT
    elif not configuration_change(it, &event.changes, event.mode, &next):
        status = INVALID
    if status != ACCEPTED:
        return answer_proposal(core, update, event.id, status, 0)
    configuration_encode(&next, &made)
    made.term = core.current_term
    made.kind = ENTRY_CONFIGURATION
    answer_proposal(core, update, event.id, ACCEPTED, core.log.last_index + 1)
    append_own(core, &made)
    return send_appends(core, update)


# The step

cdef int dispatch(Core *core, const Event *event, Update *update) except -1 nogil:
    cdef uint8_t type = event.type
    if type == RECEIVE and event.message != NULL:
        return on_receive(core, update, event.message)
    if type == TICK:
        return on_tick(core, update)
    if type == PROPOSE:
        return on_propose(core, update, event)
    if type == PERSISTED:
        on_persisted(core, update, event)
        return on_vote_durable(core, update)
    if type == APPLIED:
        return on_applied(core, event)
    if type == READ_INDEX:
        if core.role == LEADER:
            return read_asked(core, update, event.id, core.id, event.mode == 1)
        return read_forward(core, update, event.id)
    if type == PROPOSE_CHANGE:
        return on_propose_change(core, update, event)
    if type == SNAPSHOT_PERSISTED:
        return on_snapshot_persisted(core, update, event)
    if type == SNAPSHOT_FAILED:
        return on_snapshot_failed(core, update, event)
    if type == TRANSFER_LEADERSHIP:
        return on_transfer_leadership(core, update, event)
    if type == CAMPAIGN:
        return on_campaign(core, update)
    if type == FORGET_LEADER:
        return on_forget_leader(core, update)
    if type == COMPACT:
        return on_compact(core, event)
    if type == UNREACHABLE:
        return on_unreachable(core, event)
    if type == LEADER_CONNECTION_CLOSED:
        return on_leader_connection_closed(core, update)
    if type == DISK_STALLED:
        return on_disk_stalled(core, update, event.mode)
    core.rejected[REJECT_EVENT] += 1
    return 0


cdef int raft_step(Core *core, const Event *event, Update *update) except -1 nogil:
    """Take one event in and fill ``update``, which the caller hands in empty.

    0 if all is well, 1 if an invariant is broken: then the node has failed for good, and nothing of the update may be used.
    """
    if core.failed:
        return 1
    if event.now > core.now:
        core.now = event.now
    core.reserve = event.mode == 1 and (event.type == PROPOSE or event.type == RECEIVE)
    core.failed = True  # until the step is done: one that runs out of memory half way must not be followed by another
    dispatch(core, event, update)
    if core.role == LEADER and core.round_wanted and core.round < core.confirmed_round + ROUNDS_AHEAD:
        send_round(core, update)
    finish(core, update)
    if broken_invariant(core) != NULL or (QUORATE_DEEP_CHECKS and broken_deeply(core) != NULL):
        return 1
    core.failed = False
    remember(core)
    return 0
