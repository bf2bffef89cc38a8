# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c csrc/poller.c csrc/mailbox.c
"""The status of a node as bytes: what STATUS answers, and `questions.decode_status` reads. Knows nothing of who asks."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport FILE, fclose, fopen, fscanf, snprintf
from libc.string cimport strlen

from quorate.runtime._status cimport *
from quorate.runtime._structs cimport *
from quorate.storage._wal cimport Wal, WalFigures, wal_figures
from quorate.store._csrc cimport sink as store_sink
from quorate.store._csrc cimport sink_put, sink_u8, sink_u16, sink_u64
from quorate.store._state cimport StoreState
from quorate.store._watch cimport watch_first_available


cdef extern from "<unistd.h>" nogil:
    int _SC_PAGESIZE
    long sysconf(int name)


cdef int short_of_memory() except -1 nogil:
    with gil:
        raise MemoryError("no memory for the status")


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


cdef int status_write(Loop *it, store_sink *out) except -1 nogil:
    """A dot in a name says that it is a figure of a group."""
    cdef size_t start = out.length
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
    out.bytes[start] = <uint8_t>(count & 255)
    out.bytes[start + 1] = <uint8_t>(count >> 8)
    if sink_u16(out, <uint16_t>(it.questions.texts_count + 1)) < 0:
        short_of_memory()
    put_text(out, b"role")
    put_text(out, role_name(it.role))
    if it.questions.texts != NULL and sink_put(out, it.questions.texts.bytes, it.questions.texts.length) < 0:
        short_of_memory()
    return 0
