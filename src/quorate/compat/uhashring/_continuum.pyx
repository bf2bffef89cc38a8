# distutils: language = c
# distutils: sources = csrc/md5.c csrc/ketama.c
"""The compiled core of the drop-in for uhashring: immutable continuums of 32-bit and of 128-bit points, and their hashes.

A continuum never changes once made, so that a reader who has one needs no lock; the ring puts a new one in its place. Node
names are any hashable objects here and keys are taken by ``str(key)``, because that is how uhashring places them. Knows
nothing of weights or of node configurations.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject_Str
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from quorate.errors import InvalidArgument, LimitExceeded
from quorate.limits import RING_POINTS_MAX as _RING_POINTS_MAX


cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object it)


cdef extern from "md5.h" nogil:
    void md5_words(const void *data, size_t length, uint32_t *words)


cdef extern from "ketama.h" nogil:
    enum: KETAMA_SUFFIX_MAX

    ctypedef struct ketama_point:
        uint32_t hash
        uint32_t owner

    ctypedef struct ketama_wide_point:
        uint64_t high
        uint64_t low
        uint32_t owner
        uint32_t unused

    void ketama_points(char *text, size_t length, uint32_t digests, uint32_t per_digest, uint32_t owner, ketama_point *out)
    void ketama_wide_points(char *text, size_t length, uint32_t digests, uint32_t owner, ketama_wide_point *out)
    unsigned ketama_bits(size_t count)
    void ketama_sort(const ketama_point *points, size_t count, unsigned bits, ketama_point *out, uint32_t *first)
    void ketama_wide_sort(const ketama_wide_point *points, size_t count, unsigned bits, ketama_wide_point *out,
                          uint32_t *first)
    void ketama_last_wins(ketama_point *points, size_t count)
    size_t ketama_wide_last_stays(ketama_wide_point *points, size_t count)
    size_t ketama_find_above(const ketama_point *points, size_t count, const uint32_t *first, unsigned bits, uint32_t hash)
    size_t ketama_wide_find_above(const ketama_wide_point *points, size_t count, const uint32_t *first, unsigned bits,
                                  uint64_t high, uint64_t low)


cdef extern from *:
    uint32_t __builtin_bswap32(uint32_t x) nogil


cdef inline int digest_of(object key, uint32_t *words) except -1:
    """MD5 of ``str(key)`` in UTF-8."""
    cdef Py_ssize_t length
    cdef const char *text
    if not PyUnicode_CheckExact(key):
        key = PyObject_Str(key)
    text = PyUnicode_AsUTF8AndSize(key, &length)
    md5_words(text, <size_t>length, words)
    return 0


cdef object number_of(uint64_t high, uint64_t low):
    return (<object>high << 64) | low


def ketama_words(key):
    """The four words of MD5 of ``str(key)``; the first is the key's place on a ketama continuum."""
    cdef uint32_t words[4]
    digest_of(key, words)
    return words[0], words[1], words[2], words[3]


def md5_number(key):
    """MD5 of ``str(key)`` as a big-endian integer of 128 bits, the place on a default ring."""
    cdef uint32_t words[4]
    digest_of(key, words)
    return number_of(<uint64_t>__builtin_bswap32(words[0]) << 32 | __builtin_bswap32(words[1]),
                     <uint64_t>__builtin_bswap32(words[2]) << 32 | __builtin_bswap32(words[3]))


cdef size_t total_of(list shares, Py_ssize_t per_digest) except? 0:
    """Points of all (name, digests) pairs together, within the limit."""
    total = sum(max(digests, 0) for _, digests in shares) * max(per_digest, 0)
    if total > _RING_POINTS_MAX:
        raise LimitExceeded(f"{total} points on one ring; at most {_RING_POINTS_MAX} are allowed; lower vnodes or weights")
    return <size_t>total


cdef char *text_with_room(bytes name) except NULL:
    """A copy of ``name`` with room for the suffix; the caller frees it."""
    cdef size_t length = <size_t>PyBytes_GET_SIZE(name)
    cdef char *text = <char *>malloc(length + KETAMA_SUFFIX_MAX)
    if text == NULL:
        raise MemoryError
    memcpy(text, PyBytes_AS_STRING(name), length)
    return text


