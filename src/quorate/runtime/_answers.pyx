# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/mailbox.c csrc/poller.c
"""The way of a request through the loop: out of the mailbox, into the core, to its place in the log, to its result.

Requests that wait at the same moment go into the core together, as one event: many proposals cost one message to each
follower and one write. A proposal is answered when the very entry, index and term, is applied on this node, whoever leads.
If another entry is committed at its index, then its own can never be (Log Matching, Raft §5.3): that proves that it did not
happen. What was forwarded, and the leader lost before it said where it put it, is not known; a leader that stops says behind its
last answer that it took nothing else in.
"""

from cython.operator cimport dereference, postincrement
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libcpp.map cimport map as ordered_map
from libcpp.map cimport multimap
from libcpp.utility cimport pair

from quorate.raft._types cimport (
    ACCEPTED,
    ENTRY_COMMAND,
    FORWARDED,
    PROPOSE,
    READ_INDEX,
    EntryRef,
    Event,
    ReadResult,
    Update,
    buffer,
    buffer_from,
    buffer_retain,
    entry,
)
from quorate.runtime._answers cimport *
from quorate.runtime._changes cimport changes_placed
from quorate.runtime._clients cimport clients_take, clients_take_urgent
from quorate.runtime._lane_structs cimport REQUEST_LANE_OPEN, LaneDriver, Lanes
from quorate.runtime._lanes cimport lanes_run, lanes_stopped, lanes_take
from quorate.runtime._members cimport members_stopped
from quorate.runtime._processes cimport bind_session
from quorate.runtime._questions cimport QUESTION_READ, question_read, question_taken, questions_applied, questions_stopped
from quorate.runtime._requests cimport loop_answer, outcome_of, request_frees
from quorate.runtime._sessions cimport (
    sessions_applied,
    sessions_ask,
    sessions_confirmed,
    sessions_lost,
    sessions_placed,
    sessions_stopped,
)
from quorate.runtime._structs cimport *
from quorate.store._apply cimport store_apply_batch
from quorate.store._csrc cimport OPERATION_SESSION_OPEN
from quorate.store._csrc cimport entry as store_entry
from quorate.store._csrc cimport sink as store_sink
from quorate.store._state cimport StoreState

ctypedef ordered_map[uint64_t, Batch].iterator batch_iterator
ctypedef multimap[uint64_t, Waiting].iterator waiting_iterator

cdef enum:
    BATCH_REQUESTS = 2048
    BATCH_BYTES = 524288
    TAKEN_PER_TURN = 16384
    PENDING_MAX = 65536
    BACKLOG_MAX = 64        # writes that the log has not taken: more would only wait
    RESULT_NUMBER = 10      # where an encoded result has its number
    RESULT_HEAD = 18
    STATUS_OK = 0

cdef uint64_t DOUBT = 1000000  # microseconds that an old leader's answer is waited for


cdef void answer(Loop *it, Request *request, uint8_t outcome, uint64_t index) noexcept nogil:
    loop_answer(it, request, outcome, index, NULL)


cdef void answer_all(Loop *it, Batch *batch, uint8_t outcome, uint64_t index) noexcept nogil:
    cdef size_t i
    for i in range(batch.requests.size()):
        answer(it, batch.requests[i], outcome, index)


# In ----------------------------------------------------------------------------------------------------------------------


cdef bint requests_wanted(Loop *it) noexcept nogil:
    return it.pending < PENDING_MAX and it.backlog.size() < BACKLOG_MAX


cdef int begin_batch(Loop *it, Batch *batch, Event *event, step_function step) except -1 nogil:
    """Gives a batch to the core."""
    cdef uint64_t id = it.next_id
    if batch.requests.empty():
        return 0
    it.next_id += 1
    it.batches[id] = batch[0]
    event.type = READ_INDEX if batch.read else PROPOSE
    event.id = id
    batch.requests.clear()
    batch.expires_at = 0
    step(it, event)
    event.entries.clear()
    return 0


