# distutils: language = c++
# distutils: sources = csrc/record.c csrc/crc32c.c csrc/buffer.c
"""The write-ahead log as native threads see it: a bounded queue, a writer, a keeper of the reserve, what is durable.

Knows nothing of Python objects, Raft's rules, or how records look (_segment.pyx). Two threads belong to a log; both
block all signals and never take the GIL:

    writer   takes everything that waits, writes it as one batch, makes it durable with one fdatasync, says so
    keeper   zero-fills the next segment ahead of need (the reserve), deletes or recycles segments after compaction

Who touches what is written on the fields in _wal.pxd. Only the writer writes records, and batch n + 1 is not begun
before batch n is durable. An error of the writer is final. An error of the keeper is not: the log is `full` until a
later attempt succeeds.

No more is ever accepted than surely fits into the active segment and the reserve, so a full disk shows here, as an
answer to wal_submit, and not in the middle of a write.
"""

from libc.errno cimport ENOENT
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from libcpp cimport bool as cbool
from libcpp.string cimport string

from quorate.storage._csrc cimport (
    CLOCK_MONOTONIC,
    RECORD_BASE,
    RECORD_ENTRY,
    RECORD_MARK,
    RECORD_PAYLOAD_MAX,
    RECORD_RESET,
    SEGMENT_HEADER,
    SIG_SETMASK,
    buffer_retain,
    clock_gettime,
    entry,
    entry_bytes,
    entry_release,
    histogram_quantile,
    getpid,
    iovec,
    pthread_cond_broadcast,
    pthread_cond_destroy,
    pthread_cond_init,
    pthread_cond_signal,
    pthread_cond_timedwait,
    pthread_cond_wait,
    pthread_condattr_destroy,
    pthread_condattr_init,
    pthread_condattr_setclock,
    pthread_condattr_t,
    pthread_create,
    pthread_join,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    pthread_sigmask,
    record_size,
    sigfillset,
    sigset_t,
    timespec,
)
from quorate.storage._io cimport io_close, io_rename, io_sync_directory, io_unlink
from quorate.storage._segment cimport (
    SEAL_BYTES,
    SEGMENT_PREFACE,
    log_end_batch,
    log_put,
    log_put_hard,
    reserve_path,
    segment_build,
    segment_path,
)


cdef extern from "<unistd.h>" nogil:
    int64_t c_write "write"(int fd, const void *bytes, size_t size)

cdef enum:
    # Bounds of the queue; beyond them wal_submit answers WAL_BUSY.
    QUEUE_OPERATIONS = 4096
    QUEUE_ENTRIES = 65536
    RETRY_SECONDS = 1  # how often a full disk is tried again
    FULL_SPARE = 16    # this part of a segment is not for entries while the disk is full


cdef Wal *wal_new() except NULL:
    cdef Wal *wal = new Wal()
    cdef pthread_condattr_t attributes
    wal.scratch = <uint8_t *>malloc(SCRATCH_BYTES)
    wal.parts = <iovec *>malloc(SCRATCH_PARTS * sizeof(iovec))
    wal.held_vote = <uint8_t *>malloc(8)
    if wal.scratch == NULL or wal.parts == NULL or wal.held_vote == NULL:
        free(wal.scratch)
        free(wal.parts)
        free(wal.held_vote)
        del wal
        raise MemoryError
    pthread_mutex_init(&wal.lock, NULL)
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(&wal.work, &attributes)
    pthread_cond_init(&wal.keep, &attributes)
    pthread_cond_init(&wal.done, &attributes)
    pthread_condattr_destroy(&attributes)
    wal.faults = NULL
    wal.memory = False
    wal.sync = True
    wal.group = 0
    wal.notify_fd = -1
    wal.pid = getpid()
    wal.running = False
    wal.pending_bytes = wal.pending_entries = wal.active_left = 0
    wal.next_ticket = 1
    wal.completion.ticket = wal.completion.term = wal.completion.index = 0
    wal.submitted_hard.term = wal.submitted_hard.vote = wal.submitted_hard.commit = 0
    wal.submitted_last.term = wal.submitted_last.index = 0
    wal.submitted_base.term = wal.submitted_base.index = 0
    wal.reserve_ready = wal.full = wal.stopping = False
    wal.full_error = wal.error = 0
    wal.error_what = b""
    wal.error_offset = 0
    wal.batches = wal.bytes_written = 0
    memset(&wal.sync_times, 0, sizeof(wal.sync_times))
    wal.fd = -1
    wal.sequence = wal.flushed = wal.wanted_commit = 0
    wal.salt = 0
    wal.random = 1
    wal.hard = wal.submitted_hard
    wal.last = wal.base = wal.submitted_base
    wal.scratch_used = 0
    wal.part_count = 0
    wal.holds = wal.recycled = False
    return wal


