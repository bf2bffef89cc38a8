# distutils: language = c++
# distutils: sources = csrc/record.c csrc/crc32c.c csrc/snapshot.c csrc/buffer.c
"""Snapshot files for native threads: streamed in and out by chunks, resumed at an offset, proven readable.

The content is opaque bytes of the store. Knows nothing of Python objects, of which snapshots there are
(snapshots.py), or of the log.

A file is written under a temporary name, synced, renamed, and the directory synced; so a file with its final name is
whole. Each chunk has its own record in one checksum chain, and its place follows from its number: a reader can begin
anywhere and still checks each chunk against the one before, and an unfinished file can be continued behind its last
whole chunk.
"""

from libc.errno cimport EBADMSG, EINVAL, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from libcpp.string cimport string

from quorate.storage._csrc cimport (
    RECORD_HEADER,
    RECORD_SNAPSHOT_CHUNK,
    RECORD_SNAPSHOT_END,
    RECORD_SNAPSHOT_HEAD,
    RECORD_TRAILER,
    SNAPSHOT_CONFIGURATION_MAX,
    SNAPSHOT_END_BYTES,
    SNAPSHOT_HEAD_FIXED,
    SNAPSHOT_PROLOGUE,
    load_le64,
    record,
    record_decode_header,
    record_encode,
    record_encode_header,
    record_encode_trailer,
    record_size,
    record_verify,
    snapshot_chunk_offset,
    snapshot_decode_head,
    snapshot_decode_prologue,
    snapshot_encode_head,
    snapshot_encode_prologue,
    snapshot_head,
    store_le64,
)
from quorate.storage._io cimport (
    FaultTable,
    io_close,
    io_fsync,
    io_open,
    io_read,
    io_rename,
    io_size,
    io_sync,
    io_sync_directory,
    io_truncate,
    io_unlink,
    io_write_bytes,
)


cdef extern from "<fcntl.h>" nogil:
    enum:
        O_RDONLY
        O_RDWR
        O_CREAT
        O_TRUNC


cdef extern from *:
    """
    #include <fcntl.h>
    #include <stdlib.h>
    #include <unistd.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    static int anonymous_file(void) { return memfd_create("quorate-snapshot", MFD_CLOEXEC); }
    #else
    static int anonymous_file(void) {
        char name[] = "/tmp/quorate-XXXXXX";
        int fd = mkstemp(name);
        if (fd >= 0) { unlink(name); fcntl(fd, F_SETFD, FD_CLOEXEC); }
        return fd;
    }
    #endif
    """
    int anonymous_file() noexcept nogil

cdef enum:
    SYNC_EVERY = 16777216  # bytes; so that the last sync of a large snapshot does not stall the disk for the log


# Writing -------------------------------------------------------------------------------------------------------------


cdef Writer *writer_new(FaultTable *faults) except NULL nogil:
    cdef Writer *it = new Writer()
    it.faults = faults
    it.fd = -1
    it.chunk = NULL
    it.finished = it.memory = False
    it.what = b""
    it.salt = it.chain = it.chunk_bytes = it.filled = 0
    it.term = it.index = it.id = it.offset = it.chunks = it.content = it.unsynced = 0
    return it


cdef void writer_free(Writer *it) noexcept nogil:
    """Closes the file. An unfinished one stays, to be resumed or deleted."""
    if it == NULL:
        return
    if it.fd >= 0:
        io_close(it.fd)
    free(it.chunk)
    del it


cdef int wrong(Writer *it, int error, const char *what) noexcept nogil:
    it.what = what
    return error


cdef int prepare(Writer *it, uint32_t chunk_bytes) noexcept nogil:
    it.chunk_bytes = chunk_bytes
    it.chunk = <uint8_t *>malloc(record_size(chunk_bytes) + RECORD_HEADER + 16)
    return 0 if it.chunk != NULL else wrong(it, -ENOMEM, b"memory")