cdef struct Gathered:
    Batch *proposals
    Event *propose
    Batch *reads
    uint64_t bytes
    Request *current  # taken, and with nobody yet


cdef int take_one(Loop *it, Request *request, Gathered *into, step_function step) except -1 nogil:
    """Puts a request with those that go into the core together, or to whoever answers its kind."""
    cdef entry made
    it.pending += 1
    if request.kind != REQUEST_PROPOSE:
        if request.kind == REQUEST_READ or question_taken(it, request, step) == QUESTION_READ:
            into.reads.requests.push_back(request)
            into.reads.expires_at = max(into.reads.expires_at, request.expires_at)
        return 0
    if into.proposals.requests.size() >= BATCH_REQUESTS or (into.bytes and into.bytes + request.command.length > BATCH_BYTES):
        into.current = request
        begin_batch(it, into.proposals, into.propose, step)
        into.current = NULL
        into.bytes = 0
    made.term = 0
    made.kind = ENTRY_COMMAND
    made.data = request.command
    made.offset = 0
    made.length = request.command.length
    into.propose.entries.push_back(EntryRef(made))
    into.bytes += made.length
    into.proposals.requests.push_back(request)
    into.proposals.expires_at = max(into.proposals.expires_at, request.expires_at)
    return 0


cdef int lane_sends(void *context, Request *request) except -1 nogil:
    """The driver of this node's lanes. Renewals go ahead of everything: overload must not cost a session."""
    cdef Loop *it = <Loop *>context
    if request.kind == REQUEST_RENEW:
        it.sending.push_front(request)
        return 1
    if it.sending.size() >= TAKEN_PER_TURN or it.pending + it.sending.size() >= PENDING_MAX or it.backlog.size() >= BACKLOG_MAX:
        return 0
    it.sending.push_back(request)
    return 1


cdef int gather(Loop *it, Gathered *into, step_function step) except -1 nogil:
    cdef LaneDriver driver
    cdef Request *request
    cdef uint64_t now = clock_microseconds()
    cdef int i
    while True:
        # Ahead of everything, and whatever there is to do: overload must not cost a session.
        request = <Request *>mailbox_take(it.urgent)
        if request == NULL:
            break
        it.pending += 1
        sessions_ask(it, request)
    while True:
        request = clients_take_urgent(it)
        if request == NULL:
            break
        it.pending += 1
        question_taken(it, request, step)
    for i in range(TAKEN_PER_TURN):
        if not requests_wanted(it):
            break
        # In turns, so that neither keeps the other out.
        request = clients_take(it) if i & 1 else <Request *>mailbox_take(it.mail)
        if request == NULL:
            request = <Request *>mailbox_take(it.mail) if i & 1 else clients_take(it)
        if request == NULL:
            break
        if request.kind >= REQUEST_LANE_OPEN and request.then == NULL:
            lanes_take(<Lanes *>it.lanes, request, now)  # of this process; a stranger may say any kind
        else:
            take_one(it, request, into, step)
    driver.context = it
    driver.send = lane_sends
    lanes_run(<Lanes *>it.lanes, &driver, now)
    while not it.sending.empty():
        request = it.sending.front()
        it.sending.pop_front()
        take_one(it, request, into, step)
    return begin_batch(it, into.proposals, into.propose, step)


ctypedef int (*gather_function)(Loop *it, Gathered *into, step_function step) noexcept nogil


