# distutils: language = c++
# distutils: sources = csrc/record.c csrc/crc32c.c csrc/snapshot.c csrc/buffer.c
"""Handles of snapshot files for Python: an unfinished one that takes content, a finished one that gives it back.

The work is in _chunks.pyx, which runs without the GIL. Knows nothing of which snapshots there are (snapshots.py).
"""

cimport cython
from libc.errno cimport EBADMSG, ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from quorate.errors import InvalidArgument, StorageError
from quorate.storage._io import check
from quorate.storage.meta import SnapshotMeta

from quorate.storage._chunks cimport (
    Reader,
    reader_free,
    reader_head,
    reader_new,
    reader_open,
    reader_prove,
    reader_read,
    writer_append,
    writer_begin,
    writer_finish,
    writer_free,
    writer_new,
    writer_place,
    writer_resume,
)
from quorate.storage._csrc cimport SNAPSHOT_CHUNK_MAX, SNAPSHOT_CONFIGURATION_MAX, snapshot_head
from quorate.storage._io cimport Faults, io_open, table_of


cdef extern from "<fcntl.h>" nogil:
    enum:
        O_RDONLY
        O_RDWR
        F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, int argument)


cdef object meta_of(Reader *it):
    return SnapshotMeta(
        term=it.term, index=it.index, configuration=(<char *>it.head.configuration)[:it.head.configuration_length],
        configuration_index=it.head.configuration_index, id=it.head.id, content_format=it.head.content_format,
        chunk_bytes=it.head.chunk_bytes, cluster=(<char *>it.head.cluster)[:16], node=it.head.node,
        incarnation=it.head.incarnation,
    )


cdef trouble(int result, const char *what, object path, object where):
    """Raises for a negative result."""
    advice = "Delete it, or restore it from a copy; another snapshot or another member has the data"
    if result == -EBADMSG:
        raise StorageError((<bytes>what).decode(), file=path, offset=where, advice=advice)
    if result == -ENOMEM:
        raise MemoryError
    if result < 0:
        check(result, (<bytes>what).decode(), path, where)


@cython.final
cdef class SnapshotWriter:
    """An unfinished snapshot. Made by :meth:`Snapshots.create` and :meth:`Snapshots.resume`; one thread at a time.

    ``meta`` says what it is of. Content is added with :meth:`write`; :meth:`finish` makes it durable and visible. If
    neither that nor :meth:`discard` is called, the file stays and can be resumed from :attr:`offset`, rounded down to
    whole chunks.
    """

    def __dealloc__(self):
        writer_free(self.it)

    @property
    def offset(self):
        """Bytes of content taken so far."""
        return self.it.content

    @property
    def descriptor(self):
        """The file descriptor, for the owner of the files."""
        return self.it.fd

    def write(self, bytes content not None):
        """Adds content. Raises StorageError if the disk refuses; then all that is left to do is to discard."""
        cdef const uint8_t *data = <const uint8_t *><const char *>content
        cdef uint64_t size = len(content)
        cdef int result
        if self.it.finished:
            raise InvalidArgument("the snapshot is finished")
        with nogil:
            result = writer_append(self.it, data, size)
        trouble(result, self.it.what, self.path, self.it.offset)

    def finish(self):
        """Makes the snapshot durable, visible, and proven readable. Returns its path, or None in memory."""
        cdef int result
        if self.it.finished:
            raise InvalidArgument("the snapshot is finished")
        with nogil:
            result = writer_finish(self.it)
        trouble(result, self.it.what, self.path, self.it.offset)
        return self.owner._finished(self)

    def close(self):
        """Closes the file and leaves it for a later resume."""
        writer_free(self.it)
        self.it = writer_new(NULL)
        self.it.finished = True

    def discard(self):
        """Closes and deletes an unfinished snapshot."""
        finished = self.it.finished
        self.close()
        if not finished:
            self.owner._discarded(self)

    def __repr__(self):
        return f"SnapshotWriter({self.meta!r}, {self.it.content} bytes{', finished' if self.it.finished else ''})"


