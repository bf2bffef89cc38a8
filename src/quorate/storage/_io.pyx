# distutils: language = c++
# distutils: sources = csrc/crc32c.c
# distutils: define_macros = _FILE_OFFSET_BITS=64
"""Every system call that touches a file of a data directory, behind one door with a hook.

Knows nothing of records or of the log. Functions return 0 (or a count, or a descriptor), or -errno; none of them
needs the GIL. A NULL fault table costs one predictable branch. With one (tests), any call can fail, write short, or
be slow, and writes, syncs and renames are recorded, so that a test can replay what a power loss may leave.
"""

import errno as errno_names

cimport cython
from libc.errno cimport EINTR, EIO, ENOSPC, EOPNOTSUPP, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libcpp.string cimport string

from quorate.errors import StorageError
from quorate.storage._csrc cimport (
    crc32c,
    iovec,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_unlock,
)


cdef extern from "<fcntl.h>" nogil:
    int c_open "open"(const char *path, int flags, int mode)
    int c_fallocate "posix_fallocate"(int fd, int64_t offset, int64_t length)
    enum:
        O_CLOEXEC
        O_RDONLY
        O_RDWR
        O_WRONLY
        O_CREAT
        O_TRUNC
        O_DIRECTORY


cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    int64_t c_pread "pread"(int fd, void *out, size_t size, int64_t offset)
    int c_fdatasync "fdatasync"(int fd)
    int c_fsync "fsync"(int fd)
    int c_unlink "unlink"(const char *path)
    int c_ftruncate "ftruncate"(int fd, int64_t size)
    int64_t c_lseek "lseek"(int fd, int64_t offset, int whence)
    int usleep(unsigned int microseconds)
    enum:
        SEEK_END


cdef extern from "<stdio.h>" nogil:
    int c_rename "rename"(const char *old, const char *new)


cdef extern from "<sys/uio.h>" nogil:
    int64_t c_pwritev "pwritev"(int fd, const iovec *parts, int count, int64_t offset)


OPERATIONS = ("open", "read", "write", "sync", "fsync", "rename", "unlink", "allocate", "truncate", "sync_directory")


cdef int enter(FaultTable *faults, int op, const char *path, int64_t *limit) noexcept nogil:
    """Counts the call and asks the rules; returns 0 or -errno."""
    cdef FaultRule *rule
    cdef uint64_t delay = 0
    cdef size_t i
    cdef int error = 0
    pthread_mutex_lock(&faults.lock)
    faults.calls[op] += 1
    for i in range(faults.rules.size()):
        rule = &faults.rules[i]
        if rule.op != op or (rule.path.size() and string(path).find(rule.path) > string(path).size()):
            continue
        rule.seen += 1
        if rule.seen < rule.first or (rule.times and rule.seen >= rule.first + rule.times):
            continue
        delay += rule.delay_us
        if rule.limit >= 0 and limit != NULL:
            limit[0] = rule.limit
        elif rule.error:
            error = -rule.error
    pthread_mutex_unlock(&faults.lock)
    if delay:
        usleep(<unsigned int>delay)
    return error


cdef int note(FaultTable *faults, int op, const char *path, const char *other, uint64_t offset) noexcept nogil:
    cdef FaultEvent event
    if faults.recording:
        event.op = op
        event.path = string(path)
        event.other = string(other)
        event.offset = offset
        pthread_mutex_lock(&faults.lock)
        faults.events.push_back(event)
        pthread_mutex_unlock(&faults.lock)
    return 0


cdef string name_of(FaultTable *faults, int fd) noexcept nogil:
    cdef string name
    pthread_mutex_lock(&faults.lock)
    if <size_t>fd < faults.names.size():
        name = faults.names[fd]
    pthread_mutex_unlock(&faults.lock)
    return name


cdef int enter_at(FaultTable *faults, int op, int fd, int64_t *limit) noexcept nogil:
    cdef string name = name_of(faults, fd)
    return enter(faults, op, name.c_str(), limit)


cdef int note_at(FaultTable *faults, int op, int fd, uint64_t offset) noexcept nogil:
    cdef string name = name_of(faults, fd)
    return note(faults, op, name.c_str(), b"", offset)


