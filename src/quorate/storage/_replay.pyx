# cython: wraparound=True
# distutils: language = c++
# distutils: sources = csrc/record.c csrc/crc32c.c csrc/buffer.c
"""Reading a log back: every segment in order, every record checked, and what they say together.

Only reads; what a torn tail needs is done by the handle (_log.pyx). Knows the record format and the rules of the log
(an entry follows the last one or replaces a suffix; a base covers entries; a reset replaces all), and nothing of
threads.

The rule on damage: the tail of the last segment may be torn, nothing else may be anything but whole. Whatever is not
as it must be raises StorageError with file, offset, reason and advice.
"""

import os

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from quorate.errors import InvalidArgument, StorageError
from quorate.storage._io import check

from quorate.storage._csrc cimport (
    ENTRY_KINDS,
    RECORD_BASE,
    RECORD_CORRUPT,
    RECORD_ENTRY,
    RECORD_GOOD,
    RECORD_HARD_STATE,
    RECORD_MARK,
    RECORD_NO_SPACE,
    RECORD_RESET,
    RECORD_SEAL,
    RECORD_TORN,
    SEGMENT_HEADER,
    buffer_new,
    buffer_release,
    buffer_retain,
    entry_release,
    load_le64,
    record_is_zero,
    record_scan,
    segment_decode_header,
)
from quorate.storage._io cimport Faults, FaultTable, io_close, io_open, io_read, io_size, table_of

cdef enum:
    O_RDONLY = 0
    SLAB_BYTES = 262144
    OWN_BUFFER = 65536  # payloads from here on get a buffer of their own, so that one entry never pins much of others

ADVICE = (
    "Nothing was changed. Keep a copy of the directory; then restore this node from a snapshot, or remove it from "
    "the cluster and add it again with an empty directory"
)


cdef Replay *replay_new() except NULL:
    cdef Replay *it = new Replay()
    it.hard.term = it.hard.vote = it.hard.commit = 0
    it.base.term = it.base.index = 0
    it.last = it.start = it.base
    it.slab = NULL
    it.slab_used = 0
    it.group = 0
    it.records = 0
    it.began = False
    return it


cdef void replay_free(Replay *it) noexcept nogil:
    cdef size_t i
    if it == NULL:
        return
    for i in range(it.entries.size()):
        entry_release(&it.entries[i])
    buffer_release(it.slab)
    del it


cdef void replay_begin(Replay *it, const segment_header *header) noexcept nogil:
    """Takes what the header of the first segment says of the log in front of it."""
    it.start.index = it.last.index = header.last_index
    it.start.term = it.last.term = header.last_term
    it.began = True


cdef void cut_from(Replay *it, uint64_t index) noexcept nogil:
    """Drops the entries from `index` on."""
    while it.entries.size() and it.start.index + it.entries.size() >= index:
        entry_release(&it.entries.back())
        it.entries.pop_back()
    if it.start.index >= index:
        # They lay in segments deleted since; the term of what is in front of them is not known here. 0 says so.
        it.start.index = index - 1
        it.start.term = 0
    if it.entries.size():
        it.last.term = it.entries.back().term
    else:
        it.last.term = it.start.term
    it.last.index = it.start.index + it.entries.size()


cdef int keep(Replay *it, const record *what, const uint8_t *payload) noexcept nogil:
    """Copies the entry into memory of our own; -1 if there is none."""
    cdef entry kept
    kept.term = what.term
    kept.length = what.length
    kept.kind = what.kind & 0x0F
    kept.offset = 0
    kept.data = NULL
    if what.length >= OWN_BUFFER:
        kept.data = buffer_new(what.length)
        if kept.data == NULL:
            return -1
    elif what.length:
        if it.slab == NULL or SLAB_BYTES - it.slab_used < what.length:
            buffer_release(it.slab)
            it.slab = buffer_new(SLAB_BYTES)
            it.slab_used = 0
            if it.slab == NULL:
                return -1
        kept.data = buffer_retain(it.slab)
        kept.offset = it.slab_used
        it.slab_used += what.length
    if what.length:
        memcpy(kept.data.bytes + kept.offset, payload, what.length)
    it.entries.push_back(kept)
    return 0


