# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/poller.c csrc/tree.c csrc/forest.c
"""Snapshots in a running node, as the loop sees them: when one is due, what is sent, what arrives, what the log forgets.

The rules (docs/internals/raft.md, "Snapshots"):

- A snapshot of our own gets its name only when the log has, durably, the very entry that it ends with: by index and term,
  which is what the core's persisted_index means. Until then it lies under a temporary name that no restart believes.
- What arrives gets its name only after the hard state of the step that brought its last chunk is durable.
- Once a store was built from it, the log's new beginning is handed to the disk and the core is told in one go, so that no
  entry comes between; whatever the log has behind the snapshot stays only if the log agrees with the snapshot there.
- The file before is deleted by the thread that proved the new one, after that.

Work that takes long is done by the two threads of _snapshot_work. All that happens here is short: holding a version, changing
the roots of the trees, telling the core. The file is long and whole, because the rules hold across its parts: what is made, what
arrives and what the log forgets. Knows nothing of what a store contains.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from libcpp.string cimport string
from libcpp.utility cimport move

from quorate.raft._configuration cimport configuration_encode
from quorate.raft._log cimport log_configuration, log_matches, log_term
from quorate.raft._types cimport (
    COMPACT,
    INSTALL_SNAPSHOT_RESPONSE,
    LEADER,
    SNAPSHOT_FAILED,
    SNAPSHOT_PERSISTED,
    Configuration,
    EntryRef,
    Event,
    Message,
    SnapshotChunk,
    Update,
    entry,
    entry_bytes,
)
from quorate.runtime._answers cimport requests_overtaken
from quorate.runtime._disk cimport disk_push
from quorate.runtime._peers cimport PEERS_QUEUED, peers_send
from quorate.runtime._snapshot_work cimport job_free, worker_put, worker_start, worker_stop
from quorate.runtime._snapshots cimport *
from quorate.runtime._structs cimport *
from quorate.storage._io cimport Faults, io_close, table_of
from quorate.storage._wal cimport (
    SUBMIT_BASE,
    SUBMIT_RESET,
    WAL_ACCEPTED,
    WAL_INVALID,
    Submission,
    Wal,
    wal_submit,
)
from quorate.store._csrc cimport forest, forest_reclaim
from quorate.store._snapshot cimport SnapshotWriter, snapshot_begin, snapshot_index, store_exchange
from quorate.store._state cimport StoreState

from quorate.errors import InvariantBroken, NodeFailed


cdef extern from "<fcntl.h>" nogil:
    enum:
        F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, int argument)

cdef enum:
    RECLAIM = 2048       # things freed in one turn: some tenths of a millisecond
    ENTRY_COST = 64      # what a record of the log has beside its payload

# Microseconds.
cdef uint64_t PAUSE_FIRST = 1000000  # after a failure
cdef uint64_t PAUSE_MAX = 60000000


cdef inline Snapshots *snapshots_of(Loop *it) noexcept nogil:
    return <Snapshots *>it.snapshots


# Birth and death ---------------------------------------------------------------------------------------------------------


cdef int snapshots_open(Loop *it, object storage, object config, uint64_t seed) except -1:
    cdef Snapshots *own = new Snapshots()
    cdef Faults faults = storage.snapshots.faults
    identity = storage.identity
    meta = storage.restart.snapshot
    it.snapshots = own
    own.faults = table_of(faults)
    own.memory = storage.directory is None
    if storage.directory is not None:
        own.directory = storage.directory.snapshot_path.encode()
    memcpy(own.cluster, <const char *>(<bytes>identity.cluster), 16)
    own.node, own.incarnation = identity.node, identity.incarnation
    own.log_bytes = config.snapshot_log_bytes
    own.random = seed | 1
    if meta is not None:
        with storage.snapshots.open(term=meta.term, index=meta.index) as reader:
            own.index, own.term, own.id, own.size = meta.index, meta.term, meta.id, reader.size
    own.base_term, own.base_index = storage.restart.base
    storage.snapshots.clean(own.index)
    return 0


cdef int snapshots_start(Loop *it) except -1:
    cdef Snapshots *own = snapshots_of(it)
    own.poll = it.poll
    worker_start(&own.maker, own, b"quorate-maker")
    worker_start(&own.carrier, own, b"quorate-carrier")
    return 0


cdef void snapshots_stop(Loop *it) noexcept nogil:
    cdef Snapshots *own = snapshots_of(it)
    if own == NULL:
        return
    worker_stop(&own.maker)
    worker_stop(&own.carrier)
    job_free(own, own.made)
    own.made = NULL
    while not own.done.empty():
        job_free(own, own.done.front())
        own.done.pop_front()


cdef void snapshots_clear(Loop *it) noexcept nogil:
    cdef Snapshots *own = snapshots_of(it)
    if own == NULL:
        return
    snapshots_stop(it)
    if own.fd >= 0:
        io_close(own.fd)
    it.snapshots = NULL
    del own


# The log forgets ---------------------------------------------------------------------------------------------------------


cdef int rule_broken(Loop *it, const char *rule) except -1 nogil:
    it.failure = FAILURE_LOG_RULE
    with gil:
        raise InvariantBroken(f"the log refuses to be cut: {rule.decode()}")


cdef int tell_core(Loop *it, step_function step) except -1 nogil:
    """The newest snapshot is what followers get, and the log below it may go. Whether the core took it."""
    cdef Snapshots *own = snapshots_of(it)
    cdef Event event
    event.type = COMPACT
    event.index = own.index
    event.size = own.size
    event.digest = own.id
    step(it, &event)
    if it.core.log.snapshot_index > own.base_index:
        own.base_index = it.core.log.snapshot_index
        own.base_term = it.core.log.snapshot_term
        own.base_due = True
    return it.core.own_snapshot_index == own.index


cdef int submit_base(Loop *it) except -1 nogil:
    """Says to the log where it begins now, so that it deletes or uses again what lies before. Tried again when it is busy."""
    cdef Snapshots *own = snapshots_of(it)
    cdef Submission what
    cdef Ticket made
    cdef int answer
    what.hard = NULL
    what.base_kind = SUBMIT_BASE
    what.base.index = own.base_index
    what.base.term = own.base_term
    what.entries = NULL
    what.count = 0
    what.first_index = 0
    what.essential = True
    what.broken_rule = NULL
    made.core = 0
    answer = wal_submit(<Wal *>it.wal, &what, &made.wal)
    if answer == WAL_ACCEPTED:
        own.base_due = False
        it.tickets.push_back(made)
    elif answer == WAL_INVALID:
        return rule_broken(it, what.broken_rule)
    return 0


cdef int snapshots_begin(Loop *it, step_function step) except -1 nogil:
    if snapshots_of(it).index:
        tell_core(it, step)
    return 0


# Our own -----------------------------------------------------------------------------------------------------------------


cdef void snapshots_applied(Loop *it, const Update *update) noexcept nogil:
    cdef Snapshots *own = snapshots_of(it)
    cdef uint64_t bytes = 0
    cdef size_t i
    for i in range(update.apply.size()):
        bytes += update.apply[i].length
    own.since += bytes + update.apply.size() * <uint64_t>ENTRY_COST


cdef uint64_t draw_id(Snapshots *own) noexcept nogil:
    """Names one making of a snapshot, so that chunks of another are never taken for its own. Not 0."""
    cdef uint64_t z
    own.random += <uint64_t>0x9E3779B97F4A7C15
    z = own.random
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return (z ^ (z >> 31)) | 1


cdef int put_configuration(SnapshotJob *job, const Configuration *it, uint64_t index) except -1 nogil:
    cdef EntryRef encoded
    configuration_encode(it, &encoded)
    job.configuration.resize(encoded.length)
    memcpy(job.configuration.data(), entry_bytes(<const entry *>&encoded), encoded.length)
    job.configuration_index = index
    return 0


cdef int begin_own(Loop *it, uint64_t now) except -1 nogil:
    """Holds the store as it is now, and has it written."""
    cdef Snapshots *own = snapshots_of(it)
    cdef uint64_t term, configuration_index
    cdef Configuration *configuration
    cdef SnapshotJob *job
    if it.applied <= it.core.own_snapshot_index or not log_term(&it.core.log, it.applied, &term):
        return 0
    configuration = log_configuration(&it.core.log, it.applied, &configuration_index)
    if configuration.incoming.empty():
        return 0  # a node that joined and does not know yet who decides: nobody could use it (Raft §7)
    job = new SnapshotJob()
    job.kind = JOB_MAKE
    job.content = snapshot_begin(<StoreState *>it.store)
    job.index = snapshot_index(<SnapshotWriter *>job.content)
    job.term = term
    job.id = draw_id(own)
    job.begun_at = now
    put_configuration(job, configuration, configuration_index)
    own.own = PROGRESS_WORKING
    own.since_before = own.since
    return worker_put(&own.maker, job)


cdef int own_failed(Loop *it, SnapshotJob *job) except -1 nogil:
    """Without it the log only grows; it is tried again after a pause."""
    cdef Snapshots *own = snapshots_of(it)
    own.own = PROGRESS_NONE
    own.pause = min(max(2 * own.pause, PAUSE_FIRST), PAUSE_MAX)
    own.retry_at = clock_microseconds() + own.pause
    return note_failure(it, job)


cdef int note_failure(Loop *it, SnapshotJob *job) except -1 nogil:
    pthread_mutex_lock(&it.lock)
    snapshots_of(it).figures.failed += 1
    snapshots_of(it).trouble = job.words
    pthread_mutex_unlock(&it.lock)
    return 0


cdef int keep_newest(Loop *it, SnapshotJob *job) except -1 nogil:
    """The file of this job is the newest that there is."""
    cdef Snapshots *own = snapshots_of(it)
    own.index = job.index
    own.term = job.term
    own.id = job.id
    own.size = job.size
    if own.memory:
        if own.fd >= 0:
            io_close(own.fd)
        own.fd = job.fd
        job.fd = -1
    return 0


cdef int maybe_seal(Loop *it) except -1 nogil:
    """What is written gets its name once the log has its last entry, durably and by term."""
    cdef Snapshots *own = snapshots_of(it)
    cdef SnapshotJob *job = own.made
    if job.index <= own.index:
        job.kind = JOB_DISCARD  # a newer one was installed meanwhile
        own.own = PROGRESS_NONE
    elif it.core.persisted_index < job.index or it.core.last_applied < job.index or own.incoming == PROGRESS_ENDING:
        return 0
    else:
        job.kind = JOB_SEAL
        job.old_index = own.index
        job.old_term = own.term
        own.own = PROGRESS_ENDING
    own.made = NULL
    return worker_put(&own.maker, job)


cdef int own_sealed(Loop *it, SnapshotJob *job, step_function step) except -1 nogil:
    cdef Snapshots *own = snapshots_of(it)
    own.own = PROGRESS_NONE
    own.pause = 0
    own.since -= own.since_before
    if it.disk_full:
        own.retry_at = clock_microseconds() + PAUSE_FIRST  # not after each entry, if this one was no help
    keep_newest(it, job)
    pthread_mutex_lock(&it.lock)
    own.figures.made += 1
    own.figures.last_us = clock_microseconds() - job.begun_at
    pthread_mutex_unlock(&it.lock)
    tell_core(it, step)
    return 0


cdef void count(Loop *it, uint64_t *figure) noexcept nogil:
    """Others read figures while the loop writes them."""
    pthread_mutex_lock(&it.lock)
    figure[0] += 1
    pthread_mutex_unlock(&it.lock)


# Sending -----------------------------------------------------------------------------------------------------------------


cdef int snapshots_send(Loop *it, Message *message) except -1 nogil:
    cdef Snapshots *own = snapshots_of(it)
    cdef SnapshotJob *job
    cdef size_t i
    for i in range(own.reads.size()):
        job = own.reads[i]
        if job.message.receiver == message.receiver and job.id == message.digest and job.offset == message.offset:
            return 0  # asked for again while it is read
    job = new SnapshotJob()
    job.kind = JOB_READ
    job.index = message.index
    job.term = message.log_term
    job.id = message.digest
    job.size = message.size
    job.offset = message.offset
    job.message = message[0]
    if own.memory and own.fd >= 0 and own.id == job.id:
        job.fd = fcntl(own.fd, F_DUPFD_CLOEXEC, 0)
    own.reads.push_back(job)
    return worker_put(&own.carrier, job)


cdef int chunk_read(Loop *it, SnapshotJob *job, step_function step) except -1 nogil:
    cdef Snapshots *own = snapshots_of(it)
    cdef Event event
    cdef size_t i
    for i in range(own.reads.size()):
        if own.reads[i] == job:
            own.reads.erase(own.reads.begin() + i)
            break
    if it.core.role != LEADER or it.core.current_term != job.message.term:
        return 0
    if job.result:
        note_failure(it, job)
        event.type = SNAPSHOT_FAILED
        event.index = job.index
        event.id = job.message.receiver
        return step(it, &event)
    job.message.data = job.data
    if peers_send(&it.peers, &job.message, clock_microseconds()) == PEERS_QUEUED:
        count(it, &own.figures.chunks_sent)
    return 0


# Receiving ---------------------------------------------------------------------------------------------------------------


cdef int snapshots_take(Loop *it, Update *update) except -1 nogil:
    cdef Snapshots *own = snapshots_of(it)
    cdef SnapshotChunk *chunk = &update.chunk
    cdef SnapshotJob *job = new SnapshotJob()
    cdef size_t i
    job.kind = JOB_WRITE
    job.first = chunk.offset == 0
    job.last = chunk.done
    job.index = chunk.index
    job.term = chunk.term
    job.id = chunk.digest
    job.size = chunk.size
    job.offset = chunk.offset
    job.data = chunk.data
    if job.first:
        put_configuration(job, &chunk.configuration, chunk.configuration_index)
        own.incoming = PROGRESS_WORKING
        own.incoming_index = chunk.index
        own.incoming_term = chunk.term
        own.incoming_id = chunk.digest
        own.incoming_size = chunk.size
    # The answer asks for the next chunk. It waits until this one is written, so that a slow disk is not flooded.
    for i in range(update.messages_after.size()):
        if update.messages_after[i].type == INSTALL_SNAPSHOT_RESPONSE:
            job.message = move(update.messages_after[i])
            job.has_message = True
            update.messages_after.erase(update.messages_after.begin() + i)
            break
    job.ticket = it.wanted_ticket
    return worker_put(&own.carrier, job)


cdef int refuse_incoming(Loop *it, uint64_t index, step_function step) except -1 nogil:
    """It cannot be installed; the core tells the leader, which begins anew after a pause."""
    cdef Event event
    snapshots_of(it).incoming = PROGRESS_NONE
    event.type = SNAPSHOT_FAILED
    event.index = index
    return step(it, &event)


cdef int chunk_written(Loop *it, SnapshotJob *job, step_function step) except -1 nogil:
    cdef Snapshots *own = snapshots_of(it)
    if own.incoming != PROGRESS_WORKING or own.incoming_id != job.id or job.result == SNAPSHOT_STALE:
        return 0
    if job.result:
        note_failure(it, job)
        return refuse_incoming(it, job.index, step)
    count(it, &own.figures.chunks_received)
    if job.has_message:
        if it.durable_ticket >= job.ticket:
            peers_send(&it.peers, &job.message, clock_microseconds())
        else:
            it.held.push_back(Held())
            it.held.back().ticket = it.wanted_ticket
            it.held.back().messages.push_back(move(job.message))
    if job.last:
        own.incoming = PROGRESS_WRITTEN
        own.incoming_ticket = job.ticket
    return 0


cdef int maybe_install(Loop *it, step_function step) except -1 nogil:
    """All is written. It gets its name once the hard state of the step that brought the last chunk is durable."""
    cdef Snapshots *own = snapshots_of(it)
    cdef SnapshotJob *job
    if it.durable_ticket < own.incoming_ticket or own.own == PROGRESS_ENDING:
        return 0
    if own.incoming_index <= own.index:
        # One of our own became newer meanwhile; its file must not go.
        give_up(own)
        return refuse_incoming(it, own.incoming_index, step)
    job = new SnapshotJob()
    job.kind = JOB_INSTALL
    job.index = own.incoming_index
    job.term = own.incoming_term
    job.id = own.incoming_id
    job.size = own.incoming_size
    job.old_index = own.index
    job.old_term = own.term
    own.incoming = PROGRESS_ENDING
    return worker_put(&own.carrier, job)


cdef int give_up(Snapshots *own) except -1 nogil:
    cdef SnapshotJob *job = new SnapshotJob()
    job.kind = JOB_DROP
    own.incoming = PROGRESS_NONE
    return worker_put(&own.carrier, job)


cdef int newer(const SnapshotJob *job) except -1 nogil:
    with gil:
        raise NodeFailed((<bytes>job.words).decode())


cdef int cut_log(Loop *it, uint64_t index, uint64_t term) except -1 nogil:
    """Figure 13, rules 6 and 7: what follows the snapshot stays only if the log has the snapshot's last entry."""
    cdef Snapshots *own = snapshots_of(it)
    cdef Writing *made
    it.backlog.push_back(Writing())
    made = &it.backlog.back()
    made.base_kind = SUBMIT_BASE if log_matches(&it.core.log, index, term) else SUBMIT_RESET
    made.base_index = own.base_index = index
    made.base_term = own.base_term = term
    own.base_due = False
    made.has_hard_state = True
    made.hard_state.term = it.core.current_term
    made.hard_state.vote = it.core.voted_for
    made.hard_state.commit = index
    return disk_push(it)


