# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/poller.c csrc/mailbox.c
"""The native thread of a node. One turn: wait, decode, step, hand to the disk, send, apply, answer, look at the time.

Everything of the loop belongs to this thread but the mailbox, two flags and the status. It blocks all signals, and after
its first instant it does not take the GIL before something has failed for good (that instant gives it a thread state, in
which the exception of a failure survives until the node's owner asks for it).

Time is read afresh for each event. After a pause of the process, what waits in sockets and from the disk is taken in before
the clock is looked at, so that a leader's heartbeats that lie there count.
"""

from libc.stddef cimport size_t
from cython.operator cimport dereference, preincrement
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp.map cimport map as ordered_map

from quorate.raft._step cimport raft_step
from quorate.raft._types cimport (
    ACCEPTED,
    APPLIED,
    DISK_STALLED,
    ENTRY_COMMAND,
    FORWARD_PROPOSAL,
    FORWARD_PROPOSAL_RESPONSE,
    FORWARDED,
    INSTALL_SNAPSHOT,
    LEADER,
    LEADER_CONNECTION_CLOSED,
    MEMBERS_MAX,
    PERSISTED,
    RECEIVE,
    TICK,
    UNREACHABLE,
    Core,
    EntryRef,
    Event,
    Message,
    Progress,
    Update,
    entry,
    entry_bytes,
)
from quorate.runtime._answers cimport *
from quorate.runtime._clients cimport *
from quorate.runtime._disk cimport *
from quorate.runtime._lane_structs cimport Lanes
from quorate.runtime._lanes cimport lanes_connected, lanes_deadline, lanes_ready
from quorate.runtime._loop cimport *
from quorate.runtime._members cimport *
from quorate.runtime._notices cimport (
    ENGINE_CONNECTED,
    ENGINE_STOPPED,
    ENGINE_SUSPENDED,
    NOTICE_LEADER,
    NOTICE_STATE,
    Notices,
    notice,
)
from quorate.runtime._peers cimport *
from quorate.runtime._processes cimport members_near, process_ended
from quorate.runtime._questions cimport (
    questions_busy,
    questions_clear,
    questions_deadline,
    questions_go_on,
    questions_tick,
)
from quorate.runtime._roster cimport roster_stepped
from quorate.runtime._session_structs cimport TOKEN_PROCESS
from quorate.runtime._sessions cimport *
from quorate.runtime._snapshots cimport (
    snapshots_applied,
    snapshots_begin,
    snapshots_busy,
    snapshots_clear,
    snapshots_publish,
    snapshots_send,
    snapshots_start,
    snapshots_stop,
    snapshots_take,
    snapshots_turn,
)
from quorate.runtime._structs cimport *
from quorate.runtime._threads cimport condition_init, failure_keep, thread_start
from quorate.runtime._wire cimport KIND_GOODBYE, KIND_RENEW, KIND_RENEWED
from quorate.store._state cimport StoreState

from quorate.errors import InvariantBroken, NodeFailed


cdef extern from "<unistd.h>" nogil:
    int64_t c_read "read"(int fd, void *into, size_t size)

cdef extern from "command.h" nogil:
    int command_frees(const uint8_t *bytes, size_t length)

cdef extern from "Python.h" nogil:
    ctypedef struct PyThreadState:
        pass
    ctypedef int PyGILState_STATE
    PyGILState_STATE PyGILState_Ensure()
    void PyGILState_Release(PyGILState_STATE state)
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)

cdef enum:
    EVENTS = 64          # ready descriptors looked at in one turn
    APPLY_ROUNDS = 4     # batches applied in one turn; the rest is for the next one, behind what came meanwhile

cdef uint64_t APPLY_PATIENCE = 5000  # microseconds of one turn that go to applying


# Steps and their duties --------------------------------------------------------------------------------------------------


cdef int invariant_broken(Loop *it) except -1 nogil:
    it.failure = FAILURE_INVARIANT
    with gil:
        raise InvariantBroken("the protocol's own conditions do not hold")