cdef string snapshot_file(const string &directory, uint64_t index, uint64_t term, const char *ending) noexcept nogil:
    """The path of a snapshot; `ending` is "snap", or "part" while it is not finished."""
    cdef char name[64]
    cdef string path = directory
    snprintf(name, sizeof(name), b"/%016llu-%016llu.%s", <unsigned long long>index, <unsigned long long>term, ending)
    path.append(<const char *>name)
    return path


cdef void writer_place(Writer *it, const string &directory, uint64_t index, uint64_t term) noexcept nogil:
    """Says where the snapshot is written; without it, and with `memory` set, it goes to anonymous memory."""
    it.directory = directory
    it.path = snapshot_file(directory, index, term, b"part")
    it.final = snapshot_file(directory, index, term, b"snap")


cdef int snapshot_remove(FaultTable *faults, const string &directory, uint64_t index, uint64_t term) noexcept nogil:
    """Deletes a finished snapshot durably: the one before, once the new one is proven."""
    cdef string path = snapshot_file(directory, index, term, b"snap")
    cdef int result = io_unlink(faults, path.c_str())
    return result if result < 0 else io_sync_directory(faults, directory.c_str())


cdef int writer_begin(Writer *it, const snapshot_head *head, uint64_t term, uint64_t index,
                      uint32_t salt) noexcept nogil:
    """Makes the file and writes its head. `path` and `final` are set, or `memory` is."""
    cdef uint64_t length = SNAPSHOT_HEAD_FIXED + head.configuration_length
    cdef uint64_t size = SNAPSHOT_PROLOGUE + record_size(length)
    cdef uint8_t *bytes
    cdef record what
    cdef uint8_t *payload
    cdef int result
    if prepare(it, head.chunk_bytes) < 0:
        return -ENOMEM
    it.fd = anonymous_file() if it.memory else io_open(it.faults, it.path.c_str(), O_RDWR | O_CREAT | O_TRUNC)
    if it.fd < 0:
        return wrong(it, -errno if it.memory else it.fd, b"creating the snapshot")
    bytes = <uint8_t *>malloc(size + length)
    if bytes == NULL:
        return wrong(it, -ENOMEM, b"memory")
    payload = bytes + size
    snapshot_encode_head(payload, head)
    memset(&what, 0, sizeof(what))
    what.kind = RECORD_SNAPSHOT_HEAD
    what.term = term
    what.index = index
    what.length = <uint32_t>length
    it.salt = salt
    it.term = term
    it.index = index
    it.id = head.id
    it.chain = snapshot_encode_prologue(bytes, salt)
    it.chain = record_encode(bytes + SNAPSHOT_PROLOGUE, &what, payload, salt, it.chain)
    result = io_write_bytes(it.faults, it.fd, bytes, size, 0)
    free(bytes)
    it.offset = size
    return result if result == 0 else wrong(it, result, b"writing the head of the snapshot")


cdef int write_chunk(Writer *it) noexcept nogil:
    cdef uint64_t size = record_size(it.filled)
    cdef record what
    cdef int result
    memset(&what, 0, sizeof(what))
    what.kind = RECORD_SNAPSHOT_CHUNK
    what.index = it.chunks
    what.length = it.filled
    record_encode_header(it.chunk, &what, it.salt)
    it.chain = record_encode_trailer(it.chunk + RECORD_HEADER + it.filled, it.chunk, it.chunk + RECORD_HEADER,
                                     it.filled, it.chain)
    result = io_write_bytes(it.faults, it.fd, it.chunk, size, it.offset)
    if result < 0:
        return wrong(it, result, b"writing the snapshot")
    it.offset += size
    it.chunks += 1
    it.filled = 0
    it.unsynced += size
    if it.unsynced >= SYNC_EVERY and not it.memory:
        it.unsynced = 0
        result = io_sync(it.faults, it.fd)
        if result < 0:
            return wrong(it, result, b"fdatasync of the snapshot")
    return 0