cdef const char *replay_entry(Replay *it, const record *what, const uint8_t *payload) noexcept nogil:
    if what.kind & 0x0F >= ENTRY_KINDS:
        return b"an entry of a kind that this version does not know"
    if what.index == 0 or what.index > it.last.index + 1:
        return b"an entry leaves a gap behind the last one"
    if what.index <= it.base.index:
        return b"an entry replaces one that a snapshot covers"
    if what.index <= it.last.index:
        if what.index <= it.hard.commit:
            return b"an entry replaces a committed one"
        cut_from(it, what.index)
    if what.term < it.last.term:
        return b"the terms of the entries go back"
    if keep(it, what, payload) < 0:
        return b"memory is short"
    it.last.term = what.term
    it.last.index = what.index
    return NULL


cdef const char *replay_base(Replay *it, const record *what) noexcept nogil:
    cdef uint64_t drop
    cdef size_t i
    if what.index < it.base.index:
        return b"the base goes back"
    if what.index > it.last.index:
        return b"a base beyond the last entry"
    if what.index > it.start.index:
        drop = what.index - it.start.index
        if it.entries[drop - 1].term != what.term:
            return b"a base contradicts the term of its entry"
        for i in range(drop):
            entry_release(&it.entries[i])
        it.entries.erase(it.entries.begin(), it.entries.begin() + drop)
        it.start.index = what.index
        it.start.term = what.term
    if what.index == it.start.index:
        if it.start.term == 0:
            it.start.term = what.term
        if it.start.term != what.term:
            return b"a base contradicts the term of its entry"
    if it.entries.empty():
        it.last.term = it.start.term
    it.base.term = what.term
    it.base.index = what.index
    return NULL


cdef const char *replay_record(Replay *it, const record *what, const uint8_t *payload) noexcept nogil:
    """Applies one record; NULL, or which rule of the log it breaks."""
    it.records += 1
    if what.group != it.group:
        return b"a record of another group; a newer version wrote it"
    if (what.kind & 0xF0) == RECORD_ENTRY:
        return replay_entry(it, what, payload)
    if what.kind == RECORD_HARD_STATE:
        if what.length != 8:
            return b"a hard state of a wrong size"
        if what.term < it.hard.term:
            return b"the term of the hard state goes back"
        if what.index < it.hard.commit:
            return b"the commit index goes back"
        it.hard.term = what.term
        it.hard.commit = what.index
        it.hard.vote = load_le64(payload)
        return NULL
    if what.length:
        return b"a record with bytes that its kind does not have"
    if what.kind == RECORD_BASE:
        return replay_base(it, what)
    if what.kind == RECORD_RESET:
        while it.entries.size():
            entry_release(&it.entries.back())
            it.entries.pop_back()
        it.base.term = it.last.term = it.start.term = what.term
        it.base.index = it.last.index = it.start.index = what.index
        return NULL
    if what.kind == RECORD_MARK or what.kind == RECORD_SEAL:
        return NULL
    return b"a record of a kind that this version does not know"


cdef int scan_segment(Replay *replay, const uint8_t *bytes, uint64_t size, uint32_t salt, record_cursor *cursor,
                      const char **reason) noexcept nogil:
    """Replays a segment from the cursor on; RECORD_GOOD if it ended with a seal, else the status that ended it."""
    cdef record what
    cdef const uint8_t *payload
    cdef record_cursor before
    cdef int status
    while True:
        before = cursor[0]
        status = record_scan(bytes, size, salt, cursor, &what, &payload, reason)
        if status != RECORD_GOOD:
            return status
        reason[0] = replay_record(replay, &what, payload)
        if reason[0] != NULL:
            cursor[0] = before
            return RECORD_CORRUPT
        if what.kind == RECORD_SEAL:
            return RECORD_GOOD