cdef int step(Loop *it, Event *event) except -1 nogil:
    """One event into the core, and what follows from it, in the order of duty."""
    cdef Update update
    event.now = clock_microseconds()
    if raft_step(it.core, event, &update) != 0:
        return invariant_broken(it)
    it.steps += 1
    it.deadline = update.deadline
    # 1. To the disk first: its work and the network's go on side by side (dissertation §10.2.1).
    if update.ticket:
        disk_write(it, &update)
    # 2. What may leave at once, and what waits for everything handed to the disk so far.
    send_all(it, &update.messages)
    if update.has_chunk:
        snapshots_take(it, &update)
    if not update.messages_after.empty():
        if it.durable_ticket >= it.wanted_ticket:
            send_all(it, &update.messages_after)
        else:
            it.held.push_back(Held())
            it.held.back().ticket = it.wanted_ticket
            it.held.back().messages.swap(update.messages_after)
    # 3. Where proposals went, before entries are applied: one of them may be among those.
    if not update.proposals.empty():
        proposals_placed(it, &update)
    if not update.apply.empty():
        apply_entries(it, &update)
        snapshots_applied(it, &update)
    if not update.reads.empty():
        reads_answered(it, &update)
    if update.role != it.role or update.leader != it.leader or update.term != it.term:
        office_changed(it, &update)
    return roster_stepped(it, &update)


cdef int send_all(Loop *it, vector[Message] *messages) except -1 nogil:
    cdef uint64_t now = clock_microseconds()
    cdef size_t i
    cdef int sent
    for i in range(messages.size()):
        if messages[0][i].type == INSTALL_SNAPSHOT:
            snapshots_send(it, &messages[0][i])  # once its bytes are read
            continue
        sent = peers_send(&it.peers, &messages[0][i], now)
        if sent != PEERS_QUEUED and messages[0][i].type == FORWARD_PROPOSAL_RESPONSE:
            answer_lost(&it.peers, messages[0][i].receiver)
        if sent != PEERS_QUEUED and messages[0][i].type == FORWARD_PROPOSAL:
            # It never left this process, which proves that nothing was appended.
            batch_refused(it, messages[0][i].id, OUTCOME_OVERLOADED if sent == PEERS_FULL else OUTCOME_NO_LEADER)
    return 0


cdef int office_changed(Loop *it, const Update *update) except -1 nogil:
    cdef bint leader_changed = update.leader != it.leader or update.term != it.term
    sessions_office(it)
    if update.role == LEADER and it.role != LEADER:
        it.elections += 1
    if update.leader != it.leader and update.leader:
        it.leader_changes += 1
    it.role = update.role
    it.leader = update.leader
    it.term = update.term
    if leader_changed:
        forwarded_doubted(it)
        lanes_connected(<Lanes *>it.lanes, it.leader != 0, clock_microseconds())
        notice(<Notices *>it.notices, NOTICE_STATE, ENGINE_CONNECTED if it.leader else ENGINE_SUSPENDED, 0)
        notice(<Notices *>it.notices, NOTICE_LEADER, it.leader, it.term)
    publish(it)
    pthread_mutex_lock(&it.lock)
    pthread_cond_broadcast(&it.changed)
    pthread_mutex_unlock(&it.lock)
    return 0


# What comes in -----------------------------------------------------------------------------------------------------------


cdef bint gives_back(const Message *message) noexcept nogil:
    """Whether a forwarded proposal only ends and releases, so that the reserve is for it."""
    cdef const EntryRef *it
    cdef size_t i
    for i in range(message.entries.size()):
        it = &message.entries[i]
        if it.kind != ENTRY_COMMAND or not command_frees(entry_bytes(<const entry *>it), it.length):
            return False
    return True


cdef int receive_from(Loop *it, uint32_t slot) except -1 nogil:
    cdef Event event
    cdef Message message
    cdef int found
    event.type = RECEIVE
    # As far as it was read, which has a bound; nothing would come back for what is left.
    while True:
        message = Message()
        found = peers_next(&it.peers, slot, clock_microseconds(), &message)
        if found == 0:
            return 0
        if found == 2:
            if frame_from(it, slot) < 1:
                return peers_damaged(&it.peers, slot, clock_microseconds())
            continue
        event.message = &message
        event.mode = 1 if message.type == FORWARD_PROPOSAL and gives_back(&message) else 0
        step(it, &event)


