# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Replication (Raft §5.3, §5.4): what a leader sends, what a follower takes in, and when something is committed.

The leader keeps a :class:`Progress` of each peer: *probe* finds where the logs agree, one message at a time; *replicate*
sends ahead without waiting, within limits; *snapshot* waits for one. Knows nothing of elections.
"""

from cython.operator cimport dereference, postincrement
from libc.stdint cimport uint64_t
from libcpp.map cimport map as ordered_map
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._configuration cimport (
    bind_incarnation,
    configuration_change,
    configuration_encode,
    incarnation_of,
    is_member,
    is_voter,
    place_of,
    put_place,
)
from quorate.raft._core cimport (
    MATCH,
    append_own,
    configuration_of,
    log_cut,
    majority_value,
    progress_of,
    send,
)
from quorate.raft._log cimport log_at, log_conflict_by_term, log_matches, log_term
from quorate.raft._reads cimport reads_after_first_commit, rounds_confirmed
from quorate.raft._roles cimport become_follower, heard_leader
from quorate.raft._snapshots cimport send_chunk, start_snapshot
from quorate.raft._types cimport (
    ACCEPTED,
    APPEND_ENTRIES,
    APPEND_ENTRIES_RESPONSE,
    APPEND_WITHOUT_PREV_CHECK,
    COMMIT_BEYOND_MATCH,
    COMMIT_OLDER_TERM,
    ENTRY_CONFIGURATION,
    HEARTBEAT,
    HEARTBEAT_RESPONSE,
    JOINT_LEAVE,
    LEADER,
    MESSAGE_ENTRIES_MAX,
    NO_ROOM,
    PERSISTED_BY_INDEX_ALONE,
    PROBE,
    QUORATE_MUTATION,
    REJECT_EVENT,
    REJECT_INDEX,
    REJECT_SENDER,
    REJECT_STALE,
    REJECT_TERM,
    REMOVED_LEADER_STAYS,
    REPLICATE,
    SNAPSHOT,
    TIMEOUT_NOW,
    TRUNCATE_ON_DUPLICATE,
    Change,
    Configuration,
    Core,
    EntryRef,
    Event,
    Flight,
    Message,
    Progress,
    Round,
    Update,
)


cdef enum:
    ROUNDS_KEPT = 1024


# The leader sends

cdef bint silenced(Core *core) noexcept nogil:
    """With leases, who hands over its office stops talking, so that the voters' promises to it run out."""
    return core.settings.lease_reads and core.transfer_sent and core.transfer_target != 0


cdef bint send_ahead(Core *core, const Progress *peer) noexcept nogil:
    return (peer.flights.size() < core.settings.max_inflight_messages
            and (peer.flight_bytes < core.settings.max_inflight_bytes or peer.flights.empty()))


cdef int send_append(Core *core, Update *update, uint64_t id, Progress *peer, bint even_empty) except -1 nogil:
    """One AppendEntries to ``peer`` if its state allows; 1 if one was sent. ``even_empty``: to tell the commit index."""
    cdef uint64_t prev = peer.next_index - 1
    cdef uint64_t prev_term = 0, last, size = 0, length
    cdef Message *made
    cdef Flight flight
    if peer.mode == SNAPSHOT or (peer.mode == PROBE and peer.paused):
        return 0
    last = prev
    if peer.mode == PROBE or send_ahead(core, peer):
        if prev < core.log.snapshot_index:
            start_snapshot(core, update, id, peer)
            return 0
        while last < core.log.last_index and last - prev < MESSAGE_ENTRIES_MAX:
            length = log_at(&core.log, last + 1).length
            if size + length > core.settings.max_message_bytes and last > prev:
                break
            size += length
            last += 1
    if last == prev and not even_empty:
        return 0
    if not log_term(&core.log, prev, &prev_term):
        start_snapshot(core, update, id, peer)
        return 0
    made = send(core, update, APPEND_ENTRIES, id, False)
    made.index = prev
    made.log_term = prev_term
    made.commit = core.commit_index
    made.round = core.round
    peer.sent_commit = core.commit_index
    made.entries.reserve(last - prev)
    while prev < last:
        prev += 1
        made.entries.push_back(EntryRef(log_at(&core.log, prev)[0]))
    if peer.mode == PROBE:
        peer.paused = True
    elif not made.entries.empty():
        peer.next_index = last + 1
        flight.last_index = last
        flight.bytes = size
        peer.flights.push_back(flight)
        peer.flight_bytes += size
    return 1


