# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/question.c csrc/command.c csrc/tree.c csrc/forest.c csrc/poller.c
"""What a node is asked besides commands: reads, watches, waits for a lock, its status; of its own process or over a connection.

A read that is to be linearizable waits for a quorum round and is then answered from what is applied. A local one is answered
at once, or when the node has applied the revision that the asker has seen elsewhere. A watch and a wait for an acquisition are
long polls: they are parked until an entry concerns them or their time is over.

After each batch of entries the new events are looked up in indexes of the parked watches (by key, by prefix, and a list of the
other ranges), so that thousands of watches of other keys cost an event nothing.

Knows nothing of connections; what they ask comes as the same Request that a Python thread makes.
"""

from cython.operator cimport dereference
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorate.raft._types cimport buffer, buffer_from, buffer_release, buffer_retain
from quorate.runtime._members cimport members_take
from quorate.runtime._parking cimport *
from quorate.runtime._questions cimport *
from quorate.runtime._requests cimport loop_answer, request_unwanted
from quorate.runtime._sessions cimport sessions_ask
from quorate.runtime._status cimport status_write
from quorate.runtime._structs cimport *
from quorate.store._csrc cimport (
    forest_pin,
    forest_unpin,
    item_cost,
    load_le64,
    sink_u8,
    sink_u32,
    sink_u64,
    store_le32,
    tree_version,
    view,
)
from quorate.store._csrc cimport sink as store_sink
from quorate.store._permits cimport WAITING
from quorate.store._read cimport (
    put_row,
    read_acquisition,
    read_count,
    read_key,
    read_permit,
    read_range,
    read_session,
)
from quorate.store._state cimport Event as StoreEvent
from quorate.store._state cimport History, StoreState
from quorate.store._watch cimport watch_first_available


cdef extern from "question.h" nogil:
    enum:
        QUERY_KEY
        QUERY_RANGE
        QUERY_COUNT
        QUERY_SESSION
        QUERY_ACQUISITION
        QUERY_PERMIT
    ctypedef struct query:
        uint64_t min_revision
        uint64_t session
        uint64_t acquisition
        view start
        view end
        uint32_t limit
        uint32_t bytes_most
        uint8_t local
        uint8_t what
        uint8_t keys_only
    ctypedef struct watch_question:
        uint64_t after
        uint32_t spaces
        uint32_t events_most
        uint32_t bytes_most
        view start
        view end
    ctypedef struct await_question:
        uint64_t session
        uint64_t acquisition
        uint64_t min_revision
    int question_query(const void *bytes, size_t length, query *out)
    int question_watch(const void *bytes, size_t length, watch_question *out)
    int question_await(const void *bytes, size_t length, await_question *out)

cdef extern from *:
    """
    static inline void quorate_store_complete(uint8_t *bytes, uint64_t x) { store_le64(bytes + 1, x); }
    """
    void quorate_store_complete(uint8_t *bytes, uint64_t x) noexcept nogil

cdef enum:
    PARKED_MAX = 65536
    SCANNED_MOST = 16384        # events that one question may look at; then it is answered with how far it came
    EVENTS_MOST = 4096          # in one answer, and all of the revision that passes it
    BYTES_MOST = 4194304        # of rows in one answer, and the row or the revision that passes it
    TURN_MOST = 4194304         # bytes of answers, or as much other work, in one turn; the rest waits for the next one
    SCANNED_COST = 48           # of an event that is looked at, in these bytes
    SWEPT_MOST = 1024           # parked questions looked at in one sweep
    RESULT_MOST = 33550336      # more than a frame with an answer has

cdef uint64_t SWEEP_MICROSECONDS = 500000


cdef int short_of_memory() except -1 nogil:
    with gil:
        raise MemoryError("no memory for an answer")


# Answers -----------------------------------------------------------------------------------------------------------------


cdef inline store_sink *scratch_of(Loop *it) noexcept nogil:
    it.questions.scratch.length = 0
    return <store_sink *>&it.questions.scratch


