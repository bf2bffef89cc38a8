# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Snapshots (Raft §7): sending one in chunks that resume, taking one in, and cutting the log behind one.

The core knows of a snapshot only its place, size and digest. Whoever carries a chunk message puts the bytes in; whoever
receives an update with a chunk writes it down.
"""

from libc.stdint cimport uint64_t

from quorate.raft._core cimport configuration_changed, configuration_of, progress_of, send
from quorate.raft._log cimport log_at, log_compact, log_configuration, log_matches, log_reset, log_term
from quorate.raft._roles cimport heard_leader
from quorate.raft._types cimport (
    APPEND_ENTRIES_RESPONSE,
    INSTALL_SNAPSHOT,
    INSTALL_SNAPSHOT_RESPONSE,
    LEADER,
    PROBE,
    QUORATE_MUTATION,
    REJECT_EVENT,
    REJECT_SENDER,
    REJECT_SNAPSHOT,
    REJECT_STALE,
    SNAPSHOT,
    SNAPSHOT_KEEPS_CONFLICT,
    SNAPSHOT_WITHOUT_CONFIGURATION,
    Configuration,
    Core,
    Event,
    Message,
    Progress,
    SnapshotChunk,
    Update,
)


cdef bint recently_heard(Core *core, const Progress *peer) noexcept nogil:
    return core.now - peer.last_response <= core.settings.election_timeout_max


# Sending

cdef int start_snapshot(Core *core, Update *update, uint64_t id, Progress *peer) except -1 nogil:
    """The log no longer holds what ``peer`` needs: send the newest snapshot, if there is one and the peer is there."""
    if core.own_snapshot_index == 0 or not recently_heard(core, peer):
        return 0
    peer.mode = SNAPSHOT
    peer.flights.clear()
    peer.flight_bytes = 0
    peer.snapshot_index = core.own_snapshot_index
    peer.snapshot_term = core.own_snapshot_term
    peer.snapshot_size = core.own_snapshot_size
    peer.snapshot_digest = core.own_snapshot_digest
    peer.snapshot_configuration = core.own_snapshot_configuration
    peer.snapshot_configuration_index = core.own_snapshot_configuration_index
    peer.snapshot_offset = 0
    peer.snapshot_waiting = False
    return send_chunk(core, update, id, peer)


cdef int send_chunk(Core *core, Update *update, uint64_t id, Progress *peer) except -1 nogil:
    """Ask the carrier to send the next chunk; one is on its way at a time."""
    cdef Message *made = send(core, update, INSTALL_SNAPSHOT, id, False)
    made.index = peer.snapshot_index
    made.log_term = peer.snapshot_term
    made.offset = peer.snapshot_offset
    made.length = min(core.settings.snapshot_chunk_bytes, peer.snapshot_size - peer.snapshot_offset)
    made.size = peer.snapshot_size
    made.digest = peer.snapshot_digest
    made.configuration = peer.snapshot_configuration
    made.configuration_index = peer.snapshot_configuration_index
    made.round = core.round
    peer.snapshot_waiting = True
    peer.snapshot_sent_at = core.now
    return 0


cdef int on_install_snapshot_response(Core *core, Update *update, const Message *message) except -1 nogil:
    cdef Progress *peer = progress_of(core, message.sender)
    if core.role != LEADER or peer == NULL:
        core.rejected[REJECT_SENDER] += 1
        return 0
    peer.last_response = core.now
    if peer.mode != SNAPSHOT or message.index != peer.snapshot_index or message.log_term != peer.snapshot_term:
        core.rejected[REJECT_STALE] += 1
        return 0
    if not message.success:
        # It could not install what it got. Begin again, with the newest, after a pause of one heartbeat.
        peer.mode = PROBE
        peer.next_index = peer.match_index + 1
        peer.paused = True
        return 0
    if message.offset > peer.snapshot_size:
        core.rejected[REJECT_SNAPSHOT] += 1
        return 0
    if peer.snapshot_offset == message.offset and message.offset == peer.snapshot_size:
        return 0  # all is there; it is being installed
    peer.snapshot_offset = message.offset
    peer.snapshot_waiting = False
    if message.offset < peer.snapshot_size:
        send_chunk(core, update, message.sender, peer)
    return 0


# Taking in

cdef int acknowledge(Core *core, Update *update, uint64_t receiver, uint64_t index, uint64_t round) except -1 nogil:
    cdef Message *made = send(core, update, APPEND_ENTRIES_RESPONSE, receiver, True)
    made.success = True
    made.index = index
    made.round = round
    return 0


cdef int on_install_snapshot(Core *core, Update *update, const Message *message) except -1 nogil:
    """A chunk of the leader's snapshot (Raft, Figure 13), at the current term."""
    cdef Message *made
    cdef SnapshotChunk *incoming = &core.incoming
    heard_leader(core, update, message.sender)
    if message.index <= core.commit_index:
        # Rule: a snapshot of what is known already is a prefix of the log; nothing is to be discarded.
        return acknowledge(core, update, message.sender, core.commit_index, message.round)
    if not (incoming.index == message.index and incoming.term == message.log_term and incoming.size == message.size
            and incoming.digest == message.digest):
        if incoming.done:
            # One is being loaded into the state machine. Until that is reported no other is taken, be it newer: else the
            # state machine would hold what is forgotten here.
            core.rejected[REJECT_STALE] += 1
            return 0
        incoming.index = message.index
        incoming.term = message.log_term
        incoming.size = message.size
        incoming.digest = message.digest
        incoming.offset = 0
        incoming.done = False
        incoming.configuration = message.configuration
        incoming.configuration_index = message.configuration_index
    if message.offset == incoming.offset and not incoming.done:
        if message.data.length != message.length or message.length > incoming.size - incoming.offset or (
            message.length == 0 and incoming.size != 0
        ):
            core.rejected[REJECT_SNAPSHOT] += 1
            return 0
        update.has_chunk = True
        update.chunk = incoming[0]
        update.chunk.data = message.data
        incoming.offset += message.length
        incoming.done = incoming.offset == incoming.size
        update.chunk.done = incoming.done
    # Else it was sent again, or a part was missed: the answer says where to go on.
    made = send(core, update, INSTALL_SNAPSHOT_RESPONSE, message.sender, True)
    made.index = message.index
    made.log_term = message.log_term
    made.offset = incoming.offset
    made.success = True
    made.round = message.round
    return 0