cdef void wal_free(Wal *wal) noexcept nogil:
    """Frees a log whose threads do not run. What was accepted and not written is gone."""
    cdef size_t i
    for i in range(wal.entries.size()):
        entry_release(&wal.entries[i])
    for i in range(wal.working_entries.size()):
        entry_release(&wal.working_entries[i])
    if wal.fd >= 0:
        io_close(wal.fd)
    pthread_cond_destroy(&wal.work)
    pthread_cond_destroy(&wal.keep)
    pthread_cond_destroy(&wal.done)
    pthread_mutex_destroy(&wal.lock)
    free(wal.scratch)
    free(wal.parts)
    free(wal.held_vote)
    del wal


cdef void notify(Wal *wal) noexcept nogil:
    cdef uint64_t one = 1
    if wal.notify_fd >= 0:
        # A full pipe or a counter at its limit wakes the reader all the same.
        c_write(wal.notify_fd, &one, sizeof(one))


# The queue ---------------------------------------------------------------------------------------------------------


cdef uint64_t wal_submission_max(Wal *wal) noexcept nogil:
    """Bytes of records that one submission may take: what an empty segment holds."""
    return wal.identity.segment_bytes - SEGMENT_HEADER - SEGMENT_PREFACE - SEAL_BYTES


cdef const char *broken_rule(Wal *wal, const Submission *what) noexcept nogil:
    """Which rule of the log the submission breaks; NULL if none. Under the lock."""
    cdef uint64_t last = wal.submitted_last.index
    cdef uint64_t term
    cdef size_t i
    if what.hard != NULL:
        if what.hard.term < wal.submitted_hard.term:
            return b"the term of the hard state goes back"
        if (what.hard.term == wal.submitted_hard.term and wal.submitted_hard.vote
                and what.hard.vote != wal.submitted_hard.vote):
            return b"the vote changes within a term"
        if what.hard.commit < wal.submitted_hard.commit:
            return b"the commit index of the hard state goes back"
    if what.base_kind == SUBMIT_BASE:
        if what.base.index > last:
            return b"the base is beyond the last entry; a snapshot beyond the log is a reset"
        if what.base.index < wal.submitted_base.index:
            return b"the base goes back"
    elif what.base_kind == SUBMIT_RESET:
        if what.base.index <= wal.submitted_base.index and wal.submitted_base.index:
            return b"the snapshot is not newer than the one before"
        if what.base.index < wal.submitted_hard.commit:
            return b"the snapshot is older than what is committed"
        last = what.base.index
    if what.count:
        if what.first_index == 0 or what.first_index > last + 1:
            return b"the entries leave a gap behind the last one"
        if what.first_index <= (wal.submitted_base.index if what.base_kind == SUBMIT_NOTHING else what.base.index):
            return b"the entries replace one that a snapshot covers"
        if what.first_index <= wal.submitted_hard.commit and what.base_kind != SUBMIT_RESET:
            return b"the entries replace a committed one"
        term = 0
        if what.base_kind == SUBMIT_RESET:
            term = what.base.term
        elif what.first_index == last + 1:
            term = wal.submitted_last.term
        for i in range(what.count):
            if what.entries[i].term < term:
                return b"the terms of the entries go back"
            term = what.entries[i].term
            if what.entries[i].length > RECORD_PAYLOAD_MAX:
                return b"an entry is longer than ENTRY_BYTES_MAX"
        last = what.first_index + what.count - 1
    if what.hard != NULL and what.hard.commit > last:
        return b"the commit index is beyond the last entry"
    return NULL