cdef int installed(Loop *it, SnapshotJob *job, step_function step) except -1 nogil:
    """A store was built from what came, and its file has its name: it takes the place of the old one, in one go."""
    cdef Snapshots *own = snapshots_of(it)
    cdef StoreState *store = <StoreState *>it.store
    cdef StoreState *fresh = <StoreState *>job.state
    cdef SnapshotJob *rest
    cdef Event event
    own.incoming = PROGRESS_NONE
    if job.result:
        note_failure(it, job)
        if job.result == SNAPSHOT_NEWER:
            return newer(job)
        return refuse_incoming(it, job.index, step)
    keep_newest(it, job)
    if job.index > it.core.commit_index:
        cut_log(it, job.index, job.term)
    if fresh.applied_index > store.applied_index:
        # Readers see one change. Watchers are told that events are missing, when they ask for more.
        store_exchange(store, fresh)
        it.applied = job.index
        it.applied_due = False
        own.since = 0
        own.since_before = 0
        requests_overtaken(it)
        begin_reclaiming(own)
    # Sessions and events of the old state: freeing them may take long.
    rest = new SnapshotJob()
    rest.kind = JOB_FREE
    rest.state = fresh
    job.state = NULL
    worker_put(&own.maker, rest)
    count(it, &own.figures.installed)
    event.type = SNAPSHOT_PERSISTED
    event.index = job.index
    event.term = job.term
    return step(it, &event)