cdef int writer_append(Writer *it, const uint8_t *bytes, uint64_t size) noexcept nogil:
    """Adds content of any size."""
    cdef uint64_t part
    cdef int result
    while size:
        part = it.chunk_bytes - it.filled
        if part > size:
            part = size
        memcpy(it.chunk + RECORD_HEADER + it.filled, bytes, part)
        it.filled += <uint32_t>part
        it.content += part
        bytes += part
        size -= part
        if it.filled == it.chunk_bytes:
            result = write_chunk(it)
            if result < 0:
                return result
    return 0


cdef int writer_seal(Writer *it) noexcept nogil:
    """Writes the end and makes all of it durable; the file is whole then, under its temporary name."""
    cdef uint8_t payload[SNAPSHOT_END_BYTES]
    cdef uint8_t bytes[64]
    cdef record what
    cdef int result
    if it.filled:
        result = write_chunk(it)
        if result < 0:
            return result
    memset(&what, 0, sizeof(what))
    what.kind = RECORD_SNAPSHOT_END
    what.term = it.term
    what.index = it.index
    what.length = SNAPSHOT_END_BYTES
    store_le64(payload, it.content)
    store_le64(payload + 8, it.chunks)
    it.chain = record_encode(bytes, &what, payload, it.salt, it.chain)
    result = io_write_bytes(it.faults, it.fd, bytes, record_size(SNAPSHOT_END_BYTES), it.offset)
    if result < 0:
        return wrong(it, result, b"writing the end of the snapshot")
    if it.memory:
        it.finished = True
        return 0
    result = io_fsync(it.faults, it.fd)
    return result if result == 0 else wrong(it, result, b"fsync of the snapshot")


cdef int writer_name(Writer *it) noexcept nogil:
    """Gives a sealed file its name, durably: from here on a restart finds it."""
    cdef int result
    if it.memory:
        return 0
    result = io_rename(it.faults, it.path.c_str(), it.final.c_str())
    if result < 0:
        return wrong(it, result, b"naming the snapshot")
    result = io_sync_directory(it.faults, it.directory.c_str())
    if result < 0:
        return wrong(it, result, b"fsync of the directory of snapshots")
    it.finished = True
    return 0


cdef int writer_finish(Writer *it) noexcept nogil:
    """Writes the end, makes all of it durable, and gives the file its name."""
    cdef int result = writer_seal(it)
    return result if result < 0 else writer_name(it)


# Reading -------------------------------------------------------------------------------------------------------------


cdef Reader *reader_new(FaultTable *faults) except NULL nogil:
    cdef Reader *it = new Reader()
    it.faults = faults
    it.fd = -1
    it.head_bytes = it.chunk = NULL
    it.salt = it.head_chain = 0
    it.term = it.index = it.first = it.chunks = it.content = it.where = 0
    it.cached = -1
    it.what = b""
    return it


cdef void reader_free(Reader *it) noexcept nogil:
    if it == NULL:
        return
    if it.fd >= 0:
        io_close(it.fd)
    free(it.head_bytes)
    free(it.chunk)
    del it


cdef int damaged(Reader *it, uint64_t where, const char *what) noexcept nogil:
    it.where = where
    it.what = what
    return -EBADMSG


cdef int64_t read_exactly(Reader *it, void *out, uint64_t size, uint64_t offset) noexcept nogil:
    cdef int64_t got = io_read(it.faults, it.fd, out, size, offset)
    if got < 0:
        it.where = offset
        it.what = b"reading the snapshot"
        return got
    return 0 if <uint64_t>got == size else damaged(it, offset + <uint64_t>got, b"the snapshot ends too early")


