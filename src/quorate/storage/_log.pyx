# distutils: language = c++
# distutils: sources = csrc/record.c csrc/crc32c.c csrc/buffer.c
"""The handle of a write-ahead log: opens and repairs it, and lets Python append, wait and read.

Native threads do not come through here: they call wal_submit and wal_state (_wal.pxd) on the `wal` of an open handle,
without the GIL. Knows nothing of Raft beyond terms, indexes and votes.
"""

import errno as errno_names
import os
import time

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from quorate.errors import InvalidArgument, NodeFailed, Overloaded, StorageError
from quorate.storage._io import check, remove_file, sync_file
from quorate.storage._replay import replay

from quorate.storage._csrc cimport (
    ENTRY_KINDS,
    RECORD_MARK,
    RECORD_PAYLOAD_MAX,
    SEGMENT_HEADER,
    buffer,
    buffer_new,
    buffer_release,
    entry,
    getpid,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    record_is_zero,
    record_size,
)
from quorate.storage._io cimport Faults, io_close, io_open, io_read, io_size, table_of
from quorate.storage._replay cimport Replayed
from quorate.storage._segment cimport (
    SEAL_BYTES,
    log_end_batch,
    log_put,
    log_write_preface,
    reserve_path,
    segment_activate,
    segment_build,
    segment_fill,
)
from quorate.storage._wal cimport (
    SUBMIT_BASE,
    SUBMIT_NOTHING,
    SUBMIT_RESET,
    WAL_ACCEPTED,
    WAL_BUSY,
    WAL_FAILED,
    WAL_FULL,
    WAL_INVALID,
    WAL_TOO_LARGE,
    Completion,
    HardState,
    Position,
    SegmentInfo,
    Submission,
    Wal,
    WalFigures,
    wal_figures,
    wal_free,
    wal_new,
    wal_start,
    wal_state,
    wal_stop,
    wal_submission_max,
    wal_submit,
    wal_wait,
)


cdef extern from "<fcntl.h>" nogil:
    enum:
        O_RDWR

SEGMENT_BYTES = 32 * 1024 * 1024
"""Size of a segment unless one asks for another, in bytes."""
SEGMENT_BYTES_MIN = 4096
FAILED_ADVICE = (
    "The node stops, because what the kernel still holds of a failed write cannot be known. Nothing acknowledged is "
    "lost; look at the disk, then start the node again"
)


