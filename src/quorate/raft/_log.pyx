# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""The Raft log in memory: entries by index, cheap to append, to cut at either end, and to share.

Entries lie in blocks of fixed size: appending never moves an entry, cutting the head frees whole blocks, and an index is
found by two divisions. Payloads are slices of reference-counted buffers. Configuration entries are noted as they come, so
that the one in force at any index is at hand (Raft §6). Knows nothing of roles, quorums or files.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from libcpp.utility cimport pair

from quorate.raft._configuration cimport (
    configuration_decode,
    configuration_from_object,
    configuration_object,
)
from quorate.raft._types cimport (
    ENTRY_BYTES_MAX,
    ENTRY_COMMAND,
    ENTRY_CONFIGURATION,
    ENTRY_KINDS,
    LOG_BLOCK,
    Configuration,
    EntryRef,
    Log,
    buffer,
    buffer_from,
    buffer_new,
    buffer_release,
    buffer_retain,
    entry,
    entry_bytes,
    entry_pointer,
    entry_release,
    quorate_enter,
    quorate_leave,
)

from quorate.errors import Compacted, InvalidArgument, LimitExceeded
from quorate.raft.types import Entry

cdef enum:
    BURY_BYTES = 1048576  # payload freed at once: large pieces go back to the system, which takes its time


cdef bint log_term(Log *log, uint64_t index, uint64_t *term) noexcept nogil:
    """The term at ``index`` (the snapshot's last index included); False if the log does not know it."""
    if index > log.last_index or index < log.snapshot_index:
        return False
    if index == log.snapshot_index:
        term[0] = log.snapshot_term
    elif index == log.last_index:
        term[0] = log.last_term
    else:
        term[0] = log_at(log, index).term
    return True


cdef bint log_matches(Log *log, uint64_t index, uint64_t term) noexcept nogil:
    cdef uint64_t own
    return log_term(log, index, &own) and own == term


cdef uint64_t log_conflict_by_term(Log *log, uint64_t index, uint64_t term) noexcept nogil:
    """The largest known index ≤ ``index`` whose term is ≤ ``term``: how far back a conflict can be jumped over.

    Below the snapshot nothing is known, and nothing conflicts that is committed: the search ends there.
    """
    cdef uint64_t own
    if index > log.last_index:
        return index
    while index > log.snapshot_index and log_term(log, index, &own) and own > term:
        index -= 1
    return index


cdef inline uint64_t *block_bytes(entry *block) noexcept nogil:
    """The sum of the payloads of a block, so that whole blocks are removed without a look at their entries."""
    return <uint64_t *>(block + LOG_BLOCK)


