# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/poller.c
"""The server side of sessions: who renews, and who is too late.

The leader measures time, the log decides: an expiry is a proposal like any other, and until it is applied nothing is lost.
Renewals are not logged. One is acknowledged only after a quorum round that began after it arrived (FACTS §7.4: so a leader
that was replaced without knowing acknowledges none), with one round for all that wait, and never once the expiry of its
session is proposed. The new deadline counts from its arrival. It moves already when the renewal arrives: that promises
nothing, and keeps a session alive whose round takes long.

A new leader judges nothing before it has applied the first entry of its own term: then all that earlier leaders decided has
happened, and every session gets its full time. After a pause of the loop renewals that lie in sockets and mailboxes come
first, and so do those that the others send once they see this node answer.

Knows nothing of how clients keep their own deadlines, of how a process is watched (_processes.pyx), and of what sessions hold.
"""

from cython.operator cimport dereference, postincrement
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from libcpp.map cimport map as ordered_map
from libcpp.utility cimport move
from libcpp.vector cimport vector

from quorate.raft._types cimport (
    ACCEPTED,
    ENTRY_COMMAND,
    LEADER,
    PROPOSE,
    READ_INDEX,
    EntryRef,
    Event,
    ReadResult,
    buffer,
    buffer_from,
    buffer_new,
    buffer_release,
    entry,
)
from quorate.runtime._peers cimport PEERS_QUEUED, peers_frame
from quorate.runtime._processes cimport bind_session, processes_close, processes_ending, processes_forget, session_gone, session_new
from quorate.runtime._requests cimport loop_answer, outcome_of
from quorate.runtime._session_structs cimport *
from quorate.runtime._sessions cimport *
from quorate.runtime._structs cimport *
from quorate.runtime._wire cimport KIND_RENEW, KIND_RENEWED
from quorate.store._csrc cimport END_EXPIRED, END_PROCESS_EXIT, OPERATION_SESSION_END
from quorate.store._deadlines cimport (
    RENEWED,
    Deadlines,
    deadlines_due,
    deadlines_follow,
    deadlines_free,
    deadlines_lead,
    deadlines_new,
    deadlines_next,
    deadlines_renew,
    deadlines_retry,
    deadlines_take,
)
from quorate.store._state cimport SessionChange, StoreState

cdef extern from "command.h" nogil:
    enum:
        COMMAND_HEAD

ctypedef ordered_map[uint64_t, ForwardedRenewals].iterator forwarded_iterator
ctypedef ordered_map[uint64_t, vector[uint64_t]].iterator expiry_iterator

cdef enum:
    END_BYTES = 33              # of an encoded SESSION_END
    ENDS_AT_ONCE = 1024         # sessions whose end is proposed as one event
    ASKED_MAX = 65536           # requests of this node that wait
    FRAMES_MAX = 4096           # of members that wait, and to the leader on their way
    RENEWED_HEAD = 9            # u64 number, u8 outcome

# Microseconds.
cdef uint64_t ROUND_PAUSE = 5000       # between the beginnings of two rounds: renewals are in no hurry
cdef uint64_t LOOK_PAUSE = 20000       # between two looks at what is due
cdef uint64_t PAUSE = 100000           # a turn that comes or ends so much late: the loop stood still
cdef uint64_t LONG_PAUSE = 1000000
cdef uint64_t PAUSES_APART = 2000000   # of shorter ones
cdef uint64_t SETTLE = 200000          # what comes so soon after a pause was waiting for its end
cdef uint64_t ANSWER_PATIENCE = 2000000 # for the leader's answer to what was forwarded


cdef inline Deadlines *deadlines_of(Loop *it) noexcept nogil:
    return <Deadlines *>(<Sessions *>it.sessions).deadlines


cdef inline bint judges(Loop *it) noexcept nogil:
    """Whether this node leads, and has applied what earlier leaders decided."""
    return it.core.role == LEADER and sessions_of(it).led_term == it.core.current_term


cdef int sessions_prepare(Loop *it) except -1:
    it.sessions = new Sessions()
    sessions_of(it).deadlines = deadlines_new()
    return 0


cdef void sessions_clear(Loop *it) noexcept nogil:
    cdef Sessions *own = sessions_of(it)
    if own == NULL:
        return
    processes_close(it)
    deadlines_free(<Deadlines *>own.deadlines)
    it.sessions = NULL
    del own


