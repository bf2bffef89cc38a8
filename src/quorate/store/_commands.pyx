# distutils: language = c++
# distutils: sources = csrc/command.c
"""Commands as bytes: one function an operation, each validated before it is returned.

The form is that of csrc/command.h. What passes here cannot be malformed when it is applied; anything else raises
InvalidArgument with the reason. Common to all operations:

- ``session``, ``number``, ``mark``: a numbered request of a session. ``mark`` is the highest number whose result the client
  has, and every one below. Without ``number`` the command is not numbered.
- ``fence``: ``(name, token)``; the command is refused unless that permit has a holder of that token.
- ``owned``: the key belongs to the session, and goes with it.

Names are ``str`` (UTF-8) or ``bytes``, values ``bytes`` or ``str``.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from quorate.store._csrc cimport *
from quorate.store._text cimport view_of

from quorate.errors import InvalidArgument


@cython.final
@cython.freelist(8)
cdef class _Draft:
    """The bytes of a command that is being made; whatever is raised meanwhile, they are given back."""

    cdef sink to

    def __dealloc__(self):
        sink_free(&self.to)


cdef int begin(
    sink *out, uint8_t operation, uint32_t flags, uint64_t session, object number, uint64_t mark, object fence, size_t room,
    uint8_t version=1
) except -1:
    cdef uint8_t *head
    cdef uint64_t count = 0
    cdef view name
    if number is not None:
        count = number
        flags |= COMMAND_NUMBERED
        if count == 0 or mark >= count or count - mark > 0xFFFFFFFF:
            raise InvalidArgument(f"a numbered request has a number above its mark, not number={count}, mark={mark}")
    elif mark:
        raise InvalidArgument("a mark goes with a number")
    if fence is not None:
        flags |= COMMAND_FENCED
    head = sink_grow(out, COMMAND_HEAD + room)
    if head == NULL:
        raise MemoryError
    out.length = COMMAND_HEAD
    head[0] = version
    head[1] = operation
    store_le16(head + 2, <uint16_t> flags)
    store_le32(head + 4, <uint32_t> (count - mark))
    store_le64(head + 8, session)
    store_le64(head + 16, count)
    if fence is not None:
        lock, token = fence
        view_of(lock, &name)
        sink_u64(out, token)
        short_bytes(out, name)
    return 0


cdef int short_bytes(sink *out, view name) except -1:
    if name.length > 0xFFFF:
        raise InvalidArgument(f"a name of {name.length} bytes is too long")
    if sink_u16(out, <uint16_t> name.length) < 0 or sink_put(out, name.bytes, name.length) < 0:
        raise MemoryError
    return 0


cdef int long_bytes(sink *out, view value) except -1:
    if sink_u32(out, value.length) < 0 or sink_put(out, value.bytes, value.length) < 0:
        raise MemoryError
    return 0


cdef int name_of(sink *out, object name) except -1:
    cdef view borrowed
    view_of(name, &borrowed)
    return short_bytes(out, borrowed)


cdef int value_of(sink *out, object value) except -1:
    cdef view borrowed
    view_of(value, &borrowed)
    return long_bytes(out, borrowed)


cdef bytes finish(sink *out):
    cdef command what
    cdef int newer
    cdef const char *wrong = command_decode(out.bytes, out.length, 255, &what, &newer)
    if wrong != NULL:
        raise InvalidArgument(wrong.decode())
    return PyBytes_FromStringAndSize(<const char *> out.bytes, out.length)


def validate(data: bytes, *, known_version: int = COMMAND_VERSION) -> str | None:
    """None if the bytes are a command that this program may propose, else what is wrong with them.

    >>> from quorate.store import commands
    >>> commands.validate(b"")
    'the command is empty'
    """
    cdef command what
    cdef int newer
    cdef view bytes_
    cdef uint8_t known = known_version
    view_of(data, &bytes_)
    cdef const char *wrong = command_decode(bytes_.bytes, bytes_.length, known, &what, &newer)
    return None if wrong == NULL else wrong.decode()


def put(
    object key, object value, *, uint64_t session=0, object number=None, uint64_t mark=0, bint owned=False,
    object fence=None, uint8_t version=1
) -> bytes:
    """Sets a key. ``version`` is the cluster version that the command needs.

    >>> from quorate.store import commands
    >>> len(commands.put("key", b"value"))
    38
    """
    cdef _Draft out = _Draft.__new__(_Draft)
    cdef view name
    cdef view content
    view_of(key, &name)
    view_of(value, &content)
    begin(
        &out.to, OPERATION_PUT, COMMAND_OWNED if owned else 0, session, number, mark, fence,
        <size_t> name.length + content.length + 6, version
    )
    short_bytes(&out.to, name)
    long_bytes(&out.to, content)
    return finish(&out.to)


def delete(
    object key, *, uint64_t session=0, object number=None, uint64_t mark=0, object fence=None
) -> bytes:
    """Deletes a key; the result's number is 1 if it existed."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_DELETE, 0, session, number, mark, fence, 64)
    name_of(&out.to, key)
    return finish(&out.to)


