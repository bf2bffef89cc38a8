# Processes of this machine that hold sessions; see _processes.pyx.

from libc.stdint cimport uint32_t, uint64_t
from libcpp.vector cimport vector

from quorate.runtime._structs cimport Loop

# What a client's connection calls. `told` and `birth`: what its hello says of its process. Answers a handle that goes into
# Request.process of what it asks, so that sessions opened or renewed by it are bound to the process; 0: not known here, or
# not of this machine. A connection that ends gives its handle back once; that alone ends nothing.
cdef uint32_t watch_process(Loop *it, int socket, uint32_t told, uint64_t birth) except? 0xFFFFFFFF nogil
cdef int leave_process(Loop *it, uint32_t handle) except -1 nogil
cdef int bind_session(Loop *it, uint32_t handle, uint64_t session) except -1 nogil

# Takes up what members said of their processes: their exit ends the sessions that were opened in them, which bear the mark of
# the process in the second half of their nonce. Watched until it exits, also without a connection.
cdef int members_near(Loop *it) except -1 nogil
# There is a new session: of a process that has ended, if its last words came late.
cdef int session_new(Loop *it, uint64_t session) except -1 nogil

# A token of TOKEN_PROCESS is ready: its process has ended.
cdef int process_ended(Loop *it, uint64_t token) except -1 nogil
# The store does not have this session any more.
cdef int session_gone(Loop *it, uint64_t session) except -1 nogil
# Sessions whose process is gone, again after a while, until the store does not have them any more; `most` at a time.
cdef int processes_ending(Loop *it, uint64_t now, size_t most, vector[uint64_t] *sessions) except -1 nogil
# Those that ended long ago.
cdef int processes_forget(Loop *it, uint64_t now) except -1 nogil
# Before the poller ends.
cdef void processes_close(Loop *it) noexcept nogil