@cython.final
@cython.no_gc_clear
cdef class NarrowContinuum:
    """Points of 32 bits: uhashring's ketama mode. ``shares`` is a list of (name, digests), each digest gives
    ``per_digest`` points, and of equal points the node that comes last in ``shares`` owns both."""

    cdef:
        ketama_point *points  # count of them, sorted; owned
        uint32_t *first  # the bucket index, 2^bits + 1 places; owned
        size_t count
        unsigned bits
        readonly tuple names  # names[owner]
        tuple args  # what made it, for pickle

    def __cinit__(self, list shares, int per_digest):
        cdef size_t total = total_of(shares, per_digest)
        cdef size_t at = 0
        cdef uint32_t owner = 0, digests
        cdef char *text
        cdef bytes name_text
        if per_digest > 4:
            raise IndexError(f"replicas={per_digest}: an MD5 digest has four words, so at most 4 replicas")
        self.args = (shares, per_digest)
        self.names = tuple(name for name, _ in shares)
        self.count = total
        self.bits = ketama_bits(total)
        self.points = <ketama_point *>calloc(total + 1, sizeof(ketama_point))
        self.first = <uint32_t *>calloc((<size_t>1 << self.bits) + 1, sizeof(uint32_t))
        cdef ketama_point *unsorted = <ketama_point *>calloc(total + 1, sizeof(ketama_point))
        try:
            if self.points == NULL or self.first == NULL or unsorted == NULL:
                raise MemoryError
            if per_digest > 0:
                for name, share in shares:
                    digests = <uint32_t>max(share, 0)
                    name_text = f"{name}".encode()
                    text = text_with_room(name_text)
                    ketama_points(text, <size_t>PyBytes_GET_SIZE(name_text), digests, <uint32_t>per_digest, owner,
                                  unsorted + at)
                    free(text)
                    at += digests * <size_t>per_digest
                    owner += 1
            ketama_sort(unsorted, total, self.bits, self.points, self.first)
            ketama_last_wins(self.points, total)
        finally:
            free(unsorted)

    def __dealloc__(self):
        free(self.points)
        free(self.first)

    def __len__(self):
        return <Py_ssize_t>self.count

    def __reduce__(self):
        return NarrowContinuum, self.args

    def find(self, key):
        """Place of the first point above the key's hash, round the end to 0; 0 if there are no points."""
        cdef uint32_t words[4]
        digest_of(key, words)
        cdef size_t at = ketama_find_above(self.points, self.count, self.first, self.bits, words[0])
        return <Py_ssize_t>(0 if at == self.count else at)

    def node(self, key):
        """Name of the node that owns the key. The continuum must not be empty."""
        cdef uint32_t words[4]
        digest_of(key, words)
        cdef size_t at = ketama_find_above(self.points, self.count, self.first, self.bits, words[0])
        if at == self.count:
            at = 0
            if self.count == 0:
                raise LookupError("the continuum is empty")
        return self.names[self.points[at].owner]

    def name_at(self, Py_ssize_t place):
        """Name of the owner of the point at ``place``."""
        if not 0 <= place < <Py_ssize_t>self.count:
            raise IndexError(place)
        return self.names[self.points[place].owner]

    def hash_at(self, Py_ssize_t place):
        """The point at ``place``."""
        if not 0 <= place < <Py_ssize_t>self.count:
            raise IndexError(place)
        return self.points[place].hash

    def hashes(self):
        """All points in order; equal points are listed as often as they occur, as uhashring lists them."""
        cdef size_t i
        return [self.points[i].hash for i in range(self.count)]