def delete_range(
    object start, object end=b"", *, uint32_t limit=0, uint64_t session=0, object number=None, uint64_t mark=0,
    object fence=None
) -> bytes:
    """Deletes the keys with start <= key < end, the first ones up to ``limit`` and the logged limit; the result's number says
    how many, and its flag MORE that some are left."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_DELETE_RANGE, 0, session, number, mark, fence, 64)
    sink_u32(&out.to, limit)
    name_of(&out.to, start)
    name_of(&out.to, end)
    return finish(&out.to)


def compare_and_set(
    object key, object value, uint64_t mod_revision, *, uint64_t session=0, object number=None, uint64_t mark=0,
    bint owned=False, object fence=None
) -> bytes:
    """Sets a key if its ``mod_revision`` is this one; 0 means that it must not exist."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_COMPARE_AND_SET, COMMAND_OWNED if owned else 0, session, number, mark, fence, 64)
    sink_u64(&out.to, mod_revision)
    name_of(&out.to, key)
    value_of(&out.to, value)
    return finish(&out.to)


def increment(
    object key, int64_t by=1, *, uint64_t session=0, object number=None, uint64_t mark=0, bint owned=False,
    object fence=None
) -> bytes:
    """Adds to a key whose value is a decimal integer of 64 bits; a key that does not exist counts as 0."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_INCREMENT, COMMAND_OWNED if owned else 0, session, number, mark, fence, 64)
    sink_u64(&out.to, <uint64_t> by)
    name_of(&out.to, key)
    return finish(&out.to)


# ---- transactions: parts are bytes that the functions below make -----------------------------------------------------

_TARGETS = {"value": 0, "mod_revision": 1, "create_revision": 2, "version": 3, "session": 4}
_RELATIONS = {"==": 0, "!=": 1, "<": 2, ">": 3}


cdef bytes part_bytes(sink *out):
    return PyBytes_FromStringAndSize(<const char *> out.bytes, out.length)


cdef int part_begin(sink *out, uint8_t operation, uint8_t owned) except -1:
    sink_u8(out, operation)
    return sink_u8(out, owned)


def compare(object key, str target not None, str relation not None, object operand) -> bytes:
    """A condition: ``compare("k", "mod_revision", "==", 7)``. Targets: value, mod_revision, create_revision, version, session;
    relations: == != < >. A key that does not exist has all numbers 0, and no value equals it."""
    cdef _Draft out = _Draft.__new__(_Draft)
    if target not in _TARGETS or relation not in _RELATIONS:
        raise InvalidArgument(f"compare {', '.join(_TARGETS)} by {' '.join(_RELATIONS)}, not {target!r} by {relation!r}")
    part_begin(&out.to, _TARGETS[target], _RELATIONS[relation])
    name_of(&out.to, key)
    if target == "value":
        value_of(&out.to, operand)
    else:
        sink_u64(&out.to, operand)
    return part_bytes(&out.to)


def do_put(object key, object value, *, bint owned=False) -> bytes:
    """A put within a transaction."""
    cdef _Draft out = _Draft.__new__(_Draft)
    part_begin(&out.to, OPERATION_PUT, owned)
    name_of(&out.to, key)
    value_of(&out.to, value)
    return part_bytes(&out.to)


def do_delete(object key) -> bytes:
    """A delete within a transaction."""
    cdef _Draft out = _Draft.__new__(_Draft)
    part_begin(&out.to, OPERATION_DELETE, 0)
    name_of(&out.to, key)
    return part_bytes(&out.to)


def do_delete_range(object start, object end=b"", uint32_t limit=0) -> bytes:
    """A delete of a range within a transaction."""
    cdef _Draft out = _Draft.__new__(_Draft)
    part_begin(&out.to, OPERATION_DELETE_RANGE, 0)
    sink_u32(&out.to, limit)
    name_of(&out.to, start)
    name_of(&out.to, end)
    return part_bytes(&out.to)


def do_increment(object key, int64_t by=1, *, bint owned=False) -> bytes:
    """An increment within a transaction."""
    cdef _Draft out = _Draft.__new__(_Draft)
    part_begin(&out.to, OPERATION_INCREMENT, owned)
    sink_u64(&out.to, <uint64_t> by)
    name_of(&out.to, key)
    return part_bytes(&out.to)


def do_get(object key) -> bytes:
    """A read within a transaction; it sees what the parts before it wrote."""
    cdef _Draft out = _Draft.__new__(_Draft)
    part_begin(&out.to, OPERATION_GET, 0)
    name_of(&out.to, key)
    return part_bytes(&out.to)


def do_range(object start, object end=b"", uint32_t limit=0) -> bytes:
    """A read of a range within a transaction."""
    cdef _Draft out = _Draft.__new__(_Draft)
    part_begin(&out.to, OPERATION_RANGE, 0)
    sink_u32(&out.to, limit)
    name_of(&out.to, start)
    name_of(&out.to, end)
    return part_bytes(&out.to)


def transaction(
    list compares not None, list then not None, list otherwise=[], *, uint64_t session=0, object number=None,
    uint64_t mark=0, object fence=None
) -> bytes:
    """If all compares hold, ``then``, else ``otherwise``; all at one revision, or refused as a whole. A branch writes no key
    twice."""
    cdef _Draft out = _Draft.__new__(_Draft)
    cdef view bytes_
    if max(len(compares), len(then), len(otherwise)) > 0xFFFF:
        raise InvalidArgument("a transaction has at most 256 comparisons, and 256 operations a branch")
    begin(&out.to, OPERATION_TRANSACTION, 0, session, number, mark, fence, 256)
    sink_u16(&out.to, <uint16_t> len(compares))
    sink_u16(&out.to, <uint16_t> len(then))
    sink_u16(&out.to, <uint16_t> len(otherwise))
    for part in (*compares, *then, *otherwise):
        view_of(part, &bytes_)
        if sink_put(&out.to, bytes_.bytes, bytes_.length) < 0:
            raise MemoryError
    return finish(&out.to)


# ---- sessions and permits ---------------------------------------------------------------------------------------------


def session_open(bytes nonce not None, uint32_t ttl_ms, *, object label=b"", uint64_t now_ms=0) -> bytes:
    """Opens a session, or finds the one that this nonce of 16 bytes opened; the result's number is its id."""
    cdef _Draft out = _Draft.__new__(_Draft)
    if len(nonce) != NONCE_BYTES:
        raise InvalidArgument(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    begin(&out.to, OPERATION_SESSION_OPEN, 0, 0, None, 0, None, 64)
    sink_u64(&out.to, now_ms)
    sink_u32(&out.to, ttl_ms)
    sink_put(&out.to, <const char *> nonce, NONCE_BYTES)
    name_of(&out.to, label)
    return finish(&out.to)


def session_end(uint64_t session, uint8_t reason) -> bytes:
    """Ends a session with all that belongs to it."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_SESSION_END, 0, 0, None, 0, None, 64)
    sink_u64(&out.to, session)
    sink_u8(&out.to, reason)
    return finish(&out.to)


def acquire(
    object name, *, uint64_t session, uint64_t acquisition, uint8_t kind=PERMIT_MUTEX, uint32_t capacity=1,
    uint32_t units=1, bint wait=True, object value=b"", uint64_t now_ms=0, object number=None, uint64_t mark=0
) -> bytes:
    """Takes ``units`` of a permit, or queues for them. ``acquisition`` is a number that the client chooses, and names this
    one in the session."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_ACQUIRE, 0 if wait else COMMAND_TRY, session, number, mark, None, 64)
    sink_u64(&out.to, now_ms)
    sink_u64(&out.to, acquisition)
    sink_u32(&out.to, capacity)
    sink_u32(&out.to, units)
    sink_u8(&out.to, kind)
    name_of(&out.to, name)
    value_of(&out.to, value)
    return finish(&out.to)


cdef bytes by_acquisition(uint8_t operation, uint64_t session, uint64_t acquisition, object number, uint64_t mark):
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, operation, 0, session, number, mark, None, 64)
    sink_u64(&out.to, acquisition)
    return finish(&out.to)