cdef int frame_from(Loop *it, uint32_t slot) except -1 nogil:
    """A frame of a member that is no message of the protocol: 0 if nobody here understands it."""
    cdef uint64_t peer = it.peers.connections[slot].peer
    cdef uint8_t kind = it.peers.other_kind
    cdef Peer *said
    cdef bint proven
    if kind == KIND_GOODBYE:
        # No proof if an answer may have gone with an older connection that the loop has not looked at.
        said = peer_of(&it.peers, peer)
        proven = said != NULL and not said.unheard
        forwarded_lost(it, peer, proven)
        members_lost(it, peer, proven)
        return 1
    if kind == KIND_RENEW or kind == KIND_RENEWED:
        return sessions_frame(it, peer, kind, it.peers.other, it.peers.other_length) == 0
    return members_frame(it, peer, kind, it.peers.other, it.peers.other_length, step)


cdef int disk_reported(Loop *it) except -1 nogil:
    """Something became durable: release what waited for it, then tell the core."""
    cdef uint8_t[8] nothing
    cdef Durable durable
    cdef Event event
    c_read(it.disk_fd, nothing, 8)
    disk_completed(it, &durable)
    while not it.held.empty() and it.held.front().ticket <= it.durable_ticket:
        send_all(it, &it.held.front().messages)
        it.held.pop_front()
    if durable.ticket:
        event.type = PERSISTED
        event.ticket = durable.ticket
        event.index = durable.index
        event.term = durable.term
        step(it, &event)
    if durable.full_changed:
        event.type = DISK_STALLED
        event.mode = 2 if it.disk_full else 0
        step(it, &event)
    return 0


cdef int tell_of_connections(Loop *it) except -1 nogil:
    """Who is gone may be the leader: a hint. Who lost messages has to be asked where it is."""
    cdef Event event
    cdef size_t i
    cdef bint leader_gone = False
    for i in range(it.peers.gone.size()):
        leader_gone = leader_gone or it.peers.gone[i] == it.leader
        forwarded_lost(it, it.peers.gone[i], False)
        members_lost(it, it.peers.gone[i], False)
    it.peers.gone.clear()
    for i in range(it.peers.members.size()):
        if it.peers.members[i].cut or it.peers.members[i].unheard:
            it.peers.members[i].cut = it.peers.members[i].unheard = False
            forwarded_lost(it, it.peers.members[i].id, False)
            members_lost(it, it.peers.members[i].id, False)
        if it.peers.members[i].lost:
            it.peers.members[i].lost = False
            if it.role == LEADER:
                event.type = UNREACHABLE
                event.id = it.peers.members[i].id
                step(it, &event)
    if leader_gone and it.leader and it.role != LEADER:
        event.type = LEADER_CONNECTION_CLOSED
        event.id = 0
        step(it, &event)
    return 0


cdef int own_events(Loop *it) except -1 nogil:
    cdef Event event
    while not it.own.empty():
        event = it.own.front()
        it.own.pop_front()
        step(it, &event)
    return 0


cdef int go_on_applying(Loop *it) except -1 nogil:
    """Tells the core what was applied, upon which it may give more."""
    cdef Event event
    cdef uint64_t until = clock_microseconds() + APPLY_PATIENCE
    cdef int i
    for i in range(APPLY_ROUNDS):
        if not it.applied_due or (i and clock_microseconds() > until):
            return 0
        it.applied_due = False
        event.type = APPLIED
        event.index = it.applied
        step(it, &event)
    return 0


# One turn ------------------------------------------------------------------------------------------------------------------