cdef int wal_submit(Wal *wal, Submission *what, uint64_t *ticket) noexcept nogil:
    """Hands hard state, base and entries, in this order, to the writer; all of it or nothing.

    Takes references of the entries' buffers and copies the rest. Answers WAL_ACCEPTED with the ticket, or why not.
    Never blocks on the disk.
    """
    cdef WalOp op
    cdef uint64_t bytes = 0
    cdef size_t i
    cdef int answer = WAL_ACCEPTED
    cdef cbool was_idle
    if what.hard != NULL:
        bytes += 2 * record_size(8)
    if what.base_kind != SUBMIT_NOTHING:
        bytes += record_size(0)
    for i in range(what.count):
        bytes += record_size(what.entries[i].length)
    pthread_mutex_lock(&wal.lock)
    if wal.error:
        answer = WAL_FAILED
    elif wal.stopping or not wal.running:
        answer = WAL_CLOSED
    else:
        what.broken_rule = broken_rule(wal, what)
        if what.broken_rule != NULL:
            answer = WAL_INVALID
        elif not wal.memory:
            answer = admit(wal, bytes, what.count, what.essential)
    if answer != WAL_ACCEPTED:
        pthread_mutex_unlock(&wal.lock)
        return answer
    op.ticket = wal.next_ticket
    op.has_hard = what.hard != NULL
    if what.hard != NULL:
        op.hard = what.hard[0]
    op.base_kind = what.base_kind
    op.base = what.base
    op.first_index = what.first_index
    op.count = what.count
    op.bytes = bytes
    was_idle = wal.ops.empty()
    if not wal.memory:
        # The vectors hold what the queue may hold from the start (wal_start), so that nothing here allocates or throws.
        wal.ops.push_back(op)
        for i in range(what.count):
            buffer_retain(what.entries[i].data)
            wal.entries.push_back(what.entries[i])
        wal.pending_bytes += bytes
        wal.pending_entries += what.count
    wal.next_ticket += 1
    ticket[0] = op.ticket
    if what.hard != NULL:
        wal.submitted_hard = what.hard[0]
    if what.base_kind != SUBMIT_NOTHING:
        wal.submitted_base = what.base
        if what.base_kind == SUBMIT_RESET:
            wal.submitted_last = what.base
    if what.count:
        wal.submitted_last.index = what.first_index + what.count - 1
        wal.submitted_last.term = what.entries[what.count - 1].term
    if wal.memory:
        wal.completion.ticket = op.ticket
        wal.completion.term = wal.submitted_last.term
        wal.completion.index = wal.submitted_last.index
        pthread_cond_broadcast(&wal.done)
    elif was_idle:
        pthread_cond_signal(&wal.work)
    pthread_mutex_unlock(&wal.lock)
    if wal.memory:
        notify(wal)
    return WAL_ACCEPTED


cdef int admit(Wal *wal, uint64_t bytes, uint64_t count, cbool essential) noexcept nogil:
    """Whether so much may wait, and surely fits on disk. Under the lock."""
    cdef uint64_t waiting = wal.pending_bytes + bytes
    if wal.full and count:
        waiting += wal.identity.segment_bytes // FULL_SPARE  # for terms, votes and the cut behind a snapshot
    if bytes > wal_submission_max(wal) or count > QUEUE_ENTRIES:
        return WAL_TOO_LARGE
    if wal.full and not essential:
        return WAL_FULL
    if wal.ops.size() >= QUEUE_OPERATIONS or wal.pending_entries + count > QUEUE_ENTRIES:
        return WAL_BUSY
    if waiting <= wal.active_left or (wal.reserve_ready and waiting <= wal_submission_max(wal)):
        return WAL_ACCEPTED
    return WAL_FULL if wal.full else WAL_BUSY


