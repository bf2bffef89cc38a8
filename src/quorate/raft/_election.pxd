# Elections: who may be leader, how one is chosen, and how the office is kept and handed over.

from libc.stdint cimport uint64_t

from quorate.raft._types cimport Core, Event, Message, Update


cdef int campaign(Core *core, Update *update, bint pre_vote, bint transfer) except -1 nogil
cdef int on_tick(Core *core, Update *update) except -1 nogil
cdef int on_request_vote(Core *core, Update *update, const Message *message) except -1 nogil
cdef int on_request_vote_response(Core *core, Update *update, const Message *message) except -1 nogil
cdef bint leader_is_near(Core *core, bint pre_vote) noexcept nogil
cdef int on_timeout_now(Core *core, Update *update, const Message *message) except -1 nogil
cdef int on_transfer_leadership(Core *core, Update *update, const Event *event) except -1 nogil
cdef int on_vote_durable(Core *core, Update *update) except -1 nogil
cdef int on_campaign(Core *core, Update *update) except -1 nogil
cdef int on_forget_leader(Core *core, Update *update) except -1 nogil
cdef int on_leader_connection_closed(Core *core, Update *update) except -1 nogil
cdef int on_disk_stalled(Core *core, Update *update, int mode) except -1 nogil