@cython.final
cdef class Log:
    """A durable (or, by name, a volatile) log of hard states and entries.

    ``Log(directory)`` opens the log of a :class:`DataDirectory`, replays it, cuts a torn tail, and starts its
    threads. ``Log(None, identity=…)`` is ``durability="memory"``: the same interface, no files, everything complete
    at once, nothing there next time.

    Options: ``segment_bytes`` for a log not made yet (at least 4096; an entry must fit into a segment);
    ``notify_fd``, an eventfd or pipe that is written whenever :attr:`completed`, :attr:`full` or :attr:`failed`
    changes; ``sync=False`` leaves out fdatasync, for benchmarks; ``progress(done, all)`` is called per segment read;
    ``faults`` is for tests.

    Raises StorageError (file, offset, reason, advice) if the log is anything but whole up to a torn tail.

    >>> import tempfile
    >>> from quorate.storage import DataDirectory, Log
    >>> with tempfile.TemporaryDirectory() as path, DataDirectory(path, node=1) as directory:
    ...     with Log(directory, segment_bytes=65536) as log:
    ...         log.wait(log.append([(1, b"first"), (1, b"second")], hard_state=(1, 1, 0)))
    ...     with Log(directory) as log:
    ...         log.recovered.hard_state, log.recovered.entries()
    (1, 2)
    ((1, 1, 0), [(1, 1, 0, b'first'), (2, 1, 0, b'second')])
    """

    def __cinit__(self, directory, *, identity=None, segment_bytes=None, bint sync=True, int notify_fd=-1,
                  progress=None, Faults faults=None):
        cdef uint64_t size = SEGMENT_BYTES if segment_bytes is None else segment_bytes
        if size < SEGMENT_BYTES_MIN or size % 512:
            raise InvalidArgument(f"segment_bytes is a multiple of 512, at least {SEGMENT_BYTES_MIN}, not {size}")
        if directory is None and identity is None:
            raise InvalidArgument("a log without a directory needs an identity")
        self.closed_ = True
        self.directory = directory
        self.identity = identity if directory is None else directory.identity
        self.report = []
        self.faults = faults
        self.wal = wal_new()
        self.wal.notify_fd = notify_fd
        self.wal.sync = sync
        self.wal.random = int.from_bytes(os.urandom(8), "little") | 1
        self.wal.faults = table_of(faults)
        if directory is None:
            self.wal.memory = True
            self.wal.identity.segment_bytes = 1 << 62
        else:
            open_files(self, size, progress)
        wal_start(self.wal)
        self.closed_ = False

    def __dealloc__(self):
        if self.wal == NULL:
            return
        if not self.closed_ and self.wal.pid != getpid():
            return  # a forked child: the threads are the parent's, and the lock may be held by one of them
        with nogil:
            wal_stop(self.wal)
            wal_free(self.wal)

    def close(self):
        """Writes what was accepted, and a mark that it is durable; ends the threads. Does nothing the second time."""
        if self.closed_:
            return
        mine(self)
        self.closed_ = True
        with nogil:
            wal_stop(self.wal)

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()

    def append(self, entries=(), *, first_index=None, hard_state=None, base=None, reset=None, bint essential=False,
               double timeout=30.0):
        """Hands one step of Raft to the disk, in this order: hard state, snapshot position, entries. Returns a ticket.

        ``entries``: (term, bytes) or (term, bytes, kind) each; they begin at ``first_index`` (the next one if None),
        and replace what was there from that index on. ``hard_state``: (term, vote or 0 or None, commit). ``base``:
        (term, index) up to which a snapshot covers the entries; they are dropped. ``reset``: (term, index) of a
        snapshot that replaces the whole log. ``essential`` entries (deletes, releases, expiries) are admitted from
        the reserve of a full disk.

        Waits up to ``timeout`` seconds while the queue is full, then raises Overloaded, as it does at once on a full
        disk. Raises InvalidArgument for what breaks a rule of the log, StorageError if the disk has failed. All or
        nothing is taken.
        """
        cdef Submission what
        cdef HardState hard
        cdef vector[entry] made
        cdef buffer *shared = NULL
        cdef uint64_t ticket = 0
        cdef size_t i
        cdef int answer
        mine(self)
        end = time.monotonic() + timeout
        what.hard = NULL
        what.broken_rule = NULL
        if hard_state is not None:
            hard.term, hard.vote, hard.commit = hard_state[0], hard_state[1] or 0, hard_state[2]
            what.hard = &hard
        what.base_kind = SUBMIT_NOTHING
        if base is not None and reset is not None:
            raise InvalidArgument("a base and a reset cannot go together")
        if base is not None or reset is not None:
            what.base_kind = SUBMIT_BASE if reset is None else SUBMIT_RESET
            what.base.term, what.base.index = base if reset is None else reset
        try:
            shared = fill(entries, &made)
            what.entries = made.data()
            what.count = made.size()
            pthread_mutex_lock(&self.wal.lock)
            what.first_index = self.wal.submitted_last.index + 1
            if what.base_kind == SUBMIT_RESET:
                what.first_index = what.base.index + 1
            pthread_mutex_unlock(&self.wal.lock)
            if first_index is not None:
                what.first_index = first_index
            what.essential = essential
            while True:
                with nogil:
                    answer = wal_submit(self.wal, &what, &ticket)
                if answer != WAL_BUSY:
                    break
                wait_for_room(self)
                if time.monotonic() >= end:
                    raise Overloaded("the queue of the disk is full")
        finally:
            buffer_release(shared)
        refuse(self, answer, what.broken_rule)
        return ticket

    def wait(self, ticket=None, double timeout=30.0):
        """Waits until the ticket (None: everything accepted) is durable; (term, index) of the last durable entry.

        Raises StorageError if the disk has failed, TimeoutError after ``timeout`` seconds.
        """
        cdef uint64_t wanted
        cdef double slice_seconds
        cdef int answer = 0
        mine(self)
        pthread_mutex_lock(&self.wal.lock)
        last = self.wal.next_ticket - 1
        pthread_mutex_unlock(&self.wal.lock)
        wanted = last if ticket is None else ticket
        if wanted > last:
            raise InvalidArgument(f"ticket {wanted} was never given out")
        end = time.monotonic() + timeout
        while answer == 0:
            slice_seconds = min(max(end - time.monotonic(), 0.0), 0.1)  # signals get their turn ten times a second
            with nogil:
                answer = wal_wait(self.wal, wanted, slice_seconds)
            PyErr_CheckSignals()
            if answer == 0 and time.monotonic() >= end:
                raise TimeoutError(f"ticket {wanted} is not durable yet")
        if answer < 0:
            raise failure(self)
        return self.completed[1:]

    sync = wait

    @property
    def completed(self):
        """What is durable: (ticket, term, index), the latter two of the log's last entry as of that ticket."""
        cdef Completion completion
        state(self, &completion)
        return completion.ticket, completion.term, completion.index

    @property
    def full(self):
        """Whether the disk has no room for a next segment. Recovers by itself when there is room."""
        cdef Completion ignored
        cdef cbool full = False
        mine(self)
        wal_state(self.wal, &ignored, &full)
        return bool(full)

    @property
    def failed(self):
        """The StorageError that ended this log, or None."""
        cdef Completion ignored
        return failure(self) if state(self, &ignored) else None

    @property
    def last(self):
        """(term, index) of the last entry accepted."""
        cdef Position last
        mine(self)
        pthread_mutex_lock(&self.wal.lock)
        last = self.wal.submitted_last
        pthread_mutex_unlock(&self.wal.lock)
        return last.term, last.index

    @property
    def segments(self):
        """Sequences of the segments that hold the log."""
        mine(self)
        pthread_mutex_lock(&self.wal.lock)
        try:
            return [self.wal.segments[i].sequence for i in range(<int>self.wal.segments.size())]
        finally:
            pthread_mutex_unlock(&self.wal.lock)

    @property
    def statistics(self):
        """What was written since opening: ``batches``, ``bytes``, and how long fdatasync took, in microseconds:
        ``sync_p50_us`` and ``sync_p99_us`` of the last few thousand (within 7 %), ``sync_max_us``, ``sync_sum_us`` and
        ``syncs``, how many there were, since opening."""
        cdef WalFigures seen
        mine(self)
        wal_figures(self.wal, &seen)
        return {"batches": seen.batches, "bytes": seen.bytes, "syncs": seen.syncs, "sync_sum_us": seen.sync_sum,
                "sync_max_us": seen.sync_max, "sync_p50_us": seen.sync_p50, "sync_p99_us": seen.sync_p99}

    @property
    def durable(self):
        """Whether anything is kept: false with ``durability="memory"``."""
        return not self.wal.memory

    def read(self):
        """What the files say now, as a :class:`Replayed`, after everything accepted. Slow: for tests and tools."""
        if self.wal.memory:
            raise InvalidArgument("a log in memory keeps nothing to read")
        self.wait()
        end = time.monotonic() + 5.0
        while self.deleting and time.monotonic() < end:
            time.sleep(0.001)  # else a segment might go away between the listing and the reading
        return replay(self.directory.log_path)

    @property
    def deleting(self):
        """Whether segments that a base has freed still wait to be deleted or recycled."""
        mine(self)
        pthread_mutex_lock(&self.wal.lock)
        try:
            return not self.wal.obsolete.empty()
        finally:
            pthread_mutex_unlock(&self.wal.lock)

    def __repr__(self):
        if self.closed_:
            return "Log(closed)"
        ticket, term, index = self.completed
        where = "in memory" if self.wal.memory else repr(self.directory.log_path)
        trouble = ", failed" if self.failed is not None else ", full" if self.full else ""
        return f"Log({where}, durable up to index {index} of term {term}{trouble})"


