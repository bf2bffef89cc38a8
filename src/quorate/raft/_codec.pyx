# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Bytes of messages, events and updates: bounded, versioned, and with the group id inside.

A form begins with a version byte and a byte that says what follows. Numbers are LEB128 varints of at most ten bytes; a
message first says by a bit set which of its numbers are not 0. Entries of a decoded message are slices of the buffer that
was received, so a payload is copied once between socket and log. Reading never trusts a length: it is held against the
bytes that are there before anything is made of it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.vector cimport vector

from quorate.raft._configuration cimport configuration_decode, configuration_size, configuration_write
from quorate.raft._events cimport Event
from quorate.raft._messages cimport Message as MessageHandle
from quorate.raft._messages cimport message_from
from quorate.raft._types cimport (
    CHANGE_TYPES,
    ENTRY_BYTES_MAX,
    ENTRY_KINDS,
    EVENT_TYPES,
    INSTALL_SNAPSHOT,
    JOINT_MODES,
    LEADER,
    MEMBER_PLACE_MAX,
    MEMBERS_MAX,
    MESSAGE_ENTRIES_MAX,
    MESSAGE_TYPES,
    PROPOSE,
    RECEIVE,
    STATUSES,
    Change,
    Configuration,
    EntryRef,
    Message,
    ProposalResult,
    ReadResult,
    buffer,
    buffer_from,
    buffer_release,
    entry,
    entry_bytes,
)
from quorate.raft._types cimport Event as NativeEvent
from quorate.raft._types cimport Update as NativeUpdate
from quorate.raft._update cimport Update

from quorate.errors import InvalidArgument, LimitExceeded
from quorate.raft import _events


cdef enum:
    VERSION = 1
    WHAT_MESSAGE = 1
    WHAT_EVENT = 2
    WHAT_UPDATE = 3
    NUMBERS = 20
    LIST_MAX = 1 << 20


# Writing

cdef int put_byte(vector[uint8_t] *out, uint8_t x) except -1 nogil:
    out.push_back(x)
    return 0


cdef int put(vector[uint8_t] *out, uint64_t x) except -1 nogil:
    while x >= 0x80:
        out.push_back(<uint8_t>(x | 0x80))
        x >>= 7
    out.push_back(<uint8_t>x)
    return 0


cdef int put_bytes(vector[uint8_t] *out, const uint8_t *data, size_t length) except -1 nogil:
    if length:
        out.insert(out.end(), data, data + length)
    return 0


cdef int put_entries(vector[uint8_t] *out, const vector[EntryRef] *entries) except -1 nogil:
    cdef size_t i
    cdef const EntryRef *it
    put(out, entries.size())
    for i in range(entries.size()):
        it = &entries[0][i]
        put(out, it.term)
        put_byte(out, <uint8_t>it.kind)
        put(out, it.length)
        put_bytes(out, entry_bytes(<const entry *>it), it.length)
    return 0


cdef int put_configuration(vector[uint8_t] *out, const Configuration *it) except -1 nogil:
    cdef size_t at, size = configuration_size(it)
    put(out, size)
    at = out.size()
    out.resize(at + size)
    configuration_write(it, &out[0][at])
    return 0


cdef void numbers_of(const Message *it, uint64_t *numbers) noexcept nogil:
    """The numbers of a message, in the order of the byte form."""
    numbers[0] = it.group
    numbers[1] = it.sender
    numbers[2] = it.receiver
    numbers[3] = it.term
    numbers[4] = it.incarnation
    numbers[5] = it.index
    numbers[6] = it.log_term
    numbers[7] = it.commit
    numbers[8] = it.round
    numbers[9] = it.id
    numbers[10] = it.reject_index
    numbers[11] = it.hint_index
    numbers[12] = it.hint_term
    numbers[13] = it.offset
    numbers[14] = it.length
    numbers[15] = it.size
    numbers[16] = it.digest
    numbers[17] = it.configuration_index
    numbers[18] = it.leader
    numbers[19] = it.status