cdef int wal_state(Wal *wal, Completion *completion, cbool *full) noexcept nogil:
    """What is durable, and whether the disk is full; 0, or -errno if the log has failed."""
    cdef int error
    pthread_mutex_lock(&wal.lock)
    completion[0] = wal.completion
    full[0] = wal.full
    error = wal.error
    pthread_mutex_unlock(&wal.lock)
    return error


cdef void wal_figures(Wal *wal, WalFigures *out) noexcept nogil:
    """What was written since opening, and how long fdatasync took."""
    pthread_mutex_lock(&wal.lock)
    out.batches = wal.batches
    out.bytes = wal.bytes_written
    out.syncs = wal.sync_times.total
    out.sync_sum = wal.sync_times.sum
    out.sync_max = wal.sync_times.most
    out.sync_p50 = min(histogram_quantile(&wal.sync_times, 500), out.sync_max)
    out.sync_p99 = min(histogram_quantile(&wal.sync_times, 990), out.sync_max)
    pthread_mutex_unlock(&wal.lock)


cdef int wal_wait(Wal *wal, uint64_t ticket, double seconds) noexcept nogil:
    """Waits until the ticket is durable (1), the log failed (-1), or the time is over (0)."""
    cdef timespec until
    cdef int answer
    deadline(&until, seconds)
    pthread_mutex_lock(&wal.lock)
    while wal.completion.ticket < ticket and wal.error == 0:
        if pthread_cond_timedwait(&wal.done, &wal.lock, &until) != 0:
            break
    answer = 1 if wal.completion.ticket >= ticket else -1 if wal.error else 0
    pthread_mutex_unlock(&wal.lock)
    return answer


cdef void deadline(timespec *until, double seconds) noexcept nogil:
    clock_gettime(CLOCK_MONOTONIC, until)
    until.tv_sec += <long>seconds
    until.tv_nsec += <long>((seconds - <long>seconds) * 1e9)
    if until.tv_nsec >= 1000000000:
        until.tv_nsec -= 1000000000
        until.tv_sec += 1


# The writer ---------------------------------------------------------------------------------------------------------


cdef int write_operation(Wal *wal, const WalOp *op, const entry *entries) noexcept nogil:
    cdef HardState hard
    cdef uint64_t last = wal.last.index
    cdef size_t i
    if wal.holds and ((wal.held.kind & 0xF0) == RECORD_ENTRY or wal.held.kind == RECORD_RESET):
        last = wal.held.index
    if op.has_hard:
        # A commit index is never written in front of the entries it speaks of: a batch may be torn between them, and
        # then the log would claim to have lost what was committed. It follows them, in a second record. What stands in
        # their place until then, and is about to be replaced, is not what was committed either.
        if op.count:
            last = min(last, op.first_index - 1)
        if op.base_kind == SUBMIT_RESET:
            last = 0
        hard = op.hard
        wal.wanted_commit = hard.commit
        hard.commit = min(hard.commit, last)
        if hard.commit < wal.hard.commit:
            hard.commit = wal.hard.commit
        if log_put_hard(wal, &hard) < 0:
            return -1
    if op.base_kind != SUBMIT_NOTHING:
        if log_put(wal, RECORD_BASE if op.base_kind == SUBMIT_BASE else RECORD_RESET, op.base.term, op.base.index,
                   NULL, 0) < 0:
            return -1
    for i in range(op.count):
        if log_put(wal, RECORD_ENTRY | entries[i].kind, entries[i].term, op.first_index + i, entry_bytes(&entries[i]),
                   entries[i].length) < 0:
            return -1
    if op.has_hard and wal.wanted_commit > hard.commit:
        hard.commit = wal.wanted_commit
        return log_put_hard(wal, &hard)
    return 0


