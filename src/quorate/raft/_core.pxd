# What every part of the protocol uses: messages out, chance, quorums, appending, and the end of a step.

from libc.stdint cimport uint8_t, uint64_t

from quorate.raft._types cimport Configuration, Core, EntryRef, Message, Progress, Update

cdef enum Quantity:
    MATCH = 0
    ROUND = 1
    CONTACT = 2
    ROOM = 3

cdef enum Tally:
    TALLY_OPEN = 0
    TALLY_WON = 1
    TALLY_LOST = 2


cdef inline Configuration *configuration_of(Core *core) noexcept nogil:
    """The configuration in force: the newest in the log, committed or not (Raft §6)."""
    return &core.log.configurations.back().second


cdef uint64_t draw(Core *core, uint64_t bound) noexcept nogil
cdef void reset_election_deadline(Core *core) noexcept nogil
cdef Message *send(Core *core, Update *update, uint8_t type, uint64_t receiver, bint after) except NULL nogil
cdef Progress *progress_of(Core *core, uint64_t id) noexcept nogil
cdef uint64_t majority_value(Core *core, Quantity quantity) noexcept nogil
cdef Tally tally_votes(Core *core) noexcept nogil
cdef int append_own(Core *core, EntryRef *it) except -1 nogil
cdef int configuration_changed(Core *core) except -1 nogil
cdef int log_cut(Core *core, uint64_t index) except -1 nogil
cdef bint disk_is_slow(Core *core) noexcept nogil
cdef bint vote_promised(Core *core) noexcept nogil
cdef int answer_proposal(
    Core *core, Update *update, uint64_t id, uint8_t status, uint64_t index
) except -1 nogil
cdef bint is_elector(Core *core) noexcept nogil
cdef uint64_t next_deadline(Core *core) noexcept nogil
cdef int finish(Core *core, Update *update) except -1 nogil