cdef int send_more(Core *core, Update *update, uint64_t id, Progress *peer) except -1 nogil:
    """Send what ``peer`` lacks and may have now; at least the commit index, if it was not told."""
    cdef bint untold
    if silenced(core) and not (core.transfer_target == id and peer.match_index < core.log.last_index):
        return 0
    untold = peer.sent_commit < core.commit_index
    while send_append(core, update, id, peer, untold):
        untold = False
        if peer.mode != REPLICATE:
            break
    return 0


cdef int send_appends(Core *core, Update *update) except -1 nogil:
    """To every peer, what it lacks and may have now."""
    cdef ordered_map[uint64_t, Progress].iterator at = core.progress.begin()
    while at != core.progress.end():
        send_more(core, update, dereference(at).first, &dereference(at).second)
        postincrement(at)
    return 0


cdef int send_round(Core *core, Update *update) except -1 nogil:
    """A heartbeat to everybody. It opens a quorum round: who answers it, or anything sent later, still follows us."""
    cdef ordered_map[uint64_t, Progress].iterator at
    cdef Progress *peer
    cdef Message *made
    cdef Round round
    core.round_wanted = False
    core.heartbeat_deadline = core.now + core.settings.heartbeat
    if silenced(core):
        return 0
    core.round += 1
    round.number = core.round
    round.sent_at = core.now
    core.rounds.push_back(round)
    if core.rounds.size() > ROUNDS_KEPT:
        core.rounds.pop_front()  # only the lease would have used it
    at = core.progress.begin()
    while at != core.progress.end():
        peer = &dereference(at).second
        made = send(core, update, HEARTBEAT, dereference(at).first, False)
        # Never above what it is known to have: a heartbeat says nothing of the log between.
        made.commit = min(core.commit_index, peer.match_index)
        made.round = core.round
        postincrement(at)
    return rounds_confirmed(core, update)  # a single voter is its own majority


# Commit

cdef int leader_commits(Core *core, Update *update) except -1 nogil:
    """Advance the commit index to what a majority has durably, if that is of this term (Raft §5.3, §5.4.2)."""
    cdef uint64_t before = core.commit_index
    cdef uint64_t index, at, term = 0, length
    index = majority_value(core, MATCH)
    if index <= before or index > core.log.last_index:
        return 0
    log_term(&core.log, index, &term)
    if term != core.current_term and not QUORATE_MUTATION(core, COMMIT_OLDER_TERM):
        return 0  # Figure 8: an entry of an earlier term is committed only by one of this term above it
    core.commit_index = index
    if core.uncommitted_bytes:
        for at in range(before + 1, index + 1):
            length = log_at(&core.log, at).length
            core.uncommitted_bytes -= min(length, core.uncommitted_bytes)
    if before < core.term_start_index <= index:
        reads_after_first_commit(core, update)
    keep_configuration(core, update)
    if core.role == LEADER:
        send_appends(core, update)
    return 1


cdef int append_configuration(Core *core, Configuration *next) except -1 nogil:
    cdef EntryRef made
    configuration_encode(next, &made)
    made.term = core.current_term
    made.kind = ENTRY_CONFIGURATION
    return append_own(core, &made)


cdef int step_down_removed(Core *core, Update *update) except -1 nogil:
    """The configuration without us is committed: our office ends (Raft §6). The best of the others may follow at once."""
    cdef ordered_map[uint64_t, Progress].iterator at
    cdef Configuration *it = configuration_of(core)
    cdef uint64_t best = 0, best_match = 0
    send_appends(core, update)
    at = core.progress.begin()
    while at != core.progress.end():
        if is_voter(it, dereference(at).first) and dereference(at).second.match_index > best_match:
            best = dereference(at).first
            best_match = dereference(at).second.match_index
        postincrement(at)
    if best and best_match >= core.commit_index and not core.settings.lease_reads:
        send(core, update, TIMEOUT_NOW, best, False)
    return become_follower(core, update, core.current_term, 0)