cdef int write_batch(Wal *wal) noexcept nogil:
    cdef const entry *entries = wal.working_entries.data()
    cdef size_t i
    for i in range(wal.working_ops.size()):
        if write_operation(wal, &wal.working_ops[i], entries) < 0:
            return -1
        entries += wal.working_ops[i].count
    return log_end_batch(wal)


cdef void drop_covered_segments(Wal *wal) noexcept nogil:
    """Hands segments whose entries are all covered by the base to the keeper. Under the lock; the base is durable."""
    cdef size_t count = 0
    while count + 1 < wal.segments.size() and wal.segments[count + 1].last_index <= wal.base.index:
        wal.obsolete.push_back(wal.segments[count].sequence)
        count += 1
    if count:
        wal.segments.erase(wal.segments.begin(), wal.segments.begin() + count)
        pthread_cond_signal(&wal.keep)


cdef void *run_writer(void *context) noexcept nogil:
    cdef Wal *wal = <Wal *>context
    cdef uint64_t bytes
    cdef size_t i
    cdef int result
    pthread_mutex_lock(&wal.lock)
    while True:
        while wal.ops.empty() and not wal.stopping:
            pthread_cond_wait(&wal.work, &wal.lock)
        if wal.ops.empty() or wal.error:
            break
        wal.working_ops.swap(wal.ops)
        wal.working_entries.swap(wal.entries)
        pthread_mutex_unlock(&wal.lock)

        result = write_batch(wal)
        bytes = 0
        for i in range(wal.working_ops.size()):
            bytes += wal.working_ops[i].bytes
        for i in range(wal.working_entries.size()):
            entry_release(&wal.working_entries[i])

        pthread_mutex_lock(&wal.lock)
        wal.pending_bytes -= bytes
        wal.pending_entries -= wal.working_entries.size()
        wal.active_left = wal.identity.segment_bytes - SEAL_BYTES - wal.cursor.offset
        if result == 0:
            wal.completion.ticket = wal.working_ops.back().ticket
            wal.completion.term = wal.last.term
            wal.completion.index = wal.last.index
            wal.batches += 1
            wal.bytes_written += bytes
            drop_covered_segments(wal)
        wal.working_ops.clear()
        wal.working_entries.clear()
        pthread_cond_broadcast(&wal.done)
        pthread_mutex_unlock(&wal.lock)
        notify(wal)
        pthread_mutex_lock(&wal.lock)
        if result < 0:
            break
    result = wal.error
    pthread_mutex_unlock(&wal.lock)
    if result == 0 and wal.cursor.offset + record_size(0) + SEAL_BYTES <= wal.identity.segment_bytes:
        # A mark of its own proves, by its batch number, that all before it was durable: see record.h, rule 3.
        if log_put(wal, RECORD_MARK, wal.last.term, wal.last.index, NULL, 0) == 0:
            log_end_batch(wal)
    return NULL


# The keeper ---------------------------------------------------------------------------------------------------------


cdef int remove_segment(Wal *wal, uint64_t sequence, cbool recycle) noexcept nogil:
    """Takes a segment out of the log: deletes it, or leaves its file to segment_build. Durable when this returns 0.

    Its old name must be gone durably before its records are: else a crash would show a damaged old segment. It may be
    tried again after any failure.
    """
    cdef string path = segment_path(wal, sequence)
    cdef string temporary = reserve_path(wal)
    cdef int result
    temporary.append(<const char *>b".new")
    if recycle:
        result = io_rename(wal.faults, path.c_str(), temporary.c_str())
    else:
        result = io_unlink(wal.faults, path.c_str())
    if result < 0 and result != -ENOENT:
        return result
    return io_sync_directory(wal.faults, wal.directory.c_str())