cdef int mine(Log log) except -1:
    if log.wal.pid != getpid():
        raise NodeFailed(f"this log belongs to process {log.wal.pid}; a forked child cannot use it")
    return 0


cdef int state(Log log, Completion *completion) except? -1:
    cdef cbool full = False
    mine(log)
    return wal_state(log.wal, completion, &full)


cdef failure(Log log):
    """The StorageError of a failed log."""
    pthread_mutex_lock(&log.wal.lock)
    error = -log.wal.error
    what = (<bytes>log.wal.error_what).decode()
    path = (<bytes>log.wal.error_path).decode()
    offset = log.wal.error_offset
    pthread_mutex_unlock(&log.wal.lock)
    return StorageError(f"{what} failed with {errno_names.errorcode.get(error, error)}", file=path, offset=offset,
                        advice=FAILED_ADVICE)


cdef int refuse(Log log, int answer, const char *broken_rule) except -1:
    """Raises for what wal_submit did not accept."""
    if answer == WAL_ACCEPTED:
        return 0
    if answer == WAL_FULL:
        raise Overloaded("the disk has no room for the next segment of the log; make room, the log goes on by itself")
    if answer == WAL_FAILED:
        raise failure(log)
    if answer == WAL_INVALID:
        raise InvalidArgument((<bytes>broken_rule).decode())
    if answer == WAL_TOO_LARGE:
        raise InvalidArgument(f"one submission takes at most {wal_submission_max(log.wal)} bytes of records")
    raise NodeFailed("the log is closed")