cdef int message_encode(const Message *message, vector[uint8_t] *out) except -1 nogil:
    """Put the byte form of ``message`` behind what ``out`` holds."""
    cdef uint64_t numbers[NUMBERS]
    cdef uint64_t present = 0
    cdef int i
    numbers_of(message, numbers)
    for i in range(NUMBERS):
        if numbers[i]:
            present |= <uint64_t>1 << i
    put_byte(out, VERSION)
    put_byte(out, WHAT_MESSAGE)
    put_byte(out, message.type)
    put_byte(out, (1 if message.pre_vote else 0) | (2 if message.transfer else 0) | (4 if message.success else 0))
    put(out, present)
    for i in range(NUMBERS):
        if numbers[i]:
            put(out, numbers[i])
    put_entries(out, &message.entries)
    if message.type == INSTALL_SNAPSHOT:
        put_configuration(out, &message.configuration)
        put(out, message.data.length)
        put_bytes(out, entry_bytes(<const entry *>&message.data), message.data.length)
    return 0


# Reading

cdef struct Reader:
    buffer *owner  # what entries become slices of
    const uint8_t *at
    const uint8_t *end
    bint bad


cdef uint64_t get(Reader *reader) noexcept nogil:
    cdef uint64_t x = 0
    cdef int shift = 0
    cdef uint8_t byte
    while reader.at < reader.end and shift < 64:
        byte = reader.at[0]
        reader.at += 1
        if shift == 63 and byte > 1:
            break
        x |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                break  # a longer form of the same number: there is one form only
            return x
        shift += 7
    reader.bad = True
    return 0


cdef uint64_t get_at_most(Reader *reader, uint64_t bound) noexcept nogil:
    cdef uint64_t x = get(reader)
    if x > bound:
        reader.bad = True
        return 0
    return x


cdef uint8_t get_byte(Reader *reader, uint8_t bound) noexcept nogil:
    cdef uint8_t byte
    if reader.at >= reader.end or reader.at[0] > bound:
        reader.bad = True
        return 0
    byte = reader.at[0]
    reader.at += 1
    return byte


cdef int get_slice(Reader *reader, uint64_t length, EntryRef *result) except -1 nogil:
    cdef entry slice
    if reader.bad or length > <uint64_t>(reader.end - reader.at):
        reader.bad = True
        return 0
    slice.term = 0
    slice.kind = 0
    slice.length = <uint32_t>length
    slice.offset = <uint32_t>(reader.at - <const uint8_t *>reader.owner.bytes) if length else 0
    slice.data = reader.owner if length else NULL
    result[0] = EntryRef(slice)
    reader.at += length
    return 0


cdef int get_entries(Reader *reader, vector[EntryRef] *entries, uint64_t most) except -1 nogil:
    cdef uint64_t i, term, length
    cdef uint64_t count = get_at_most(reader, most)
    cdef uint8_t kind
    cdef EntryRef made
    if count > <uint64_t>(reader.end - reader.at) // 3:
        reader.bad = True  # an entry takes at least three bytes: no room is made on a mere claim
        return 0
    entries.reserve(count)
    for i in range(count):
        term = get(reader)
        kind = get_byte(reader, ENTRY_KINDS - 1)
        length = get_at_most(reader, ENTRY_BYTES_MAX)
        get_slice(reader, length, &made)
        if reader.bad:
            return 0
        made.term = term
        made.kind = kind
        entries.push_back(made)
    return 0


cdef int get_configuration(Reader *reader, Configuration *it) except -1 nogil:
    cdef uint64_t size = get(reader)
    if reader.bad or size > <uint64_t>(reader.end - reader.at):
        reader.bad = True
        return 0
    if configuration_decode(reader.at, size, it) != <Py_ssize_t>size:
        reader.bad = True
        return 0
    reader.at += size
    return 0