# Each turn ---------------------------------------------------------------------------------------------------------------


cdef void begin_reclaiming(Snapshots *own) noexcept nogil:
    own.reclaiming = True
    own.idle = False
    own.left = 0


cdef void reclaim(Loop *it) noexcept nogil:
    """Frees what an old version or an old state held, a portion each turn. While a reader still sees it, nobody hurries."""
    cdef Snapshots *own = snapshots_of(it)
    cdef uint64_t left = forest_reclaim((<StoreState *>it.store).trees, RECLAIM)
    own.idle = left == own.left
    own.left = left
    own.reclaiming = left != 0


cdef SnapshotJob *take_done(Snapshots *own) noexcept nogil:
    cdef SnapshotJob *job = NULL
    pthread_mutex_lock(&own.lock)
    if own.done.empty():
        own.has_done = 0
    else:
        job = own.done.front()
        own.done.pop_front()
    pthread_mutex_unlock(&own.lock)
    return job


cdef int job_done(Loop *it, SnapshotJob *job, step_function step) except -1 nogil:
    cdef Snapshots *own = snapshots_of(it)
    if job.kind == JOB_READ:
        return chunk_read(it, job, step)
    if job.kind == JOB_WRITE:
        return chunk_written(it, job, step)
    if job.kind == JOB_INSTALL:
        return installed(it, job, step)
    if job.kind == JOB_MAKE:
        begin_reclaiming(own)  # what only the held version saw
    if job.kind in (JOB_MAKE, JOB_SEAL) and job.result:
        return own_failed(it, job)
    if job.kind == JOB_SEAL:
        return own_sealed(it, job, step)
    return 0