# Renewals: in ------------------------------------------------------------------------------------------------------------


cdef void answer(Loop *it, Renewal *renewal, uint8_t outcome, uint64_t index, buffer *result) noexcept nogil:
    """To an asker of this node. Takes over the result."""
    sessions_of(it).asked -= 1
    loop_answer(it, renewal.request, outcome, index, result)
    renewal.request = NULL


cdef int answer_peer(Loop *it, const Renewal *renewal, uint8_t outcome, const uint8_t *results) except -1 nogil:
    cdef vector[uint8_t] payload
    payload.resize(RENEWED_HEAD + (renewal.sessions.size() if results != NULL else 0))
    store_le64(payload.data(), renewal.id)
    payload[8] = outcome
    if results != NULL and renewal.sessions.size():
        memcpy(payload.data() + RENEWED_HEAD, results, renewal.sessions.size())
    # If it cannot be sent, the member's connection is gone, and it knows that too.
    peers_frame(&it.peers, renewal.peer, KIND_RENEWED, payload.data(), payload.size())
    return 0


cdef int refuse(Loop *it, Renewal *renewal, uint8_t outcome) except -1 nogil:
    if renewal.request != NULL:
        answer(it, renewal, outcome, 0, NULL)
        return 0
    return answer_peer(it, renewal, outcome, NULL)


cdef int refuse_all(Loop *it, vector[Renewal] *renewals, uint8_t outcome) except -1 nogil:
    cdef size_t i
    for i in range(renewals.size()):
        refuse(it, &renewals[0][i], outcome)
    renewals.clear()
    return 0


cdef uint64_t arrival_ms() noexcept nogil:
    """Rounded up, so that nobody gets less than it was promised."""
    return clock_microseconds() // 1000 + 1


cdef int take(Loop *it, Renewal *renewal, const uint8_t *at, size_t count) except -1 nogil:
    """Notes a renewal of `count` sessions whose numbers lie at `at`."""
    cdef size_t i
    renewal.arrived_ms = arrival_ms()
    renewal.sessions.resize(count)
    for i in range(count):
        renewal.sessions[i] = load_le64(at + 8 * i)
        if judges(it):
            deadlines_renew(deadlines_of(it), renewal.sessions[i], renewal.arrived_ms)
    sessions_of(it).waiting.push_back(move(renewal[0]))
    return 0


cdef int sessions_ask(Loop *it, Request *request) except -1 nogil:
    cdef Renewal renewal
    cdef const uint8_t *body = <const uint8_t *>request.command.bytes if request.command != NULL else NULL
    cdef size_t length = request.command.length if request.command != NULL else 0
    cdef size_t count = load_le16(body) if length >= 2 else 0
    cdef uint8_t outcome = OUTCOME_PENDING
    if count == 0 or count > RENEW_SESSIONS_MAX or length != 2 + 8 * count:
        outcome = OUTCOME_MALFORMED
    elif sessions_of(it).asked >= ASKED_MAX:
        outcome = OUTCOME_OVERLOADED
    if outcome != OUTCOME_PENDING:
        loop_answer(it, request, outcome, 0, NULL)
        return 0
    sessions_of(it).asked += 1
    renewal.request = request
    return take(it, &renewal, body + 2, count)


cdef int forwarded_in(Loop *it, uint64_t peer, const uint8_t *at, size_t length) except -1 nogil:
    """A follower's renewals."""
    cdef Renewal renewal
    cdef size_t count
    if length < 10:
        return 1
    count = load_le16(at + 8)
    if count == 0 or length != 10 + 8 * count:
        return 1
    renewal.peer = peer
    renewal.id = load_le64(at)
    if sessions_of(it).waiting.size() >= ASKED_MAX + FRAMES_MAX:
        answer_peer(it, &renewal, OUTCOME_OVERLOADED, NULL)
        return 0
    take(it, &renewal, at + 10, count)
    return 0