@cython.final
@cython.no_gc_clear
cdef class WideContinuum:
    """Points of 128 bits: uhashring's default mode. Starts empty; :meth:`changed` gives another one."""

    cdef:
        ketama_wide_point *points  # count of them, sorted, all different; owned
        uint32_t *first  # the bucket index, 2^bits + 1 places; owned
        size_t count
        unsigned bits
        readonly tuple names  # names[owner]

    def __cinit__(self, tuple names=(), bytes points=b""):
        cdef size_t size = <size_t>PyBytes_GET_SIZE(points)
        cdef size_t i
        self.names = names
        if size % sizeof(ketama_wide_point):
            raise InvalidArgument(f"{size} bytes are no whole number of points")
        self.settle(<const ketama_wide_point *>PyBytes_AS_STRING(points), size // sizeof(ketama_wide_point))
        for i in range(self.count):
            if self.points[i].owner >= <size_t>len(names):
                raise InvalidArgument("a point belongs to a node that is not there")

    cdef int settle(self, const ketama_wide_point *unsorted, size_t count) except -1:
        """Takes the points, sorts them, and keeps the last of equal ones."""
        self.bits = ketama_bits(count)
        self.points = <ketama_wide_point *>calloc(count + 1, sizeof(ketama_wide_point))
        self.first = <uint32_t *>calloc((<size_t>1 << self.bits) + 1, sizeof(uint32_t))
        if self.points == NULL or self.first == NULL:
            raise MemoryError
        ketama_wide_sort(unsorted, count, self.bits, self.points, self.first)
        self.count = ketama_wide_last_stays(self.points, count)
        if self.count == count:
            return 0
        # Some points were equal, so the index no longer fits. Two nodes with the same text do this; MD5 does not.
        cdef ketama_wide_point *kept = self.points
        self.points = NULL
        free(self.first)
        self.first = NULL
        try:
            self.settle(kept, self.count)
        finally:
            free(kept)
        return 0

    def __dealloc__(self):
        free(self.points)
        free(self.first)

    def __len__(self):
        return <Py_ssize_t>self.count

    def __reduce__(self):
        points = PyBytes_FromStringAndSize(<char *>self.points, <Py_ssize_t>(self.count * sizeof(ketama_wide_point)))
        return WideContinuum, (self.names, points)

    def changed(self, drop, list shares):
        """The continuum without the points of the nodes in ``drop``, then with the points of ``shares``, a list of
        (name, points); where points are equal the later one takes the place."""
        cdef size_t more = total_of(shares, 1)
        cdef list names = []
        cdef list moved = []
        for name in self.names:
            moved.append(-1 if name in drop else len(names))
            if name not in drop:
                names.append(name)
        if self.count + more > <size_t>_RING_POINTS_MAX:
            raise LimitExceeded(f"{self.count + more} points on one ring; at most {_RING_POINTS_MAX} are allowed; "
                                "lower vnodes or weights")
        cdef ketama_wide_point *unsorted = <ketama_wide_point *>calloc(self.count + more + 1, sizeof(ketama_wide_point))
        cdef int *to = <int *>calloc(<size_t>len(moved) + 1, sizeof(int))
        cdef size_t i, at = 0
        cdef uint32_t points
        cdef char *text
        cdef bytes name_text
        cdef WideContinuum made
        try:
            if unsorted == NULL or to == NULL:
                raise MemoryError
            for i in range(<size_t>len(moved)):
                to[i] = moved[i]
            for i in range(self.count):
                if to[self.points[i].owner] >= 0:
                    unsorted[at] = self.points[i]
                    unsorted[at].owner = <uint32_t>to[self.points[i].owner]
                    at += 1
            for name, share in shares:
                points = <uint32_t>max(share, 0)
                name_text = f"{name}".encode()
                text = text_with_room(name_text)
                ketama_wide_points(text, <size_t>PyBytes_GET_SIZE(name_text), points, <uint32_t>len(names), unsorted + at)
                free(text)
                at += points
                names.append(name)
            made = WideContinuum.__new__(WideContinuum)
            free(made.points)
            free(made.first)
            made.points = NULL
            made.first = NULL
            made.names = tuple(names)
            made.settle(unsorted, at)
        finally:
            free(unsorted)
            free(to)
        return made

    cdef size_t place_of(self, object key) except? 0:
        cdef uint32_t words[4]
        digest_of(key, words)
        cdef size_t at = ketama_wide_find_above(
            self.points, self.count, self.first, self.bits,
            <uint64_t>__builtin_bswap32(words[0]) << 32 | __builtin_bswap32(words[1]),
            <uint64_t>__builtin_bswap32(words[2]) << 32 | __builtin_bswap32(words[3]))
        return 0 if at == self.count else at

    def find(self, key):
        """Place of the first point above the key's hash, round the end to 0; 0 if there are no points."""
        return <Py_ssize_t>self.place_of(key)

    def node(self, key):
        """Name of the node that owns the key. The continuum must not be empty."""
        cdef size_t at = self.place_of(key)
        if self.count == 0:
            raise LookupError("the continuum is empty")
        return self.names[self.points[at].owner]

    def name_at(self, Py_ssize_t place):
        """Name of the owner of the point at ``place``."""
        if not 0 <= place < <Py_ssize_t>self.count:
            raise IndexError(place)
        return self.names[self.points[place].owner]

    def hash_at(self, Py_ssize_t place):
        """The point at ``place``."""
        if not 0 <= place < <Py_ssize_t>self.count:
            raise IndexError(place)
        return number_of(self.points[place].high, self.points[place].low)

    def hashes(self):
        """All points in order."""
        cdef size_t i
        return [number_of(self.points[i].high, self.points[i].low) for i in range(self.count)]