cdef int wait_for_room(Log log) except -1:
    """Until the next completion, or a little: room also comes with a new reserve."""
    cdef uint64_t next_ticket
    pthread_mutex_lock(&log.wal.lock)
    next_ticket = log.wal.completion.ticket + 1
    pthread_mutex_unlock(&log.wal.lock)
    with nogil:
        wal_wait(log.wal, next_ticket, 0.01)
    PyErr_CheckSignals()
    return 0


cdef buffer *fill(entries, vector[entry] *made) except? NULL:
    """All payloads in one buffer; the entries borrow from it. NULL without an error if there is no byte."""
    cdef buffer *shared
    cdef uint64_t total = 0
    cdef uint32_t at = 0
    cdef entry it
    cdef bytes data
    parts = [(one[0], one[1], one[2] if len(one) > 2 else 0) for one in entries]
    for _, data, kind in parts:
        if len(data) > RECORD_PAYLOAD_MAX:
            raise InvalidArgument(f"an entry has at most {RECORD_PAYLOAD_MAX} bytes, not {len(data)}")
        if not 0 <= kind < ENTRY_KINDS:
            raise InvalidArgument(f"{kind} is no kind of entry")
        total += len(data)
    if total >= 1 << 32:
        raise InvalidArgument("the entries of one submission have at most 4 GiB")
    shared = buffer_new(<uint32_t>total)
    if shared == NULL:
        raise MemoryError
    made.reserve(len(parts))
    for term, data, kind in parts:
        it.term = term
        it.length = <uint32_t>len(data)
        it.kind = kind
        it.offset = at
        it.data = shared if it.length else NULL
        memcpy(shared.bytes + at, <const char *>data, it.length)
        at += it.length
        made.push_back(it)
    return shared


# Opening -------------------------------------------------------------------------------------------------------------


cdef int open_files(Log log, uint64_t segment_bytes, progress) except -1:
    """Replays the log of the directory, or makes it; leaves the writer's cursor behind the last good record."""
    cdef Wal *wal = log.wal
    directory = log.directory
    identity = directory.identity
    if directory.closed:
        raise InvalidArgument("the data directory is closed")
    path = directory.log_path
    wal.directory = (path + "/").encode()
    memcpy(wal.identity.cluster, <const char *>(<bytes>identity.cluster), 16)
    wal.identity.node = identity.node
    wal.identity.incarnation = identity.incarnation
    found = replay(path, log.faults, progress=progress)
    log.recovered = found
    if found.segments and not directory.committed:
        forget_interrupted(log, found)
        found = log.recovered = replay(path, log.faults)
    if not found.segments:
        if directory.committed:
            raise StorageError("the log is gone: the directory has an identity and no segment", file=path,
                               advice="Remove this node from the cluster and add it again with an empty directory")
        wal.identity.segment_bytes = segment_bytes
        begin(log)
        directory.commit()
        return 0
    if (found.cluster, found.node, found.incarnation) != (identity.cluster, identity.node, identity.incarnation):
        raise StorageError("the log belongs to another cluster, node or incarnation than IDENTITY says",
                           file=found.segments[0][0], offset=32, advice="Files of different directories were mixed")
    wal.identity.segment_bytes = found.segment_bytes
    resume(log, found)
    return 0


cdef int forget_interrupted(Log log, Replayed found) except -1:
    """Segments without IDENTITY: the first start was interrupted, if nothing was ever written by a node."""
    if len(found.segments) > 1 or found.last != (0, 0) or found.hard_state != (0, 0, 0):
        raise StorageError("IDENTITY is missing, and the log is not empty", file=str(log.directory.path / "IDENTITY"),
                           advice="Restore the file from a backup; it says whose data this is")
    remove_file(found.segments[0][0], log.faults)
    log.report.append("an interrupted first start was begun again")
    return 0