def release(*, uint64_t session, uint64_t acquisition, object number=None, uint64_t mark=0) -> bytes:
    """Gives up what is held."""
    return by_acquisition(OPERATION_RELEASE, session, acquisition, number, mark)


def cancel(*, uint64_t session, uint64_t acquisition, object number=None, uint64_t mark=0) -> bytes:
    """Gives up what is held or waited for, whichever it is by now."""
    return by_acquisition(OPERATION_CANCEL, session, acquisition, number, mark)


def holder_value(
    object value, *, uint64_t session, uint64_t acquisition, object number=None, uint64_t mark=0
) -> bytes:
    """Changes the value that a holder shows."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_HOLDER_VALUE, 0, session, number, mark, None, 64)
    sink_u64(&out.to, acquisition)
    value_of(&out.to, value)
    return finish(&out.to)


def force_release(
    object name, object reason, *, uint64_t token=0, uint64_t now_ms=0, uint64_t session=0, object number=None,
    uint64_t mark=0
) -> bytes:
    """Takes a permit away from the holders of ``token``, or with 0 from all, and records the reason."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_FORCE_RELEASE, 0, session, number, mark, None, 64)
    sink_u64(&out.to, now_ms)
    sink_u64(&out.to, token)
    name_of(&out.to, name)
    name_of(&out.to, reason)
    return finish(&out.to)


# ---- the cluster ------------------------------------------------------------------------------------------------------


def set_limits(dict limits not None, *, uint64_t session=0, object number=None, uint64_t mark=0) -> bytes:
    """Sets logged limits, all or none: ``{Limit.SESSIONS: 100}``."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_SET_LIMITS, 0, session, number, mark, None, 64)
    sink_u16(&out.to, <uint16_t> len(limits))
    for limit in sorted(limits):
        sink_u16(&out.to, limit)
        sink_u64(&out.to, limits[limit])
    return finish(&out.to)


def set_version(uint8_t version) -> bytes:
    """Raises the cluster version: commands of it may be proposed from now on."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_SET_VERSION, 0, 0, None, 0, None, 16)
    sink_u8(&out.to, version)
    return finish(&out.to)


def compact_history(uint64_t revision) -> bytes:
    """Watches may not resume from before this revision any more, on any node."""
    cdef _Draft out = _Draft.__new__(_Draft)
    begin(&out.to, OPERATION_COMPACT_HISTORY, 0, 0, None, 0, None, 16)
    sink_u64(&out.to, revision)
    return finish(&out.to)
