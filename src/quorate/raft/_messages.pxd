# Messages between nodes, as Python sees them.

from quorate.raft._types cimport EntryRef
from quorate.raft._types cimport Message as NativeMessage
from libc.stdint cimport uint64_t
from libcpp.vector cimport vector


cdef class Message:
    cdef NativeMessage native
    cdef object field(self, int code)
    cdef int set_field(self, int code, object value) except -1


cdef Message message_from(NativeMessage *source)
cdef int fill_entries(object source, vector[EntryRef] *entries) except -1
cdef list list_entries(uint64_t first_index, const vector[EntryRef] *entries)
