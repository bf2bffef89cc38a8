# Replication: what a leader sends, what a follower takes in, and when something is committed.

from libc.stdint cimport uint64_t

from quorate.raft._types cimport Core, Event, Message, Update


cdef int send_appends(Core *core, Update *update) except -1 nogil
cdef int send_round(Core *core, Update *update) except -1 nogil
cdef int leader_commits(Core *core, Update *update) except -1 nogil
cdef int keep_configuration(Core *core, Update *update) except -1 nogil
cdef int on_append_entries(Core *core, Update *update, const Message *message) except -1 nogil
cdef int on_append_entries_response(Core *core, Update *update, const Message *message) except -1 nogil
cdef int on_heartbeat(Core *core, Update *update, const Message *message) except -1 nogil
cdef int on_heartbeat_response(Core *core, Update *update, const Message *message) except -1 nogil
cdef int hand_over(Core *core, Update *update) except -1 nogil
cdef int on_persisted(Core *core, Update *update, const Event *event) except -1 nogil
cdef int on_applied(Core *core, const Event *event) except -1 nogil
cdef int on_unreachable(Core *core, const Event *event) except -1 nogil