cdef int get_message(Reader *reader, Message *it) except -1 nogil:
    cdef uint64_t numbers[NUMBERS]
    cdef uint64_t present, length
    cdef uint8_t flags
    cdef int i
    it.type = get_byte(reader, MESSAGE_TYPES - 1)
    flags = get_byte(reader, 7)
    present = get_at_most(reader, (<uint64_t>1 << NUMBERS) - 1)
    for i in range(NUMBERS):
        numbers[i] = 0
        if present >> i & 1:
            numbers[i] = get(reader)
            if numbers[i] == 0:
                reader.bad = True
    if it.type == 0 or numbers[19] >= STATUSES or reader.bad:
        reader.bad = True
        return 0
    it.pre_vote = flags & 1
    it.transfer = flags >> 1 & 1
    it.success = flags >> 2 & 1
    it.group = numbers[0]
    it.sender = numbers[1]
    it.receiver = numbers[2]
    it.term = numbers[3]
    it.incarnation = numbers[4]
    it.index = numbers[5]
    it.log_term = numbers[6]
    it.commit = numbers[7]
    it.round = numbers[8]
    it.id = numbers[9]
    it.reject_index = numbers[10]
    it.hint_index = numbers[11]
    it.hint_term = numbers[12]
    it.offset = numbers[13]
    it.length = numbers[14]
    it.size = numbers[15]
    it.digest = numbers[16]
    it.configuration_index = numbers[17]
    it.leader = numbers[18]
    it.status = <uint8_t>numbers[19]
    get_entries(reader, &it.entries, MESSAGE_ENTRIES_MAX)
    if it.type == INSTALL_SNAPSHOT and not reader.bad:
        get_configuration(reader, &it.configuration)
        length = get_at_most(reader, ENTRY_BYTES_MAX)
        get_slice(reader, length, &it.data)
    return 0


cdef Py_ssize_t message_decode(buffer *owner, uint32_t offset, uint32_t length, Message *message) except -2 nogil:
    """Read a message from a received buffer, of which its entries keep slices; its length, or -1 if the bytes are bad."""
    cdef Reader reader
    reader.owner = owner
    reader.at = <const uint8_t *>owner.bytes + offset
    reader.end = reader.at + length
    reader.bad = False
    if length < 2 or reader.at[0] != VERSION or reader.at[1] != WHAT_MESSAGE:
        return -1
    reader.at += 2
    get_message(&reader, message)
    if reader.bad:
        return -1
    return reader.at - (<const uint8_t *>owner.bytes + offset)


# Events and updates: for transcripts, replays and tools; the same numbers in a fixed order.

EVENT_CLASSES = (
    None, _events.Tick, _events.Receive, _events.Propose, _events.ProposeChange, _events.Persisted, _events.Applied,
    _events.SnapshotPersisted, _events.SnapshotFailed, _events.ReadIndex, _events.TransferLeadership, _events.Campaign,
    _events.ForgetLeader, _events.Compact, _events.Unreachable, _events.LeaderConnectionClosed, _events.DiskStalled,
)  # fmt: skip


cdef int put_event(vector[uint8_t] *out, const NativeEvent *it) except -1 nogil:
    cdef size_t i
    put_byte(out, VERSION)
    put_byte(out, WHAT_EVENT)
    put_byte(out, it.type)
    put_byte(out, it.mode)
    put(out, it.now)
    put(out, it.id)
    put(out, it.ticket)
    put(out, it.index)
    put(out, it.term)
    put(out, it.size)
    put(out, it.digest)
    put_entries(out, &it.entries)
    put(out, it.changes.size())
    for i in range(it.changes.size()):
        put_byte(out, it.changes[i].type)
        put(out, it.changes[i].id)
        put(out, it.changes[i].incarnation)
        put(out, it.changes[i].place.size())
        put_bytes(out, <const uint8_t *>it.changes[i].place.data(), it.changes[i].place.size())
    if it.type == RECEIVE:
        message_encode(it.message, out)
    return 0