cdef int answer_bytes(Loop *it, Request *request, const store_sink *result) except -1 nogil:
    """The scratch bytes as the answer."""
    cdef buffer *made
    if result.length > RESULT_MOST:
        loop_answer(it, request, OUTCOME_REFUSED, 0, NULL)
        return 0
    made = buffer_from(result.bytes, <uint32_t>result.length)
    if made == NULL:
        return short_of_memory()
    it.questions.produced += result.length + 64
    loop_answer(it, request, OUTCOME_DONE, it.applied, made)
    return 0


cdef int refuse(Loop *it, Request *request, uint8_t outcome) noexcept nogil:
    it.questions.refused += 1
    loop_answer(it, request, outcome, 0, NULL)
    return QUESTION_TAKEN


cdef int query_answer(Loop *it, Request *request, const query *what) except -1 nogil:
    """From the published version, which has everything that is applied."""
    cdef StoreState *store = <StoreState *>it.store
    cdef store_sink *out = scratch_of(it)
    cdef uint32_t ticket
    cdef const tree_version *version = forest_pin(store.trees, &ticket)
    if what.what == QUERY_KEY:
        read_key(version, what.start, out)
    elif what.what == QUERY_RANGE:
        read_range(version, what.start, what.end, what.limit, what.keys_only, min(what.bytes_most, <uint32_t>BYTES_MOST), out)
    elif what.what == QUERY_COUNT:
        read_count(version, what.start, what.end, out)
        it.questions.produced += load_le64(out.bytes + 8)  # it walks over the leaves
    elif what.what == QUERY_SESSION:
        read_session(version, what.session, out)
    elif what.what == QUERY_ACQUISITION:
        read_acquisition(version, what.session, what.acquisition, out)
    else:
        read_permit(version, what.start, min(what.limit, <uint32_t>SCANNED_MOST), out)
    forest_unpin(store.trees, ticket)
    return answer_bytes(it, request, out)


cdef int put_event(store_sink *out, const StoreEvent *event, bint last) except -1 nogil:
    if (
        sink_u64(out, event.revision) < 0
        or sink_u64(out, event.session) < 0
        or sink_u64(out, event.acquisition) < 0
        or sink_u64(out, event.token) < 0
        or sink_u8(out, <uint8_t>event.kind) < 0
        or sink_u8(out, last) < 0
    ):
        short_of_memory()
    return put_row(out, event.row)


cdef int watch_answer(Loop *it, Parked *watch, bint compacted, uint64_t complete) except -1 nogil:
    """The events at the watch's places, whole revisions of them; all that it wants up to `complete` are there."""
    cdef StoreState *store = <StoreState *>it.store
    cdef store_sink *out = scratch_of(it)
    cdef const StoreEvent *event
    cdef uint64_t bytes_ = 0, revision = 0
    cdef uint32_t count = 0
    cdef size_t i, place, flag = 0
    complete = max(complete, watch.after)
    if sink_u8(out, compacted) < 0 or sink_u64(out, complete) < 0 or sink_u64(out, watch_first_available(store)) < 0:
        short_of_memory()
    place = out.length
    if sink_u32(out, 0) < 0:
        short_of_memory()
    for i in range(watch.places.size()):
        event = event_at(store, watch.places[i])
        if count and event.revision != revision and (
            count >= watch.events_most or bytes_ + item_cost(event.row) > watch.bytes_most
        ):
            complete = revision  # all of it is there, and the rest will be asked for
            break
        if count and event.revision == revision:
            out.bytes[flag] = 0
        flag = out.length + 33  # where put_event writes whether it is the last of its revision
        revision = event.revision
        put_event(out, event, True)
        bytes_ += item_cost(event.row)
        count += 1
        if out.length > RESULT_MOST:
            # One revision that cannot be told: who watches has to read anew.
            out.length = place + 4
            out.bytes[0] = 1
            complete = watch.after
            count = 0
            break
    quorate_store_complete(out.bytes, complete)
    store_le32(out.bytes + place, count)
    return answer_bytes(it, watch.request, out)


