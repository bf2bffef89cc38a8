# All lanes of an engine, for whichever loop drives them; see _lanes.pyx.
#
# A loop that drives lanes
#   gives each request of a kind from REQUEST_LANE_OPEN on to lanes_take,
#   calls lanes_run at the end of taking in, and again at lanes_deadline, and at once while lanes_ready and it has room,
#   answers each request that its LaneDriver.send took, once, with request_answer: with what its own kinds PROPOSE and RENEW
#     come to, CONNECTION_LOST when it is not known,
#   calls lanes_connected when there is a leader to send to (again for each other leader or term), and when there is none,
#   calls lanes_stopped at its end, after it has answered everything that it took.

from libc.stdint cimport uint64_t

from quorate.runtime._lane_structs cimport LaneDriver, Lanes
from quorate.runtime._notices cimport Notices
from quorate.runtime._structs cimport Request

cdef Lanes *lanes_new(Notices *notices, uint64_t seed) except NULL
# After lanes_stopped.
cdef void lanes_free(Lanes *it) noexcept nogil

# A request of a kind from REQUEST_LANE_OPEN on; takes the loop's reference over.
cdef int lanes_take(Lanes *it, Request *request, uint64_t now) except -1 nogil
# Whether lanes_run would send something; a driver without room does not ask.
cdef bint lanes_ready(Lanes *it) noexcept nogil
# When lanes_run has something to do at the latest.
cdef uint64_t lanes_deadline(Lanes *it) noexcept nogil
# Expires, renews and sends what is due.
cdef int lanes_run(Lanes *it, LaneDriver *driver, uint64_t now) except -1 nogil
# There is a leader to send to, or another one, or none.
cdef int lanes_connected(Lanes *it, bint connected, uint64_t now) except -1 nogil
# The loop has ended: answers everything. Whatever is asked afterwards is answered at once.
cdef void lanes_stopped(Lanes *it) noexcept nogil
