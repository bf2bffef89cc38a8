# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/poller.c
"""The two threads that read and write snapshot files, so that the loop never waits for such a file.

The maker writes this node's own snapshots: seconds of work for a large store, read from a version of it that is held while
entries go on being applied. The carrier reads chunks for followers and writes chunks that come, one at a time, and builds a
store from the whole; it is another thread, so that a follower does not wait while this node makes a snapshot of its own.

Both take jobs from a queue and put them back into one that the loop looks at; neither touches anything of the loop's. They
take the GIL only to put the reason of a failure into words. A file gets its name only when it is durable and was read back
from the disk: what has a name can be loaded. Knows nothing of when a snapshot is due, and nothing of Raft.
"""

from libc.errno cimport EBADMSG, EINVAL, ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from libcpp.string cimport string

from quorate.raft._types cimport EntryRef, buffer, buffer_new, buffer_release, entry, entry_bytes
from quorate.runtime._snapshot_work cimport *
from quorate.runtime._snapshots cimport *
from quorate.runtime._structs cimport *
from quorate.runtime._threads cimport take_exception, thread_start
from quorate.storage._chunks cimport (
    Reader,
    Writer,
    reader_free,
    reader_new,
    reader_open,
    reader_prove,
    reader_read,
    snapshot_file,
    snapshot_remove,
    writer_append,
    writer_begin,
    writer_free,
    writer_name,
    writer_new,
    writer_place,
    writer_seal,
)
from quorate.storage._csrc cimport snapshot_head
from quorate.storage._io cimport FaultTable, io_close, io_open, io_unlink
from quorate.store._csrc cimport COMMAND_VERSION
from quorate.store._snapshot cimport (
    SnapshotReader,
    SnapshotWriter,
    restore_begin,
    restore_feed,
    restore_finish,
    restore_free,
    snapshot_end,
    snapshot_read,
)
from quorate.store._state cimport StoreState, store_free

import errno as errno_names

from quorate.errors import NodeFailed, StorageError


cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC

cdef extern from "<fcntl.h>" nogil:
    enum:
        O_RDONLY
        F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, int argument)

cdef extern from *:
    """
    #include <fcntl.h>
    /* What was just written is read back from the disk, not from the memory of the system. */
    static inline void forget_cached(int fd) {
    #if defined(POSIX_FADV_DONTNEED)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    #else
        (void)fd;
    #endif
    }
    """
    void forget_cached(int fd) noexcept nogil

cdef extern from "Python.h" nogil:
    ctypedef struct PyThreadState:
        pass
    ctypedef int PyGILState_STATE
    PyGILState_STATE PyGILState_Ensure()
    void PyGILState_Release(PyGILState_STATE state)
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)


cdef enum:
    CHUNK = 262144       # of a file, and what is done between two looks at whether the node ends
    READERS = 4          # snapshots that are being sent; a name may be gone while one is
    IDLE_SECONDS = 10    # after which files of which nothing is asked are closed


# Words -------------------------------------------------------------------------------------------------------------------


cdef int disk_says(SnapshotJob *job, int result, const char *what) except -1 nogil:
    """Notes that the disk refused, or that a file is damaged. Always 0: the loop decides what becomes of it."""
    job.result = result
    with gil:
        reason = "the file is damaged" if result == -EBADMSG else errno_names.errorcode.get(-result, str(-result))
        job.words = f"{(<bytes>what).decode()}: {reason}".encode()
    return 0


cdef void exception_says(SnapshotJob *job) noexcept with gil:
    """Makes a result of the pending exception."""
    found = take_exception()
    if found is None:
        return
    job.result = -ENOMEM if isinstance(found, MemoryError) else SNAPSHOT_DAMAGED
    if isinstance(found, NodeFailed) and not isinstance(found, StorageError):
        job.result = SNAPSHOT_NEWER
    job.words = str(found).encode()


# Files -------------------------------------------------------------------------------------------------------------------


cdef int begin_file(Snapshots *owner, SnapshotJob *job, void **file) except -1 nogil:
    cdef snapshot_head head
    cdef Writer *made = writer_new(<FaultTable *>owner.faults)
    cdef int result
    file[0] = made
    made.memory = owner.memory
    if not owner.memory:
        writer_place(made, owner.directory, job.index, job.term)
    memcpy(head.cluster, owner.cluster, 16)
    head.node = owner.node
    head.incarnation = owner.incarnation
    head.id = job.id
    head.configuration_index = job.configuration_index
    head.content_format = 0
    head.chunk_bytes = CHUNK
    head.configuration_length = <uint32_t>job.configuration.size()
    head.configuration = job.configuration.data()
    result = writer_begin(made, &head, job.term, job.index, <uint32_t>(job.id ^ job.id >> 32))
    return 0 if result == 0 else disk_says(job, result, made.what)