def segment_files(str directory):
    """Names of the segment files in a log directory, by sequence."""
    found = {}
    for name in os.listdir(directory):
        stem, _, ending = name.partition(".")
        if ending == "log" and len(stem) == 16 and stem.isdecimal():
            found[int(stem)] = name
    return dict(sorted(found.items()))


@cython.final
cdef class Replayed:
    """What a log directory says. Made by :func:`replay`."""

    def __cinit__(self):
        self.replay = replay_new()
        self.segments = []

    def __dealloc__(self):
        replay_free(self.replay)

    @property
    def hard_state(self):
        """(term, vote or 0, commit)"""
        return self.replay.hard.term, self.replay.hard.vote, self.replay.hard.commit

    @property
    def base(self):
        """(term, index) up to which a snapshot covers the entries; (0, 0) if none does."""
        return self.replay.base.term, self.replay.base.index

    @property
    def last(self):
        """(term, index) of the last entry, or the base."""
        return self.replay.last.term, self.replay.last.index

    @property
    def records(self):
        """How many records were read."""
        return self.replay.records

    def term_of(self, uint64_t index):
        """Term of an entry after the base, or of the base."""
        if index == self.replay.base.index:
            return self.replay.base.term
        if index <= self.replay.start.index or index > self.replay.start.index + self.replay.entries.size():
            raise InvalidArgument(f"entry {index} is not in the log")
        return self.replay.entries[index - self.replay.start.index - 1].term

    def entries(self):
        """The entries after the base: a list of (index, term, kind, bytes)."""
        cdef entry *it
        cdef size_t i
        found = []
        for i in range(self.replay.entries.size()):
            it = &self.replay.entries[i]
            found.append((
                self.replay.start.index + 1 + i, it.term, it.kind,
                (<char *>it.data.bytes)[it.offset:it.offset + it.length] if it.length else b"",
            ))
        return found


cdef read_segment(Replayed self, str path, uint64_t sequence, FaultTable *faults, uint32_t *chain):
    cdef segment_header header
    cdef record_cursor cursor
    cdef uint8_t *data
    cdef uint32_t seed = 0
    cdef int64_t size, got, end
    cdef int fd, status
    cdef const char *reason = b""
    fd = check(io_open(faults, path.encode(), O_RDONLY), "opening the segment", path)
    data = NULL
    try:
        size = check(io_size(fd), "asking for the size", path)
        if size < SEGMENT_HEADER:
            raise StorageError("the segment is shorter than its header", file=path, offset=size, advice=ADVICE)
        data = <uint8_t *>malloc(size)
        if data == NULL:
            raise MemoryError
        with nogil:
            got = io_read(faults, fd, data, size, 0)
        check(got, "reading", path)
        status = segment_decode_header(data, &header, &seed)
        if status < 0:
            raise StorageError("the segment was written by a newer version of Quorate", file=path, offset=0,
                               advice="Start that version or a newer one")
        if status == 0:
            raise StorageError("the segment header is damaged", file=path, offset=0, advice=ADVICE)
        if got != size or <uint64_t>size != header.segment_bytes:
            raise StorageError(f"the segment has {got} bytes and must have {header.segment_bytes}", file=path,
                               offset=got, advice=ADVICE)
        if header.sequence != sequence:
            raise StorageError(f"this is segment {header.sequence} under a wrong name", file=path, offset=16,
                               advice=ADVICE)
        identity = ((<char *>header.cluster)[:16], header.node, header.incarnation)
        if self.cluster is None:
            self.cluster, self.node, self.incarnation = identity
            self.segment_bytes = header.segment_bytes
        elif (self.cluster, self.node, self.incarnation) != identity:
            raise StorageError("the segment belongs to another cluster, node or incarnation", file=path, offset=32,
                               advice="It was copied from another directory; move it away. " + ADVICE)
        cursor.offset = SEGMENT_HEADER
        cursor.chain = seed
        cursor.batch = 0xFFFF
        cursor.ended = 1
        sealed = False
        if not self.replay.began:
            replay_begin(self.replay, &header)
        elif not self.segments[-1][3]:
            check_orphan(self, path, data, size)
            return
        elif header.chain_in != chain[0]:
            raise StorageError("the chain is broken: the segment does not continue the one before", file=path,
                               offset=84,
                               advice=ADVICE)
        elif header.last_index != self.replay.last.index or header.last_term != self.replay.last.term:
            raise StorageError("the segment does not continue the one before", file=path, offset=64, advice=ADVICE)
        with nogil:
            status = scan_segment(self.replay, data, size, header.salt, &cursor, &reason)
        if status == RECORD_CORRUPT or status == RECORD_NO_SPACE:
            raise StorageError((<bytes>reason).decode() or "the segment has no end", file=path,
                               offset=cursor.offset, advice=ADVICE)
        sealed = status == RECORD_GOOD
        end = size
        while end > <int64_t>cursor.offset and data[end - 1] == 0:
            end -= 1
        if status == RECORD_TORN:
            # In front of another segment only if that one holds nothing yet, which _orphan checks.
            self.cut = (path, cursor.offset, end - <int64_t>cursor.offset, (<bytes>reason).decode())
        self.segments.append((path, header.sequence, header.last_index, sealed, cursor.offset))
        chain[0] = cursor.chain
        self.cursor = cursor
        self.salt = header.salt
    finally:
        free(data)
        io_close(fd)


