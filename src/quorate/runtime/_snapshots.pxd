# Snapshots in a running node: made, sent, taken in, and the log cut behind them; see _snapshots.pyx.

from libc.stdint cimport int32_t, uint8_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.deque cimport deque
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._types cimport EntryRef, Message, Update
from quorate.runtime._answers cimport step_function
from quorate.runtime._structs cimport Loop, poller, pthread_cond_t, pthread_mutex_t, pthread_t


cdef extern from "quorate/runtime/snapshots.hpp" namespace "quorate" nogil:
    const uint8_t JOB_MAKE
    const uint8_t JOB_SEAL
    const uint8_t JOB_DISCARD
    const uint8_t JOB_FREE
    const uint8_t JOB_READ
    const uint8_t JOB_WRITE
    const uint8_t JOB_DROP
    const uint8_t JOB_INSTALL

    const int32_t SNAPSHOT_DONE
    const int32_t SNAPSHOT_STALE
    const int32_t SNAPSHOT_STOPPED
    const int32_t SNAPSHOT_DAMAGED
    const int32_t SNAPSHOT_NEWER

    const uint8_t PROGRESS_NONE
    const uint8_t PROGRESS_WORKING
    const uint8_t PROGRESS_WRITTEN
    const uint8_t PROGRESS_ENDING

    cdef cppclass SnapshotJob:
        uint8_t kind
        cbool first
        cbool last
        uint64_t index
        uint64_t term
        uint64_t id
        uint64_t size
        uint64_t offset
        uint64_t configuration_index
        vector[uint8_t] configuration
        EntryRef data
        cbool has_message
        Message message
        uint64_t ticket
        uint64_t old_index
        uint64_t old_term
        void *content
        void *file
        void *restoring
        void *state
        int fd
        uint64_t begun_at
        int32_t result
        string words
        SnapshotJob()

    cdef cppclass SnapshotWorker:
        Snapshots *owner
        pthread_t thread
        cbool running
        pthread_mutex_t lock
        pthread_cond_t work
        deque[SnapshotJob *] jobs
        int stopping
        void *receiving
        vector[void *] readers

    cdef cppclass SnapshotFigures:
        uint64_t index
        uint64_t bytes
        uint64_t made
        uint64_t installed
        uint64_t failed
        uint64_t chunks_sent
        uint64_t chunks_received
        uint64_t log_bytes
        uint64_t last_us
        cbool making
        cbool receiving

    cdef cppclass Snapshots:
        void *faults
        string directory
        cbool memory
        uint8_t *cluster
        uint64_t node
        uint64_t incarnation
        uint64_t log_bytes
        poller *poll
        SnapshotWorker maker
        SnapshotWorker carrier
        pthread_mutex_t lock
        deque[SnapshotJob *] done
        int has_done
        uint64_t index
        uint64_t term
        uint64_t id
        uint64_t size
        int fd
        uint8_t own
        SnapshotJob *made
        uint64_t since
        uint64_t since_before
        uint64_t retry_at
        uint64_t pause
        uint8_t incoming
        uint64_t incoming_index
        uint64_t incoming_term
        uint64_t incoming_id
        uint64_t incoming_size
        uint64_t incoming_ticket
        cbool base_due
        uint64_t base_index
        uint64_t base_term
        cbool reclaiming
        cbool idle
        uint64_t left
        vector[SnapshotJob *] reads
        uint64_t random
        SnapshotFigures figures
        string trouble
        Snapshots()


# Before the thread of the node starts; `storage` stays open and alive until after snapshots_stop.
cdef int snapshots_open(Loop *it, object storage, object config, uint64_t seed) except -1
# Starts the two threads that read and write files; with all signals blocked.
cdef int snapshots_start(Loop *it) except -1
# The loop's thread from here on. Tells the core what snapshot there is.
cdef int snapshots_begin(Loop *it, step_function step) except -1 nogil
# A chunk of a snapshot arrived; takes its answer out of the update.
cdef int snapshots_take(Loop *it, Update *update) except -1 nogil
# A follower is to get a chunk; it is sent once it is read.
cdef int snapshots_send(Loop *it, Message *message) except -1 nogil
# So much of the log was applied.
cdef void snapshots_applied(Loop *it, const Update *update) noexcept nogil
# Once a turn: takes up what the threads have done, begins a snapshot if one is due.
cdef int snapshots_turn(Loop *it, step_function step) except -1 nogil
# Whether there is something left to do that nobody will wake the loop for.
cdef bint snapshots_busy(Loop *it) noexcept nogil
# Ends the threads; what they had not finished is deleted. Waits for what the disk is in the middle of.
cdef void snapshots_stop(Loop *it) noexcept nogil
cdef void snapshots_clear(Loop *it) noexcept nogil
# The figures of a turn; under Loop.lock.
cdef void snapshots_publish(Loop *it) noexcept nogil
# For status().
cdef object snapshots_status(Loop *it)
