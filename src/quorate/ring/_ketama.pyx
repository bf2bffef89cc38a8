# distutils: language = c
# cython: auto_pickle=False
# distutils: sources = csrc/ketama.c csrc/md5.c csrc/xxh3.c
"""Ketama: consistent hashing exactly as libketama, libmemcached and uhashring place, for those who share servers with them.

The continuum itself is csrc/ketama.c. Knows nothing of memcached beyond its default port.
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from quorate.ring._hash cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_GET_SIZE,
    PyUnicode_CheckExact,
    PyUnicode_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_IS_COMPACT_ASCII,
)
from quorate.ring._placed cimport Placed

from quorate.errors import InvalidArgument
from quorate.limits import NODE_NAME_MAX as _NAME_MAX
from quorate.limits import RING_NODES_MAX as _NODES_MAX
from quorate.limits import RING_POINTS_MAX as _POINTS_MAX
from quorate.ring import placement_form as _form
from quorate.ring._hash import hash64 as _hash64


cdef extern from "md5.h" nogil:
    void md5_words(const void *data, size_t length, uint32_t *words) noexcept


cdef extern from "ketama.h" nogil:
    enum: KETAMA_SUFFIX_MAX
    enum: KETAMA_POINTS_PER_DIGEST

    ctypedef struct ketama_point:
        uint32_t hash
        uint32_t owner

    uint32_t ketama_digests_libketama(uint64_t weight, uint64_t total, uint32_t servers) noexcept
    uint32_t ketama_digests_libmemcached(uint64_t weight, uint64_t total, uint32_t servers) noexcept
    void ketama_points(char *text, size_t length, uint32_t digests, uint32_t per_digest, uint32_t owner,
                       ketama_point *out) noexcept
    unsigned ketama_bits(size_t count) noexcept
    void ketama_sort(const ketama_point *points, size_t count, unsigned bits, ketama_point *out, uint32_t *first) noexcept
    void ketama_last_wins(ketama_point *points, size_t count) noexcept
    size_t ketama_find(const ketama_point *points, size_t count, const uint32_t *first, unsigned bits,
                       uint32_t hash) noexcept
    size_t ketama_find_above(const ketama_point *points, size_t count, const uint32_t *first, unsigned bits,
                             uint32_t hash) noexcept


cdef enum dialect_code:
    LIBKETAMA = 1
    LIBMEMCACHED = 2
    UHASHRING = 3


cdef enum:
    TEXT_ROOM = 256 + KETAMA_SUFFIX_MAX


assert _NAME_MAX < 256, "a node name and its suffix fit TEXT_ROOM"
assert 160 * _NODES_MAX <= _POINTS_MAX, "every dialect makes at most 160 points for each node on average"

cdef dict CODES = {"libketama": LIBKETAMA, "libmemcached": LIBMEMCACHED, "uhashring": UHASHRING}
cdef dict DIALECTS = {code: dialect for dialect, code in CODES.items()}


cdef uint32_t md5_other(object key) except? 0xffffffff:
    """The MD5 word of a key that is no plain str or bytes."""
    cdef uint32_t words[4]
    cdef bytes data
    _hash64(key)  # it has the rules of what is a key, and their errors
    data = str.encode(key) if isinstance(key, str) else memoryview(key).tobytes()
    md5_words(PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data), words)
    return words[0]


@cython.final
cdef class Ketama(Placed):
    """Ketama hashing with the placements of another library, point for point.

    ``dialect`` is ``"libketama"`` (a name is the text of the server's line, a weight its memory), ``"libmemcached"``
    (pylibmc's ``ketama_weighted``; a name is ``host`` or ``host:port``, and the port 11211 counts as none) or
    ``"uhashring"`` (``HashRing(hash_fn="ketama")``). ``nodes`` is an iterable of names or Members, or a mapping
    name → weight; weights are whole numbers. The order of the nodes decides only who has a point that several hash to.

    A ring places better: ketama shifts all nodes' numbers of points when one weight changes, and its points are fewer bits.
    Keys are str (UTF-8) or bytes-like. Raises TypeError for nodes of other types, :class:`quorate.errors.InvalidArgument`
    for an unknown dialect, duplicate or empty names, and weights that are not whole numbers from 1 to 1,000,000.

    Source: R. Jones, libketama, 2007; libmemcached 1.0 ``hosts.cc``; uhashring 2.5.

    >>> servers = Ketama({"127.0.0.1:11211": 600, "127.0.0.1:11212": 400}, dialect="libketama")
    >>> servers["test"], servers.hash("test"), servers.point("test")
    ('127.0.0.1:11211', 3446378249, 3454255383)
    """

    cdef:
        ketama_point *_points  # _point_count of them, sorted; owned; NULL without nodes
        uint32_t *_first  # bucket index, 2^_bits + 1 places; owned
        size_t _point_count
        unsigned _bits
        int _dialect

    def __init__(self, nodes=(), *, dialect="libketama", epoch=0):
        if dialect not in CODES:
            raise InvalidArgument(f"dialect must be one of {', '.join(map(repr, CODES))}, not {dialect!r:.60}")
        self.settle(nodes, 0, epoch, False)
        self._dialect = CODES[dialect]
        for member in self.members:
            if member.weight != int(member.weight):
                self._count = 0  # without points there is nothing to look up in
                raise InvalidArgument(
                    f"a ketama weight must be a whole number from 1 on, and {member.name!r:.60} has {member.weight:g}"
                )
        if self._count:
            self._build()

    cdef uint32_t _digests(self, uint64_t weight, uint64_t total) noexcept:
        if self._dialect == LIBKETAMA:
            return ketama_digests_libketama(weight, total, self._count)
        if self._dialect == LIBMEMCACHED:
            return ketama_digests_libmemcached(weight, total, self._count)
        return <uint32_t>(40 * <uint64_t>self._count * weight // total)  # < 2^63 by the bounds of count and weight

    cdef int _build(self) except -1:
        cdef list weights = [int(member.weight) for member in self.members]
        cdef uint64_t total = sum(weights)
        cdef size_t count = 0, at = 0
        cdef uint32_t digests, owner
        cdef char text[TEXT_ROOM]
        cdef bytes name
        cdef ketama_point *unsorted
        for weight in weights:
            count += <size_t>KETAMA_POINTS_PER_DIGEST * self._digests(weight, total)
        self._bits = ketama_bits(count)
        PyMem_RawFree(self._points)
        PyMem_RawFree(self._first)
        self._points = <ketama_point *>PyMem_RawCalloc(count + 1, sizeof(ketama_point))
        self._first = <uint32_t *>PyMem_RawCalloc((<size_t>1 << self._bits) + 1, sizeof(uint32_t))
        unsorted = <ketama_point *>PyMem_RawCalloc(count + 1, sizeof(ketama_point))
        try:
            if self._points == NULL or self._first == NULL or unsorted == NULL:
                raise MemoryError
            for owner in range(self._count):
                name = self.names[owner].encode()
                if self._dialect == LIBMEMCACHED:
                    name = name.removesuffix(b":11211")
                digests = self._digests(weights[owner], total)
                memcpy(text, PyBytes_AS_STRING(name), <size_t>PyBytes_GET_SIZE(name))
                ketama_points(text, <size_t>PyBytes_GET_SIZE(name), digests, KETAMA_POINTS_PER_DIGEST, owner, unsorted + at)
                at += <size_t>KETAMA_POINTS_PER_DIGEST * digests
            # A stable sort, so that of equal points the node that was given first comes first.
            ketama_sort(unsorted, count, self._bits, self._points, self._first)
            if self._dialect == UHASHRING:
                ketama_last_wins(self._points, count)
            self._point_count = count
        finally:
            PyMem_RawFree(unsorted)
        return 0

    def __dealloc__(self):
        PyMem_RawFree(self._points)
        PyMem_RawFree(self._first)

    cdef uint64_t place_of(self, object key) except? 0xffffffffffffffff:
        cdef uint32_t words[4]
        if PyUnicode_CheckExact(key) and PyUnicode_IS_COMPACT_ASCII(key):
            md5_words(PyUnicode_DATA(key), <size_t>PyUnicode_GET_LENGTH(key), words)
            return words[0]
        if PyBytes_CheckExact(key):
            md5_words(PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key), words)
            return words[0]
        return md5_other(key)

    cdef size_t _point_of(self, uint64_t place) noexcept nogil:
        cdef size_t at
        if self._dialect == UHASHRING:
            at = ketama_find_above(self._points, self._point_count, self._first, self._bits, <uint32_t>place)
        else:
            at = ketama_find(self._points, self._point_count, self._first, self._bits, <uint32_t>place)
        return at if at < self._point_count else 0

    cdef uint32_t owner_of(self, uint64_t place) noexcept nogil:
        return self._points[self._point_of(place)].owner

    cdef int prefer(self, uint64_t place, uint32_t wanted, uint32_t *out) except -1 nogil:
        """Owners on the way round the continuum from the key, each once; then those that weigh too little for a point."""
        cdef size_t at = self._point_of(place), step
        cdef uint32_t found = 0, owner
        cdef uint8_t *seen = <uint8_t *>PyMem_RawCalloc(self._count, 1)
        if seen == NULL:
            raise MemoryError
        for step in range(self._point_count):
            if found == wanted:
                break
            owner = self._points[at].owner
            if not seen[owner]:
                seen[owner] = True
                out[found] = owner
                found += 1
            at = at + 1 if at + 1 < self._point_count else 0
        for owner in range(self._count):
            if found == wanted:
                break
            if not seen[owner]:
                out[found] = owner
                found += 1
        PyMem_RawFree(seen)
        return 0

    @property
    def dialect(self):
        """The library whose placements these are."""
        return DIALECTS[self._dialect]

    def point(self, key):
        """The point that owns the key, a 32-bit number; None if there is no node."""
        cdef uint64_t place = self.place_of(key)
        return self._points[self._point_of(place)].hash if self._point_count else None

    def points(self):
        """All points in order: a list of (32-bit number, name of the owner)."""
        cdef size_t i
        return [(self._points[i].hash, self.names[<Py_ssize_t>self._points[i].owner]) for i in range(self._point_count)]

    cdef dict options(self):
        return {"dialect": DIALECTS[self._dialect]}

    cdef uint64_t parameter(self):
        return <uint64_t>self._dialect

    @classmethod
    def from_bytes(cls, form):
        """The placement of a byte form; InvalidArgument if it is damaged, of another kind or of a newer version."""
        read = _form.decode(cls.__name__, form)
        if read.parameter not in DIALECTS:
            raise _form.wrong(cls.__name__, f"it has dialect {read.parameter}, which this release does not know")
        made = cls(read.members, dialect=DIALECTS[read.parameter], epoch=read.epoch)
        _form.check_same(cls.__name__, form, made)
        return made