cdef check_orphan(Replayed self, str path, const uint8_t *data, int64_t size):
    """A segment behind one without a seal: a crash while segments changed, if it holds no record."""
    if not record_is_zero(data + SEGMENT_HEADER, size - SEGMENT_HEADER):
        before = self.segments[-1]
        raise StorageError("the segment is not complete, although a later one has records", file=before[0],
                           offset=before[4], advice=ADVICE)
    self.orphan = path


def replay(str directory, Faults faults=None, *, progress=None):
    """Reads all segments of a log directory; :class:`Replayed`.

    ``progress`` is called with (segments read, segments in all). Raises StorageError for anything but a torn tail.
    """
    cdef Replayed result = Replayed()
    cdef uint32_t chain = 0
    cdef uint64_t sequence
    files = segment_files(directory)
    expected = None
    for number, (sequence, name) in enumerate(files.items()):
        path = f"{directory}/{name}"
        if expected is not None and sequence != expected:
            raise StorageError(f"segment {expected} is missing in front of this one", file=path, advice=ADVICE)
        if result.orphan is not None:
            raise StorageError("a segment is not complete although later ones follow",
                               file=result.segments[-1][0], offset=result.segments[-1][4], advice=ADVICE)
        read_segment(result, path, sequence, table_of(faults), &chain)
        expected = sequence + 1
        if progress is not None:
            progress(number + 1, len(files))
    if files:
        validate(result)
    return result


cdef validate(Replayed result):
    """What no single record can show."""
    cdef Replay *it = result.replay
    path, _, _, sealed, offset = result.segments[-1]
    if sealed:
        # A segment is sealed only after its successor has its name.
        raise StorageError("the segment behind this one is missing", file=path, offset=offset, advice=ADVICE)
    if it.start.index > it.base.index:
        raise StorageError(f"entries {it.base.index + 1} to {it.start.index} are missing: older segments were deleted",
                           file=result.segments[0][0], offset=0, advice=ADVICE)
    if it.hard.commit > it.last.index:
        raise StorageError(f"the log says that {it.hard.commit} is committed, and ends at {it.last.index}", file=path,
                           offset=offset, advice=ADVICE)