cdef int take_up(Loop *it, step_function step) except -1 nogil:
    cdef Snapshots *own = snapshots_of(it)
    cdef SnapshotJob *job
    while True:
        job = take_done(own)
        if job == NULL:
            return 0
        if job.kind == JOB_MAKE and job.result == 0:
            begin_reclaiming(own)
            own.own = PROGRESS_WRITTEN
            own.made = job
            continue
        if (<job_function>job_done)(it, job, step) < 0:
            job_free(own, job)
            return -1
        job_free(own, job)


ctypedef int (*job_function)(Loop *it, SnapshotJob *job, step_function step) noexcept nogil


cdef int snapshots_turn(Loop *it, step_function step) except -1 nogil:
    cdef Snapshots *own = snapshots_of(it)
    cdef uint64_t now
    if flag_get(&own.has_done):
        take_up(it, step)
    if own.own == PROGRESS_WRITTEN:
        maybe_seal(it)
    if own.incoming == PROGRESS_WRITTEN:
        maybe_install(it, step)
    elif own.incoming == PROGRESS_WORKING and it.core.commit_index >= own.incoming_index:
        # The log caught up by itself. The core is told, which else would wait for its last chunk for ever.
        give_up(own)
        refuse_incoming(it, own.incoming_index, step)
    if own.base_due:
        submit_base(it)
    # A full disk is a reason of its own: a shorter log may give it a segment.
    if own.own == PROGRESS_NONE and own.log_bytes and (
        own.since >= max(own.log_bytes, own.size) or (it.disk_full and own.since)
    ):
        now = clock_microseconds()
        if now >= own.retry_at:
            begin_own(it, now)
    if own.reclaiming:
        reclaim(it)
    return 0