# Taking ------------------------------------------------------------------------------------------------------------------


cdef int question_taken(Loop *it, Request *request, step_function step) except -1 nogil:
    cdef uint8_t kind = request.kind
    it.questions.asked += 1
    if kind == REQUEST_QUERY:
        return query_taken(it, request)
    if kind == REQUEST_WATCH:
        return watch_taken(it, request)
    if kind == REQUEST_AWAIT:
        return await_taken(it, request)
    if kind == REQUEST_STATUS:
        return status_taken(it, request)
    if kind == REQUEST_RENEW:
        return sessions_ask(it, request)
    if REQUEST_MEMBERS <= kind <= REQUEST_TRANSFER:
        members_take(it, request, step)
        return QUESTION_TAKEN
    # New kinds: one line each, that hands the request to who answers it.
    return refuse(it, request, OUTCOME_MALFORMED)


cdef bint later(Loop *it, Request *request) except -1 nogil:
    """Whether this turn has done enough: then the question waits for the next one, so that none takes long."""
    if it.questions.produced < TURN_MOST:
        return False
    it.questions.ready.push_back(request)
    return True


cdef bint questions_busy(Loop *it) noexcept nogil:
    return not it.questions.ready.empty()


cdef int questions_go_on(Loop *it) except -1 nogil:
    cdef Questions *all = &it.questions
    cdef Request *request
    all.produced = 0
    buffer_release(all.status)
    all.status = NULL
    while not all.ready.empty() and all.produced < TURN_MOST:
        request = all.ready.front()
        all.ready.pop_front()
        if request_unwanted(request):
            loop_answer(it, request, OUTCOME_EXPIRED, 0, NULL)
        elif request.kind == REQUEST_QUERY:
            # A linearizable one has had its quorum round: what is applied by now is only newer.
            question_read(it, request)
        else:
            watch_taken(it, request)
    return 0


cdef int status_taken(Loop *it, Request *request) except -1 nogil:
    """The same bytes for all who ask in one turn."""
    cdef store_sink *out
    if it.questions.status == NULL:
        out = scratch_of(it)
        status_write(it, out)
        it.questions.status = buffer_from(out.bytes, <uint32_t>out.length)
        if it.questions.status == NULL:
            return short_of_memory()
    it.questions.produced += it.questions.status.length
    loop_answer(it, request, OUTCOME_DONE, it.applied, buffer_retain(it.questions.status))
    return QUESTION_TAKEN


cdef bint room(Loop *it) noexcept nogil:
    return it.questions.parked < PARKED_MAX


cdef int query_taken(Loop *it, Request *request) except -1 nogil:
    cdef query what
    cdef Parked *made
    if request.command == NULL or question_query(request.command.bytes, request.command.length, &what) != 0:
        return refuse(it, request, OUTCOME_MALFORMED)
    if not what.local:
        return QUESTION_READ
    if what.min_revision <= it.applied:
        return QUESTION_TAKEN if later(it, request) else query_answer(it, request, &what)
    if not room(it):
        return refuse(it, request, OUTCOME_OVERLOADED)
    made = new Parked()
    made.request = request
    return park_for_revision(it, made, what.min_revision)


cdef int question_read(Loop *it, Request *request) except -1 nogil:
    cdef query what
    if later(it, request):
        return QUESTION_TAKEN
    if question_query(request.command.bytes, request.command.length, &what) != 0:
        return refuse(it, request, OUTCOME_MALFORMED)
    return query_answer(it, request, &what)