cdef int take_requests(Loop *it, step_function step) except -1 nogil:
    cdef Batch proposals, reads
    cdef Event propose, read
    cdef Gathered into
    reads.read = True
    into.proposals = &proposals
    into.propose = &propose
    into.reads = &reads
    into.bytes = 0
    into.current = NULL
    # By a type that cannot fail, so that what was gathered is answered when a step among them ends this node.
    if (<gather_function>gather)(it, &into, step) < 0:
        answer_all(it, &proposals, OUTCOME_STOPPED_BEFORE, 0)
        answer_all(it, &reads, OUTCOME_STOPPED_BEFORE, 0)
        if into.current != NULL:
            answer(it, into.current, OUTCOME_STOPPED_BEFORE, 0)
        return -1
    return begin_batch(it, &reads, &read, step)


cdef uint64_t requests_deadline(Loop *it) noexcept nogil:
    """When the oldest batch has nobody left who waits for it, or a proposal may have, or an old leader had its time."""
    cdef uint64_t due = min(it.waiting_expiry, it.doubt_until) if it.doubt_until else it.waiting_expiry
    if it.batches.empty():
        return due
    return min(due, dereference(it.batches.begin()).second.expires_at)


cdef int requests_expire(Loop *it, uint64_t now) except -1 nogil:
    """Forgets batches that were handed on and whose askers have all given up."""
    cdef batch_iterator at
    if it.doubt_until and it.doubt_until <= now:
        doubts_end(it)
    while not it.batches.empty():
        at = it.batches.begin()
        if dereference(at).second.expires_at > now:
            break
        answer_all(it, &dereference(at).second, OUTCOME_EXPIRED, 0)
        it.batches.erase(at)
    if now >= it.waiting_expiry:
        waiting_expire(it, now)
    return 0


cdef int waiting_expire(Loop *it, uint64_t now) except -1 nogil:
    """Answers proposals whose time is over. The bound is not raised by answers, so this comes once in a timeout."""
    cdef waiting_iterator at = it.waiting.begin()
    cdef Request *request
    it.waiting_expiry = <uint64_t>-1
    while at != it.waiting.end():
        request = dereference(at).second.request
        if request.expires_at <= now:
            it.waiting.erase(postincrement(at))
            answer(it, request, OUTCOME_EXPIRED, 0)
        else:
            it.waiting_expiry = min(it.waiting_expiry, request.expires_at)
            postincrement(at)
    return 0


# Where proposals went ------------------------------------------------------------------------------------------------------


cdef int split_off(Loop *it, Batch *batch) except -1 nogil:
    """Of a batch that was refused as too much, or for want of room on disk: what gives back goes once more, from the
    reserve. Behind whatever stood before it in the batch, which is answered first and did not happen."""
    cdef Event event
    cdef Batch again, rest
    cdef entry made
    cdef size_t i
    for i in range(batch.requests.size()):
        if not request_frees(batch.requests[i]):
            rest.requests.push_back(batch.requests[i])
            continue
        made.term = 0
        made.kind = ENTRY_COMMAND
        made.data = batch.requests[i].command
        made.offset = 0
        made.length = made.data.length
        event.entries.push_back(EntryRef(made))
        again.requests.push_back(batch.requests[i])
        again.expires_at = max(again.expires_at, batch.requests[i].expires_at)
    if again.requests.empty():
        return 0
    batch.requests.swap(rest.requests)
    again.reserve = True
    event.type = PROPOSE
    event.mode = 1
    event.id = it.next_id
    it.next_id += 1
    it.batches[event.id] = again
    it.own.push_back(event)
    return 0


cdef int batch_refused(Loop *it, uint64_t id, uint8_t outcome) except -1 nogil:
    cdef batch_iterator found = it.batches.find(id)
    if found != it.batches.end():
        if (
            outcome in (OUTCOME_OVERLOADED, OUTCOME_DISK_FULL)
            and not dereference(found).second.reserve and not dereference(found).second.read
        ):
            split_off(it, &dereference(found).second)
        answer_all(it, &dereference(found).second, outcome, 0)
        it.batches.erase(found)
    return 0