cdef bint snapshots_busy(Loop *it) noexcept nogil:
    cdef Snapshots *own = snapshots_of(it)
    return own.reclaiming and not own.idle


cdef object snapshots_status(Loop *it):
    cdef Snapshots *own = snapshots_of(it)
    cdef SnapshotFigures seen
    cdef string words
    pthread_mutex_lock(&it.lock)
    seen = own.figures
    words = own.trouble
    pthread_mutex_unlock(&it.lock)
    return {
        "index": seen.index, "bytes": seen.bytes, "made": seen.made, "installed": seen.installed, "failed": seen.failed,
        "chunks_sent": seen.chunks_sent, "chunks_received": seen.chunks_received, "log_bytes": seen.log_bytes,
        "last_seconds": seen.last_us / 1e6, "making": bool(seen.making), "receiving": bool(seen.receiving),
        "trouble": (<bytes>words).decode() or None,
    }


cdef void snapshots_publish(Loop *it) noexcept nogil:
    """The figures of this turn; under the loop's lock."""
    cdef Snapshots *own = snapshots_of(it)
    own.figures.index = own.index
    own.figures.bytes = own.size
    own.figures.log_bytes = own.since
    own.figures.making = own.own != PROGRESS_NONE
    own.figures.receiving = own.incoming != PROGRESS_NONE
