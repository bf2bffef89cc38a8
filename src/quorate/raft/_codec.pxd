# Bytes of messages, for native callers; the handles for Python are encode and decode.

from libc.stdint cimport uint8_t, uint32_t
from libcpp.vector cimport vector

from quorate.raft._types cimport Message, buffer


cdef int message_encode(const Message *message, vector[uint8_t] *out) except -1 nogil
cdef Py_ssize_t message_decode(buffer *owner, uint32_t offset, uint32_t length, Message *message) except -2 nogil
