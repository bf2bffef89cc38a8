# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""A native load for the log, and the plain loop that it is compared with; for `bench/` and `quorate bench`.

Both run without the GIL, so that the figures are of the disk and the log alone.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from libcpp.vector cimport vector

from quorate.errors import StorageError
from quorate.storage._io import check

from quorate.storage._csrc cimport CLOCK_MONOTONIC, buffer, buffer_new, buffer_release, clock_gettime, entry, timespec
from quorate.storage._io cimport io_close, io_open, io_sync, io_write_bytes
from quorate.storage._log cimport Log
from quorate.storage._segment cimport segment_fill
from quorate.storage._wal cimport SUBMIT_NOTHING, WAL_ACCEPTED, WAL_BUSY, Submission, Wal, wal_new, wal_free
from quorate.storage._wal cimport wal_submit, wal_wait


cdef extern from "<fcntl.h>" nogil:
    enum:
        O_RDWR
        O_CREAT


cdef double now() noexcept nogil:
    cdef timespec it
    clock_gettime(CLOCK_MONOTONIC, &it)
    return <double>it.tv_sec + <double>it.tv_nsec * 1e-9


def drive(Log log not None, *, int batches, int count, int size, int window=1):
    """Submits `batches` of `count` entries of `size` bytes, at most `window` of them not yet durable.

    Returns the seconds from submission to durability of each batch, and the seconds of the whole run.
    """
    cdef Wal *wal = log.wal
    cdef Submission what
    cdef vector[entry] entries
    cdef vector[double] began
    cdef vector[double] took
    cdef vector[uint64_t] tickets
    cdef buffer *data = buffer_new(<unsigned int>size if size else 1)
    cdef uint64_t term = wal.submitted_last.term + 1
    cdef uint64_t ticket = 0
    cdef int sent = 0
    cdef int done = 0
    cdef int i, answer
    cdef double start = 0
    cdef double end = 0
    if data == NULL:
        raise MemoryError
    entries.resize(count)
    began.resize(batches)
    took.resize(batches)
    tickets.resize(batches)
    with nogil:
        memset(data.bytes, 0x55, size)
        for i in range(count):
            entries[i].term = term
            entries[i].data = data if size else NULL
            entries[i].offset = 0
            entries[i].length = <unsigned int>size
            entries[i].kind = 0
        what.hard = NULL
        what.broken_rule = NULL
        what.base_kind = SUBMIT_NOTHING
        what.entries = entries.data()
        what.count = count
        what.essential = False
        start = now()
        answer = WAL_ACCEPTED
        while done < batches:
            if sent < batches and sent - done < window:
                what.first_index = wal.submitted_last.index + 1
                began[sent] = now()
                answer = wal_submit(wal, &what, &ticket)
                if answer == WAL_ACCEPTED:
                    tickets[sent] = ticket
                    sent += 1
                    continue
                if answer != WAL_BUSY:
                    break
                if sent == done:
                    wal_wait(wal, ~<uint64_t>0, 0.001)
                    continue
            answer = wal_wait(wal, tickets[done], 30.0)
            if answer != 1:
                break
            end = now()
            while done < sent and wal.completion.ticket >= tickets[done]:
                took[done] = end - began[done]
                done += 1
    buffer_release(data)
    if done < batches:
        raise log.failed or StorageError(f"the log did not take batch {sent} (answer {answer})")
    return list(took), end - start


def plain(str path, *, int batches, int size, uint64_t file_bytes=33554432, bint sync=True):
    """The yardstick: `batches` times write `size` bytes into a zero-filled file, round and round, and fdatasync.

    Returns the seconds of each batch, and the seconds of the whole run.
    """
    cdef void *data = calloc(1, size)
    cdef vector[double] took
    cdef double start = 0
    cdef double before, after = 0
    cdef uint64_t offset = 0
    cdef int result = 0
    cdef int i, fd
    cdef Wal *scratch
    if data == NULL:
        raise MemoryError
    took.resize(batches)
    fd = check(io_open(NULL, path.encode(), O_RDWR | O_CREAT), "opening", path)
    scratch = wal_new()
    with nogil:
        memset(data, 0x55, size)
        result = segment_fill(scratch, fd, 0, file_bytes, False)
        start = after = now()
        for i in range(batches):
            if result < 0:
                break
            before = after
            if offset + size > file_bytes:
                offset = 0
            result = io_write_bytes(NULL, fd, data, size, offset)
            offset += size
            if result == 0 and sync:
                result = io_sync(NULL, fd)
            after = now()
            took[i] = after - before
        wal_free(scratch)
        io_close(fd)
        free(data)
    check(result, "writing", path)
    return list(took), after - start
