# Snapshots: sending one in chunks, taking one in, and cutting the log behind one.

from libc.stdint cimport uint64_t

from quorate.raft._types cimport Core, Event, Message, Progress, Update


cdef bint recently_heard(Core *core, const Progress *peer) noexcept nogil
cdef int start_snapshot(Core *core, Update *update, uint64_t id, Progress *peer) except -1 nogil
cdef int send_chunk(Core *core, Update *update, uint64_t id, Progress *peer) except -1 nogil
cdef int on_install_snapshot(Core *core, Update *update, const Message *message) except -1 nogil
cdef int on_install_snapshot_response(Core *core, Update *update, const Message *message) except -1 nogil
cdef int on_snapshot_persisted(Core *core, Update *update, const Event *event) except -1 nogil
cdef int on_snapshot_failed(Core *core, Update *update, const Event *event) except -1 nogil
cdef int on_compact(Core *core, const Event *event) except -1 nogil