cdef int batch_placed(Loop *it, uint64_t id, uint64_t index, uint64_t term) except -1 nogil:
    cdef batch_iterator found = it.batches.find(id)
    cdef Batch *batch
    cdef pair[uint64_t, Waiting] made
    cdef size_t i
    if found == it.batches.end():
        return 0  # its askers gave up
    batch = &dereference(found).second
    for i in range(batch.requests.size()):
        if index + i <= it.applied:
            # The answer was overtaken by the entry, and the result is gone.
            answer(it, batch.requests[i], OUTCOME_CONNECTION_LOST, 0)
            continue
        made.first = index + i
        made.second.term = term
        made.second.request = batch.requests[i]
        it.waiting.insert(made)
        it.waiting_expiry = min(it.waiting_expiry, batch.requests[i].expires_at)
    it.batches.erase(found)
    return 0


cdef int proposals_placed(Loop *it, Update *update) except -1 nogil:
    cdef batch_iterator found
    cdef size_t i
    cdef uint8_t status
    for i in range(update.proposals.size()):
        status = update.proposals[i].status
        if sessions_placed(it, update.proposals[i].id, status) or changes_placed(it, update, i):
            continue
        if status == ACCEPTED:
            batch_placed(it, update.proposals[i].id, update.proposals[i].index, update.proposals[i].term)
        elif status == FORWARDED:
            found = it.batches.find(update.proposals[i].id)
            if found != it.batches.end():
                dereference(found).second.forwarded = it.core.leader
        else:
            batch_refused(it, update.proposals[i].id, outcome_of(status))
    return 0


cdef int forwarded_doubted(Loop *it) except -1 nogil:
    """Another one leads. Who was asked before answers what it took in, and says that it is none for the rest: for a while."""
    cdef batch_iterator at = it.batches.begin()
    sessions_lost(it)
    while at != it.batches.end():
        if dereference(at).second.forwarded and not dereference(at).second.doubted:
            dereference(at).second.doubted = True
            it.doubt_until = clock_microseconds() + DOUBT
        postincrement(at)
    return 0


cdef int forwarded_lost(Loop *it, uint64_t leader, bint proven) except -1 nogil:
    """Who was asked is gone: what it did not answer is not known, unless it said that it took nothing else in."""
    cdef batch_iterator at = it.batches.begin()
    if leader == it.leader:
        sessions_lost(it)
    while at != it.batches.end():
        if dereference(at).second.forwarded == leader:
            answer_all(it, &dereference(at).second, OUTCOME_NO_LEADER if proven else OUTCOME_CONNECTION_LOST, 0)
            it.batches.erase(postincrement(at))
        else:
            postincrement(at)
    return 0


cdef int doubts_end(Loop *it) except -1 nogil:
    cdef batch_iterator at = it.batches.begin()
    it.doubt_until = 0
    while at != it.batches.end():
        if dereference(at).second.doubted:
            answer_all(it, &dereference(at).second, OUTCOME_CONNECTION_LOST, 0)
            it.batches.erase(postincrement(at))
        else:
            postincrement(at)
    return 0


cdef int reads_safe(Loop *it, Batch *batch, uint64_t index) except -1 nogil:
    """What is applied here is at least what was acknowledged anywhere before these were asked."""
    cdef size_t i
    for i in range(batch.requests.size()):
        if batch.requests[i].kind == REQUEST_READ:
            answer(it, batch.requests[i], OUTCOME_DONE, index)
        else:
            question_read(it, batch.requests[i])
    return 0


cdef int reads_answered(Loop *it, Update *update) except -1 nogil:
    cdef batch_iterator found
    cdef ReadResult *result
    cdef size_t i
    for i in range(update.reads.size()):
        result = &update.reads[i]
        if sessions_confirmed(it, result):
            continue
        found = it.batches.find(result.id)
        if found == it.batches.end():
            continue
        if result.status != ACCEPTED:
            answer_all(it, &dereference(found).second, outcome_of(result.status), result.index)
        else:
            reads_safe(it, &dereference(found).second, result.index)
        it.batches.erase(found)
    return 0


