"""The native write-ahead log: what the runtime and the handle share; see _wal.pyx for the rules."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.storage._csrc cimport (
    entry, histogram, iovec, pthread_cond_t, pthread_mutex_t, pthread_t, record, record_cursor, segment_header
)
from quorate.storage._io cimport FaultTable

# What wal_submit answers; everything but WAL_ACCEPTED means that nothing was taken.
cdef enum:
    WAL_ACCEPTED = 1
    WAL_BUSY = 0        # the queue is full; again after the next notification
    WAL_FULL = -2       # the disk has no room for a next segment; only what must be admitted is, until there is room
    WAL_FAILED = -3     # a write or fsync failed; final
    WAL_INVALID = -4    # the caller breaks a rule of the log; Submission.broken_rule says which
    WAL_TOO_LARGE = -5  # more than wal_submission_max(); give it in pieces
    WAL_CLOSED = -6

cdef enum:
    SCRATCH_BYTES = 1048576  # encoded and not yet written, at most
    SCRATCH_PARTS = 1000     # parts of one vectored write, below IOV_MAX

cdef struct HardState:
    uint64_t term
    uint64_t vote    # 0: none
    uint64_t commit

cdef struct Position:
    uint64_t term
    uint64_t index

# What is durable: everything up to `ticket`. (term, index) is the log's last entry as of that ticket; the two together,
# because an index alone may meanwhile name another entry (ABA).
cdef struct Completion:
    uint64_t ticket
    uint64_t term
    uint64_t index

cdef enum:
    SUBMIT_NOTHING = 0
    SUBMIT_BASE = 1     # drop entries up to `base`, keep the later ones (compaction)
    SUBMIT_RESET = 2    # the snapshot at `base` replaces the whole log

cdef struct Submission:
    const HardState *hard   # or NULL
    int base_kind           # SUBMIT_NOTHING, SUBMIT_BASE, SUBMIT_RESET
    Position base
    const entry *entries    # each is retained for as long as the log needs it
    size_t count
    uint64_t first_index    # of entries[0]; a suffix from there on is replaced
    cbool essential         # admitted from the reserve when the disk is full
    const char *broken_rule # an answer: with WAL_INVALID, which rule of the log this breaks

cdef struct WalOp:
    uint64_t ticket
    HardState hard
    Position base
    uint64_t first_index
    uint64_t bytes
    size_t count
    int base_kind
    cbool has_hard

cdef struct SegmentInfo:
    uint64_t sequence
    uint64_t last_index  # of the log when this segment began: all entries in front of it are at most this

# What was written since opening. Microseconds; the quantiles are those of the last few thousand.
cdef struct WalFigures:
    uint64_t batches
    uint64_t bytes
    uint64_t syncs
    uint64_t sync_sum
    uint64_t sync_max
    uint64_t sync_p50
    uint64_t sync_p99

cdef cppclass Wal:
    # Set before the threads start, constant after.
    string directory        # where the segments lie, with a slash at the end
    FaultTable *faults      # NULL but in tests
    segment_header identity # cluster, node, incarnation, segment_bytes; the rest is per segment
    cbool memory            # no files: everything is complete at once
    cbool sync              # false in benchmarks only
    uint32_t group
    int notify_fd           # an eventfd or pipe that is written after each change below; or -1. Not ours to close
    int pid
    pthread_t writer
    pthread_t keeper
    cbool running

    # Shared; under `lock`.
    pthread_mutex_t lock
    pthread_cond_t work         # the writer waits: operations, or a reserve
    pthread_cond_t keep         # the keeper waits: a reserve to make, a segment to delete
    pthread_cond_t done         # handles wait: completion, failure, room
    vector[WalOp] ops
    vector[entry] entries
    uint64_t pending_bytes      # accepted and not yet written
    uint64_t pending_entries
    uint64_t active_left        # bytes that the active segment still takes
    uint64_t next_ticket
    Completion completion
    HardState submitted_hard
    Position submitted_last
    Position submitted_base
    vector[SegmentInfo] segments
    vector[uint64_t] obsolete   # sequences, ascending, to be recycled or deleted
    cbool reserve_ready
    cbool full                  # no reserve, and the last attempt to make one failed
    int full_error
    cbool stopping
    int error                   # 0, or -errno: final
    const char *error_what
    string error_path
    uint64_t error_offset
    uint64_t batches            # statistics
    histogram sync_times        # microseconds of each fdatasync of a batch
    uint64_t bytes_written

    # The keeper's own.
    cbool recycled          # `reserve.new` is an old segment that waits to be zeroed

    # The writer's own.
    int fd
    uint64_t sequence
    uint32_t salt
    uint64_t random
    record_cursor cursor        # behind the last encoded record
    uint64_t flushed            # file offset of the first byte that is encoded but not written
    HardState hard              # as written
    uint64_t wanted_commit      # as asked for; written once the entries it speaks of are
    Position last
    Position base
    vector[WalOp] working_ops
    vector[entry] working_entries
    uint8_t *scratch
    size_t scratch_used
    iovec *parts
    int part_count
    record held             # the newest record, not yet encoded: it may turn out to end its batch
    const uint8_t *held_payload
    uint8_t *held_vote      # 8 bytes
    cbool holds

cdef Wal *wal_new() except NULL
cdef void wal_free(Wal *wal) noexcept nogil
cdef int wal_start(Wal *wal) except -1
cdef void wal_stop(Wal *wal) noexcept nogil
cdef int wal_submit(Wal *wal, Submission *what, uint64_t *ticket) noexcept nogil
cdef int wal_state(Wal *wal, Completion *completion, cbool *full) noexcept nogil
cdef void wal_figures(Wal *wal, WalFigures *out) noexcept nogil
cdef uint64_t wal_submission_max(Wal *wal) noexcept nogil
cdef int wal_wait(Wal *wal, uint64_t ticket, double seconds) noexcept nogil