cdef int keep_configuration(Core *core, Update *update) except -1 nogil:
    """What a leader does by itself once its configuration is committed: leave a joint one, go if removed, bind identities."""
    cdef Configuration *it = configuration_of(core)
    cdef Configuration next
    cdef vector[Change] none
    cdef ordered_map[uint64_t, uint64_t].iterator heard
    cdef ordered_map[uint64_t, string].iterator known
    cdef bint news = False
    if core.role != LEADER or core.configuration_index > core.commit_index:
        return 0
    if core.commit_index < core.term_start_index:
        return 0
    if not it.outgoing.empty():
        if not it.auto_leave:
            return 0
        configuration_change(it, &none, JOINT_LEAVE, &next)
        append_configuration(core, &next)
        return send_appends(core, update)
    if not is_voter(it, core.id):
        if QUORATE_MUTATION(core, REMOVED_LEADER_STAYS):
            return 0
        return step_down_removed(core, update)
    if core.incarnation == 0:
        return 0  # identities are not in use
    next = it[0]
    if incarnation_of(it, core.id) == 0:
        bind_incarnation(&next, core.id, core.incarnation)
        news = True
    heard = core.heard_incarnations.begin()
    while heard != core.heard_incarnations.end():
        if is_member(it, dereference(heard).first) and incarnation_of(it, dereference(heard).first) == 0:
            bind_incarnation(&next, dereference(heard).first, dereference(heard).second)
            news = True
        postincrement(heard)
    core.heard_incarnations.clear()
    known = core.known_places.begin()
    while known != core.known_places.end():
        # A log of before places were kept, or a directory that was restored: say what was given at the start.
        if is_member(it, dereference(known).first) and place_of(it, dereference(known).first) == NULL:
            put_place(&next, dereference(known).first, dereference(known).second)
            news = True
        postincrement(known)
    if news or core.configuration_index == 0:
        append_configuration(core, &next)
        return send_appends(core, update)
    return 0


# The follower takes in

cdef int on_append_entries(Core *core, Update *update, const Message *message) except -1 nogil:
    """AppendEntries of the current term's leader (Raft, Figure 2: AppendEntries RPC, receiver implementation)."""
    cdef uint64_t prev = message.index
    cdef uint64_t count = message.entries.size()
    cdef uint64_t last = prev + count
    cdef uint64_t skip = 0, index, hint_term = 0, term = 0
    cdef size_t i
    cdef bint agrees
    cdef Message *made
    cdef EntryRef *it

    heard_leader(core, update, message.sender)
    if last <= core.commit_index:
        if log_term(&core.log, last, &term) and term != (message.entries.back().term if count else message.log_term):
            core.rejected[REJECT_TERM] += 1  # no leader lacks what is committed (Raft, Figure 3: Leader Completeness)
            return 0
        # An old one, or sent again: all of it is committed here.
        made = send(core, update, APPEND_ENTRIES_RESPONSE, message.sender, True)
        made.success = True
        made.index = core.commit_index
        made.round = message.round
        return 0
    if prev < core.commit_index:
        # The beginning is committed here, so it is the same; what is committed is never replaced.
        skip = core.commit_index - prev
        log_term(&core.log, core.commit_index, &term)
        if message.entries[skip - 1].term != term:
            core.rejected[REJECT_TERM] += 1  # no leader lacks what is committed (Raft, Figure 3: Leader Completeness)
            return 0
        prev = core.commit_index
        agrees = True
    else:
        agrees = log_matches(&core.log, prev, message.log_term)
        if QUORATE_MUTATION(core, APPEND_WITHOUT_PREV_CHECK) and prev <= core.log.last_index:
            agrees = True
    if not agrees:
        # Rule 2. The hint is the last place of ours that could agree, so that the leader skips whole terms at once (§5.3).
        made = send(core, update, APPEND_ENTRIES_RESPONSE, message.sender, True)
        made.success = False
        made.reject_index = message.index
        made.hint_index = log_conflict_by_term(&core.log, min(message.index, core.log.last_index), message.log_term)
        log_term(&core.log, made.hint_index, &hint_term)
        made.hint_term = hint_term
        made.index = core.log.last_index
        made.round = message.round
        return 0

    if QUORATE_MUTATION(core, TRUNCATE_ON_DUPLICATE) and core.log.last_index > prev:
        log_cut(core, prev + 1)
    index = prev
    for i in range(skip, count):
        it = <EntryRef *>&message.entries[i]
        index += 1
        if index <= core.log.last_index:
            if log_matches(&core.log, index, it.term):
                continue
            # Rule 3: only a real conflict removes anything; a shorter or repeated message does not.
            log_cut(core, index)
        append_own(core, it)  # rule 4
    if message.commit > core.commit_index:
        # Rule 5: not above the last *new* entry; what lies behind it may be of another history.
        if QUORATE_MUTATION(core, COMMIT_BEYOND_MATCH):
            last = core.log.last_index
        core.commit_index = max(core.commit_index, min(message.commit, last))
    made = send(core, update, APPEND_ENTRIES_RESPONSE, message.sender, True)
    made.success = True
    made.index = message.index + count
    made.round = message.round
    return 0