cdef void *run_keeper(void *context) noexcept nogil:
    cdef Wal *wal = <Wal *>context
    cdef timespec until
    cdef uint64_t obsolete
    cdef cbool build, recycle
    cdef int removed, built
    pthread_mutex_lock(&wal.lock)
    while not wal.stopping:
        build = not wal.reserve_ready
        obsolete = wal.obsolete.front() if wal.obsolete.size() else 0
        if not build and not obsolete:
            pthread_cond_wait(&wal.keep, &wal.lock)
            continue
        pthread_mutex_unlock(&wal.lock)
        removed = built = 0
        recycle = False
        if obsolete:
            # One file is held back for the next reserve: its blocks are there already, whatever the disk has left.
            recycle = not wal.recycled
            removed = remove_segment(wal, obsolete, recycle)
            wal.recycled = wal.recycled or (recycle and removed == 0)
        if build and recycle and removed < 0:
            # The file may have its new name, and not durably: a crash after zeroing it would show a damaged segment.
            built = removed
        elif build:
            built = segment_build(wal)
            wal.recycled = False
        pthread_mutex_lock(&wal.lock)
        if obsolete and removed == 0:
            # Oldest first, and the next one only when this one is gone: so no crash ever shows a gap between segments.
            wal.obsolete.erase(wal.obsolete.begin())
        if build:
            wal.reserve_ready = built == 0
            wal.full = built < 0
            wal.full_error = built
            if built == 0:
                pthread_cond_signal(&wal.work)
            pthread_cond_broadcast(&wal.done)
            pthread_mutex_unlock(&wal.lock)
            notify(wal)
            pthread_mutex_lock(&wal.lock)
        if (removed < 0 or built < 0) and not wal.stopping:
            deadline(&until, RETRY_SECONDS)
            pthread_cond_timedwait(&wal.keep, &wal.lock, &until)
    pthread_mutex_unlock(&wal.lock)
    return NULL


# Life ----------------------------------------------------------------------------------------------------------------


cdef int wal_start(Wal *wal) except -1:
    """Starts the threads. The active segment is open and its cursor stands behind its last record."""
    cdef sigset_t everything
    cdef sigset_t before
    cdef int result
    wal.running = True
    if wal.memory:
        return 0
    wal.ops.reserve(QUEUE_OPERATIONS)
    wal.working_ops.reserve(QUEUE_OPERATIONS)
    wal.entries.reserve(QUEUE_ENTRIES)
    wal.working_entries.reserve(QUEUE_ENTRIES)
    wal.active_left = wal.identity.segment_bytes - SEAL_BYTES - wal.cursor.offset
    sigfillset(&everything)
    pthread_sigmask(SIG_SETMASK, &everything, &before)
    result = pthread_create(&wal.writer, NULL, run_writer, wal)
    if result == 0:
        result = pthread_create(&wal.keeper, NULL, run_keeper, wal)
        if result != 0:
            stop_thread(wal, wal.writer)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    if result != 0:
        wal.running = False
        raise RuntimeError(f"a thread of the log cannot be started (errno {result})")
    return 0


cdef void stop_thread(Wal *wal, pthread_t thread) noexcept nogil:
    pthread_mutex_lock(&wal.lock)
    wal.stopping = True
    pthread_cond_broadcast(&wal.work)
    pthread_cond_broadcast(&wal.keep)
    pthread_cond_broadcast(&wal.done)
    pthread_mutex_unlock(&wal.lock)
    pthread_join(thread, NULL)


cdef void wal_stop(Wal *wal) noexcept nogil:
    """Writes what was accepted, ends the threads, closes the segment. Waits for the disk; call it without the GIL."""
    if not wal.running:
        return
    if not wal.memory:
        stop_thread(wal, wal.writer)
        stop_thread(wal, wal.keeper)
        if wal.fd >= 0:
            io_close(wal.fd)
            wal.fd = -1
    wal.running = False
    pthread_mutex_lock(&wal.lock)
    wal.stopping = True
    pthread_cond_broadcast(&wal.done)
    pthread_mutex_unlock(&wal.lock)