cdef int io_open(FaultTable *faults, const char *path, int flags) noexcept nogil:
    cdef int error, fd
    if faults != NULL:
        error = enter(faults, OP_OPEN, path, NULL)
        if error:
            return error
    while True:
        fd = c_open(path, flags | O_CLOEXEC, 0o644)
        if fd >= 0 or errno != EINTR:
            break
    if fd < 0:
        return -errno
    if faults != NULL:
        pthread_mutex_lock(&faults.lock)
        if faults.names.size() <= <size_t>fd:
            faults.names.resize(fd + 1)
        faults.names[fd] = string(path)
        pthread_mutex_unlock(&faults.lock)
        if flags & O_CREAT:
            note(faults, OP_OPEN, path, b"", 0)
    return fd


cdef int io_close(int fd) noexcept nogil:
    return c_close(fd)


cdef int64_t io_size(int fd) noexcept nogil:
    cdef int64_t size = c_lseek(fd, 0, SEEK_END)
    return size if size >= 0 else -errno


cdef int64_t io_read(FaultTable *faults, int fd, void *out, uint64_t size, uint64_t offset) noexcept nogil:
    """Reads until `size` bytes are there or the file ends; the count, or -errno."""
    cdef uint64_t done = 0
    cdef int64_t got
    cdef int error
    while done < size:
        if faults != NULL:
            error = enter_at(faults, OP_READ, fd, NULL)
            if error:
                return error
        got = c_pread(fd, <uint8_t *>out + done, size - done, <int64_t>(offset + done))
        if got < 0:
            if errno == EINTR:
                continue
            return -errno
        if got == 0:
            break
        done += <uint64_t>got
    return <int64_t>done


cdef int64_t write_once(FaultTable *faults, int fd, iovec *parts, int count, uint64_t offset) noexcept nogil:
    cdef int64_t limit = -1
    cdef int64_t got = 0
    cdef FaultEvent event
    cdef iovec one
    cdef int error, i
    if faults == NULL:
        got = c_pwritev(fd, parts, count, <int64_t>offset)
        return got if got >= 0 else -errno
    error = enter_at(faults, OP_WRITE, fd, &limit)
    if error:
        return error
    if limit >= 0:
        one = parts[0]
        if one.iov_len > <size_t>limit:
            one.iov_len = <size_t>limit
        if one.iov_len == 0:
            return -ENOSPC
        parts = &one
        count = 1
    got = c_pwritev(fd, parts, count, <int64_t>offset)
    if got < 0:
        return -errno
    if got > 0 and faults.recording:
        event.op = OP_WRITE
        event.path = name_of(faults, fd)
        event.offset = offset
        for i in range(count):
            event.data.append(<const char *>parts[i].iov_base, parts[i].iov_len)
        event.data.resize(<size_t>got)
        pthread_mutex_lock(&faults.lock)
        faults.events.push_back(event)
        pthread_mutex_unlock(&faults.lock)
    return got


cdef int io_write(FaultTable *faults, int fd, iovec *parts, int count, uint64_t offset) noexcept nogil:
    """Writes all parts at `offset`, however short the single writes are; 0 or -errno. Changes `parts`."""
    cdef int64_t got
    while count > 0:
        if parts.iov_len == 0:
            parts += 1
            count -= 1
            continue
        got = write_once(faults, fd, parts, count if count < 1024 else 1024, offset)
        if got == -EINTR:
            continue
        if got <= 0:
            return <int>got if got else -EIO
        offset += <uint64_t>got
        while count > 0 and <size_t>got >= parts.iov_len:
            got -= <int64_t>parts.iov_len
            parts += 1
            count -= 1
        if count > 0:
            parts.iov_base = <uint8_t *>parts.iov_base + got
            parts.iov_len -= <size_t>got
    return 0


cdef int io_write_bytes(FaultTable *faults, int fd, const void *bytes, uint64_t size, uint64_t offset) noexcept nogil:
    cdef iovec part
    part.iov_base = <void *>bytes
    part.iov_len = size
    return io_write(faults, fd, &part, 1, offset)


cdef int io_sync(FaultTable *faults, int fd) noexcept nogil:
    """fdatasync. A failure is final for the caller: the kernel may have dropped the pages, a retry proves nothing."""
    cdef int error
    if faults != NULL:
        error = enter_at(faults, OP_SYNC, fd, NULL)
        if error:
            return error
    if c_fdatasync(fd) != 0:
        return -errno
    if faults != NULL:
        note_at(faults, OP_SYNC, fd, 0)
    return 0