cdef void drop_file(Snapshots *owner, void **file) noexcept nogil:
    """Closes and deletes an unfinished file."""
    cdef Writer *it = <Writer *>file[0]
    cdef string path
    if it == NULL:
        return
    file[0] = NULL
    if not it.memory and not it.finished:
        path = it.path
        writer_free(it)
        io_unlink(<FaultTable *>owner.faults, path.c_str())
    else:
        writer_free(it)


cdef int finish_file(Snapshots *owner, SnapshotJob *job, void **file) except -1 nogil:
    """Gives a sealed and proven file its name, and deletes the one before."""
    cdef Writer *it = <Writer *>file[0]
    cdef int result = writer_name(it)
    if result < 0:
        return disk_says(job, result, it.what)
    if it.memory:
        job.fd = fcntl(it.fd, F_DUPFD_CLOEXEC, 0)
        if job.fd < 0:
            return disk_says(job, -EINVAL, b"keeping the snapshot in memory")
    elif job.old_index and job.old_index != job.index:
        # The new one is good all the same; what stays is deleted at the next start.
        snapshot_remove(<FaultTable *>owner.faults, owner.directory, job.old_index, job.old_term)
    file[0] = NULL
    writer_free(it)
    return 0


cdef Reader *open_sealed(Snapshots *owner, SnapshotJob *job, Writer *file) except? NULL nogil:
    """A reader of a file that has no name yet; NULL with the job's result set."""
    cdef Reader *made = reader_new(<FaultTable *>owner.faults)
    cdef int result
    forget_cached(file.fd)
    result = reader_open(made, fcntl(file.fd, F_DUPFD_CLOEXEC, 0))
    if result == 0 and (made.content != job.size or made.index != job.index or made.term != job.term):
        result = -EBADMSG
        made.what = b"the snapshot is not what was written"
    if result < 0:
        disk_says(job, result, made.what)
        reader_free(made)
        return NULL
    return made


# The maker ---------------------------------------------------------------------------------------------------------------


cdef int make(SnapshotWorker *it, SnapshotJob *job) except -1 nogil:
    cdef SnapshotWriter *content = <SnapshotWriter *>job.content
    cdef uint8_t *block
    cdef int64_t given = 1
    cdef int result = 0
    begin_file(it.owner, job, &job.file)
    block = <uint8_t *>malloc(CHUNK)
    if block == NULL:
        return disk_says(job, -ENOMEM, b"memory")
    while job.result == 0 and given:
        if flag_get(&it.stopping):
            job.result = SNAPSHOT_STOPPED
            break
        given = snapshot_read(content, block, CHUNK)
        if given > 0:
            result = writer_append(<Writer *>job.file, block, <uint64_t>given)
            if result < 0:
                disk_says(job, result, (<Writer *>job.file).what)
    free(block)
    # The version is given back as early as can be: what it holds is memory.
    job.content = NULL
    snapshot_end(content)
    job.size = (<Writer *>job.file).content
    if job.result:
        drop_file(it.owner, &job.file)
    return 0


cdef int seal(SnapshotWorker *it, SnapshotJob *job) except -1 nogil:
    cdef Writer *file = <Writer *>job.file
    cdef Reader *reader
    cdef int result = writer_seal(file)
    if result < 0:
        disk_says(job, result, file.what)
    elif not file.memory:
        reader = open_sealed(it.owner, job, file)
        if reader != NULL:
            result = reader_prove(reader)
            if result < 0:
                disk_says(job, result, reader.what)
            reader_free(reader)
    if job.result == 0:
        finish_file(it.owner, job, &job.file)
    if job.result:
        drop_file(it.owner, &job.file)
    return 0


# The carrier -------------------------------------------------------------------------------------------------------------


cdef void close_readers(SnapshotWorker *it) noexcept nogil:
    while not it.readers.empty():
        reader_free(<Reader *>it.readers.back())
        it.readers.pop_back()