cdef object get_event(Reader *reader):
    cdef uint8_t type = get_byte(reader, EVENT_TYPES - 1)
    cdef uint8_t mode = get_byte(reader, JOINT_MODES - 1)
    cdef Event made
    cdef MessageHandle handle
    cdef Message message
    cdef Change change
    cdef uint64_t i, count, size
    if reader.bad or type == 0:
        reader.bad = True
        return None
    made = EVENT_CLASSES[type].__new__(EVENT_CLASSES[type])
    made.native.type = type
    made.native.mode = mode
    made.native.now = get(reader)
    made.native.id = get(reader)
    made.native.ticket = get(reader)
    made.native.index = get(reader)
    made.native.term = get(reader)
    made.native.size = get(reader)
    made.native.digest = get(reader)
    get_entries(reader, &made.native.entries, LIST_MAX)
    count = get_at_most(reader, MEMBERS_MAX)
    for i in range(count):
        change.type = get_byte(reader, CHANGE_TYPES - 1)
        change.id = get(reader)
        change.incarnation = get(reader)
        size = get_at_most(reader, MEMBER_PLACE_MAX)
        if reader.bad or size > <uint64_t>(reader.end - reader.at):
            reader.bad = True
            return None
        change.place.assign(<const char *>reader.at, size)
        reader.at += size
        if change.type == 0:
            reader.bad = True
        made.native.changes.push_back(change)
    if type == PROPOSE and made.native.entries.empty():
        reader.bad = True
    if type == RECEIVE and not reader.bad:
        if get_byte(reader, 255) != VERSION or get_byte(reader, 255) != WHAT_MESSAGE:
            reader.bad = True
        else:
            get_message(reader, &message)
            handle = message_from(&message)
            made.message = handle
            made.native.message = &handle.native
    return made


cdef int put_messages(vector[uint8_t] *out, const vector[Message] *messages) except -1 nogil:
    cdef size_t i
    put(out, messages.size())
    for i in range(messages.size()):
        message_encode(&messages[0][i], out)
    return 0


cdef int put_handles(vector[uint8_t] *out, list handles) except -1:
    put(out, len(handles))
    for each in handles:
        message_encode(&(<MessageHandle>each).native, out)
    return 0


cdef int get_messages(Reader *reader, vector[Message] *messages) except -1:
    cdef uint64_t i, count = get_at_most(reader, LIST_MAX)
    for i in range(count):
        if get_byte(reader, 255) != VERSION or get_byte(reader, 255) != WHAT_MESSAGE:
            reader.bad = True
        if reader.bad:
            return 0
        messages.resize(messages.size() + 1)
        get_message(reader, &messages.back())
    return 0


cdef int put_update(vector[uint8_t] *out, Update update) except -1:
    cdef NativeUpdate *it = &update.native
    cdef size_t i
    put_byte(out, VERSION)
    put_byte(out, WHAT_UPDATE)
    put_byte(out, (1 if it.has_hard_state else 0) | (2 if it.sync else 0) | (4 if it.has_chunk else 0))
    put_byte(out, it.role)
    for number in (it.ticket, it.hard_state.term, it.hard_state.vote, it.hard_state.commit, it.first_index, it.apply_index,
                   it.deadline, it.term, it.leader, it.commit):
        put(out, number)
    put_entries(out, &it.entries)
    put_entries(out, &it.apply)
    if it.has_chunk:
        for number in (it.chunk.index, it.chunk.term, it.chunk.offset, it.chunk.size, it.chunk.digest):
            put(out, number)
        put(out, it.chunk.configuration_index)
        put_byte(out, 1 if it.chunk.done else 0)
        put_configuration(out, &it.chunk.configuration)
        put(out, it.chunk.data.length)
        put_bytes(out, entry_bytes(<const entry *>&it.chunk.data), it.chunk.data.length)
    # Once looked at, messages live in their handles.
    if update.cached_messages is None:
        put_messages(out, &it.messages)
    else:
        put_handles(out, update.cached_messages)
    if update.cached_after is None:
        put_messages(out, &it.messages_after)
    else:
        put_handles(out, update.cached_after)
    put(out, it.reads.size())
    for i in range(it.reads.size()):
        put(out, it.reads[i].id)
        put(out, it.reads[i].index)
        put_byte(out, it.reads[i].status)
    put(out, it.proposals.size())
    for i in range(it.proposals.size()):
        put(out, it.proposals[i].id)
        put_byte(out, it.proposals[i].status)
        put(out, it.proposals[i].index)
        put(out, it.proposals[i].term)
        put(out, it.proposals[i].leader)
    return 0