# Out ---------------------------------------------------------------------------------------------------------------------


cdef int apply_entries(Loop *it, Update *update) except -1 nogil:
    """Applies what is committed, shows it to readers, and answers whoever proposed it here."""
    cdef size_t count = update.apply.size()
    cdef uint64_t first = update.apply_index
    cdef waiting_iterator at
    cdef Request *request
    cdef buffer *result
    cdef uint64_t index
    cdef size_t start, end
    it.results.length = 0
    store_apply_batch(
        <StoreState *>it.store, first, <const store_entry *>update.apply.data(), count, <store_sink *>&it.results, &it.ends
    )
    it.applied = first + count - 1
    it.applied_due = True
    sessions_applied(it)
    while not it.waiting.empty():
        at = it.waiting.begin()
        index = dereference(at).first
        if index > it.applied:
            break
        request = dereference(at).second.request
        if index < first:
            # A snapshot overtook it: whose entry stood there is not known.
            it.waiting.erase(at)
            answer(it, request, OUTCOME_CONNECTION_LOST, 0)
            continue
        if dereference(at).second.term != update.apply[index - first].term:
            it.waiting.erase(at)
            answer(it, request, OUTCOME_REPLACED, 0)
            continue
        it.waiting.erase(at)
        start = it.ends[index - first - 1] if index > first else 0
        end = it.ends[index - first]
        result = buffer_from(it.results.bytes + start, end - start)
        # Of a refusal the number is something else.
        if (request.process and end - start >= RESULT_HEAD and it.results.bytes[start] == STATUS_OK
                and (<uint8_t *>request.command.bytes)[1] == OPERATION_SESSION_OPEN):
            bind_session(it, request.process, load_le64(it.results.bytes + start + RESULT_NUMBER))
        loop_answer(it, request, OUTCOME_DONE, index, result)
    return questions_applied(it)


cdef int requests_overtaken(Loop *it) except -1 nogil:
    cdef waiting_iterator at
    sessions_applied(it)
    while not it.waiting.empty():
        at = it.waiting.begin()
        if dereference(at).first > it.applied:
            break
        answer(it, dereference(at).second.request, OUTCOME_CONNECTION_LOST, 0)
        it.waiting.erase(at)
    return questions_applied(it)


cdef void requests_stopped(Loop *it) noexcept nogil:
    """The loop has ended: answers everything that it was given."""
    cdef Request *request
    cdef batch_iterator at = it.batches.begin()
    cdef waiting_iterator place = it.waiting.begin()
    sessions_stopped(it)
    while at != it.batches.end():
        # A step that failed half way may have appended what it did not place yet.
        answer_all(it, &dereference(at).second, OUTCOME_STOPPED_BEFORE if dereference(at).second.read
                   else OUTCOME_STOPPED_AFTER, 0)
        postincrement(at)
    it.batches.clear()
    while place != it.waiting.end():
        answer(it, dereference(place).second.request, OUTCOME_STOPPED_AFTER, 0)
        postincrement(place)
    it.waiting.clear()
    questions_stopped(it)
    while not it.sending.empty():
        request = it.sending.front()
        it.sending.pop_front()
        it.pending += 1
        answer(it, request, OUTCOME_STOPPED_BEFORE, 0)
    # Behind the answers to what they sent, so that they can say of each whether it may have happened.
    lanes_stopped(<Lanes *>it.lanes)
    members_stopped(it)
    while True:
        request = <Request *>mailbox_take(it.mail)
        if request == NULL:
            request = <Request *>mailbox_take(it.urgent)
        if request == NULL:
            return
        if request.kind >= REQUEST_LANE_OPEN:
            lanes_take(<Lanes *>it.lanes, request, 0)
            continue
        it.pending += 1
        answer(it, request, OUTCOME_STOPPED_BEFORE, 0)