cdef Reader *reader_for(SnapshotWorker *it, SnapshotJob *job) except? NULL nogil:
    """The open reader of the snapshot, or a new one; NULL with the job's result set."""
    cdef FaultTable *faults = <FaultTable *>it.owner.faults
    cdef Reader *found
    cdef string path
    cdef size_t i
    cdef int fd, result
    for i in range(it.readers.size()):
        found = <Reader *>it.readers[i]
        if found.index == job.index and found.term == job.term and found.head.id == job.id:
            it.readers.erase(it.readers.begin() + i)
            it.readers.push_back(found)
            return found
    found = reader_new(faults)
    if it.owner.memory:
        fd = job.fd
        job.fd = -1
    else:
        path = snapshot_file(it.owner.directory, job.index, job.term, b"snap")
        fd = io_open(faults, path.c_str(), O_RDONLY)
    found.what = b"opening the snapshot"
    result = fd if fd < 0 else reader_open(found, fd)
    if result == 0 and (found.head.id != job.id or found.content != job.size):
        result = -EBADMSG
        found.what = b"the snapshot is another one"
    if result < 0:
        disk_says(job, result, found.what)
        reader_free(found)
        return NULL
    if it.readers.size() == READERS:
        reader_free(<Reader *>it.readers.front())
        it.readers.erase(it.readers.begin())
    it.readers.push_back(found)
    return found


cdef int read_chunk(SnapshotWorker *it, SnapshotJob *job) except -1 nogil:
    cdef Reader *reader = reader_for(it, job)
    cdef entry made
    cdef int64_t got
    if reader == NULL:
        return 0
    made.term = 0
    made.kind = 0
    made.offset = 0
    made.length = <uint32_t>job.message.length
    made.data = buffer_new(made.length)
    if made.data == NULL:
        return disk_says(job, -ENOMEM, b"memory")
    got = reader_read(reader, job.message.offset, made.data.bytes, made.length)
    if got < 0:
        disk_says(job, <int>got, reader.what)
    elif <uint64_t>got != made.length:
        disk_says(job, -EBADMSG, b"the snapshot is shorter than was told")
    job.data = EntryRef(made)
    buffer_release(made.data)  # the job has a reference of its own
    return 0


cdef int write_chunk(SnapshotWorker *it, SnapshotJob *job) except -1 nogil:
    cdef Writer *file
    cdef int result
    if job.first:
        drop_file(it.owner, &it.receiving)
        begin_file(it.owner, job, &it.receiving)
    file = <Writer *>it.receiving
    if job.result == 0 and (file == NULL or file.id != job.id or file.index != job.index or file.content != job.offset):
        job.result = SNAPSHOT_STALE
        return 0
    if job.result == 0:
        result = writer_append(file, entry_bytes(<const entry *>&job.data), job.data.length)
        if result < 0:
            disk_says(job, result, file.what)
    if job.result:
        drop_file(it.owner, &it.receiving)
    return 0


cdef int restore(SnapshotWorker *it, SnapshotJob *job, Reader *reader) except -1 nogil:
    """Builds a store from a whole file, which proves the file."""
    cdef uint8_t *block = <uint8_t *>malloc(CHUNK)
    cdef uint64_t at = 0
    cdef int64_t got = 0
    cdef int result = 0
    cdef StoreState *made
    if block == NULL:
        return disk_says(job, -ENOMEM, b"memory")
    job.restoring = restore_begin(COMMAND_VERSION)
    while at < reader.content:
        if flag_get(&it.stopping):
            job.result = SNAPSHOT_STOPPED
            break
        got = reader_read(reader, at, block, CHUNK)
        if got < 0:
            disk_says(job, <int>got, reader.what)
            break
        result = restore_block(<SnapshotReader *>job.restoring, block, <size_t>got)
        if result < 0:
            break
        at += <uint64_t>got
    free(block)
    if result < 0:
        return -1
    if job.result:
        return 0
    made = restore_finish(<SnapshotReader *>job.restoring)
    job.state = made
    if made.applied_index != job.index or made.applied_term != job.term:
        job.result = SNAPSHOT_DAMAGED
        with gil:
            job.words = f"its content is of entry {made.applied_index} of term {made.applied_term}".encode()
    return 0


ctypedef int (*feed_function)(SnapshotReader *it, const uint8_t *bytes, size_t length) noexcept nogil


cdef int restore_block(SnapshotReader *it, const uint8_t *bytes, size_t length) noexcept nogil:
    """By a type that cannot fail, so that the block is freed before the exception goes on."""
    cdef feed_function feed = <feed_function>restore_feed
    return feed(it, bytes, length)


cdef int install(SnapshotWorker *it, SnapshotJob *job) except -1 nogil:
    cdef Writer *file = <Writer *>it.receiving
    cdef Reader *reader
    cdef int result
    if file == NULL or file.id != job.id or file.index != job.index or file.content != job.size:
        job.result = SNAPSHOT_STALE
        return 0
    result = writer_seal(file)
    if result < 0:
        return disk_says(job, result, file.what)
    reader = open_sealed(it.owner, job, file)
    if reader == NULL:
        return 0
    result = (<restore_function>restore)(it, job, reader)
    reader_free(reader)
    if result < 0:
        return -1
    if job.result == 0:
        finish_file(it.owner, job, &it.receiving)
    return 0