cdef void forget_incoming(Core *core) noexcept nogil:
    core.incoming.index = 0
    core.incoming.term = 0
    core.incoming.offset = 0
    core.incoming.size = 0
    core.incoming.digest = 0
    core.incoming.done = False


cdef int on_snapshot_persisted(Core *core, Update *update, const Event *event) except -1 nogil:
    """The snapshot that arrived is durable and the state machine has it."""
    cdef SnapshotChunk *incoming = &core.incoming
    cdef Configuration *configuration = &incoming.configuration
    cdef uint64_t configuration_index = incoming.configuration_index
    cdef bint follows
    if not incoming.done or incoming.index != event.index or incoming.term != event.term:
        core.rejected[REJECT_EVENT] += 1
        return 0
    if event.index > core.commit_index:
        if QUORATE_MUTATION(core, SNAPSHOT_WITHOUT_CONFIGURATION):
            configuration = configuration_of(core)
        follows = log_matches(&core.log, event.index, event.term)
        if QUORATE_MUTATION(core, SNAPSHOT_KEEPS_CONFLICT) and core.log.last_index > event.index:
            follows = True
        if follows:
            # Figure 13, rule 6: what follows the snapshot is kept.
            log_compact(&core.log, event.index)
            core.log.snapshot_term = event.term
        else:
            # Figure 13, rule 7: the log conflicts with what is committed; all of it goes.
            log_reset(&core.log, event.index, event.term, configuration_index, configuration)
        core.handed_index = max(min(core.handed_index, core.log.last_index), event.index)
        core.persisted_index = max(min(core.persisted_index, core.log.last_index), event.index)
        core.commit_index = event.index
        configuration_changed(core)
    core.last_applied = max(core.last_applied, event.index)
    core.applying = max(core.applying, core.last_applied)
    core.own_snapshot_index = incoming.index
    core.own_snapshot_term = incoming.term
    core.own_snapshot_size = incoming.size
    core.own_snapshot_digest = incoming.digest
    core.own_snapshot_configuration = incoming.configuration
    core.own_snapshot_configuration_index = incoming.configuration_index
    forget_incoming(core)
    if core.leader and core.leader != core.id:
        acknowledge(core, update, core.leader, event.index, 0)
    return 0


cdef int on_snapshot_failed(Core *core, Update *update, const Event *event) except -1 nogil:
    """Sending to a peer failed, or (peer 0) what arrived could not be installed."""
    cdef Progress *peer
    cdef Message *made
    if event.id == 0 or event.id == core.id:
        if core.incoming.index == 0 or (event.index and event.index != core.incoming.index):
            core.rejected[REJECT_EVENT] += 1
            return 0
        if core.leader and core.leader != core.id:
            made = send(core, update, INSTALL_SNAPSHOT_RESPONSE, core.leader, False)
            made.index = core.incoming.index
            made.log_term = core.incoming.term
        forget_incoming(core)
        return 0
    peer = progress_of(core, event.id)
    if core.role != LEADER or peer == NULL or peer.mode != SNAPSHOT:
        core.rejected[REJECT_EVENT] += 1
        return 0
    peer.mode = PROBE
    peer.next_index = peer.match_index + 1
    peer.paused = True  # until it answers a heartbeat
    return 0


cdef int on_compact(Core *core, const Event *event) except -1 nogil:
    """A snapshot of our own is durable: it is what slow followers get, and the log below it may go (Raft §7).

    It holds only what is applied and durable here: a snapshot that is ahead of the own durable log would survive a crash
    that the log does not.
    """
    cdef uint64_t term, configuration_index
    cdef Configuration *configuration
    cdef uint64_t cut, kept = 0
    if (
        event.index == 0
        or event.index > core.last_applied
        or event.index > core.persisted_index
        or event.index <= core.own_snapshot_index
        or not log_term(&core.log, event.index, &term)
    ):
        core.rejected[REJECT_EVENT] += 1
        return 0
    configuration = log_configuration(&core.log, event.index, &configuration_index)
    if configuration.incoming.empty():
        # A node that joined does not know who decided there; nobody could use a snapshot without it (Raft §7).
        core.rejected[REJECT_EVENT] += 1
        return 0
    core.own_snapshot_index = event.index
    core.own_snapshot_term = term
    core.own_snapshot_size = event.size
    core.own_snapshot_digest = event.digest
    core.own_snapshot_configuration = configuration[0]
    core.own_snapshot_configuration_index = configuration_index
    cut = event.index
    while (
        cut > core.log.snapshot_index and event.index - cut < core.settings.compaction_tail
        and kept + log_at(&core.log, cut).length <= core.settings.compaction_tail_bytes
    ):
        kept += log_at(&core.log, cut).length
        cut -= 1
    if cut > core.log.snapshot_index:
        log_compact(&core.log, cut)
    return 0
