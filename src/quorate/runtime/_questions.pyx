# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/question.c csrc/command.c csrc/tree.c csrc/forest.c csrc/xxh3.c csrc/poller.c csrc/mailbox.c
"""What a node is asked besides commands: reads, watches, waits for a lock, its status; of its own process or over a connection.

A read that is to be linearizable waits for a quorum round and is then answered from what is applied. A local one is answered
at once, or when the node has applied the revision that the asker has seen elsewhere. A watch and a wait for an acquisition are
long polls: they are parked until an entry concerns them or their time is over.

After each batch of entries the new events are looked up in indexes of the parked watches (by key, by prefix, and a list of the
other ranges), so that thousands of watches of other keys cost an event nothing.

Knows nothing of connections; what they ask comes as the same Request that a Python thread makes.
"""

from cython.operator cimport dereference, postincrement
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport FILE, fclose, fopen, fscanf, snprintf
from libc.string cimport memcmp, memcpy, strlen
from libcpp.map cimport map as ordered_map
from libcpp.map cimport multimap
from libcpp.unordered_map cimport unordered_map
from libcpp.utility cimport pair
from libcpp.vector cimport vector

from quorate.raft._types cimport buffer, buffer_from, buffer_release
from quorate.runtime._questions cimport *
from quorate.runtime._requests cimport loop_answer, request_unwanted
from quorate.runtime._sessions cimport sessions_ask
from quorate.runtime._structs cimport *
from quorate.storage._wal cimport Wal, WalFigures, wal_figures
from quorate.store._csrc cimport (
    forest_pin,
    forest_unpin,
    item_cost,
    item_key,
    sink_put,
    sink_u8,
    sink_u16,
    sink_u32,
    sink_u64,
    store_le32,
    tree_compare,
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
from quorate.store._state cimport EVENT_GRANT, History, StoreState
from quorate.store._state cimport Event as StoreEvent
from quorate.store._watch cimport WATCH_KEYS, WATCH_PERMITS, watch_first_available


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

cdef extern from "<unistd.h>" nogil:
    int _SC_PAGESIZE
    long sysconf(int name)

cdef extern from "xxh3.h" nogil:
    uint64_t xxh3_64(const void *bytes, size_t length, uint64_t seed)

cdef extern from *:
    """
    static inline void quorate_store_complete(uint8_t *bytes, uint64_t x) { store_le64(bytes + 1, x); }
    """
    void quorate_store_complete(uint8_t *bytes, uint64_t x) noexcept nogil

ctypedef multimap[uint64_t, Parked *].iterator parked_iterator
ctypedef unordered_map[uint64_t, Parked *].iterator index_iterator
ctypedef ordered_map[uint32_t, uint32_t].iterator prefix_iterator

cdef enum:
    PARKED_MAX = 65536
    SCANNED_MOST = 16384        # events that one question may look at; then it is answered with how far it came
    EVENTS_MOST = 4096          # in one answer, and all of the revision that passes it
    BYTES_MOST = 4194304        # of rows in one answer, and the row or the revision that passes it
    SWEPT_MOST = 1024           # parked questions looked at in one sweep
    RESULT_MOST = 33550336      # more than a frame with an answer has

cdef uint64_t SWEEP_MICROSECONDS = 500000
cdef uint64_t POINT = 0, PREFIX = 0x9e3779b97f4a7c15, ACQUISITION = 0xc2b2ae3d27d4eb4f  # kept apart in one index


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


cdef int put_text(store_sink *out, const char *name) except -1 nogil:
    cdef size_t length = strlen(name)
    if sink_u8(out, <uint8_t>length) < 0 or sink_put(out, name, length) < 0:
        short_of_memory()
    return 0


cdef int put_figure(store_sink *out, const char *name, uint64_t value) except -1 nogil:
    put_text(out, name)
    if sink_u64(out, value) < 0:
        short_of_memory()
    return 1


cdef int put_grouped(store_sink *out, const char *group, const char *name, uint64_t value) except -1 nogil:
    cdef size_t length = strlen(group), more = strlen(name)
    if (
        sink_u8(out, <uint8_t>(length + more)) < 0 or sink_put(out, group, length) < 0 or sink_put(out, name, more) < 0
        or sink_u64(out, value) < 0
    ):
        short_of_memory()
    return 0


cdef int put_followers(store_sink *out, Loop *it) except -1 nogil:
    """Of a leader: what it knows of each other member."""
    cdef char name[48]
    cdef Follower *one
    cdef uint32_t i
    cdef int count = 0
    for i in range(it.status.followers_count):
        one = &it.status.followers[i]
        snprintf(name, sizeof(name), "followers.%llu.match", <unsigned long long>one.id)
        count += put_figure(out, name, one.match_index)
        snprintf(name, sizeof(name), "followers.%llu.learner", <unsigned long long>one.id)
        count += put_figure(out, name, one.learner)
        if one.heard_at:
            snprintf(name, sizeof(name), "followers.%llu.silent_ms", <unsigned long long>one.id)
            count += put_figure(out, name, (clock_microseconds() - one.heard_at) // 1000)
    return count


cdef uint64_t resident_memory() noexcept nogil:
    """Bytes that this process occupies; 0 where the system does not say."""
    cdef unsigned long long pages = 0
    cdef FILE *file = fopen("/proc/self/statm", "r")
    if file == NULL:
        return 0
    if fscanf(file, "%*u %llu", &pages) != 1:
        pages = 0
    fclose(file)
    return pages * <uint64_t>sysconf(_SC_PAGESIZE)


cdef int status_answer(Loop *it, Request *request) except -1 nogil:
    """A dot in a name says that it is a figure of a group."""
    cdef store_sink *out = scratch_of(it)
    cdef Figures *seen = &it.status
    cdef StoreState *store = <StoreState *>it.store
    cdef WalFigures disk
    cdef int count = 0, i
    if sink_u16(out, 0) < 0:
        short_of_memory()
    count += put_figure(out, b"id", it.peers.id)
    count += put_figure(out, b"term", it.term)
    count += put_figure(out, b"leader", it.leader)
    count += put_figure(out, b"commit", it.core.commit_index)
    count += put_figure(out, b"applied", it.applied)
    count += put_figure(out, b"last_index", it.core.log.last_index)
    count += put_figure(out, b"durable_index", it.core.persisted_index)
    count += put_figure(out, b"elections", it.elections)
    count += put_figure(out, b"leader_changes", it.leader_changes)
    count += put_figure(out, b"turns", seen.turns)
    count += put_figure(out, b"steps", it.steps)
    count += put_figure(out, b"uptime_ms", (clock_microseconds() - it.questions.started_at) // 1000)
    count += put_figure(out, b"disk.full", it.disk_full)
    wal_figures(<Wal *>it.wal, &disk)
    count += put_figure(out, b"disk.batches", disk.batches)
    count += put_figure(out, b"disk.bytes", disk.bytes)
    count += put_figure(out, b"disk.syncs", disk.syncs)
    count += put_figure(out, b"disk.sync_sum_us", disk.sync_sum)
    count += put_figure(out, b"disk.sync_max_us", disk.sync_max)
    count += put_figure(out, b"disk.sync_p50_us", disk.sync_p50)
    count += put_figure(out, b"disk.sync_p99_us", disk.sync_p99)
    count += put_figure(out, b"memory.resident", resident_memory())
    count += put_figure(out, b"memory.log_bytes", it.core.log.payload_bytes)
    count += put_figure(out, b"memory.log_entries", it.core.log.last_index - it.core.log.snapshot_index)
    count += put_followers(out, it)
    count += put_figure(out, b"queues.requests", mailbox_size(it.mail))
    count += put_figure(out, b"queues.pending", it.pending)
    count += put_figure(out, b"queues.parked", it.questions.parked)
    count += put_figure(out, b"queues.writes", it.core.writes.size())
    count += put_figure(out, b"queues.held", it.held.size())
    count += put_figure(out, b"queues.backlog", it.backlog.size())
    count += put_figure(out, b"queues.output_bytes", seen.output_bytes)
    count += put_figure(out, b"store.sessions", store.sessions.size())
    count += put_figure(out, b"store.first_available", watch_first_available(store))
    count += put_figure(out, b"store.events", store.history.end - store.history.first)
    count += put_figure(out, b"connections.members", seen.connected)
    count += put_figure(out, b"connections.strangers", seen.strangers)
    for i in range(COUNTERS):
        put_grouped(out, b"connections.", counter_name(i), it.peers.counters[i])
    count += COUNTERS
    count += put_figure(out, b"clients.connected", it.clients.count)
    for i in range(CLIENT_COUNTERS):
        put_grouped(out, b"clients.", client_counter_name(i), it.clients.counters[i])
    count += CLIENT_COUNTERS
    out.bytes[0] = <uint8_t>(count & 255)
    out.bytes[1] = <uint8_t>(count >> 8)
    if sink_u16(out, <uint16_t>(it.questions.texts_count + 1)) < 0:
        short_of_memory()
    put_text(out, b"role")
    put_text(out, role_name(it.role))
    if it.questions.texts != NULL and sink_put(out, it.questions.texts.bytes, it.questions.texts.length) < 0:
        short_of_memory()
    return answer_bytes(it, request, out)


# Parking -----------------------------------------------------------------------------------------------------------------


cdef void ring_append(Questions *it, Parked *one) noexcept nogil:
    one.behind = NULL
    one.before = it.last
    if it.last != NULL:
        it.last.behind = one
    else:
        it.first = one
    it.last = one


cdef void ring_remove(Questions *it, Parked *one) noexcept nogil:
    if one.before != NULL:
        one.before.behind = one.behind
    else:
        it.first = one.behind
    if one.behind != NULL:
        one.behind.before = one.before
    else:
        it.last = one.before


cdef int index_add(Questions *it, Parked *one, uint64_t hash) except -1 nogil:
    cdef Parked **head = &it.index[hash]
    one.hash = hash
    one.indexed = True
    one.previous = NULL
    one.next = head[0]
    if head[0] != NULL:
        head[0].previous = one
    head[0] = one
    return 0


cdef void index_remove(Questions *it, Parked *one) noexcept nogil:
    cdef index_iterator found
    cdef prefix_iterator counted
    if one.next != NULL:
        one.next.previous = one.previous
    if one.previous != NULL:
        one.previous.next = one.next
    elif one.odd:
        it.odd = one.next
    else:
        found = it.index.find(one.hash)
        if one.next != NULL:
            dereference(found).second = one.next
        else:
            it.index.erase(found)
    if one.prefix:
        counted = it.prefixes.find(one.start_length)
        dereference(counted).second -= 1
        if dereference(counted).second == 0:
            it.prefixes.erase(counted)
    one.indexed = one.odd = one.prefix = False


cdef bint is_prefix(const Parked *watch) noexcept nogil:
    """Whether the range is that of all names that begin with `start`."""
    cdef uint32_t length = watch.start_length
    if length == 0 or watch.end_length == 0:
        return length == 0 and watch.end_length == 0
    while length and watch.start[length - 1] == 255:
        length -= 1
    return (
        length > 0 and watch.end_length == length and memcmp(watch.start, watch.end, length - 1) == 0
        and watch.end[length - 1] == watch.start[length - 1] + 1
    )


cdef int index_watch(Questions *it, Parked *watch) except -1 nogil:
    if (
        watch.end_length == watch.start_length + 1 and watch.end[watch.start_length] == 0
        and memcmp(watch.start, watch.end, watch.start_length) == 0
    ):
        return index_add(it, watch, xxh3_64(watch.start, watch.start_length, it.seed ^ POINT))
    if is_prefix(watch):
        it.prefixes[watch.start_length] += 1
        watch.prefix = True
        return index_add(it, watch, xxh3_64(watch.start, watch.start_length, it.seed ^ PREFIX))
    watch.odd = watch.indexed = True
    watch.previous = NULL
    watch.next = it.odd
    if it.odd != NULL:
        it.odd.previous = watch
    it.odd = watch
    return 0


cdef uint64_t acquisition_hash(const Questions *it, uint64_t session, uint64_t acquisition) noexcept nogil:
    cdef uint64_t[2] both
    both[0] = session
    both[1] = acquisition
    return xxh3_64(both, 16, it.seed ^ ACQUISITION)


cdef int park(Loop *it, Parked *one) except -1 nogil:
    """It is not pending any more, for its time is bounded by itself."""
    cdef Questions *all = &it.questions
    cdef pair[uint64_t, Parked *] entry
    it.pending -= 1
    all.parked += 1
    ring_append(all, one)
    entry.first = one.request.expires_at
    entry.second = one
    one.by_deadline = all.by_deadline.insert(entry)
    return 0


cdef int park_for_revision(Loop *it, Parked *one, uint64_t revision) except -1 nogil:
    cdef pair[uint64_t, Parked *] entry
    entry.first = revision
    entry.second = one
    one.by_revision = it.questions.by_revision.insert(entry)
    one.waits_for_revision = True
    return park(it, one)


cdef void unpark(Loop *it, Parked *one) noexcept nogil:
    """Out of everything; the request is pending again, and `one` still the caller's to free."""
    cdef Questions *all = &it.questions
    it.pending += 1
    all.parked -= 1
    ring_remove(all, one)
    all.by_deadline.erase(one.by_deadline)
    if one.waits_for_revision:
        all.by_revision.erase(one.by_revision)
        one.waits_for_revision = False
    if one.indexed:
        index_remove(all, one)


cdef inline StoreEvent *event_at(StoreState *it, uint64_t place) noexcept nogil:
    return &it.history.all[place & (it.history.size - 1)]


cdef bint wants(const Parked *watch, const StoreEvent *event) noexcept nogil:
    cdef uint32_t space = WATCH_PERMITS if event.kind >= EVENT_GRANT else WATCH_KEYS
    if not watch.spaces & space or event.revision <= watch.after:
        return False
    if tree_compare(item_key(event.row), event.row.key_length, watch.start, watch.start_length) < 0:
        return False
    return watch.end_length == 0 or tree_compare(
        item_key(event.row), event.row.key_length, watch.end, watch.end_length
    ) < 0


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
        return status_answer(it, request)
    if kind == REQUEST_RENEW:
        return sessions_ask(it, request)
    # New kinds: one line each, that hands the request to who answers it.
    return refuse(it, request, OUTCOME_MALFORMED)


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
        return query_answer(it, request, &what)
    if not room(it):
        return refuse(it, request, OUTCOME_OVERLOADED)
    made = new Parked()
    made.request = request
    return park_for_revision(it, made, what.min_revision)


cdef int question_read(Loop *it, Request *request) except -1 nogil:
    cdef query what
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
    if not made.places.empty() or low < history.end:
        watch_answer(it, made, False, complete)
        del made
        return QUESTION_TAKEN
    index_watch(&it.questions, made)
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
    index_add(&it.questions, made, acquisition_hash(&it.questions, what.session, what.acquisition))
    return park(it, made)


# When something was applied ------------------------------------------------------------------------------------------------


cdef int mark(Questions *it, Parked *one) except -1 nogil:
    if not one.is_due:
        one.is_due = True
        it.due.push_back(one)
    return 0


cdef int mark_watches(Questions *it, Parked *one, const StoreEvent *event, uint64_t place) except -1 nogil:
    """Those of a chain that want the event. Another thing with the same hash does not: it has no spaces, or another name."""
    while one != NULL:
        if wants(one, event):
            one.places.push_back(place)
            mark(it, one)
        one = one.next
    return 0


cdef int mark_event(Questions *it, const StoreEvent *event, uint64_t place) except -1 nogil:
    cdef const uint8_t *key = item_key(event.row)
    cdef index_iterator found = it.index.find(xxh3_64(key, event.row.key_length, it.seed ^ POINT))
    cdef prefix_iterator length = it.prefixes.begin()
    cdef Parked *one
    if found != it.index.end():
        mark_watches(it, dereference(found).second, event, place)
    while length != it.prefixes.end() and dereference(length).first <= event.row.key_length:
        found = it.index.find(xxh3_64(key, dereference(length).first, it.seed ^ PREFIX))
        if found != it.index.end():
            mark_watches(it, dereference(found).second, event, place)
        postincrement(length)
    mark_watches(it, it.odd, event, place)
    if event.acquisition:
        found = it.index.find(acquisition_hash(it, event.session, event.acquisition))
        one = dereference(found).second if found != it.index.end() else NULL
        while one != NULL:
            if one.session == event.session and one.acquisition == event.acquisition and one.spaces == 0:
                mark(it, one)
            one = one.next
    return 0


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
    cdef uint64_t place
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
        all.seen_place = history.end
        all.seen_revision = it.applied
        for i in range(all.due.size()):
            one = all.due[i]
            one.is_due = False
            if gap:
                take_again(it, one)
            elif one.request.kind == REQUEST_WATCH:
                unpark(it, one)
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
        ring_remove(all, one)
        ring_append(all, one)
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


cdef void questions_clear(Loop *it) noexcept nogil:
    sink_free(&it.questions.scratch)
    buffer_release(it.questions.texts)
    it.questions.texts = NULL