ctypedef int (*restore_function)(SnapshotWorker *it, SnapshotJob *job, Reader *reader) noexcept nogil


# Jobs --------------------------------------------------------------------------------------------------------------------


cdef int work(SnapshotWorker *it, SnapshotJob *job) except -1 nogil:
    if job.kind == JOB_MAKE:
        return make(it, job)
    if job.kind == JOB_SEAL:
        return seal(it, job)
    if job.kind == JOB_DISCARD:
        drop_file(it.owner, &job.file)
        return 0
    if job.kind == JOB_READ:
        return read_chunk(it, job)
    if job.kind == JOB_WRITE:
        return write_chunk(it, job)
    if job.kind == JOB_INSTALL:
        return install(it, job)
    if job.kind == JOB_DROP:
        drop_file(it.owner, &it.receiving)
        return 0
    store_free(<StoreState *>job.state)
    job.state = NULL
    return 0


ctypedef int (*work_function)(SnapshotWorker *it, SnapshotJob *job) noexcept nogil


cdef void do_job(SnapshotWorker *it, SnapshotJob *job) noexcept nogil:
    # By a type that cannot fail, so that a pending exception stays where it is: in this thread's state.
    cdef work_function body = <work_function>work
    if body(it, job) < 0:
        exception_says(job)
    if job.result and job.kind == JOB_INSTALL:
        drop_file(it.owner, &it.receiving)
        store_free(<StoreState *>job.state)
        job.state = NULL
    restore_free(<SnapshotReader *>job.restoring)
    job.restoring = NULL


cdef void job_free(Snapshots *owner, SnapshotJob *job) noexcept nogil:
    if job == NULL:
        return
    snapshot_end(<SnapshotWriter *>job.content)
    drop_file(owner, &job.file)
    restore_free(<SnapshotReader *>job.restoring)
    store_free(<StoreState *>job.state)
    if job.fd >= 0:
        io_close(job.fd)
    del job


cdef SnapshotJob *next_job(SnapshotWorker *it) noexcept nogil:
    """Waits for a job; NULL when the thread is to end."""
    cdef SnapshotJob *job = NULL
    cdef timespec until
    pthread_mutex_lock(&it.lock)
    while it.jobs.empty() and not flag_get(&it.stopping):
        if it.readers.empty():
            pthread_cond_wait(&it.work, &it.lock)
            continue
        clock_gettime(CLOCK_MONOTONIC, &until)
        until.tv_sec += IDLE_SECONDS
        if pthread_cond_timedwait(&it.work, &it.lock, &until) != 0:
            close_readers(it)
    if not flag_get(&it.stopping):
        job = it.jobs.front()
        it.jobs.pop_front()
    pthread_mutex_unlock(&it.lock)
    return job


cdef void give_back(Snapshots *owner, SnapshotJob *job) noexcept nogil:
    pthread_mutex_lock(&owner.lock)
    owner.done.push_back(job)
    flag_set(&owner.has_done)
    pthread_mutex_unlock(&owner.lock)
    poller_wake(owner.poll)


cdef void *run(void *context) noexcept nogil:
    cdef SnapshotWorker *it = <SnapshotWorker *>context
    cdef SnapshotJob *job
    # A thread state, in which an exception survives until it is put into words.
    cdef PyGILState_STATE held = PyGILState_Ensure()
    cdef PyThreadState *state = PyEval_SaveThread()
    while True:
        job = next_job(it)
        if job == NULL:
            break
        do_job(it, job)
        give_back(it.owner, job)
    close_readers(it)
    drop_file(it.owner, &it.receiving)
    PyEval_RestoreThread(state)
    PyGILState_Release(held)
    return NULL


cdef int worker_start(SnapshotWorker *it, Snapshots *owner, const char *name) except -1:
    it.owner = owner
    thread_start(&it.thread, run, it, name)
    it.running = True
    return 0


cdef int worker_put(SnapshotWorker *it, SnapshotJob *job) except -1 nogil:
    pthread_mutex_lock(&it.lock)
    it.jobs.push_back(job)
    pthread_cond_signal(&it.work)
    pthread_mutex_unlock(&it.lock)
    return 0


cdef void worker_stop(SnapshotWorker *it) noexcept nogil:
    if it.running:
        pthread_mutex_lock(&it.lock)
        flag_set(&it.stopping)
        pthread_cond_broadcast(&it.work)
        pthread_mutex_unlock(&it.lock)
        pthread_join(it.thread, NULL)
        it.running = False
    while not it.jobs.empty():
        job_free(it.owner, it.jobs.front())
        it.jobs.pop_front()
