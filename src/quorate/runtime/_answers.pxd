# From requests to events and from results to answers; see _answers.pyx.

from libc.stdint cimport uint8_t, uint64_t

from quorate.raft._types cimport Update
from quorate.runtime._structs cimport Loop, step_function

cdef int take_requests(Loop *it, step_function step) except -1 nogil
cdef bint requests_wanted(Loop *it) noexcept nogil
cdef uint64_t requests_deadline(Loop *it) noexcept nogil
cdef int requests_expire(Loop *it, uint64_t now) except -1 nogil
cdef int proposals_placed(Loop *it, Update *update) except -1 nogil
cdef int reads_answered(Loop *it, Update *update) except -1 nogil
# A snapshot was installed up to Loop.applied: whose entry is in it cannot have its result any more, and who waits for a
# change looks anew.
cdef int requests_overtaken(Loop *it) except -1 nogil
cdef int apply_entries(Loop *it, Update *update) except -1 nogil
cdef int batch_refused(Loop *it, uint64_t id, uint8_t outcome) except -1 nogil
cdef int forwarded_doubted(Loop *it) except -1 nogil
cdef int forwarded_lost(Loop *it, uint64_t leader, bint proven) except -1 nogil
cdef void requests_stopped(Loop *it) noexcept nogil