cdef int reader_head(Reader *it) noexcept nogil:
    """Reads prologue and head; the file may be unfinished."""
    cdef uint8_t bytes[SNAPSHOT_PROLOGUE + RECORD_HEADER]
    cdef uint8_t *header = bytes + SNAPSHOT_PROLOGUE
    cdef uint32_t chain = 0
    cdef uint64_t size
    cdef record what
    cdef int64_t result
    result = read_exactly(it, bytes, sizeof(bytes), 0)
    if result < 0:
        return <int>result
    result = snapshot_decode_prologue(bytes, &it.salt, &chain)
    if result < 0:
        return damaged(it, 8, b"a newer version of Quorate wrote the snapshot")
    if (result == 0 or not record_decode_header(header, it.salt, &what) or what.kind != RECORD_SNAPSHOT_HEAD
            or what.length > SNAPSHOT_HEAD_FIXED + SNAPSHOT_CONFIGURATION_MAX):
        return damaged(it, 0, b"this is no snapshot, or its head is damaged")
    size = record_size(what.length)
    it.head_bytes = <uint8_t *>malloc(size)
    if it.head_bytes == NULL:
        it.what = b"memory"
        return -ENOMEM
    result = read_exactly(it, it.head_bytes, size, SNAPSHOT_PROLOGUE)
    if result < 0:
        return <int>result
    if (not record_verify(it.head_bytes, it.head_bytes + RECORD_HEADER, &what, chain, &it.head_chain)
            or not snapshot_decode_head(it.head_bytes + RECORD_HEADER, what.length, &it.head)):
        return damaged(it, SNAPSHOT_PROLOGUE, b"the head of the snapshot is damaged")
    it.term = what.term
    it.index = what.index
    it.first = SNAPSHOT_PROLOGUE + size
    it.chunk = <uint8_t *>malloc(RECORD_TRAILER + record_size(it.head.chunk_bytes))
    if it.chunk == NULL:
        it.what = b"memory"
        return -ENOMEM
    return 0


cdef int verify_after(Reader *it, const uint8_t *trailer, const record *what, uint64_t where) noexcept nogil:
    """Checks a record against the stored chain of the one before, which lies in the 4 bytes in front of it."""
    cdef const uint8_t *header = trailer + RECORD_TRAILER
    cdef uint32_t before = (<uint32_t>trailer[0] | <uint32_t>trailer[1] << 8 | <uint32_t>trailer[2] << 16
                            | <uint32_t>trailer[3] << 24)
    cdef uint32_t ignored = 0
    # A chain with fewer than two bits is stored inverted (record.c), so one value may stand for two.
    if record_verify(header, header + RECORD_HEADER, what, before, &ignored):
        return 0
    if (~before & (~before - 1)) == 0 and record_verify(header, header + RECORD_HEADER, what, ~before, &ignored):
        return 0
    return damaged(it, where, b"the checksum of the snapshot is wrong")


