# distutils: language = c++
# distutils: sources = csrc/record.c csrc/crc32c.c csrc/buffer.c
"""The writer's hands: records into segment files, batches made durable, one segment after another.

Knows the record format and files; knows nothing of the queue in front of it (_wal.pyx), of Raft's rules, or of Python
objects. All functions run in the writer thread (or before it exists), but for segment_build, which the keeper runs.
They return 0, or -1 after log_fail has noted what went wrong where: the first failure is final for the log.

The order of a change of segments makes every crash readable: the header of the next segment is durable under its
final name before the seal of the old one is written, and no record goes into the new one before that seal is durable.
So a sealed segment without a successor, or records behind an unsealed one, never come from a crash.
"""

from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libcpp cimport bool as cbool
from libcpp.string cimport string

from quorate.storage._csrc cimport (
    CLOCK_MONOTONIC,
    RECORD_BASE,
    RECORD_ENDS_BATCH,
    RECORD_ENTRY,
    RECORD_HARD_STATE,
    RECORD_HEADER,
    RECORD_RESET,
    RECORD_SEAL,
    SEGMENT_FORMAT,
    SEGMENT_HEADER,
    clock_gettime,
    histogram_add,
    iovec,
    pthread_cond_broadcast,
    pthread_cond_signal,
    pthread_cond_wait,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    record,
    record_encode,
    record_encode_header,
    record_encode_trailer,
    record_size,
    record_zero_sectors,
    segment_encode_header,
    segment_header,
    store_le64,
    timespec,
)
from quorate.storage._io cimport (
    io_allocate,
    io_close,
    io_fsync,
    io_open,
    io_rename,
    io_size,
    io_sync,
    io_sync_directory,
    io_truncate,
    io_unlink,
    io_write,
    io_write_bytes,
)
from quorate.storage._wal cimport SCRATCH_BYTES, SCRATCH_PARTS, HardState, SegmentInfo, Wal


cdef extern from "<fcntl.h>" nogil:
    enum:
        O_RDWR
        O_CREAT

cdef enum:
    # Payloads up to here are copied beside their header, since a part of a vectored write costs more than the copy.
    COPY_MAX = 4096
    FILL_CHUNK = 262144
    # The fill of a reserve is synced this often, so that it never makes the log's own fsync wait for much.
    FILL_PACE = 4194304


cdef string segment_path(Wal *wal, uint64_t sequence) noexcept nogil:
    cdef char name[32]
    snprintf(name, sizeof(name), b"%016llu.log", <unsigned long long>sequence)
    cdef string path = wal.directory
    path.append(<const char *>name)
    return path


cdef string reserve_path(Wal *wal) noexcept nogil:
    cdef string path = wal.directory
    path.append(<const char *>b"reserve")
    return path


cdef int log_fail(Wal *wal, int error, const char *what, const char *path, uint64_t offset) noexcept nogil:
    """Notes the first failure; from here on nothing is accepted and nothing is written."""
    pthread_mutex_lock(&wal.lock)
    if wal.error == 0:
        wal.error = error
        wal.error_what = what
        wal.error_path = string(path)
        wal.error_offset = offset
    pthread_cond_broadcast(&wal.done)
    pthread_mutex_unlock(&wal.lock)
    return -1


cdef int segment_fill(Wal *wal, int fd, uint64_t start, uint64_t end, cbool paced) noexcept nogil:
    """Writes zeros over [start, end) and makes them durable; 0 or -errno."""
    cdef uint8_t *zeros = <uint8_t *>calloc(1, FILL_CHUNK)
    cdef uint64_t since = 0
    cdef uint64_t size
    cdef int result = 0
    if zeros == NULL:
        return -ENOMEM
    while start < end and result == 0:
        size = end - start if end - start < FILL_CHUNK else FILL_CHUNK
        result = io_write_bytes(wal.faults, fd, zeros, size, start)
        start += size
        since += size
        if result == 0 and paced and since >= FILL_PACE and start < end:
            since = 0
            result = io_sync(wal.faults, fd)
    free(zeros)
    return result if result < 0 else io_fsync(wal.faults, fd)


cdef int segment_build(Wal *wal) noexcept nogil:
    """Makes the reserve: a segment of zeros under the name `reserve`, from the file `reserve.new` if there is one.

    Returns 0 or -errno, and then leaves nothing behind: no room for a reserve is foreseen, not final.
    """
    cdef string final = reserve_path(wal)
    cdef string temporary = final
    cdef uint64_t size = wal.identity.segment_bytes
    cdef int result, fd
    temporary.append(<const char *>b".new")
    fd = io_open(wal.faults, temporary.c_str(), O_RDWR | O_CREAT)
    if fd < 0:
        return fd
    result = 0
    if io_size(fd) != <int64_t>size:
        result = io_truncate(wal.faults, fd, size)
        # An old segment has its blocks: on a full disk it is what there is to make the next one from.
        if result == 0:
            result = io_allocate(wal.faults, fd, size)
    if result == 0:
        result = segment_fill(wal, fd, 0, size, True)
    io_close(fd)
    if result == 0:
        result = io_rename(wal.faults, temporary.c_str(), final.c_str())
    if result == 0:
        result = io_sync_directory(wal.faults, wal.directory.c_str())
    if result < 0:
        io_unlink(wal.faults, temporary.c_str())
    return result


