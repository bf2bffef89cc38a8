# The log: entries by index, in blocks, with the configurations among them.

from libc.stdint cimport uint32_t, uint64_t

from quorate.raft._types cimport LOG_BLOCK, Configuration, EntryRef, Log, entry


cdef inline entry *log_at(Log *log, uint64_t index) noexcept nogil:
    """The entry at ``index``, which the caller knows to be in the log."""
    cdef uint64_t slot = index - log.base
    return log.blocks[slot // LOG_BLOCK] + slot % LOG_BLOCK


cdef inline uint64_t log_first(const Log *log) noexcept nogil:
    return log.snapshot_index + 1


cdef inline uint64_t log_length(const Log *log) noexcept nogil:
    return log.last_index - log.snapshot_index


cdef bint log_term(Log *log, uint64_t index, uint64_t *term) noexcept nogil
cdef bint log_matches(Log *log, uint64_t index, uint64_t term) noexcept nogil
cdef uint64_t log_conflict_by_term(Log *log, uint64_t index, uint64_t term) noexcept nogil
cdef int log_append(Log *log, const entry *it) except -1 nogil
cdef int log_append_configuration(Log *log, uint64_t index, const Configuration *it) except -1 nogil
cdef void log_truncate(Log *log, uint64_t index) noexcept nogil
cdef int log_compact(Log *log, uint64_t index) except -1 nogil
cdef int log_reset(
    Log *log, uint64_t index, uint64_t term, uint64_t configuration_index, const Configuration *configuration
) except -1 nogil
cdef void log_bury(Log *log, uint64_t most) noexcept nogil
cdef void log_clear(Log *log) noexcept nogil
cdef Configuration *log_configuration(Log *log, uint64_t index, uint64_t *at) noexcept nogil
cdef object entry_object(uint64_t index, const entry *it)
cdef int entry_from_data(object data, uint64_t term, unsigned int kind, EntryRef *result) except -1
cdef list log_entries(Log *log, uint64_t lo, uint64_t hi)
cdef int log_check(Log *log, uint64_t index, bint with_snapshot) except -1


cdef class RaftLog:
    cdef Log log
    cdef bint taken
    cdef uint32_t busy
    cdef int enter(self) except -1
    cdef int check_change(self, uint64_t term) except -1
    cdef int append_one(self, uint64_t term, object data, unsigned int kind) except -1
    cdef int append_all(self, uint64_t term, list items) except -1