cdef object get_update(Reader *reader):
    cdef Update made = Update.__new__(Update)
    cdef NativeUpdate *it = &made.native
    cdef uint8_t flags = get_byte(reader, 7)
    cdef uint64_t i, count
    cdef ReadResult read
    cdef ProposalResult proposal
    it.has_hard_state = flags & 1
    it.sync = flags >> 1 & 1
    it.has_chunk = flags >> 2 & 1
    it.role = get_byte(reader, LEADER)
    it.ticket = get(reader)
    it.hard_state.term = get(reader)
    it.hard_state.vote = get(reader)
    it.hard_state.commit = get(reader)
    it.first_index = get(reader)
    it.apply_index = get(reader)
    it.deadline = get(reader)
    it.term = get(reader)
    it.leader = get(reader)
    it.commit = get(reader)
    get_entries(reader, &it.entries, ~<uint64_t>0)
    get_entries(reader, &it.apply, ~<uint64_t>0)
    if it.has_chunk:
        it.chunk.index = get(reader)
        it.chunk.term = get(reader)
        it.chunk.offset = get(reader)
        it.chunk.size = get(reader)
        it.chunk.digest = get(reader)
        it.chunk.configuration_index = get(reader)
        it.chunk.done = get_byte(reader, 1) == 1
        get_configuration(reader, &it.chunk.configuration)
        count = get_at_most(reader, ENTRY_BYTES_MAX)
        get_slice(reader, count, &it.chunk.data)
    get_messages(reader, &it.messages)
    get_messages(reader, &it.messages_after)
    count = get_at_most(reader, LIST_MAX)
    for i in range(count):
        read.id = get(reader)
        read.index = get(reader)
        read.status = get_byte(reader, STATUSES - 1)
        if reader.bad:
            return None
        it.reads.push_back(read)
    count = get_at_most(reader, LIST_MAX)
    for i in range(count):
        proposal.id = get(reader)
        proposal.status = get_byte(reader, STATUSES - 1)
        proposal.index = get(reader)
        proposal.term = get(reader)
        proposal.leader = get(reader)
        if reader.bad:
            return None
        it.proposals.push_back(proposal)
    return made


# For Python

def encode(it, /):
    """The bytes of a :class:`Message`, an event or an :class:`Update`."""
    cdef vector[uint8_t] out
    if isinstance(it, MessageHandle):
        message_encode(&(<MessageHandle>it).native, &out)
    elif isinstance(it, Event):
        put_event(&out, &(<Event>it).native)
    elif isinstance(it, Update):
        put_update(&out, it)
    else:
        raise TypeError(f"a message, an event or an update is encoded, not {type(it).__name__}")
    return PyBytes_FromStringAndSize(<const char *>out.data(), out.size())


def decode(data, /):
    """The message, event or update in ``data`` (bytes-like).

    Raises :class:`~quorate.errors.InvalidArgument` if the bytes are truncated, altered so that they make no sense, or of a
    newer version; nothing is allocated on a mere claim.

    >>> from quorate.raft import Tick
    >>> decode(encode(Tick(now=5)))
    Tick(now=5)
    """
    cdef Py_buffer view
    cdef buffer *owner
    cdef Reader reader
    cdef Message message
    cdef uint8_t version, what
    found = None
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if view.len > 0x7fffffff:
        PyBuffer_Release(&view)
        raise LimitExceeded(f"{view.len} bytes are over the limit of 2 GiB")
    owner = buffer_from(view.buf, <uint32_t>view.len)
    PyBuffer_Release(&view)
    if owner == NULL:
        raise MemoryError("no memory to decode")
    try:
        reader.owner = owner
        reader.at = <const uint8_t *>owner.bytes
        reader.end = reader.at + owner.length
        reader.bad = False
        version = get_byte(&reader, 255)
        what = get_byte(&reader, 255)
        if not reader.bad and version > VERSION:
            raise InvalidArgument(f"these bytes have version {version}; this build reads up to {VERSION}: upgrade it first")
        if version != VERSION:
            reader.bad = True
        elif what == WHAT_MESSAGE:
            get_message(&reader, &message)
            found = message_from(&message)
        elif what == WHAT_EVENT:
            found = get_event(&reader)
        elif what == WHAT_UPDATE:
            found = get_update(&reader)
        else:
            reader.bad = True
        if reader.bad or reader.at != reader.end:
            raise InvalidArgument("these bytes are no message, event or update: they are truncated or altered")
        return found
    finally:
        buffer_release(owner)