cdef int segment_activate(Wal *wal, uint64_t sequence, uint32_t chain_in, int *fd, uint32_t *chain) noexcept nogil:
    """Turns the reserve into the segment `sequence`: its header is durable before its name is."""
    cdef string reserve = reserve_path(wal)
    cdef string path = segment_path(wal, sequence)
    cdef segment_header header = wal.identity
    cdef uint8_t bytes[SEGMENT_HEADER]
    cdef int opened, result
    header.format = SEGMENT_FORMAT
    header.sequence = sequence
    header.last_index = wal.last.index
    header.last_term = wal.last.term
    header.chain_in = chain_in
    # A salt of its own for each use of a segment, so that nothing of a former use can pass for a record (xorshift64).
    wal.random ^= wal.random << 13
    wal.random ^= wal.random >> 7
    wal.random ^= wal.random << 17
    header.salt = <uint32_t>(wal.random >> 32)
    wal.salt = header.salt
    opened = io_open(wal.faults, reserve.c_str(), O_RDWR)
    if opened < 0:
        return log_fail(wal, opened, b"opening the reserve segment", reserve.c_str(), 0)
    chain[0] = segment_encode_header(bytes, &header)
    result = io_write_bytes(wal.faults, opened, bytes, SEGMENT_HEADER, 0)
    if result == 0 and wal.sync:
        result = io_sync(wal.faults, opened)
    if result < 0:
        io_close(opened)
        return log_fail(wal, result, b"writing the header of a segment", reserve.c_str(), 0)
    result = io_rename(wal.faults, reserve.c_str(), path.c_str())
    if result == 0:
        result = io_sync_directory(wal.faults, wal.directory.c_str())
    if result < 0:
        io_close(opened)
        return log_fail(wal, result, b"naming a new segment", path.c_str(), 0)
    fd[0] = opened
    return 0


cdef int flush(Wal *wal) noexcept nogil:
    """Writes what is encoded; does not sync."""
    cdef string path
    cdef int result
    if wal.part_count == 0:
        return 0
    result = io_write(wal.faults, wal.fd, wal.parts, wal.part_count, wal.flushed)
    if result < 0:
        path = segment_path(wal, wal.sequence)
        return log_fail(wal, result, b"writing the log", path.c_str(), wal.flushed)
    wal.flushed = wal.cursor.offset
    wal.part_count = 0
    wal.scratch_used = 0
    return 0