cdef int reader_open(Reader *it, int fd) noexcept nogil:
    """Reads head and end of a finished snapshot, and checks that its size fits. Takes the descriptor over."""
    cdef uint8_t bytes[RECORD_TRAILER + 64]
    cdef uint8_t *header = bytes + RECORD_TRAILER
    cdef uint64_t end, rest, last
    cdef uint64_t end_size = record_size(SNAPSHOT_END_BYTES)
    cdef int64_t size
    cdef record what
    cdef int64_t result
    it.fd = fd
    result = reader_head(it)
    if result < 0:
        return <int>result
    size = io_size(fd)
    if size < <int64_t>(it.first + end_size):
        return damaged(it, size if size > 0 else 0, b"the snapshot is not finished")
    end = <uint64_t>size - end_size
    result = read_exactly(it, bytes, RECORD_TRAILER + end_size, end - RECORD_TRAILER)
    if result < 0:
        return <int>result
    if (not record_decode_header(header, it.salt, &what) or what.kind != RECORD_SNAPSHOT_END
            or what.length != SNAPSHOT_END_BYTES or what.term != it.term or what.index != it.index):
        return damaged(it, end, b"the end of the snapshot is missing or damaged")
    result = verify_after(it, bytes, &what, end)
    if result < 0:
        return <int>result
    it.content = load_le64(header + RECORD_HEADER)
    it.chunks = load_le64(header + RECORD_HEADER + 8)
    rest = it.content % it.head.chunk_bytes
    if it.chunks != it.content // it.head.chunk_bytes + (1 if rest else 0) or it.content > <uint64_t>size:
        return damaged(it, end, b"the end of the snapshot contradicts itself")
    last = it.first + (it.content // it.head.chunk_bytes) * record_size(it.head.chunk_bytes)
    if last + (record_size(rest) if rest else 0) != end:
        return damaged(it, end, b"the size of the snapshot is not what its end says")
    return 0


cdef int load_chunk(Reader *it, uint64_t number, uint64_t length) noexcept nogil:
    cdef uint64_t where = snapshot_chunk_offset(it.first, number, it.head.chunk_bytes)
    cdef record what
    cdef int64_t result
    if it.cached == <int64_t>number:
        return 0
    it.cached = -1
    result = read_exactly(it, it.chunk, RECORD_TRAILER + record_size(length), where - RECORD_TRAILER)
    if result < 0:
        return <int>result
    if (not record_decode_header(it.chunk + RECORD_TRAILER, it.salt, &what) or what.kind != RECORD_SNAPSHOT_CHUNK
            or what.length != length or what.index != number):
        return damaged(it, where, b"a chunk of the snapshot is damaged")
    result = verify_after(it, it.chunk, &what, where)
    if result < 0:
        return <int>result
    it.cached = <int64_t>number
    return 0


cdef int64_t reader_read(Reader *it, uint64_t offset, uint8_t *out, uint64_t size) noexcept nogil:
    """Copies content from `offset` on, at most `size` bytes, less only at the end; each chunk is checked."""
    cdef uint64_t done = 0
    cdef uint64_t number, within, length, part
    cdef int result
    if offset > it.content:
        it.what = b"an offset behind the end of the snapshot"
        return -EINVAL
    if size > it.content - offset:
        size = it.content - offset
    while done < size:
        number = (offset + done) // it.head.chunk_bytes
        within = (offset + done) % it.head.chunk_bytes
        length = it.content - number * it.head.chunk_bytes
        if length > it.head.chunk_bytes:
            length = it.head.chunk_bytes
        result = load_chunk(it, number, length)
        if result < 0:
            return result
        part = length - within
        if part > size - done:
            part = size - done
        memcpy(out + done, it.chunk + RECORD_TRAILER + RECORD_HEADER + within, part)
        done += part
    return <int64_t>done


cdef int reader_prove(Reader *it) noexcept nogil:
    """Reads and checks every chunk; 0 if all of the content is readable."""
    cdef uint64_t number, length
    cdef int result
    it.cached = -1
    for number in range(it.chunks):
        length = it.content - number * it.head.chunk_bytes
        if length > it.head.chunk_bytes:
            length = it.head.chunk_bytes
        result = load_chunk(it, number, length)
        if result < 0:
            return result
    return 0


cdef int writer_resume(Writer *it, Reader *found) noexcept nogil:
    """Continues an unfinished file: everything behind its last whole chunk that verifies is cut off."""
    cdef uint64_t where = found.first
    cdef uint32_t chain = found.head_chain
    cdef uint32_t after = 0
    cdef uint64_t size = record_size(found.head.chunk_bytes)
    cdef int64_t got
    cdef record what
    cdef uint8_t *bytes = found.chunk
    cdef int result
    if prepare(it, found.head.chunk_bytes) < 0:
        return -ENOMEM
    while True:
        got = io_read(it.faults, it.fd, bytes, size, where)
        if got < 0:
            return wrong(it, <int>got, b"reading the unfinished snapshot")
        if <uint64_t>got < size or not record_decode_header(bytes, found.salt, &what):
            break
        if (what.kind != RECORD_SNAPSHOT_CHUNK or what.index != it.chunks or what.length != found.head.chunk_bytes
                or not record_verify(bytes, bytes + RECORD_HEADER, &what, chain, &after)):
            break
        chain = after
        it.chunks += 1
        where += size
    it.salt = found.salt
    it.chain = chain
    it.term = found.term
    it.index = found.index
    it.id = found.head.id
    it.content = it.chunks * found.head.chunk_bytes
    it.offset = where
    result = io_truncate(it.faults, it.fd, where)
    return result if result == 0 else wrong(it, result, b"cutting the unfinished snapshot")
