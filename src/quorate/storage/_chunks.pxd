"""Snapshot files for native threads: written, resumed, read and proven without the GIL; see _chunks.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.string cimport string

from quorate.storage._csrc cimport snapshot_head
from quorate.storage._io cimport FaultTable

cdef cppclass Writer:
    FaultTable *faults
    string path           # of the unfinished file; empty in memory
    string final
    string directory
    int fd
    uint32_t salt
    uint32_t chain
    uint64_t term
    uint64_t index
    uint64_t id
    uint32_t chunk_bytes
    uint64_t offset       # in the file, behind the last whole chunk
    uint64_t chunks
    uint64_t content      # bytes taken so far, `filled` included
    uint32_t filled       # bytes of the chunk that is being collected
    uint64_t unsynced
    uint8_t *chunk        # a whole record: header, payload, trailer
    cbool finished
    cbool memory
    const char *what      # what failed

cdef cppclass Reader:
    FaultTable *faults
    int fd
    uint32_t salt
    uint32_t head_chain
    uint64_t term
    uint64_t index
    snapshot_head head
    uint8_t *head_bytes   # what head.configuration points into
    uint64_t first        # where the chunks begin
    uint64_t chunks
    uint64_t content      # bytes of the content
    uint8_t *chunk        # the trailer before it and the record of the chunk read last
    int64_t cached        # its number, or -1
    const char *what
    uint64_t where        # offset of what is wrong

# All return 0 (or a count), or -errno; -EBADMSG means that the file is damaged at `where`, for the reason `what`.
cdef Writer *writer_new(FaultTable *faults) except NULL nogil
cdef void writer_free(Writer *it) noexcept nogil
cdef string snapshot_file(const string &directory, uint64_t index, uint64_t term, const char *ending) noexcept nogil
cdef int snapshot_remove(FaultTable *faults, const string &directory, uint64_t index, uint64_t term) noexcept nogil
cdef void writer_place(Writer *it, const string &directory, uint64_t index, uint64_t term) noexcept nogil
cdef int writer_begin(Writer *it, const snapshot_head *head, uint64_t term, uint64_t index,
                      uint32_t salt) noexcept nogil
cdef int writer_resume(Writer *it, Reader *found) noexcept nogil
cdef int writer_append(Writer *it, const uint8_t *bytes, uint64_t size) noexcept nogil
cdef int writer_seal(Writer *it) noexcept nogil
cdef int writer_name(Writer *it) noexcept nogil
cdef int writer_finish(Writer *it) noexcept nogil
cdef Reader *reader_new(FaultTable *faults) except NULL nogil
cdef void reader_free(Reader *it) noexcept nogil
cdef int reader_head(Reader *it) noexcept nogil
cdef int reader_open(Reader *it, int fd) noexcept nogil
cdef int64_t reader_read(Reader *it, uint64_t offset, uint8_t *out, uint64_t size) noexcept nogil
cdef int reader_prove(Reader *it) noexcept nogil