cdef int flush_and_sync(Wal *wal) noexcept nogil:
    cdef string path
    cdef int result
    cdef timespec begin
    cdef timespec end
    if flush(wal) < 0:
        return -1
    if wal.sync:
        clock_gettime(CLOCK_MONOTONIC, &begin)
        result = io_sync(wal.faults, wal.fd)
        clock_gettime(CLOCK_MONOTONIC, &end)
        pthread_mutex_lock(&wal.lock)
        histogram_add(
            &wal.sync_times, <uint64_t>((end.tv_sec - begin.tv_sec) * 1000000 + (end.tv_nsec - begin.tv_nsec) // 1000)
        )
        pthread_mutex_unlock(&wal.lock)
        if result < 0:
            path = segment_path(wal, wal.sequence)
            return log_fail(wal, result, b"fdatasync of the log", path.c_str(), wal.flushed)
    return 0


cdef void part(Wal *wal, const uint8_t *bytes, size_t length) noexcept nogil:
    """Adds bytes to the next write; joins them to the part before where they follow it in memory."""
    cdef iovec *last = wal.parts + wal.part_count - 1
    if wal.part_count and <uint8_t *>last.iov_base + last.iov_len == bytes:
        last.iov_len += length
        return
    wal.parts[wal.part_count].iov_base = <void *>bytes
    wal.parts[wal.part_count].iov_len = length
    wal.part_count += 1


cdef int encode(Wal *wal, record *it, const uint8_t *payload) noexcept nogil:
    """Encodes one record at the cursor, which must have room for it."""
    cdef size_t size = record_size(it.length)
    cdef size_t need = size if it.length <= COPY_MAX else <size_t>(size - it.length)
    cdef uint8_t *out
    if wal.scratch_used + need > SCRATCH_BYTES or wal.part_count + 3 > SCRATCH_PARTS:
        if flush(wal) < 0:
            return -1
    out = wal.scratch + wal.scratch_used
    it.group = wal.group
    it.batch = <uint16_t>(wal.cursor.batch + wal.cursor.ended)
    it.zero_sectors = record_zero_sectors(wal.cursor.offset + RECORD_HEADER, payload, it.length)
    if it.length <= COPY_MAX:
        wal.cursor.chain = record_encode(out, it, payload, wal.salt, wal.cursor.chain)
        part(wal, out, size)
    else:
        record_encode_header(out, it, wal.salt)
        wal.cursor.chain = record_encode_trailer(out + RECORD_HEADER, out, payload, it.length, wal.cursor.chain)
        part(wal, out, RECORD_HEADER)
        part(wal, payload, it.length)
        part(wal, out + RECORD_HEADER, need - RECORD_HEADER)
    wal.scratch_used += need
    wal.cursor.offset += size
    wal.cursor.batch = it.batch
    wal.cursor.ended = it.flags & RECORD_ENDS_BATCH
    return 0


cdef int log_write_preface(Wal *wal) noexcept nogil:
    """What each segment begins with, so that older ones can be deleted: base and hard state."""
    cdef record it
    cdef uint8_t vote[8]
    it.flags = 0
    it.kind = RECORD_BASE
    it.term = wal.base.term
    it.index = wal.base.index
    it.length = 0
    if encode(wal, &it, NULL) < 0:
        return -1
    it.kind = RECORD_HARD_STATE
    it.term = wal.hard.term
    it.index = wal.hard.commit
    it.length = 8
    store_le64(vote, wal.hard.vote)
    return encode(wal, &it, vote)


cdef int rotate(Wal *wal) noexcept nogil:
    """Seals the active segment and goes on in the reserve."""
    cdef SegmentInfo info
    cdef record seal
    cdef uint32_t chain = 0
    cdef int fd = -1
    pthread_mutex_lock(&wal.lock)
    # wal_submit accepted no more than surely fits, so the reserve is there already.
    while not wal.reserve_ready and wal.error == 0 and not wal.stopping:
        pthread_cond_wait(&wal.work, &wal.lock)
    pthread_mutex_unlock(&wal.lock)
    seal.kind = RECORD_SEAL
    seal.flags = RECORD_ENDS_BATCH
    seal.term = wal.last.term
    seal.index = wal.last.index
    seal.length = 0
    if encode(wal, &seal, NULL) < 0:
        return -1
    if segment_activate(wal, wal.sequence + 1, wal.cursor.chain, &fd, &chain) < 0:
        return -1
    if flush_and_sync(wal) < 0:
        io_close(fd)
        return -1
    io_close(wal.fd)
    wal.fd = fd
    wal.sequence += 1
    wal.cursor.offset = SEGMENT_HEADER
    wal.cursor.chain = chain
    wal.cursor.batch = 0xFFFF
    wal.cursor.ended = 1
    wal.flushed = SEGMENT_HEADER
    info.sequence = wal.sequence
    info.last_index = wal.last.index
    pthread_mutex_lock(&wal.lock)
    wal.reserve_ready = False
    wal.segments.push_back(info)
    pthread_cond_signal(&wal.keep)
    pthread_mutex_unlock(&wal.lock)
    return log_write_preface(wal)


cdef int encode_held(Wal *wal, uint8_t flags) noexcept nogil:
    if not wal.holds:
        return 0
    wal.holds = False
    if wal.cursor.offset + record_size(wal.held.length) + SEAL_BYTES > wal.identity.segment_bytes:
        if rotate(wal) < 0:
            return -1
    wal.held.flags = flags
    if encode(wal, &wal.held, wal.held_payload) < 0:
        return -1
    # `last` and `base` follow what is encoded, because a rotation in the middle of a batch states them.
    if wal.held.kind & 0xF0 == RECORD_ENTRY or wal.held.kind == RECORD_RESET:
        wal.last.term = wal.held.term
        wal.last.index = wal.held.index
    if wal.held.kind == RECORD_BASE or wal.held.kind == RECORD_RESET:
        wal.base.term = wal.held.term
        wal.base.index = wal.held.index
    return 0


cdef int log_put(Wal *wal, int kind, uint64_t term, uint64_t index, const uint8_t *payload,
                 uint32_t length) noexcept nogil:
    """Adds a record to the batch. `payload` must stay until the batch has ended."""
    if encode_held(wal, 0) < 0:
        return -1
    wal.held.kind = <uint8_t>kind
    wal.held.term = term
    wal.held.index = index
    wal.held.length = length
    wal.held_payload = payload
    wal.holds = True
    return 0


cdef int log_put_hard(Wal *wal, const HardState *hard) noexcept nogil:
    if encode_held(wal, 0) < 0:
        return -1
    wal.hard = hard[0]
    store_le64(wal.held_vote, hard.vote)
    return log_put(wal, RECORD_HARD_STATE, hard.term, hard.commit, wal.held_vote, 8)


cdef int log_end_batch(Wal *wal) noexcept nogil:
    """Makes everything put so far durable, with one fdatasync unless the segment changed on the way."""
    if encode_held(wal, RECORD_ENDS_BATCH) < 0:
        return -1
    return flush_and_sync(wal)