@cython.final
cdef class SnapshotReader:
    """A finished snapshot, open for reading. Made by :meth:`Snapshots.open`; one thread at a time."""

    def __dealloc__(self):
        reader_free(self.it)

    @property
    def size(self):
        """Bytes of the content."""
        return self.it.content

    def read(self, uint64_t offset, uint64_t size):
        """At most `size` bytes of content from `offset` on; fewer only at the end. Each chunk is checked.

        Raises StorageError if the file is damaged.
        """
        cdef int64_t result
        cdef uint8_t *at
        if offset > self.it.content:
            raise InvalidArgument(f"offset {offset} is behind the end, {self.it.content}")
        size = min(size, self.it.content - offset)
        data = bytearray(size)
        at = <uint8_t *><char *>data
        with nogil:
            result = reader_read(self.it, offset, at, size)
        if result < 0:
            trouble(<int>result, self.it.what, self.path, self.it.where)
        return bytes(data)

    def chunks(self, uint64_t offset=0):
        """The content from `offset` on, one chunk at a time."""
        while offset < self.it.content:
            step = self.it.head.chunk_bytes - offset % self.it.head.chunk_bytes
            part = self.read(offset, step)
            yield part
            offset += len(part)

    def prove(self):
        """Reads and checks everything. Raises StorageError at the first damage."""
        cdef int result
        with nogil:
            result = reader_prove(self.it)
        trouble(result, self.it.what, self.path, self.it.where)

    def close(self):
        """Closes the file."""
        reader_free(self.it)
        self.it = reader_new(NULL)

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()

    def __repr__(self):
        return f"SnapshotReader({self.meta!r}, {self.it.content} bytes)"


def begin_writer(owner, meta, str directory, Faults faults=None):
    """A writer of a new file; without a directory, in memory."""
    cdef SnapshotWriter made = SnapshotWriter.__new__(SnapshotWriter)
    cdef snapshot_head head
    cdef bytes configuration = meta.configuration
    cdef uint64_t term = meta.term
    cdef uint64_t index = meta.index
    cdef uint32_t salt
    cdef int result
    if len(configuration) > SNAPSHOT_CONFIGURATION_MAX:
        raise InvalidArgument(f"a configuration has at most {SNAPSHOT_CONFIGURATION_MAX} bytes")
    if meta.chunk_bytes % 8 or not 0 < meta.chunk_bytes <= SNAPSHOT_CHUNK_MAX:
        raise InvalidArgument(f"chunk_bytes is a multiple of 8, at most {SNAPSHOT_CHUNK_MAX}")
    made.it = writer_new(table_of(faults))
    made.faults, made.owner, made.meta = faults, owner, meta
    made.it.memory = directory is None
    if directory is not None:
        writer_place(made.it, directory.encode(), index, term)
        made.path = (<bytes>made.it.path).decode()
    memcpy(head.cluster, <const char *>(<bytes>meta.cluster), 16)
    head.node, head.incarnation, head.id = meta.node, meta.incarnation, meta.id
    head.configuration_index, head.content_format = meta.configuration_index, meta.content_format
    head.chunk_bytes, head.configuration_length = meta.chunk_bytes, len(configuration)
    head.configuration = <const uint8_t *><const char *>configuration
    salt = (meta.id ^ meta.id >> 32) & 0xFFFFFFFF
    with nogil:
        result = writer_begin(made.it, &head, term, index, salt)
    trouble(result, made.it.what, made.path, None)
    return made


def resume_writer(owner, str directory, uint64_t index, uint64_t term, Faults faults=None):
    """A writer that goes on with an unfinished file. Raises StorageError if not even its head is whole."""
    cdef SnapshotWriter made = SnapshotWriter.__new__(SnapshotWriter)
    cdef Reader *found = reader_new(table_of(faults))
    cdef int result
    made.it = writer_new(table_of(faults))
    made.faults, made.owner = faults, owner
    writer_place(made.it, directory.encode(), index, term)
    made.path = path = (<bytes>made.it.path).decode()
    try:
        made.it.fd = check(io_open(table_of(faults), path.encode(), O_RDWR), "opening the unfinished snapshot", path)
        found.fd = fcntl(made.it.fd, F_DUPFD_CLOEXEC, 0)
        with nogil:
            result = reader_head(found)
        trouble(result, found.what, path, found.where)
        made.meta = meta_of(found)
        with nogil:
            result = writer_resume(made.it, found)
        trouble(result, made.it.what, path, None)
    finally:
        reader_free(found)
    return made


def open_reader(str path, int descriptor=-1, Faults faults=None):
    """A reader of a finished file, by its path, or (in memory) by a descriptor that is duplicated."""
    cdef SnapshotReader made = SnapshotReader.__new__(SnapshotReader)
    cdef int fd, result
    made.it = reader_new(table_of(faults))
    made.faults, made.path = faults, path
    fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 0) if path is None else io_open(table_of(faults), path.encode(), O_RDONLY)
    check(fd, "opening the snapshot", path)
    with nogil:
        result = reader_open(made.it, fd)
    trouble(result, made.it.what, path, made.it.where)
    made.meta = meta_of(made.it)
    return made