cdef int forwarded_out(Loop *it, uint64_t peer, const uint8_t *at, size_t length) except -1 nogil:
    """The leader's answer to what this node forwarded."""
    cdef forwarded_iterator found
    cdef ForwardedRenewals *asked
    cdef Renewal *renewal
    cdef size_t i, place = RENEWED_HEAD
    cdef uint8_t outcome
    if length < RENEWED_HEAD:
        return 1
    found = sessions_of(it).forwarded.find(load_le64(at))
    if found == sessions_of(it).forwarded.end() or dereference(found).second.leader != peer:
        return 0  # given up meanwhile
    asked = &dereference(found).second
    outcome = at[8]
    if outcome == OUTCOME_DONE and length != RENEWED_HEAD + asked.sessions:
        return 1
    if outcome == OUTCOME_PENDING or outcome > OUTCOME_MALFORMED:
        return 1
    for i in range(asked.all.size()):
        renewal = &asked.all[i]
        if outcome == OUTCOME_DONE:
            renewed(it, renewal, at + place, 0)
        else:
            refuse(it, renewal, outcome)
        place += renewal.sessions.size()
    sessions_of(it).forwarded.erase(found)
    return 0


cdef int sessions_frame(Loop *it, uint64_t peer, uint8_t kind, const uint8_t *at, size_t length) except -1 nogil:
    if kind == KIND_RENEW:
        return forwarded_in(it, peer, at, length)
    return forwarded_out(it, peer, at, length)


# Renewals: on ------------------------------------------------------------------------------------------------------------


cdef int begin_round(Loop *it, step_function step) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef Event event
    own.round.swap(own.waiting)
    own.round_id = it.next_id
    own.round_term = it.core.current_term
    own.next_round_at = clock_microseconds() + ROUND_PAUSE
    own.rounds += 1
    it.next_id += 1
    event.type = READ_INDEX
    event.mode = 1  # a round of messages, also if a lease would do for a read
    event.id = own.round_id
    return step(it, &event)


cdef int forward(Loop *it) except -1 nogil:
    """Sends what waits to the leader, several requests in a frame."""
    cdef Sessions *own = sessions_of(it)
    cdef vector[uint8_t] payload
    cdef ForwardedRenewals *made
    cdef size_t begin = 0, end, count, i, j
    cdef uint64_t id
    cdef Renewal *renewal
    while begin < own.waiting.size():
        if own.waiting[begin].request == NULL:
            # It was sent here because this node led, or was thought to.
            answer_peer(it, &own.waiting[begin], OUTCOME_NOT_LEADER, NULL)
            begin += 1
            continue
        if own.forwarded.size() >= FRAMES_MAX:
            answer(it, &own.waiting[begin], OUTCOME_OVERLOADED, 0, NULL)
            begin += 1
            continue
        count = own.waiting[begin].sessions.size()
        end = begin + 1
        while (end < own.waiting.size() and own.waiting[end].request != NULL
               and count + own.waiting[end].sessions.size() <= RENEW_SESSIONS_MAX):
            count += own.waiting[end].sessions.size()
            end += 1
        id = it.next_id
        it.next_id += 1
        payload.resize(10)
        store_le64(payload.data(), id)
        store_le16(payload.data() + 8, <uint16_t>count)
        payload.resize(10 + 8 * count)
        count = 0
        made = &own.forwarded[id]
        made.leader = it.leader
        made.expires_at = clock_microseconds() + ANSWER_PATIENCE
        for i in range(begin, end):
            renewal = &own.waiting[i]
            for j in range(renewal.sessions.size()):
                store_le64(payload.data() + 10 + 8 * count, renewal.sessions[j])
                count += 1
            made.all.push_back(move(renewal[0]))
        made.sessions = count
        if peers_frame(&it.peers, it.leader, KIND_RENEW, payload.data(), payload.size()) != PEERS_QUEUED:
            refuse_all(it, &made.all, OUTCOME_NO_LEADER)  # it never left this process
            own.forwarded.erase(id)
        begin = end
    own.waiting.clear()
    return 0


cdef int sessions_go(Loop *it, step_function step) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    if own.waiting.empty():
        return 0
    if it.core.role == LEADER:
        if own.round_id == 0 and clock_microseconds() >= own.next_round_at:
            return begin_round(it, step)
        return 0
    if it.core.leader == 0:
        return refuse_all(it, &own.waiting, OUTCOME_NO_LEADER)
    return forward(it)


cdef int renewed(Loop *it, Renewal *renewal, const uint8_t *results, uint64_t index) except -1 nogil:
    """An answer for each session of a renewal of this node; the processes of the asker are known here."""
    cdef size_t count = renewal.sessions.size(), i
    cdef buffer *result = buffer_from(results, <uint32_t>count)
    if renewal.request.process:
        for i in range(count):
            if results[i] == RENEWED:
                bind_session(it, renewal.request.process, renewal.sessions[i])
    answer(it, renewal, OUTCOME_DONE if result != NULL else OUTCOME_OVERLOADED, index, result)
    return 0