cdef int on_heartbeat(Core *core, Update *update, const Message *message) except -1 nogil:
    cdef Message *made
    heard_leader(core, update, message.sender)
    # The leader sends at most what we acknowledged; a bound of our own costs nothing.
    if message.commit > core.commit_index and message.commit <= core.log.last_index:
        core.commit_index = message.commit
    made = send(core, update, HEARTBEAT_RESPONSE, message.sender, False)
    made.round = message.round
    made.status = NO_ROOM if core.disk_full else ACCEPTED
    return 0


# The leader learns

cdef int answered(Core *core, Update *update, Progress *peer, uint64_t round) except -1 nogil:
    """Any answer of this term shows that the peer followed us when it got the message of that round."""
    peer.last_response = core.now
    if round > peer.acked_round and round <= core.round:
        peer.acked_round = round
        rounds_confirmed(core, update)
    return 0


cdef void begin_replication(Progress *peer) noexcept nogil:
    peer.mode = REPLICATE
    peer.paused = False
    peer.flights.clear()
    peer.flight_bytes = 0
    peer.next_index = peer.match_index + 1


cdef void begin_probe(Progress *peer) noexcept nogil:
    peer.mode = PROBE
    peer.paused = False
    peer.flights.clear()
    peer.flight_bytes = 0


cdef int on_append_entries_response(Core *core, Update *update, const Message *message) except -1 nogil:
    cdef uint64_t hint
    cdef uint64_t id = message.sender
    cdef Progress *peer = progress_of(core, id)
    if core.role != LEADER or peer == NULL:
        core.rejected[REJECT_SENDER] += 1
        return 0
    if message.success and message.index > core.log.last_index:
        core.rejected[REJECT_INDEX] += 1
        return 0
    answered(core, update, peer, message.round)
    if not message.success:
        if peer.mode == REPLICATE:
            if message.reject_index <= peer.match_index or message.reject_index >= peer.next_index:
                # Below, it is late; above, it refuses what was never sent.
                core.rejected[REJECT_STALE] += 1
                return 0
        elif peer.mode == PROBE:
            if message.reject_index != peer.next_index - 1:
                core.rejected[REJECT_STALE] += 1
                return 0
        else:
            core.rejected[REJECT_STALE] += 1
            return 0
        hint = message.hint_index
        if message.hint_term:
            hint = log_conflict_by_term(&core.log, min(hint, core.log.last_index), message.hint_term)
        begin_probe(peer)
        peer.next_index = max(peer.match_index + 1, min(message.reject_index, hint + 1))
        return send_more(core, update, id, peer)

    peer.paused = False
    while not peer.flights.empty() and peer.flights.front().last_index <= message.index:
        peer.flight_bytes -= peer.flights.front().bytes
        peer.flights.pop_front()
    if message.index > peer.match_index:
        peer.match_index = message.index
        peer.next_index = max(peer.next_index, message.index + 1)
        if peer.mode == SNAPSHOT and peer.match_index >= min(peer.snapshot_index, core.log.snapshot_index):
            # Installed, or caught up by itself. If the log was cut further meanwhile, the next snapshot begins from here.
            begin_replication(peer)
        elif peer.mode == PROBE:
            begin_replication(peer)
        leader_commits(core, update)
    elif peer.mode == PROBE:
        begin_replication(peer)
    if core.role != LEADER:
        return 0
    peer = progress_of(core, id)
    if peer == NULL:
        return 0
    send_more(core, update, id, peer)
    return hand_over(core, update)


