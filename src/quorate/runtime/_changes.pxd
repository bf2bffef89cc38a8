# Changes of the members and transfers of the office that a leader has in hand; see _changes.pyx.

from libc.stdint cimport uint8_t, uint64_t

from quorate.raft._types cimport Update
from quorate.runtime._structs cimport Loop, Request, step_function

# A request to change members, at the leader, taken over.
cdef int changes_take(Loop *it, Request *request, const uint8_t *body, size_t length, step_function step) except -1 nogil
# To hand the office over: to the one that is asked for, or to the one whose log is the longest of those that answer
# (dissertation §3.10).
cdef int changes_transfer(Loop *it, Request *request, const uint8_t *body, size_t length, step_function step) except -1 nogil
# What the core says of a change or a transfer; 1 if the proposal was one of these.
cdef int changes_placed(Loop *it, const Update *update, size_t which) except -1 nogil
# Once a turn, while there are any: looks what became of them.
cdef int changes_tick(Loop *it, uint64_t now, step_function step) except -1 nogil
# At the end: answers them all.
cdef void changes_stopped(Loop *it) noexcept nogil
