# Connections of clients on a node's listener; see _clients.pyx.

from libc.stdint cimport uint32_t, uint64_t

from quorate.runtime._structs cimport Clients, Loop, Request

cdef enum:
    CLIENT_ASKS_MAX = 8192  # of one client that are not answered; then it is not read from for a while

# Before the loop starts: for at most so many connections.
cdef int clients_prepare(Loop *it, uint32_t most) except -1
# Takes over who said the hello of a client.
cdef int clients_arrive(Loop *it) except -1 nogil
# Whether an event of the poller is a client's.
cdef bint clients_token(uint64_t token) noexcept nogil
cdef int clients_ready(Loop *it, uint64_t token, uint32_t ready) except -1 nogil
# Frames that were received and not looked at, because a client had enough for a turn.
cdef int clients_go_on(Loop *it) except -1 nogil
# The next question of a client, as the mailbox gives those of this process; NULL if there is none.
cdef Request *clients_take(Loop *it) noexcept nogil
# One that is taken however much is pending; it needs no step of the core.
cdef Request *clients_take_urgent(Loop *it) noexcept nogil
cdef bint clients_asked(Loop *it) noexcept nogil
# Whether there is something else to do without an event.
cdef bint clients_busy(Loop *it) noexcept nogil
cdef uint64_t clients_deadline(Loop *it) noexcept nogil
cdef int clients_tick(Loop *it, uint64_t now) except -1 nogil
# News and answers of this turn leave, with one system call for each client.
cdef int clients_flush(Loop *it, uint64_t now) except -1 nogil
# Sends what can be sent at once, and ends every connection. Again is harmless.
cdef void clients_close(Loop *it) noexcept nogil
