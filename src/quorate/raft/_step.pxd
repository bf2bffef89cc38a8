# One step of the protocol, for native callers.

from quorate.raft._types cimport Core, Event, Update


cdef int raft_step(Core *core, const Event *event, Update *update) except -1 nogil