cdef int io_fsync(FaultTable *faults, int fd) noexcept nogil:
    cdef int error
    if faults != NULL:
        error = enter_at(faults, OP_FSYNC, fd, NULL)
        if error:
            return error
    if c_fsync(fd) != 0:
        return -errno
    if faults != NULL:
        note_at(faults, OP_FSYNC, fd, 0)
    return 0


cdef int io_rename(FaultTable *faults, const char *old, const char *new) noexcept nogil:
    cdef int error
    cdef size_t i
    if faults != NULL:
        error = enter(faults, OP_RENAME, new, NULL)
        if error:
            return error
    if c_rename(old, new) != 0:
        return -errno
    if faults != NULL:
        pthread_mutex_lock(&faults.lock)
        for i in range(faults.names.size()):
            if faults.names[i] == string(old):
                faults.names[i] = string(new)
        pthread_mutex_unlock(&faults.lock)
        note(faults, OP_RENAME, old, new, 0)
    return 0


cdef int io_unlink(FaultTable *faults, const char *path) noexcept nogil:
    cdef int error
    if faults != NULL:
        error = enter(faults, OP_UNLINK, path, NULL)
        if error:
            return error
    if c_unlink(path) != 0:
        return -errno
    if faults != NULL:
        note(faults, OP_UNLINK, path, b"", 0)
    return 0


cdef int io_allocate(FaultTable *faults, int fd, uint64_t size) noexcept nogil:
    """Reserves the blocks of the file, where the file system can; ENOSPC shows here, not in the middle of a write."""
    cdef int error
    if faults != NULL:
        error = enter_at(faults, OP_ALLOCATE, fd, NULL)
        if error:
            return error
    error = c_fallocate(fd, 0, <int64_t>size)
    return 0 if error == EOPNOTSUPP else -error


cdef int io_truncate(FaultTable *faults, int fd, uint64_t size) noexcept nogil:
    cdef int error
    if faults != NULL:
        error = enter_at(faults, OP_TRUNCATE, fd, NULL)
        if error:
            return error
    if c_ftruncate(fd, <int64_t>size) != 0:
        return -errno
    if faults != NULL:
        note_at(faults, OP_TRUNCATE, fd, size)
    return 0


cdef int io_sync_directory(FaultTable *faults, const char *path) noexcept nogil:
    """Makes creations, renames and deletions in the directory durable."""
    cdef int error, fd
    if faults != NULL:
        error = enter(faults, OP_SYNC_DIRECTORY, path, NULL)
        if error:
            return error
    fd = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
    if fd < 0:
        return -errno
    error = 0 if c_fsync(fd) == 0 else -errno
    c_close(fd)
    if faults != NULL and not error:
        note(faults, OP_SYNC_DIRECTORY, path, b"", 0)
    return error


cdef FaultTable *table_of(Faults faults) noexcept:
    if faults is None:
        return NULL
    return faults.table