cdef int watch_taken(Loop *it, Request *request) except -1 nogil:
    """Answers with events that are there already, or parks."""
    cdef StoreState *store = <StoreState *>it.store
    cdef History *history = &store.history
    cdef watch_question what
    cdef Parked *made
    cdef const StoreEvent *event
    cdef uint64_t low = history.first, high = history.end, middle
    cdef uint64_t complete, scanned = 0, bytes_ = 0
    if request.command == NULL or question_watch(request.command.bytes, request.command.length, &what) != 0:
        return refuse(it, request, OUTCOME_MALFORMED)
    if not room(it):
        return refuse(it, request, OUTCOME_OVERLOADED)
    if later(it, request):
        return QUESTION_TAKEN
    made = new Parked()
    made.request = request
    made.after = what.after
    made.spaces = what.spaces
    made.events_most = max(min(what.events_most, <uint32_t>EVENTS_MOST), 1)
    made.bytes_most = min(what.bytes_most, <uint32_t>BYTES_MOST)
    made.start = what.start.bytes
    made.start_length = what.start.length
    made.end = what.end.bytes
    made.end_length = what.end.length
    if made.after < watch_first_available(store):
        watch_answer(it, made, True, made.after)
        del made
        return QUESTION_TAKEN
    while low < high:  # the first event above `after`
        middle = low + (high - low) // 2
        if event_at(store, middle).revision <= made.after:
            low = middle + 1
        else:
            high = middle
    complete = it.applied
    while low < history.end:
        event = event_at(store, low)
        if scanned >= SCANNED_MOST or (made.places.size() > made.events_most or bytes_ > made.bytes_most):
            if event_at(store, low - 1).revision != event.revision:
                complete = event_at(store, low - 1).revision
                break
        if wants(made, event):
            made.places.push_back(low)
            bytes_ += item_cost(event.row)
        low += 1
        scanned += 1
    it.questions.produced += scanned * SCANNED_COST
    if not made.places.empty() or low < history.end:
        watch_answer(it, made, False, complete)
        del made
        return QUESTION_TAKEN
    if not index_watch(&it.questions, made):
        del made
        return refuse(it, request, OUTCOME_OVERLOADED)
    return park(it, made)


cdef int await_answer(Loop *it, Parked *one, bint whatever) except -1 nogil:
    """1 and an answer if the acquisition does not wait, or `whatever` it is."""
    cdef StoreState *store = <StoreState *>it.store
    cdef store_sink *out = scratch_of(it)
    cdef uint32_t ticket
    read_acquisition(forest_pin(store.trees, &ticket), one.session, one.acquisition, out)
    forest_unpin(store.trees, ticket)
    if out.bytes[8] == WAITING and not whatever:
        return 0
    if one.indexed:
        unpark(it, one)
    answer_bytes(it, one.request, out)
    return 1


cdef int await_taken(Loop *it, Request *request) except -1 nogil:
    cdef await_question what
    cdef Parked *made
    if request.command == NULL or question_await(request.command.bytes, request.command.length, &what) != 0:
        return refuse(it, request, OUTCOME_MALFORMED)
    if not room(it):
        return refuse(it, request, OUTCOME_OVERLOADED)
    made = new Parked()
    made.request = request
    made.session = what.session
    made.acquisition = what.acquisition
    if what.min_revision > it.applied:
        return park_for_revision(it, made, what.min_revision)
    if await_answer(it, made, False):
        del made
        return QUESTION_TAKEN
    index_acquisition(&it.questions, made)
    return park(it, made)


# When something was applied ------------------------------------------------------------------------------------------------


cdef int take_again(Loop *it, Parked *one) except -1 nogil:
    """As if it was asked now."""
    cdef Request *request = one.request
    unpark(it, one)
    del one
    if request.kind == REQUEST_QUERY:
        return query_taken(it, request)
    if request.kind == REQUEST_AWAIT:
        return await_taken(it, request)
    return watch_taken(it, request)