cdef inline void remove_entry(Log *log, uint64_t index) noexcept nogil:
    cdef entry *it = log_at(log, index)
    log.payload_bytes -= it.length
    block_bytes(log.blocks[(index - log.base) // LOG_BLOCK])[0] -= it.length
    entry_release(it)


cdef int log_append(Log *log, const entry *it) except -1 nogil:
    """Put ``it`` behind the last entry. Takes over the caller's reference to its payload."""
    cdef uint64_t slot
    cdef entry *block
    if log.blocks.empty():
        log.base = log.last_index + 1
    slot = log.last_index + 1 - log.base
    if slot // LOG_BLOCK == log.blocks.size():
        block = <entry *>malloc(LOG_BLOCK * sizeof(entry) + sizeof(uint64_t))
        if block == NULL:
            with gil:
                raise MemoryError("no memory for log entries")
        block_bytes(block)[0] = 0
        log.blocks.push_back(block)
    else:
        block = log.blocks.back()
    block[slot % LOG_BLOCK] = it[0]
    block_bytes(block)[0] += it.length
    log.payload_bytes += it.length
    log.last_term = it.term
    log.last_index += 1
    return 0


cdef int log_append_configuration(Log *log, uint64_t index, const Configuration *it) except -1 nogil:
    """Note the configuration of the entry at ``index``, which was just appended."""
    cdef pair[uint64_t, Configuration] noted
    noted.first = index
    noted.second = it[0]
    log.configurations.push_back(noted)
    return 0


cdef void log_truncate(Log *log, uint64_t index) noexcept nogil:
    """Remove ``index`` and everything behind it; their configurations are undone with them."""
    cdef uint64_t at
    if index <= log.snapshot_index:
        index = log.snapshot_index + 1
    at = log.last_index
    while at >= index:
        remove_entry(log, at)
        at -= 1
    if index <= log.last_index:
        log.last_index = index - 1
        if log.last_index == log.snapshot_index:
            log.last_term = log.snapshot_term
        else:
            log.last_term = log_at(log, log.last_index).term
    while log.blocks.size() and (log.blocks.size() - 1) * LOG_BLOCK + log.base > log.last_index:
        free(log.blocks.back())
        log.blocks.pop_back()
    while log.configurations.size() > 1 and log.configurations.back().first >= index:
        log.configurations.pop_back()


cdef int log_compact(Log *log, uint64_t index) except -1 nogil:
    """Remove everything up to and including ``index``, which becomes the snapshot's last index.

    Whole blocks are only put aside, at a price that does not grow with their entries: :func:`log_bury` frees them.
    """
    cdef uint64_t at
    cdef uint64_t term
    if index <= log.snapshot_index:
        return 0
    term = log.last_term if index == log.last_index else log_at(log, index).term
    at = log.snapshot_index + 1
    while log.blocks.size() and (log.base + LOG_BLOCK <= index + 1 or index == log.last_index):
        bury_front(log)
        at = log.base
    log.snapshot_index = index
    log.snapshot_term = term
    if log.blocks.empty():
        log.base = index + 1
    else:
        while at <= index:
            remove_entry(log, at)
            at += 1
    while log.configurations.size() > 1 and log.configurations[1].first <= index:
        log.configurations.pop_front()
    return 0


cdef int bury_front(Log *log) except -1 nogil:
    """Put the first block aside."""
    cdef pair[entry_pointer, uint32_t] made
    made.first = log.blocks.front()
    made.second = <uint32_t>min(<uint64_t>LOG_BLOCK, log.last_index + 1 - log.base)
    log.dead.push_back(made)
    log.payload_bytes -= block_bytes(made.first)[0]
    log.blocks.pop_front()
    log.base += LOG_BLOCK
    return 0


cdef void log_bury(Log *log, uint64_t most) noexcept nogil:
    """Free up to ``most`` entries of those that were put aside, fewer if they are large."""
    cdef uint64_t bytes = 0
    cdef entry *it
    while most and bytes < BURY_BYTES and not log.dead.empty():
        if log.dead_slot < log.dead.front().second:
            it = log.dead.front().first + log.dead_slot
            bytes += it.length
            entry_release(it)
            log.dead_slot += 1
            most -= 1
        else:
            free(log.dead.front().first)
            log.dead.pop_front()
            log.dead_slot = 0


cdef int log_reset(
    Log *log, uint64_t index, uint64_t term, uint64_t configuration_index, const Configuration *configuration
) except -1 nogil:
    """Forget everything: the log goes on behind a snapshot that ends at (index, term) (Raft §7, Figure 13, rule 7)."""
    cdef Configuration kept = configuration[0]  # the caller's may lie in the list that is cleared
    while not log.blocks.empty():
        bury_front(log)
    log.snapshot_index = log.last_index = index
    log.snapshot_term = log.last_term = term
    log.base = index + 1
    log.configurations.clear()
    log_append_configuration(log, configuration_index, &kept)
    return 0


cdef void log_clear(Log *log) noexcept nogil:
    """Give back all entries; the configurations stay."""
    cdef uint64_t at
    for at in range(log.snapshot_index + 1, log.last_index + 1):
        entry_release(log_at(log, at))
    while log.blocks.size():
        free(log.blocks.back())
        log.blocks.pop_back()
    while not log.dead.empty():
        log_bury(log, LOG_BLOCK)
    log.last_index = log.snapshot_index
    log.last_term = log.snapshot_term
    log.payload_bytes = 0
    log.base = log.snapshot_index + 1


cdef Configuration *log_configuration(Log *log, uint64_t index, uint64_t *at) noexcept nogil:
    """The configuration in force at ``index``, and where it came from."""
    cdef size_t i = log.configurations.size() - 1
    while i > 0 and log.configurations[i].first > index:
        i -= 1
    at[0] = log.configurations[i].first
    return &log.configurations[i].second


# For Python

cdef object entry_object(uint64_t index, const entry *it):
    return Entry(index, it.term, <unsigned int>it.kind, PyBytes_FromStringAndSize(<const char *>entry_bytes(it), it.length))


cdef int raise_too_large(Py_ssize_t length) except -1:
    raise LimitExceeded(f"an entry of {length} bytes is over the limit of {ENTRY_BYTES_MAX} bytes (ENTRY_BYTES_MAX)")


cdef inline int entry_fill(object data, uint64_t term, unsigned int kind, entry *it) except -1:
    """Copy ``data`` into a new buffer, of which ``it`` holds the one reference."""
    cdef Py_buffer view
    cdef Py_ssize_t length
    it.term = term
    it.kind = kind
    it.offset = 0
    it.data = NULL
    if PyBytes_CheckExact(data):
        length = PyBytes_GET_SIZE(data)
        if length > <Py_ssize_t>ENTRY_BYTES_MAX:
            raise_too_large(length)
        if length:
            it.data = buffer_from(PyBytes_AS_STRING(data), <uint32_t>length)
    else:
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        length = view.len
        if length > <Py_ssize_t>ENTRY_BYTES_MAX:
            PyBuffer_Release(&view)
            raise_too_large(length)
        if length:
            it.data = buffer_from(view.buf, <uint32_t>length)
        PyBuffer_Release(&view)
    it.length = <uint32_t>length
    if length and it.data == NULL:
        raise MemoryError("no memory for an entry")
    return 0


cdef int entry_from_data(object data, uint64_t term, unsigned int kind, EntryRef *result) except -1:
    """Copy ``data`` (bytes-like) into a new buffer that ``result`` owns."""
    cdef entry made
    entry_fill(data, term, kind, &made)
    result[0] = EntryRef(made)
    entry_release(&made)
    return 0


cdef int log_check(Log *log, uint64_t index, bint with_snapshot) except -1:
    """Raise unless ``index`` is in the log."""
    if index <= log.snapshot_index and not (with_snapshot and index == log.snapshot_index):
        raise Compacted(f"index {index} is compacted; the first one kept is {log.snapshot_index + 1}",
                        first_available=log.snapshot_index + 1)
    if index > log.last_index:
        raise InvalidArgument(f"index {index} is beyond the last one, {log.last_index}")
    return 0


cdef list log_entries(Log *log, uint64_t lo, uint64_t hi):
    cdef uint64_t at
    cdef list found = []
    if lo < hi:
        log_check(log, lo, False)
        log_check(log, hi - 1, False)
    for at in range(lo, hi):
        found.append(entry_object(at, log_at(log, at)))
    return found


@cython.final
cdef class RaftLog:
    """The log of one group, in memory. Indexes begin at ``snapshot_index + 1`` and have no gap.

    ``snapshot_index`` and ``snapshot_term`` name the last entry that a snapshot replaced (0, 0: none);
    ``configuration`` is the :class:`~quorate.raft.Configuration` in that snapshot.

    A running :class:`~quorate.raft.Raft` takes its log over: after that only the protocol may change it, and the methods
    that do raise :class:`~quorate.errors.InvalidArgument`.

    >>> log = RaftLog()
    >>> log.append(1, b"set x 1")
    1
    >>> log.append_many(2, [b"a", b"b"])
    3
    >>> log.term(3), log.entries(1, 2)
    (2, [Entry(index=1, term=1, kind=0, data=b'set x 1')])
    >>> log.compact(2)
    >>> log.first_index, log.last_index, len(log)
    (3, 3, 1)
    """

    def __cinit__(self, *, uint64_t snapshot_index=0, uint64_t snapshot_term=0, configuration=None, entries=()):
        cdef Configuration native
        cdef uint64_t configuration_index = 0
        self.taken = False
        self.busy = 0
        if (snapshot_index == 0) != (snapshot_term == 0):
            raise InvalidArgument("snapshot_index and snapshot_term are both 0, or both are not")
        if configuration is not None:
            configuration_from_object(configuration, &native)
            configuration_index = configuration.index
            if configuration_index > snapshot_index:
                raise InvalidArgument(f"the snapshot's configuration has index {configuration_index}, "
                                      f"behind the snapshot's {snapshot_index}")
        log_reset(&self.log, snapshot_index, snapshot_term, configuration_index, &native)
        for item in entries:
            if item.index != self.log.last_index + 1:
                raise InvalidArgument(f"entry {item.index} does not follow {self.log.last_index}: a log has no gap")
            self.append_one(item.term, item.data, item.kind)

    def __dealloc__(self):
        log_clear(&self.log)

    def __len__(self):
        return log_length(&self.log)

    def __repr__(self):
        return (f"<RaftLog {self.log.snapshot_index + 1}..{self.log.last_index}, {len(self)} entries, "
                f"{self.log.payload_bytes} B, last term {self.log.last_term}>")

    @property
    def first_index(self):
        """Index of the first entry kept; ``last_index + 1`` if there is none."""
        return self.log.snapshot_index + 1

    @property
    def last_index(self):
        """Index of the last entry, or of the snapshot if there is none."""
        return self.log.last_index

    @property
    def snapshot_index(self):
        """Index of the last entry that was compacted away; 0 if none was."""
        return self.log.snapshot_index

    @property
    def snapshot_term(self):
        """Term of the entry at ``snapshot_index``."""
        return self.log.snapshot_term

    @property
    def payload_bytes(self):
        """Payload of all entries kept, in bytes."""
        return self.log.payload_bytes

    @property
    def configuration(self):
        """The newest :class:`~quorate.raft.Configuration` in the log."""
        cdef pair[uint64_t, Configuration] *newest = &self.log.configurations.back()
        return configuration_object(newest.first, &newest.second)

    cdef int enter(self) except -1:
        if quorate_enter(&self.busy):
            raise InvalidArgument("another thread is in this log; calls to one log come one after the other")
        return 0

    def term(self, uint64_t index, /):
        """The term of the entry at ``index``; ``snapshot_index`` may be asked too.

        Raises Compacted below that, InvalidArgument behind the end.
        """
        cdef uint64_t term
        self.enter()
        try:
            log_check(&self.log, index, True)
            log_term(&self.log, index, &term)
            return term
        finally:
            quorate_leave(&self.busy)

    def entries(self, uint64_t lo, uint64_t hi, /):
        """The entries from ``lo`` to below ``hi``, as a list. Raises Compacted or InvalidArgument outside of the log."""
        self.enter()
        try:
            return log_entries(&self.log, lo, hi)
        finally:
            quorate_leave(&self.busy)

    cdef int check_change(self, uint64_t term) except -1:
        if self.taken:
            raise InvalidArgument("this log belongs to a running Raft; only the protocol changes it")
        if term < self.log.last_term:
            raise InvalidArgument(f"term {term} is below the last entry's, {self.log.last_term}: terms never fall")
        if term == 0:
            raise InvalidArgument("a term is at least 1")
        return 0

    def append(self, uint64_t term, data, unsigned int kind=0, /):
        """Put an entry behind the last one and return its index.

        ``data`` is bytes-like and copied once. Raises LimitExceeded over ENTRY_BYTES_MAX, InvalidArgument for a term below
        the last one, a kind that does not exist, or a configuration that is not one.
        """
        self.enter()
        try:
            self.append_one(term, data, kind)
            return self.log.last_index
        finally:
            quorate_leave(&self.busy)

    cdef int append_one(self, uint64_t term, object data, unsigned int kind) except -1:
        cdef entry made
        cdef Configuration configuration
        if self.taken or term < self.log.last_term or term == 0:
            self.check_change(term)
        entry_fill(data, term, kind, &made)
        if kind != ENTRY_COMMAND:
            if kind >= ENTRY_KINDS:
                entry_release(&made)
                raise InvalidArgument(f"kind {kind} is not known; there are COMMAND, NOOP and CONFIGURATION")
            if kind == ENTRY_CONFIGURATION:
                if configuration_decode(entry_bytes(&made), made.length, &configuration) != <Py_ssize_t>made.length:
                    entry_release(&made)
                    raise InvalidArgument("the entry's bytes are not a configuration")
                log_append_configuration(&self.log, self.log.last_index + 1, &configuration)
        return log_append(&self.log, &made)

    def append_many(self, uint64_t term, data, /):
        """Put commands behind the last entry, which share one buffer; return the last index.

        All are appended, or none if one of them is refused. ``data`` is a sequence of bytes-like objects.
        """
        # A list of our own: the caller's could change under us, in another thread or in a buffer's code.
        cdef list items = list(data)
        cdef Py_ssize_t i
        for i in range(len(items)):
            if not PyBytes_CheckExact(items[i]):
                items[i] = bytes(memoryview(items[i]))
        self.enter()
        try:
            self.append_all(term, items)
            return self.log.last_index
        finally:
            quorate_leave(&self.busy)

    cdef int append_all(self, uint64_t term, list items) except -1:
        cdef Py_ssize_t i, count = len(items), total = 0, length
        cdef buffer *shared
        cdef uint8_t *at
        cdef entry made
        if self.taken or term < self.log.last_term or term == 0:
            self.check_change(term)
        for i in range(count):
            length = PyBytes_GET_SIZE(items[i])
            if length > <Py_ssize_t>ENTRY_BYTES_MAX:
                raise_too_large(length)
            total += length
        if count == 0:
            return 0
        if total > 0x7fffffff:
            raise LimitExceeded(f"{total} bytes in one batch are over the limit of 2 GiB; append them in parts")
        shared = buffer_new(<uint32_t>total)
        if shared == NULL:
            raise MemoryError("no memory for a batch of entries")
        at = <uint8_t *>shared.bytes
        made.term = term
        made.kind = ENTRY_COMMAND
        made.data = shared
        try:
            for i in range(count):
                item = items[i]
                made.length = <uint32_t>PyBytes_GET_SIZE(item)
                made.offset = <uint32_t>(at - <uint8_t *>shared.bytes)
                memcpy(at, PyBytes_AS_STRING(item), made.length)
                at += made.length
                buffer_retain(shared)
                log_append(&self.log, &made)
        finally:
            buffer_release(shared)
        return 0

    def truncate(self, uint64_t index, /):
        """Remove ``index`` and everything behind it. Raises Compacted if a snapshot has it already."""
        self.enter()
        try:
            self.check_change(self.log.last_term or 1)
            if index <= self.log.snapshot_index:
                log_check(&self.log, index, False)
            log_truncate(&self.log, index)
        finally:
            quorate_leave(&self.busy)

    def compact(self, uint64_t index, /):
        """Remove everything up to and including ``index``. Costs what it removes. InvalidArgument behind the end."""
        self.enter()
        try:
            self.check_change(self.log.last_term or 1)
            if index > self.log.last_index:
                log_check(&self.log, index, False)
            log_compact(&self.log, index)
            while not self.log.dead.empty():
                log_bury(&self.log, LOG_BLOCK)
        finally:
            quorate_leave(&self.busy)