cdef int turn(Loop *it) except -1 nogil:
    cdef poller_event[EVENTS] events
    cdef Event tick
    cdef uint64_t due = min(it.deadline, peers_deadline(&it.peers))
    cdef uint64_t woke
    cdef int count, i, slot
    cdef bint busy
    due = min(min(due, requests_deadline(it)), min(questions_deadline(it), sessions_deadline(it)))
    due = min(min(due, clients_deadline(it)), min(members_deadline(it), lanes_deadline(<Lanes *>it.lanes)))
    due = max(due, clock_microseconds())
    # A loop that has too much to answer leaves the mailbox and the lanes alone, until they are full and refuse.
    busy = snapshots_busy(it) or clients_busy(it) or questions_busy(it) or not mailbox_sleeps(it.urgent)
    busy = busy or it.applied_due or not it.own.empty() or peers_troubled(&it.peers) or (
        requests_wanted(it) and (clients_asked(it) or lanes_ready(<Lanes *>it.lanes) or not mailbox_sleeps(it.mail))
    )
    count = poller_wait(it.poll, events, EVENTS, 0 if busy or flag_get(&it.stopping) else due)
    woke = clock_microseconds()
    mailbox_awake(it.mail)
    mailbox_awake(it.urgent)
    if count < 0:
        it.failure = FAILURE_POLLER
        with gil:
            raise NodeFailed("the system refuses to wait for descriptors")
    for i in range(count):
        if events[i].token == TOKEN_DISK:
            disk_reported(it)
        elif events[i].token == TOKEN_LISTENER:
            peers_accept(&it.peers, clock_microseconds())
        elif <uint32_t>events[i].token == TOKEN_PROCESS:
            process_ended(it, events[i].token)
        elif clients_token(events[i].token):
            clients_ready(it, events[i].token, events[i].ready)
        else:
            slot = peers_ready(&it.peers, events[i].token, events[i].ready, clock_microseconds())
            if slot >= 0:
                receive_from(it, slot)
    clients_arrive(it)
    members_near(it)
    clients_go_on(it)
    questions_go_on(it)
    take_requests(it, step)
    sessions_go(it, step)
    own_events(it)
    snapshots_turn(it, step)
    if clock_microseconds() >= it.deadline:
        if count == EVENTS:
            return 0  # first everything that waits; the time comes right after
        tick.type = TICK
        step(it, &tick)
    go_on_applying(it)
    sessions_judge(it, step, due, woke, count == EVENTS)
    members_tick(it, clock_microseconds(), step)
    peers_tick(&it.peers, clock_microseconds())
    tell_of_connections(it)
    peers_flush(&it.peers, clock_microseconds())
    requests_expire(it, clock_microseconds())
    questions_tick(it, clock_microseconds())
    clients_tick(it, clock_microseconds())
    clients_flush(it, clock_microseconds())
    publish(it)
    return 0


cdef int publish(Loop *it) except -1 nogil:
    """What others may see of the loop."""
    cdef Figures *status = &it.status
    cdef int i
    pthread_mutex_lock(&it.lock)
    status.role = it.role
    status.term = it.term
    status.leader = it.leader
    status.commit = it.core.commit_index
    status.applied = it.applied
    status.last_index = it.core.log.last_index
    status.durable_index = it.core.persisted_index
    status.disk_full = it.disk_full
    status.pending = it.pending
    status.writes = it.core.writes.size()
    status.held = it.held.size()
    status.backlog = it.backlog.size()
    status.turns += 1
    status.parked = it.questions.parked
    status.clients = it.clients.count
    for i in range(CLIENT_COUNTERS):
        status.client_counters[i] = it.clients.counters[i]
    status.questions = it.questions.asked
    status.steps = it.steps
    status.elections = it.elections
    status.leader_changes = it.leader_changes
    status.connected = peers_connected(&it.peers)
    status.strangers = it.peers.strangers
    status.output_bytes = peers_queued(&it.peers)
    for i in range(COUNTERS):
        status.counters[i] = it.peers.counters[i]
    sessions_figures(it, status)
    status.sessions = (<StoreState *>it.store).sessions.size()
    status.log_entries = it.core.log.last_index - it.core.log.snapshot_index
    status.log_bytes = it.core.log.payload_bytes
    publish_followers(it.core, status)
    snapshots_publish(it)
    pthread_mutex_unlock(&it.lock)
    return 0