cdef int begin(Log log) except -1:
    """The first segment of a new log."""
    cdef Wal *wal = log.wal
    cdef SegmentInfo info
    cdef uint32_t chain = 0
    cdef int result
    with nogil:
        result = segment_build(wal)
    check(result, "making the first segment", log.directory.log_path,
          advice=f"The log needs twice {wal.identity.segment_bytes} bytes to begin with")
    with nogil:
        result = segment_activate(wal, 1, 0, &wal.fd, &chain)
    if result < 0:
        raise failure(log)
    wal.sequence = 1
    start_at(wal, SEGMENT_HEADER, chain)
    info.sequence = 1
    info.last_index = 0
    wal.segments.push_back(info)
    return open_batch(log)


cdef void start_at(Wal *wal, uint64_t offset, uint32_t chain) noexcept nogil:
    wal.cursor.offset = wal.flushed = offset
    wal.cursor.chain = chain
    wal.cursor.batch = 0xFFFF
    wal.cursor.ended = 1


cdef int resume(Log log, Replayed found) except -1:
    """Repairs what a crash may leave, and goes on behind the last good record."""
    cdef Wal *wal = log.wal
    cdef SegmentInfo info
    cdef uint64_t start, end
    cdef int result
    # A killed process leaves writes that only the kernel holds: read back, they count as durable from here on. Older
    # segments were synced before the next one got its first record.
    for path, *_ in found.segments[max(0, len(found.segments) - 2):]:
        sync_file(path, log.faults)
    for path, sequence, last_index, sealed, offset in found.segments:
        info.sequence = sequence
        info.last_index = last_index
        wal.segments.push_back(info)
    if found.orphan is not None:
        remove_file(found.orphan, log.faults)
        log.report.append(f"{found.orphan}: removed, it has no record; a crash interrupted the change to this segment")
    wal.fd = check(io_open(wal.faults, path.encode(), O_RDWR), "opening the segment", path)
    wal.sequence = sequence
    wal.salt = found.salt
    wal.cursor = found.cursor
    wal.flushed = found.cursor.offset
    wal.hard = wal.submitted_hard = found.replay.hard
    wal.wanted_commit = wal.hard.commit
    wal.base = wal.submitted_base = found.replay.base
    wal.last = wal.submitted_last = found.replay.last
    wal.completion.term = wal.last.term
    wal.completion.index = wal.last.index
    if found.cut is not None:
        _, start, length, reason = found.cut
        end = start + <uint64_t>length
        with nogil:
            result = segment_fill(wal, wal.fd, start, end, False)
        check(result, "clearing the torn tail", path, offset=start)
        log.report.append(f"{path}, offset {start}: an incomplete last write of {length} bytes was cut ({reason}); it "
                          "was never acknowledged")
    check_reserve(log)
    return open_batch(log)


cdef int check_reserve(Log log) except -1:
    """Keeps the reserve of the last run if it is whole and unused; else it is made again."""
    cdef Wal *wal = log.wal
    cdef uint8_t header[SEGMENT_HEADER]
    cdef int64_t size
    cdef int fd
    path = (<bytes>reserve_path(wal)).decode()
    if os.path.exists(path + ".new"):
        remove_file(path + ".new", log.faults)
    if not os.path.exists(path):
        return 0
    fd = check(io_open(wal.faults, path.encode(), O_RDWR), "opening the reserve", path)
    size = io_size(fd)
    # Nothing but a header is ever written into the reserve, and it gets its name only when all of it is zero and
    # durable.
    whole = (size == <int64_t>wal.identity.segment_bytes
             and check(io_read(wal.faults, fd, header, SEGMENT_HEADER, 0), "reading", path) == SEGMENT_HEADER
             and record_is_zero(header, SEGMENT_HEADER))
    io_close(fd)
    if whole:
        wal.reserve_ready = True
    else:
        remove_file(path, log.faults)
    return 0


cdef int open_batch(Log log) except -1:
    """Writes a batch of its own: it proves that everything in front of it was durable when the log was opened."""
    cdef Wal *wal = log.wal
    cdef int result = 0
    with nogil:
        if wal.cursor.offset == SEGMENT_HEADER:
            result = log_write_preface(wal)
        elif wal.cursor.offset + record_size(0) + SEAL_BYTES > wal.identity.segment_bytes and not wal.reserve_ready:
            result = segment_build(wal)
            wal.reserve_ready = result == 0
    check(result, "making the next segment", log.directory.log_path, advice="Make room on the disk and start again")
    with nogil:
        result = log_put(wal, RECORD_MARK, wal.last.term, wal.last.index, NULL, 0)
        if result == 0:
            result = log_end_batch(wal)
    if result < 0:
        raise failure(log)
    return 0