cdef int sessions_confirmed(Loop *it, const ReadResult *result) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef vector[Renewal] round
    cdef vector[uint8_t] results
    cdef Renewal *renewal
    cdef uint8_t outcome = OUTCOME_DONE
    cdef size_t i, j
    if own.round_id == 0 or result.id != own.round_id:
        return 0
    round.swap(own.round)
    own.round_id = 0
    if result.status != ACCEPTED:
        outcome = outcome_of(result.status)
    elif not judges(it) or own.round_term != it.core.current_term:
        outcome = OUTCOME_NO_LEADER  # the office was lost while this was under way
    if outcome != OUTCOME_DONE:
        refuse_all(it, &round, outcome)
        return 1
    for i in range(round.size()):
        renewal = &round[i]
        results.resize(renewal.sessions.size())
        for j in range(results.size()):
            results[j] = <uint8_t>deadlines_renew(deadlines_of(it), renewal.sessions[j], renewal.arrived_ms)
        own.renewed += results.size()
        if renewal.request != NULL:
            renewed(it, renewal, results.data(), result.index)
        else:
            answer_peer(it, renewal, OUTCOME_DONE, results.data())
    return 1


cdef int sessions_lost(Loop *it) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef forwarded_iterator at = own.forwarded.begin()
    while at != own.forwarded.end():
        refuse_all(it, &dereference(at).second.all, OUTCOME_CONNECTION_LOST)
        own.forwarded.erase(postincrement(at))
    return 0


cdef void sessions_stopped(Loop *it) noexcept nogil:
    cdef Sessions *own = sessions_of(it)
    cdef forwarded_iterator at = own.forwarded.begin()
    cdef size_t i
    while at != own.forwarded.end():
        for i in range(dereference(at).second.all.size()):
            answer(it, &dereference(at).second.all[i], OUTCOME_STOPPED_AFTER, 0, NULL)
        postincrement(at)
    own.forwarded.clear()
    for i in range(own.waiting.size()):
        if own.waiting[i].request != NULL:
            answer(it, &own.waiting[i], OUTCOME_STOPPED_BEFORE, 0, NULL)
    own.waiting.clear()
    for i in range(own.round.size()):
        if own.round[i].request != NULL:
            answer(it, &own.round[i], OUTCOME_STOPPED_AFTER, 0, NULL)
    own.round.clear()


# Expiry ------------------------------------------------------------------------------------------------------------------


cdef int sessions_office(Loop *it) except -1 nogil:
    """Whoever does not lead judges nothing: a new leader gives everybody full time."""
    cdef Sessions *own = sessions_of(it)
    if own.led_term and (it.core.role != LEADER or own.led_term != it.core.current_term):
        own.led_term = 0
        own.expiries.clear()
        deadlines_follow(deadlines_of(it))
    return 0


cdef int sessions_applied(Loop *it) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef StoreState *store = <StoreState *>it.store
    cdef SessionChange *change
    cdef size_t i
    sessions_office(it)
    for i in range(store.changes.size()):
        change = &store.changes[0][i]
        if change.ttl_ms == 0:
            session_gone(it, change.id)
        else:
            session_new(it, change.id)
    # Raft §8 for reads holds here too: before its own first entry a leader does not know what is decided.
    if it.core.role == LEADER and own.led_term == 0 and it.applied >= it.core.term_start_index:
        deadlines_lead(deadlines_of(it), store, arrival_ms())
        own.led_term = it.core.current_term
        own.end_at = 0  # whom nobody could end without a leader
        return 0
    return deadlines_take(deadlines_of(it), store, arrival_ms())


cdef int add_end(Event *event, uint64_t session, uint8_t reason) except -1 nogil:
    """Adds the command that ends a session to a proposal; the event keeps its memory."""
    cdef buffer *made = buffer_new(END_BYTES)
    cdef uint8_t *at
    cdef entry one
    if made == NULL:
        with gil:
            raise MemoryError
    at = <uint8_t *>made.bytes
    memset(at, 0, END_BYTES)
    at[0] = 1
    at[1] = OPERATION_SESSION_END
    store_le64(at + <int>COMMAND_HEAD, session)
    at[<int>COMMAND_HEAD + 8] = reason
    one.term = 0
    one.kind = ENTRY_COMMAND
    one.data = made
    one.offset = 0
    one.length = END_BYTES
    event.entries.push_back(EntryRef(one))
    buffer_release(made)
    return 0