cdef void publish_followers(Core *core, Figures *status) noexcept nogil:
    cdef ordered_map[uint64_t, Progress].iterator at
    cdef Progress *known
    cdef Follower *one
    status.followers_count = 0
    if core.role != LEADER:
        return
    at = core.progress.begin()
    while at != core.progress.end() and status.followers_count < MEMBERS_MAX:
        known = &dereference(at).second
        one = &status.followers[status.followers_count]
        one.id = dereference(at).first
        one.match_index = known.match_index
        one.heard_at = known.last_response
        one.learner = known.learner
        status.followers_count += 1
        preincrement(at)


# The thread ----------------------------------------------------------------------------------------------------------------


cdef int live(Loop *it) except -1 nogil:
    cdef Event tick
    peers_open(&it.peers)
    tick.type = TICK
    step(it, &tick)
    snapshots_begin(it, step)
    while not flag_get(&it.stopping):
        turn(it)
    # What this node was asked and has not answered it never took in; unless an answer waits for the disk.
    if it.held.empty():
        members_goodbye(it)
        peers_flush(&it.peers, clock_microseconds())
    return 0


ctypedef int (*body_function)(Loop *) noexcept nogil


cdef void *run(void *context) noexcept nogil:
    cdef Loop *it = <Loop *>context
    # By a type that cannot fail, so that a pending exception stays where it is: in this thread's state.
    cdef body_function body = <body_function>live
    cdef PyGILState_STATE held = PyGILState_Ensure()
    cdef PyThreadState *state = PyEval_SaveThread()
    if body(it) < 0:
        if it.failure == FAILURE_NONE:
            it.failure = FAILURE_RAISED
        failure_keep(it)
        flag_set(&it.failed)
    # Nobody puts anything any more after this; what is inside is answered, and what came at the last instant too, by the
    # asker itself, who sees that the loop has ended.
    mailbox_close(it.mail)
    mailbox_close(it.urgent)
    requests_stopped(it)
    clients_close(it)
    disk_flush(it)
    # Also of a node that failed: what the others see is a closed connection, and not a silence that they must wait out.
    peers_close(&it.peers)
    it.leader = 0
    it.role = 0
    publish_end(it)
    # Behind the end that is told: these threads may want the GIL once more, which an asker may hold until it sees the end.
    snapshots_stop(it)
    PyEval_RestoreThread(state)
    PyGILState_Release(held)
    return NULL


cdef void publish_end(Loop *it) noexcept nogil:
    notice(<Notices *>it.notices, NOTICE_STATE, ENGINE_STOPPED, 0)
    pthread_mutex_lock(&it.lock)
    it.status.leader = 0
    it.status.role = 0
    it.status.connected = 0
    flag_set(&it.ended)
    pthread_cond_broadcast(&it.changed)
    pthread_mutex_unlock(&it.lock)


cdef int loop_prepare(Loop *it) except -1:
    """The loop's own parts; the rest is the caller's to fill in."""
    pthread_mutex_init(&it.lock, NULL)
    condition_init(&it.changed)
    sessions_prepare(it)
    return 0


cdef int loop_start(Loop *it, const char *name) except -1:
    cdef int result = poller_add(it.poll, it.disk_fd, POLLER_READ, TOKEN_DISK)
    if result:
        raise OSError(result, "the log's descriptor cannot be watched")
    snapshots_start(it)
    thread_start(&it.thread, run, it, name)
    it.running = True
    return 0


cdef void loop_stop(Loop *it) noexcept nogil:
    """Ends the thread; answers everything first. Call it without the GIL: a failing thread may want it."""
    if not it.running:
        return
    flag_set(&it.stopping)
    poller_wake(it.poll)
    pthread_join(it.thread, NULL)
    it.running = False


cdef void loop_clear(Loop *it) noexcept nogil:
    """Gives back what a loop that does not run holds."""
    peers_close(&it.peers)
    sessions_clear(it)
    sink_free(&it.results)
    clients_close(it)
    questions_clear(it)
    snapshots_clear(it)
    pthread_cond_destroy(&it.changed)
    pthread_mutex_destroy(&it.lock)