cdef int hand_over(Core *core, Update *update) except -1 nogil:
    """Transfer of leadership (dissertation §3.10): once the target has the whole log, it campaigns at once."""
    cdef Progress *peer
    if core.transfer_target == 0 or core.transfer_sent:
        return 0
    peer = progress_of(core, core.transfer_target)
    if peer == NULL or peer.match_index < core.log.last_index:
        return 0
    send(core, update, TIMEOUT_NOW, core.transfer_target, False)
    core.transfer_sent = True
    return 0


cdef int on_heartbeat_response(Core *core, Update *update, const Message *message) except -1 nogil:
    cdef Progress *peer = progress_of(core, message.sender)
    if core.role != LEADER or peer == NULL:
        core.rejected[REJECT_SENDER] += 1
        return 0
    answered(core, update, peer, message.round)
    peer.full = message.status == NO_ROOM
    peer.paused = False
    if peer.mode == SNAPSHOT:
        # A chunk or its answer was lost, or the transfer waited for the peer to come back.
        if not peer.snapshot_waiting or core.now - peer.snapshot_sent_at > core.settings.election_timeout_max:
            send_chunk(core, update, message.sender, peer)
        return 0
    if peer.mode == REPLICATE and peer.match_index + 1 < peer.next_index:
        # Something is out and unanswered. If it was lost, the answer to an empty message shows it.
        send_append(core, update, message.sender, peer, True)
    elif peer.match_index < core.log.last_index or peer.mode == PROBE:
        send_append(core, update, message.sender, peer, True)
    return 0


# The disk and the state machine report

cdef int on_persisted(Core *core, Update *update, const Event *event) except -1 nogil:
    """Everything handed out up to a ticket is durable.

    The last entry of it counts only if the log still has that very entry: between writing and reporting, another leader
    may have replaced it by one with the same index (the ABA of asynchronous writes).
    """
    if event.ticket >= core.next_ticket or event.ticket <= core.durable_ticket:
        core.rejected[REJECT_EVENT] += 1
        return 0
    core.durable_ticket = event.ticket
    while not core.writes.empty() and core.writes.front().ticket <= event.ticket:
        core.writes.pop_front()
    if event.index > core.persisted_index and event.index <= core.handed_index and (
        log_matches(&core.log, event.index, event.term) or QUORATE_MUTATION(core, PERSISTED_BY_INDEX_ALONE)
    ):
        core.persisted_index = event.index
        if core.role == LEADER:
            leader_commits(core, update)
    return 0


cdef int on_applied(Core *core, const Event *event) except -1 nogil:
    if event.index <= core.last_applied or event.index > core.applying:
        core.rejected[REJECT_EVENT] += 1
        return 0
    core.last_applied = event.index
    return 0


cdef int on_unreachable(Core *core, const Event *event) except -1 nogil:
    """What was sent ahead is probably lost: find out where the peer is before sending more."""
    cdef Progress *peer = progress_of(core, event.id)
    if core.role != LEADER or peer == NULL:
        core.rejected[REJECT_EVENT] += 1
        return 0
    if peer.mode == REPLICATE:
        begin_probe(peer)
        peer.next_index = peer.match_index + 1
    elif peer.mode == SNAPSHOT:
        peer.snapshot_waiting = False
    return 0
