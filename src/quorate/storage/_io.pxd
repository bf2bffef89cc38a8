"""System calls of storage behind one door; see _io.pyx."""

from libc.stdint cimport int64_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.storage._csrc cimport iovec, pthread_mutex_t

cdef enum:
    OP_OPEN
    OP_READ
    OP_WRITE
    OP_SYNC
    OP_FSYNC
    OP_RENAME
    OP_UNLINK
    OP_ALLOCATE
    OP_TRUNCATE
    OP_SYNC_DIRECTORY
    OP_COUNT

cdef cppclass FaultRule:
    int op
    uint64_t first  # the first matching call that it hits, from 1
    uint64_t times  # how many calls it hits from there on; 0: all
    uint64_t seen
    int error       # errno to answer with; 0: none
    int64_t limit   # bytes that a write may take; -1: all
    uint64_t delay_us
    string path     # a part of the path; empty: any

cdef cppclass FaultEvent:
    int op
    string path
    string other
    uint64_t offset
    string data

cdef cppclass FaultTable:
    pthread_mutex_t lock
    cbool recording
    vector[FaultRule] rules
    vector[FaultEvent] events
    vector[string] names  # by descriptor
    uint64_t *calls       # OP_COUNT of them

cdef class Faults:
    cdef FaultTable *table

cdef int io_open(FaultTable *faults, const char *path, int flags) noexcept nogil
cdef int io_close(int fd) noexcept nogil
cdef int64_t io_size(int fd) noexcept nogil
cdef int64_t io_read(FaultTable *faults, int fd, void *out, uint64_t size, uint64_t offset) noexcept nogil
cdef int io_write(FaultTable *faults, int fd, iovec *parts, int count, uint64_t offset) noexcept nogil
cdef int io_write_bytes(FaultTable *faults, int fd, const void *bytes, uint64_t size, uint64_t offset) noexcept nogil
cdef int io_sync(FaultTable *faults, int fd) noexcept nogil
cdef int io_fsync(FaultTable *faults, int fd) noexcept nogil
cdef int io_rename(FaultTable *faults, const char *old, const char *new) noexcept nogil
cdef int io_unlink(FaultTable *faults, const char *path) noexcept nogil
cdef int io_allocate(FaultTable *faults, int fd, uint64_t size) noexcept nogil
cdef int io_truncate(FaultTable *faults, int fd, uint64_t size) noexcept nogil
cdef int io_sync_directory(FaultTable *faults, const char *path) noexcept nogil
cdef FaultTable *table_of(Faults faults) noexcept