cdef int propose_ends(Loop *it, Event *event, step_function step) except -1 nogil:
    event.type = PROPOSE
    event.mode = 1  # also when ordinary proposals are refused
    event.id = it.next_id
    it.next_id += 1
    return step(it, event)


cdef int end_sessions(Loop *it, step_function step, uint64_t now) except -1 nogil:
    """Proposes the end of sessions whose process is gone, again and again until it is applied."""
    cdef Event event
    cdef vector[uint64_t] sessions
    cdef size_t i
    processes_ending(it, now, ENDS_AT_ONCE, &sessions)
    if sessions.empty():
        return 0
    for i in range(sessions.size()):
        add_end(&event, sessions[i], END_PROCESS_EXIT)
    return propose_ends(it, &event, step)


cdef int expire(Loop *it, step_function step, uint64_t now) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef uint64_t[ENDS_AT_ONCE] due
    cdef Event event
    cdef uint64_t next
    cdef vector[uint64_t] *noted
    cdef int count, i
    if now < own.look_at or now < own.settled_at:
        return 0
    next = deadlines_next(deadlines_of(it))
    if next == 0 or next > now // 1000:
        return 0
    own.look_at = now + LOOK_PAUSE
    count = deadlines_due(deadlines_of(it), now // 1000, due, ENDS_AT_ONCE)
    if count == 0:
        return 0
    if count == ENDS_AT_ONCE:
        own.look_at = now  # there are more
    noted = &own.expiries[it.next_id]
    for i in range(count):
        add_end(&event, due[i], END_EXPIRED)
        noted.push_back(due[i])
    own.expired += count
    return propose_ends(it, &event, step)


cdef int sessions_placed(Loop *it, uint64_t id, uint8_t status) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef expiry_iterator found = own.expiries.find(id)
    cdef size_t i
    if found == own.expiries.end():
        return 0
    if status != ACCEPTED:
        # Nothing was appended. It comes up again at the next look, and until then may be renewed.
        for i in range(dereference(found).second.size()):
            deadlines_retry(deadlines_of(it), dereference(found).second[i])
        own.expired -= dereference(found).second.size()
    own.expiries.erase(found)
    return 1


cdef int sessions_judge(Loop *it, step_function step, uint64_t due, uint64_t woke, bint crowded) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef uint64_t now = clock_microseconds()
    cdef uint64_t late = max(now - woke, woke - due if woke > due else 0)
    # A node that is merely slow must not put off its judgement for ever.
    if late > LONG_PAUSE or (late > PAUSE and now > own.paused_at + PAUSES_APART):
        own.pauses += 1
        own.paused_at = now
        own.settled_at = now + SETTLE
    if not crowded:
        own.crowded_since = 0
    elif own.crowded_since == 0:
        own.crowded_since = now
    if not own.ending.empty():
        end_sessions(it, step, now)
    if own.exited:
        processes_forget(it, now)
    while not own.forwarded.empty() and dereference(own.forwarded.begin()).second.expires_at <= now:
        refuse_all(it, &dereference(own.forwarded.begin()).second.all, OUTCOME_CONNECTION_LOST)
        own.forwarded.erase(own.forwarded.begin())
    if judges(it) and (own.crowded_since == 0 or now - own.crowded_since > SETTLE):
        expire(it, step, now)
    return 0


cdef uint64_t sessions_deadline(Loop *it) noexcept nogil:
    cdef Sessions *own = sessions_of(it)
    cdef uint64_t due = <uint64_t>-1
    cdef uint64_t next
    if judges(it):
        next = deadlines_next(deadlines_of(it))
        if next:
            due = max(max(next * 1000, own.look_at), own.settled_at)
    if not own.waiting.empty() and own.round_id == 0:
        due = min(due, own.next_round_at)
    if not own.forwarded.empty():
        due = min(due, dereference(own.forwarded.begin()).second.expires_at)
    if not own.ending.empty():
        due = min(due, own.end_at)
    return due


cdef void sessions_figures(Loop *it, Figures *out) noexcept nogil:
    cdef Sessions *own = sessions_of(it)
    out.renewed = own.renewed
    out.renewal_rounds = own.rounds
    out.expired = own.expired
    out.process_exits = own.exits
    out.pauses = own.pauses
    out.processes = own.watched