cdef int questions_applied(Loop *it) except -1 nogil:
    cdef Questions *all = &it.questions
    cdef StoreState *store = <StoreState *>it.store
    cdef History *history = &store.history
    cdef Parked *one
    cdef uint64_t place, seen
    cdef size_t i
    cdef bint gap
    if all.parked:
        gap = watch_first_available(store) > all.seen_revision or history.first > all.seen_place
        if gap:
            # Events came and went unseen, as when a snapshot was installed: everyone looks for himself.
            one = all.first
            while one != NULL:
                if not one.waits_for_revision:
                    mark(all, one)
                one = one.behind
        else:
            for place in range(all.seen_place, history.end):
                mark_event(all, event_at(store, place), place)
        seen = all.seen_revision
        all.seen_place = history.end
        all.seen_revision = it.applied
        for i in range(all.due.size()):
            one = all.due[i]
            one.is_due = False
            if gap:
                take_again(it, one)
            elif one.request.kind == REQUEST_WATCH:
                unpark(it, one)
                if request_unwanted(one.request):
                    loop_answer(it, one.request, OUTCOME_EXPIRED, 0, NULL)
                elif all.produced >= TURN_MOST:
                    # Asked again from behind what it has been held against so far.
                    store_le64(one.request.command.bytes, max(one.after, seen))
                    all.ready.push_back(one.request)
                else:
                    watch_answer(it, one, False, it.applied)
                del one
            elif await_answer(it, one, False):
                del one
        all.due.clear()
        while not all.by_revision.empty() and dereference(all.by_revision.begin()).first <= it.applied:
            take_again(it, dereference(all.by_revision.begin()).second)
    all.seen_place = history.end
    all.seen_revision = it.applied
    return 0


# Time --------------------------------------------------------------------------------------------------------------------


cdef uint64_t questions_deadline(Loop *it) noexcept nogil:
    if it.questions.parked == 0:
        return <uint64_t>-1
    return min(it.questions.sweep_at, dereference(it.questions.by_deadline.begin()).first)


cdef int ended(Loop *it, Parked *one) except -1 nogil:
    """Its time is over: it gets what there is."""
    cdef bint waited = one.waits_for_revision
    if request_unwanted(one.request):
        unpark(it, one)
        loop_answer(it, one.request, OUTCOME_EXPIRED, 0, NULL)
    elif one.request.kind == REQUEST_AWAIT and not waited:
        await_answer(it, one, True)
    else:
        unpark(it, one)
        if one.request.kind == REQUEST_WATCH:
            watch_answer(it, one, False, it.applied)
        else:
            loop_answer(it, one.request, OUTCOME_EXPIRED, 0, NULL)
    del one
    return 0


cdef int sweep(Loop *it, uint64_t most) except -1 nogil:
    """Lets go of questions that nobody waits for, and looks at acquisitions that ended without an event."""
    cdef Questions *all = &it.questions
    cdef Parked *one
    cdef uint64_t i
    for i in range(min(most, all.parked)):
        one = all.first
        if request_unwanted(one.request):
            ended(it, one)
            continue
        if one.request.kind == REQUEST_AWAIT and one.indexed and await_answer(it, one, False):
            del one
            continue
        ring_turn(all)
    return 0


cdef int questions_tick(Loop *it, uint64_t now) except -1 nogil:
    cdef Questions *all = &it.questions
    if all.parked == 0:
        return 0
    while not all.by_deadline.empty() and dereference(all.by_deadline.begin()).first <= now:
        ended(it, dereference(all.by_deadline.begin()).second)
    if all.abandoned > SWEPT_MOST:
        all.abandoned = 0
        sweep(it, all.parked)
    elif all.sweep_at <= now:
        all.sweep_at = now + SWEEP_MICROSECONDS
        sweep(it, SWEPT_MOST)
    return 0


cdef void questions_stopped(Loop *it) noexcept nogil:
    cdef Parked *one
    while it.questions.first != NULL:
        one = it.questions.first
        unpark(it, one)
        loop_answer(it, one.request, OUTCOME_STOPPED_BEFORE, 0, NULL)
        del one
    while not it.questions.ready.empty():
        loop_answer(it, it.questions.ready.front(), OUTCOME_STOPPED_BEFORE, 0, NULL)
        it.questions.ready.pop_front()


cdef void questions_clear(Loop *it) noexcept nogil:
    sink_free(&it.questions.scratch)
    buffer_release(it.questions.texts)
    it.questions.texts = NULL
    buffer_release(it.questions.status)
    it.questions.status = NULL
