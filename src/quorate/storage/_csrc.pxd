"""The C kernels and system calls that storage uses, declared once. Declarations only: this file makes no module."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "buffer.h" nogil:
    ctypedef struct buffer:
        uint32_t references
        uint32_t length
        uint8_t *bytes
    buffer *buffer_new(uint32_t length)
    buffer *buffer_from(const void *bytes, uint32_t length)
    buffer *buffer_retain(buffer *it)
    void buffer_release(buffer *it)


cdef extern from "entry.h" nogil:
    enum:
        ENTRY_KINDS
    ctypedef struct entry:
        uint64_t term
        buffer *data
        uint32_t offset
        uint32_t length
        uint32_t kind
    const uint8_t *entry_bytes(const entry *it)
    void entry_release(entry *it)


cdef extern from "histogram.h" nogil:
    ctypedef struct histogram:
        uint64_t total
        uint64_t sum
        uint64_t most
    void histogram_add(histogram *it, uint64_t value)
    uint64_t histogram_quantile(const histogram *it, uint32_t thousandths)


cdef extern from "crc32c.h" nogil:
    uint32_t crc32c(uint32_t crc, const void *bytes, size_t length)


cdef extern from "record.h" nogil:
    enum:
        RECORD_HEADER
        RECORD_TRAILER
        RECORD_ALIGNMENT
        RECORD_PAYLOAD_MAX
        SEGMENT_HEADER
        SEGMENT_FORMAT
        RECORD_ENTRY
        RECORD_HARD_STATE
        RECORD_BASE
        RECORD_RESET
        RECORD_MARK
        RECORD_SEAL
        RECORD_SNAPSHOT_HEAD
        RECORD_SNAPSHOT_CHUNK
        RECORD_SNAPSHOT_END
        RECORD_ENDS_BATCH
    ctypedef struct record:
        uint64_t term
        uint64_t index
        uint32_t group
        uint32_t length
        uint16_t batch
        uint16_t zero_sectors
        uint8_t kind
        uint8_t flags
    ctypedef struct record_cursor:
        uint64_t offset
        uint32_t chain
        uint16_t batch
        uint8_t ended
    ctypedef enum record_status:
        RECORD_GOOD
        RECORD_FILL
        RECORD_TORN
        RECORD_CORRUPT
        RECORD_NO_SPACE
    ctypedef struct segment_header:
        uint64_t sequence
        uint64_t segment_bytes
        uint8_t *cluster
        uint64_t node
        uint64_t incarnation
        uint64_t last_index
        uint64_t last_term
        uint32_t salt
        uint32_t chain_in
        uint32_t format
    uint64_t record_size(uint64_t length)
    uint16_t record_zero_sectors(uint64_t offset, const void *payload, uint32_t length)
    void record_encode_header(uint8_t *out, const record *it, uint32_t salt)
    uint32_t record_encode_trailer(uint8_t *out, const uint8_t *header, const void *payload, uint32_t length,
                                   uint32_t chain)
    uint32_t record_encode(uint8_t *out, const record *it, const void *payload, uint32_t salt, uint32_t chain)
    int record_decode_header(const uint8_t *bytes, uint32_t salt, record *it)
    int record_verify(const uint8_t *header, const uint8_t *payload_and_trailer, const record *it, uint32_t chain,
                      uint32_t *next_chain)
    record_status record_scan(const uint8_t *bytes, uint64_t size, uint32_t salt, record_cursor *cursor, record *it,
                              const uint8_t **payload, const char **reason)
    uint32_t segment_encode_header(uint8_t *out, const segment_header *it)
    int segment_decode_header(const uint8_t *bytes, segment_header *it, uint32_t *chain)
    int record_is_zero(const uint8_t *bytes, uint64_t size)
    uint64_t load_le64(const void *at)
    void store_le64(void *at, uint64_t x)


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_create(pthread_t *thread, const void *attributes, void *(*run)(void *) noexcept nogil, void *argument)
    int pthread_join(pthread_t thread, void **result)
    int pthread_mutex_init(pthread_mutex_t *it, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *it)
    int pthread_mutex_lock(pthread_mutex_t *it)
    int pthread_mutex_unlock(pthread_mutex_t *it)
    int pthread_condattr_init(pthread_condattr_t *it)
    int pthread_condattr_setclock(pthread_condattr_t *it, int clock)
    int pthread_condattr_destroy(pthread_condattr_t *it)
    int pthread_cond_init(pthread_cond_t *it, const pthread_condattr_t *attributes)
    int pthread_cond_destroy(pthread_cond_t *it)
    int pthread_cond_wait(pthread_cond_t *it, pthread_mutex_t *lock)
    int pthread_cond_timedwait(pthread_cond_t *it, pthread_mutex_t *lock, const timespec *until)
    int pthread_cond_signal(pthread_cond_t *it)
    int pthread_cond_broadcast(pthread_cond_t *it)
    int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)


cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int sigfillset(sigset_t *it)
    enum:
        SIG_SETMASK


cdef extern from "<time.h>" nogil:
    ctypedef struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    enum:
        CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *it)


cdef extern from "<sys/uio.h>" nogil:
    ctypedef struct iovec:
        void *iov_base
        size_t iov_len


cdef extern from "<unistd.h>" nogil:
    int getpid()


cdef extern from "snapshot.h" nogil:
    enum:
        SNAPSHOT_FORMAT
        SNAPSHOT_PROLOGUE
        SNAPSHOT_HEAD_FIXED
        SNAPSHOT_END_BYTES
        SNAPSHOT_CHUNK_MAX
        SNAPSHOT_CONFIGURATION_MAX
    ctypedef struct snapshot_head:
        uint8_t *cluster
        uint64_t node
        uint64_t incarnation
        uint64_t id
        uint64_t configuration_index
        uint64_t content_format
        uint32_t chunk_bytes
        uint32_t configuration_length
        const uint8_t *configuration
    uint32_t snapshot_encode_prologue(uint8_t *out, uint32_t salt)
    int snapshot_decode_prologue(const uint8_t *bytes, uint32_t *salt, uint32_t *chain)
    void snapshot_encode_head(uint8_t *out, const snapshot_head *it)
    int snapshot_decode_head(const uint8_t *payload, uint32_t length, snapshot_head *it)
    uint64_t snapshot_chunk_offset(uint64_t first, uint64_t number, uint32_t chunk_bytes)