@cython.final
cdef class Faults:
    """Trouble for tests: makes chosen system calls fail, write short or be slow, and records what was written.

    Must outlive every log and snapshot that it is given to.

    >>> faults = Faults()
    >>> faults.fail("sync", error=5, first=2)
    >>> faults.calls["sync"]
    0
    """

    def __cinit__(self):
        self.table = new FaultTable()
        self.table.recording = False
        self.table.calls = <uint64_t *>calloc(OP_COUNT, sizeof(uint64_t))
        if self.table.calls == NULL:
            raise MemoryError
        pthread_mutex_init(&self.table.lock, NULL)

    def __dealloc__(self):
        if self.table != NULL:
            pthread_mutex_destroy(&self.table.lock)
            free(self.table.calls)
            del self.table

    def fail(self, str operation, *, int error=5, uint64_t first=1, uint64_t times=0, str path=""):
        """The `first` and following matching calls (`times` of them; 0: all) answer with this errno."""
        self._add(operation, first, times, path, error, -1, 0)

    def shorten(self, str operation, *, int64_t limit, uint64_t first=1, uint64_t times=0, str path=""):
        """A write takes at most `limit` bytes; with 0 it answers ENOSPC."""
        self._add(operation, first, times, path, 0, limit, 0)

    def slow(self, str operation, *, double seconds, uint64_t first=1, uint64_t times=0, str path=""):
        """The call takes that much longer."""
        self._add(operation, first, times, path, 0, -1, <uint64_t>(seconds * 1e6))

    def _add(self, str operation, uint64_t first, uint64_t times, str path, int error, int64_t limit, uint64_t delay):
        cdef FaultRule rule
        rule.op = OPERATIONS.index(operation)
        rule.first = first
        rule.times = times
        rule.seen = 0
        rule.error = error
        rule.limit = limit
        rule.delay_us = delay
        rule.path = path.encode()
        pthread_mutex_lock(&self.table.lock)
        self.table.rules.push_back(rule)
        pthread_mutex_unlock(&self.table.lock)

    def clear(self):
        """Forgets all rules."""
        pthread_mutex_lock(&self.table.lock)
        self.table.rules.clear()
        pthread_mutex_unlock(&self.table.lock)

    def record(self, bint on=True):
        """Starts (or ends) the recording of what changes files."""
        self.table.recording = on

    @property
    def calls(self):
        """How often each operation was called: a dict by name."""
        pthread_mutex_lock(&self.table.lock)
        try:
            return {name: self.table.calls[i] for i, name in enumerate(OPERATIONS)}
        finally:
            pthread_mutex_unlock(&self.table.lock)

    def events(self):
        """What was recorded: a list of (operation, path, other path, offset or size, data)."""
        cdef FaultEvent *event
        cdef size_t i
        found = []
        pthread_mutex_lock(&self.table.lock)
        try:
            for i in range(self.table.events.size()):
                event = &self.table.events[i]
                found.append((OPERATIONS[event.op], (<bytes>event.path).decode(), (<bytes>event.other).decode(),
                              event.offset, <bytes>event.data))
        finally:
            pthread_mutex_unlock(&self.table.lock)
        return found


def check(int result, str what, str path, offset=None, advice=None):
    """Raises StorageError for a negative result of one of the functions above; returns any other."""
    if result >= 0:
        return result
    name = errno_names.errorcode.get(-result, str(-result))
    raise StorageError(f"{what} failed with {name}", file=path, offset=offset, advice=advice)


def write_file(str path, bytes data, Faults faults=None):
    """Writes a small file whole and durably, or not at all: temporary name, fsync, rename, directory fsync."""
    cdef FaultTable *table = table_of(faults)
    cdef int fd
    temporary = path + ".new"
    encoded = temporary.encode()
    fd = check(io_open(table, encoded, O_WRONLY | O_CREAT | O_TRUNC), "creating the file", temporary)
    try:
        check(io_write_bytes(table, fd, <const char *>data, len(data), 0), "writing", temporary)
        check(io_fsync(table, fd), "fsync", temporary)
    finally:
        io_close(fd)
    check(io_rename(table, encoded, path.encode()), "renaming", path)
    sync_directory(path.rpartition("/")[0] or ".", faults)


def sync_directory(str path, Faults faults=None):
    """Makes creations, renames and deletions in the directory durable."""
    check(io_sync_directory(table_of(faults), path.encode()), "fsync of the directory", path)


def sync_file(str path, Faults faults=None):
    """Makes what another process wrote into a file, and may not have synced, durable."""
    cdef FaultTable *table = table_of(faults)
    cdef int fd = check(io_open(table, path.encode(), O_RDWR), "opening", path)
    try:
        check(io_sync(table, fd), "fdatasync", path)
    finally:
        io_close(fd)


def remove_file(str path, Faults faults=None):
    """Deletes a file durably."""
    check(io_unlink(table_of(faults), path.encode()), "deleting", path)
    sync_directory(path.rpartition("/")[0] or ".", faults)


def rename_file(str old, str new, Faults faults=None):
    """Renames a file durably, within one directory."""
    check(io_rename(table_of(faults), old.encode(), new.encode()), "renaming", new)
    sync_directory(new.rpartition("/")[0] or ".", faults)


def checksum(bytes data not None, uint32_t start=0):
    """CRC32C of the bytes, continued from `start`.

    >>> hex(checksum(b"123456789"))
    '0xe3069283'
    """
    return crc32c(start, <const char *>data, len(data))
