# distutils: language = c
# distutils: sources = csrc/points.c csrc/xxh3.c
"""The consistent-hash ring: an immutable value that maps keys to nodes (Karger et al. 1997, "Consistent Hashing and Random
Trees"). Knows nothing of sockets, of health or of who maintains the list of nodes.

A node of weight w has max(1, ⌊vnodes·w + ½⌋) points on a circle of 2^64 hashes; point number v is XXH3-64 of its name under a
seed that is output number v of SplitMix64 started at the ring's seed. A key belongs to the node of the first point at or after
its own hash, XXH3-64 under the ring's seed, and past the last point to that of the first. Of equal points, the lesser name
rules. quorate/ring/reference.py says the same in plain Python.
"""

from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cython cimport always_allow_keywords, boundscheck, final, no_gc
from libc.math cimport floor
from libc.stdint cimport UINT64_MAX, int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from quorate.ring._arcs cimport moves_list, points_list, ranges_list, shares
from quorate.ring._batch cimport index_buffer
from quorate.ring._hash cimport hash_key
from quorate.ring._member cimport Member, checked_unsigned, checked_weight, members_of, shown
from quorate.ring._points cimport (
    POINTS_BATCH,
    c_points,
    points_build,
    points_bytes,
    points_drop,
    points_find,
    points_find_many,
    points_generate,
    points_merge,
    points_owner,
    points_owner_at,
    points_place,
    points_sort,
)
from quorate.ring._prefer cimport first_distinct, spread

from quorate import limits
from quorate.errors import EmptyRing, InvalidArgument, LimitExceeded
from quorate.ring import form

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object it, Py_ssize_t *size) except NULL
    str PyUnicode_FromObject(object it)

cdef extern from *:
    """
    #include "xxh3.h"

    /* Hashes the items start + done … start + count - 1 of a list as long as they are plain ASCII strs or bytes, and asks
     * memory for the ones that come after them. Returns how many of `count` are done. It runs no Python code, so that under
     * a GIL nobody can change the list meanwhile and no reference is needed; without a GIL it does nothing. */
    static inline Py_ssize_t hash_items(PyObject *list, Py_ssize_t start, Py_ssize_t done, Py_ssize_t count, uint64_t *hashes,
                                        uint64_t seed) {
    #ifndef Py_GIL_DISABLED
        Py_ssize_t length = PyList_GET_SIZE(list), i;
        for (i = start + count; !done && i < start + 2 * count && i < length; i++) {
            const char *item = (const char *)PyList_GET_ITEM(list, i);
            __builtin_prefetch(item);
            __builtin_prefetch(item + 63); /* where the text of a short str goes on */
        }
        for (; done < count && start + done < length; done++) {
            PyObject *item = PyList_GET_ITEM(list, start + done);
            if (PyUnicode_CheckExact(item) && PyUnicode_IS_COMPACT_ASCII(item))
                hashes[done] = xxh3_64(PyUnicode_DATA(item), (size_t)PyUnicode_GET_LENGTH(item), seed);
            else if (PyBytes_CheckExact(item))
                hashes[done] = xxh3_64(PyBytes_AS_STRING(item), (size_t)PyBytes_GET_SIZE(item), seed);
            else
                break;
        }
    #else
        (void)list, (void)start, (void)count, (void)hashes, (void)seed;
    #endif
        return done;
    }
    """
    Py_ssize_t hash_items(list it, Py_ssize_t start, Py_ssize_t done, Py_ssize_t count, uint64_t *hashes,
                          uint64_t seed) noexcept

cdef uint64_t POINTS_MAX = limits.RING_POINTS_MAX
cdef Py_ssize_t NODES_MAX = limits.RING_NODES_MAX
cdef enum:
    NEAR = 16  # distinct nodes of a preference list are told apart by comparing up to here, and by a table beyond


cdef uint32_t points_for(uint32_t vnodes, double weight) except 0:
    """How many points a weight gives: halves round up, and every node has one."""
    cdef double exact = floor(vnodes * weight + 0.5)
    if exact > <double>POINTS_MAX:
        raise LimitExceeded(f"{vnodes} vnodes of weight {weight:g} are more than the {POINTS_MAX} points of a largest ring")
    return <uint32_t>exact if exact >= 1 else 1


@final
@no_gc
cdef class Ring:
    """A consistent-hash ring: an immutable value that maps keys to nodes.

    ``nodes`` is an iterable of names or of :class:`Member`, or a mapping name → weight. ``vnodes`` (1 to 65,536) is the
    number of points of a node of weight 1: more are better balanced and cost memory, 10 bytes a point and 2 to 4 of index.
    ``seed`` (64 bits) gives another arrangement. ``epoch`` counts changes; it is carried along and takes no part in equality.

    A ring is the same for the same members, vnodes and seed, in every process, whatever its history. Changes return a new
    ring; any thread may read a ring at any time without a lock.

    Raises TypeError for nodes of other types, :class:`quorate.errors.InvalidArgument` for duplicate or empty names and
    for numbers out of bounds, :class:`quorate.errors.LimitExceeded` above 65,535 nodes or 16,777,216 points.

    Source: D. Karger et al., "Consistent Hashing and Random Trees", STOC 1997.

    >>> ring = Ring(["cache-1", "cache-2", "cache-3"])
    >>> ring["user:42"]
    'cache-1'
    >>> ring.nodes("user:42", 2)
    ('cache-1', 'cache-3')
    >>> ring.add("cache-4").remove("cache-4") == ring
    True
    """

    def __cinit__(self, nodes=(), *, vnodes=160, seed=0, epoch=0):
        self._vnodes = <uint32_t>checked_unsigned(vnodes, "vnodes", 1, limits.RING_VNODES_MAX)
        self._seed = checked_unsigned(seed, "seed", 0, UINT64_MAX)
        self._epoch = checked_unsigned(epoch, "epoch", 0, UINT64_MAX)
        self._set_members(members_of(nodes))
        self._build()

    def __dealloc__(self):
        PyMem_RawFree(self._points.marks)
        PyMem_RawFree(self._nodes)

    # Making.

    cdef int _allocate(self, Py_ssize_t nodes) except -1:
        PyMem_RawFree(self._nodes)
        self._nodes = <node_state *>PyMem_RawCalloc(nodes + 1, sizeof(node_state))
        if self._nodes == NULL:
            raise MemoryError()
        return 0

    cdef int _allocate_points(self, uint64_t count) except -1:
        cdef void *block
        if count > POINTS_MAX:
            raise LimitExceeded(f"a ring has at most {POINTS_MAX} points, and these nodes have {count}; lower vnodes or weights")
        block = PyMem_RawMalloc(points_bytes(<uint32_t>count))
        if block == NULL:
            raise MemoryError()
        PyMem_RawFree(self._points.marks)
        points_place(&self._points, block, <uint32_t>count)
        return 0

    cdef int _set_members(self, dict members) except -1:
        """Names, weights and zones from name → Member or None; no points yet."""
        cdef Py_ssize_t i, count = len(members)
        cdef Member member
        cdef list names = list(members)
        cdef list zones
        if count > NODES_MAX:
            raise LimitExceeded(f"a ring has at most {NODES_MAX} nodes, not {count}")
        names.sort()
        self._names = tuple(names)
        zones = [None if member is None else (<Member>member).zone for member in [members[name] for name in names]]
        self._zones = tuple(zones) if any(zones) else None
        self._allocate(count)
        for i in range(count):
            member = members[names[i]]
            self._nodes[i].weight = 1.0 if member is None else member.weight
            self._nodes[i].count = points_for(self._vnodes, self._nodes[i].weight)
        self._number_zones()
        return 0

    cdef int _number_zones(self) except -1:
        cdef dict numbers = {None: 0}
        cdef Py_ssize_t i
        if self._zones is not None:
            for i in range(PyTuple_GET_SIZE(self._zones)):
                self._nodes[i].zone = numbers.setdefault(self._zones[i], len(numbers))
        self._zone_count = len(numbers)
        return 0

    cdef int _build(self) except -1:
        """All points from names and counts."""
        cdef Py_ssize_t i, j, nodes = PyTuple_GET_SIZE(self._names)
        cdef uint64_t total = 0
        cdef uint32_t at = 0
        cdef Py_ssize_t size = 0
        cdef const char *text
        cdef uint64_t *hashes
        cdef uint16_t *owners
        for i in range(nodes):
            total += self._nodes[i].count
        self._allocate_points(total)
        hashes = <uint64_t *>PyMem_RawMalloc((total + 1) * (sizeof(uint64_t) + sizeof(uint16_t)))
        if hashes == NULL:
            raise MemoryError()
        owners = <uint16_t *>(hashes + total)
        try:
            for i in range(nodes):
                text = PyUnicode_AsUTF8AndSize(<object>PyTuple_GET_ITEM(self._names, i), &size)
                points_generate(hashes + at, text, <size_t>size, self._seed, 0, self._nodes[i].count)
                for j in range(self._nodes[i].count):
                    owners[at + j] = <uint16_t>i
                at += self._nodes[i].count
            with nogil:
                points_build(&self._points, hashes, owners)
        finally:
            PyMem_RawFree(hashes)
        return 0

    cdef Ring _changed(self, tuple names, tuple zones):
        """A ring of the next epoch with these names and zones, and no weights or points yet."""
        cdef Ring it = Ring.__new__(Ring)
        if self._epoch == UINT64_MAX:
            raise InvalidArgument(f"the epoch {self._epoch} is the last one; make a new ring")
        it._vnodes = self._vnodes
        it._seed = self._seed
        it._epoch = self._epoch + 1
        it._names = names
        it._zones = zones
        it._allocate(PyTuple_GET_SIZE(names))
        return it

    def add(self, node, *, weight=None, zone=None):
        """A ring of the next epoch with one node more: a name (with ``weight``, 1.0 if not given, and ``zone``), or a Member.

        Only the new node's points are made and merged. Raises InvalidArgument if the name is taken, and as the constructor.

        >>> Ring(["a"]).add("b", weight=2).names
        ('a', 'b')
        """
        cdef Member member
        cdef Ring it
        cdef Py_ssize_t place, nodes = PyTuple_GET_SIZE(self._names)
        cdef uint64_t *hashes
        if isinstance(node, Member):
            if weight is not None or zone is not None:
                raise TypeError("a Member has its weight and zone; pass them only with a name")
            member = node
        else:
            member = Member(node, 1.0 if weight is None else weight, zone)
        place = self._place(member.name)
        if place < nodes and self._names[place] == member.name:
            raise InvalidArgument(f"the ring has a node {shown(member.name)} already; names must be distinct")
        if nodes == NODES_MAX:
            raise LimitExceeded(f"a ring has at most {NODES_MAX} nodes")
        zones = self._zones
        if zones is not None or member.zone is not None:
            zones = zones or (None,) * nodes
            zones = (*zones[:place], member.zone, *zones[place:])
        it = self._changed((*self._names[:place], member.name, *self._names[place:]), zones)
        memcpy(it._nodes, self._nodes, place * sizeof(node_state))
        memcpy(it._nodes + place + 1, self._nodes + place, (nodes - place) * sizeof(node_state))
        it._nodes[place].weight = member.weight
        it._nodes[place].count = points_for(self._vnodes, member.weight)
        it._number_zones()
        it._allocate_points(<uint64_t>self._points.count + it._nodes[place].count)
        hashes = sorted_points(member.name, self._seed, 0, it._nodes[place].count)
        with nogil:
            points_merge(&it._points, &self._points, hashes, it._nodes[place].count, <uint16_t>place, True)
        PyMem_RawFree(hashes)
        return it

    def remove(self, name, /):
        """A ring of the next epoch without the node of this name; InvalidArgument if there is none, TypeError for no str.

        >>> Ring(["a", "b"]).remove("a").names
        ('b',)
        """
        cdef Py_ssize_t place = self._known(name), nodes = PyTuple_GET_SIZE(self._names)
        cdef uint32_t count = self._nodes[place].count
        cdef uint64_t *hashes
        cdef Ring it
        zones = self._zones
        if zones is not None:
            zones = zones[:place] + zones[place + 1:]
            zones = zones if any(zones) else None
        it = self._changed(self._names[:place] + self._names[place + 1:], zones)
        memcpy(it._nodes, self._nodes, place * sizeof(node_state))
        memcpy(it._nodes + place, self._nodes + place + 1, (nodes - place - 1) * sizeof(node_state))
        it._number_zones()
        it._allocate_points(self._points.count - count)
        hashes = sorted_points(self._names[place], self._seed, 0, count)
        with nogil:
            points_drop(&it._points, &self._points, hashes, count, <uint16_t>place, True)
        PyMem_RawFree(hashes)
        return it

    def with_weight(self, name, weight):
        """A ring of the next epoch in which the node of this name has another weight; InvalidArgument if there is none.

        >>> ring = Ring(["a", "b"]).with_weight("b", 3)
        >>> [round(share, 2) for share in ring.share().values()]
        [0.25, 0.75]
        """
        cdef Py_ssize_t place = self._known(name), nodes = PyTuple_GET_SIZE(self._names)
        cdef double checked = checked_weight(weight)
        cdef uint32_t before = self._nodes[place].count, after = points_for(self._vnodes, checked)
        cdef uint32_t least = min(before, after), most = max(before, after)
        cdef Ring it = self._changed(self._names, self._zones)
        cdef uint64_t *hashes
        memcpy(it._nodes, self._nodes, nodes * sizeof(node_state))
        it._zone_count = self._zone_count
        it._nodes[place].weight = checked
        it._nodes[place].count = after
        it._allocate_points(<uint64_t>self._points.count - before + after)
        # Points are numbered, so that another weight adds or takes away the last ones only.
        hashes = sorted_points(self._names[place], self._seed, least, most)
        with nogil:
            if after >= before:
                points_merge(&it._points, &self._points, hashes, most - least, <uint16_t>place, False)
            else:
                points_drop(&it._points, &self._points, hashes, most - least, <uint16_t>place, False)
        PyMem_RawFree(hashes)
        return it

    # Looking up.

    def __getitem__(self, key):
        """The node that owns the key. EmptyRing (a LookupError) if there is no node, TypeError if it is no key."""
        cdef uint64_t h = hash_key(key, self._seed)
        if self._points.count == 0:
            raise EmptyRing()
        return <object>PyTuple_GET_ITEM(self._names, points_owner(&self._points, h))

    @always_allow_keywords(False)
    def node(self, key, /):
        """The node that owns the key: the same as ``ring[key]``.

        >>> Ring(["a", "b"]).node("x") == Ring(["a", "b"])[b"x"]
        True
        """
        cdef uint64_t h = hash_key(key, self._seed)
        if self._points.count == 0:
            raise EmptyRing()
        return <object>PyTuple_GET_ITEM(self._names, points_owner(&self._points, h))

    @always_allow_keywords(False)
    def hash(self, key, /):
        """Where the key lies on the circle: XXH3-64 under the ring's seed, an int from 0 to 2**64 - 1.

        >>> hex(Ring().hash("x"))
        '0xeaf06c6480b2cd11'
        """
        return hash_key(key, self._seed)

    def nodes(self, key, Py_ssize_t n, *, bint zones=False):
        """The first ``n`` distinct nodes at and after the key, in order of preference; the first is the owner.

        With ``zones``, zones take turns: a node comes after all that have fewer nodes of their own zone before them on the
        ring. So the first nodes are in as many zones as there are. Nodes without a zone count as one zone together.

        InvalidArgument unless ``n`` is from 1 to ``len(ring)``.

        >>> from quorate.ring import Member
        >>> ring = Ring([Member("a1", zone="a"), Member("a2", zone="a"), Member("b1", zone="b")])
        >>> ring.nodes("u", 2), ring.nodes("u", 2, zones=True)
        (('a1', 'a2'), ('a1', 'b1'))
        """
        cdef uint64_t h = hash_key(key, self._seed)
        cdef Py_ssize_t found = 0, i, nodes = PyTuple_GET_SIZE(self._names)
        cdef uint16_t near[NEAR]
        cdef uint16_t owner
        cdef uint32_t at
        cdef PyObject *name
        cdef tuple result
        if n < 1 or n > nodes:
            if nodes == 0:
                raise EmptyRing()
            raise InvalidArgument(f"n must be from 1 to {nodes}, the number of nodes, not {n}")
        at = points_find(&self._points, h)
        if zones and self._zone_count > 1:
            return spread(&self._points, at, n, self._names, self._nodes, self._zone_count)
        if n > NEAR:
            return first_distinct(&self._points, at, n, self._names)
        result = PyTuple_New(n)
        # Every node has a point, so that the walk ends within one turn.
        while True:
            owner = points_owner_at(&self._points, at)
            for i in range(found):
                if near[i] == owner:
                    break
            else:
                near[found] = owner
                name = PyTuple_GET_ITEM(self._names, owner)
                Py_INCREF(<object>name)
                PyTuple_SET_ITEM(result, found, <object>name)
                found += 1
                if found == n:
                    return result
            at += 1
            if at >= self._points.count:
                at = 0

    def node_many(self, keys):
        """The owner of each key of a list (or another iterable): a list of names. Errors as for ``ring[key]``.

        >>> Ring(["a"]).node_many(["x", b"y"])
        ['a', 'a']
        """
        cdef list source, result
        cdef Py_ssize_t i, n, start, size
        cdef uint64_t hashes[POINTS_BATCH]
        cdef int32_t owners[POINTS_BATCH]
        cdef PyObject *name
        if isinstance(keys, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"keys must be an iterable of keys, not one {type(keys).__name__}")
        source = keys if type(keys) is list else list(keys)
        n = len(source)
        if n and self._points.count == 0:
            raise EmptyRing()
        result = PyList_New(n)
        for start in range(0, n, POINTS_BATCH):
            size = min(n - start, <Py_ssize_t>POINTS_BATCH)
            i = 0
            while True:
                i = hash_items(source, start, i, size, hashes, self._seed)
                if i == size:
                    break
                # Another thread, or a key's own buffer, may shorten the list meanwhile: an IndexError, and no harm.
                with boundscheck(True):
                    key = source[start + i]
                hashes[i] = hash_key(key, self._seed)
                i += 1
            points_find_many(&self._points, hashes, owners, <size_t>size)
            for i in range(size):
                name = PyTuple_GET_ITEM(self._names, owners[i])
                Py_INCREF(<object>name)
                PyList_SET_ITEM(result, start + i, <object>name)
        return result

    def index_many(self, keys, out=None, *, bint hashed=False):
        """The owner of each key of a buffer, as its place in ``ring.names``, written to a buffer of 32-bit ints.

        ``keys`` is a C-contiguous buffer of 64-bit integers, each of which is the key of its 8 bytes (little-endian, so as
        ``ring[k.to_bytes(8, "little")]``), or with ``hashed`` is the result of :meth:`hash` already; or of byte strings of one
        width (format ``"16s"`` as numpy's ``S16`` has it, or two-dimensional bytes), of which every byte counts.
        ``out`` is a writable C-contiguous buffer of as many 32-bit ints; without it an ``array.array("i")`` is made.
        Returns ``out``. Lets other threads run meanwhile.

        TypeError for buffers of other items, InvalidArgument for buffers of other sizes or layouts, EmptyRing if there is
        no node.

        >>> from array import array
        >>> Ring(["a", "b"]).index_many(array("Q", [1, 2, 3]))
        array('i', [0, 1, 0])
        """
        if self._points.count == 0:
            raise EmptyRing()
        return index_buffer(&self._points, keys, out, self._seed, hashed)

    # What it is.

    def __len__(self):
        return PyTuple_GET_SIZE(self._names)

    def __iter__(self):
        return iter(self._names)

    def __contains__(self, name):
        cdef Py_ssize_t place
        if not isinstance(name, str):
            return False
        place = self._place(name)
        return place < PyTuple_GET_SIZE(self._names) and self._names[place] == name

    cdef Py_ssize_t _place(self, object name) except -2:
        """Where a name is, or would be put."""
        cdef Py_ssize_t low = 0, high = PyTuple_GET_SIZE(self._names), middle
        while low < high:
            middle = (low + high) // 2
            if <object>PyTuple_GET_ITEM(self._names, middle) < name:
                low = middle + 1
            else:
                high = middle
        return low

    cdef Py_ssize_t _known(self, object name) except -1:
        """Where the node of this name is."""
        cdef Py_ssize_t place
        if not isinstance(name, str):
            raise TypeError(f"a node name must be a str, not {type(name).__name__}")
        # A subclass may compare as it likes; only its text is taken.
        name = PyUnicode_FromObject(name)
        place = self._place(name)
        if place == PyTuple_GET_SIZE(self._names) or self._names[place] != name:
            raise InvalidArgument(f"the ring has no node {shown(name)}; its nodes are in ring.names")
        return place

    @property
    def names(self):
        """The names of the nodes, ascending, as a tuple of str."""
        return self._names

    @property
    def members(self):
        """The nodes with their weights and zones, in ascending order of names, as a tuple of :class:`Member`."""
        return tuple([Member(name, weight, zone) for name, weight, zone in self._entries()])

    def member(self, name, /):
        """The node of this name with its weight and zone; InvalidArgument if there is none."""
        return self.members[self._known(name)]

    @property
    def vnodes(self):
        """How many points a node of weight 1 has."""
        return self._vnodes

    @property
    def seed(self):
        """The seed of the key hash and, spread, of the points: an int of 64 bits."""
        return self._seed

    @property
    def epoch(self):
        """How many changes led here, as far as this ring knows; no part of equality."""
        return self._epoch

    cdef list _entries(self):
        cdef Py_ssize_t i
        return [(self._names[i], self._nodes[i].weight, None if self._zones is None else self._zones[i])
                for i in range(PyTuple_GET_SIZE(self._names))]

    @property
    def fingerprint(self):
        """64 bits that are equal for equal rings and, for all but one in 2**64, differ for others. The epoch is no part."""
        return form.fingerprint(self._vnodes, self._seed, self._entries(), len(self))

    def to_bytes(self):
        """The canonical byte form, for :meth:`from_bytes`; versioned and checked. Equal rings of one epoch have equal bytes.

        >>> Ring.from_bytes(Ring(["a", "b"]).to_bytes()).names
        ('a', 'b')
        """
        return form.encode(self._vnodes, self._seed, self._epoch, self._entries(), len(self))

    @staticmethod
    def from_bytes(data, /):
        """The ring of a byte form. InvalidArgument says what is wrong with bytes that are altered, cut, or of a newer version;
        LimitExceeded if the points would be too many."""
        return ring_from_bytes(bytes(memoryview(data)))

    def __reduce__(self):
        return ring_from_bytes, (self.to_bytes(),)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __hash__(self):
        return hash(self.fingerprint)

    def __eq__(self, other):
        if not isinstance(other, Ring):
            return NotImplemented
        cdef Ring it = other
        cdef Py_ssize_t i
        if self is it:
            return True
        if self._vnodes != it._vnodes or self._seed != it._seed or self._names != it._names or self._zones != it._zones:
            return False
        for i in range(PyTuple_GET_SIZE(self._names)):
            if self._nodes[i].weight != it._nodes[i].weight:
                return False
        return True

    def __repr__(self):
        cdef Py_ssize_t nodes = len(self)
        shown_nodes = [name if weight == 1 else f"{name}:{weight:g}" for name, weight, zone in self._entries()[:6]]
        text = ", ".join(shown_nodes) + (", …" if nodes > 6 else "")
        return (f"<Ring of {nodes} node{'' if nodes == 1 else 's'}{': ' if nodes else ''}{text}; {self._points.count} points, "
                f"vnodes {self._vnodes}, seed {self._seed}, epoch {self._epoch}>")

    def __sizeof__(self):
        return (object.__sizeof__(self) + points_bytes(self._points.count)
                + (PyTuple_GET_SIZE(self._names) + 1) * sizeof(node_state))

    def points(self):
        """All points in ascending order: a list of (hash, name).

        >>> len(Ring(["a", "b"], vnodes=3).points())
        6
        """
        return points_list(&self._points, self._names)

    def ranges(self):
        """Who owns which hashes: a list of :class:`Range` ``(start, end, node)`` that covers 0 to 2**64 once, in order.

        Ranges are half-open, and neighbours of one node are one range. The node whose arc passes 0 has the first and the last.

        >>> Ring(["a"]).ranges()
        [Range(start=0, end=18446744073709551616, node='a')]
        """
        return ranges_list(&self._points, self._names)

    def share(self):
        """The part of all hashes that each node owns: a dict name → float from 0 to 1, each rounded from the exact arc.

        >>> Ring(["a"]).share()
        {'a': 1.0}
        """
        return shares(&self._points, self._names)

    def diff(self, other):
        """What moves from this ring to another: a list of :class:`Move` ``(start, end, source, target)``, ascending.

        The ranges are exact, half-open and disjoint; what is in none of them stays. InvalidArgument if the seeds differ,
        because then every key has another hash.

        >>> ring = Ring(["a", "b"])
        >>> {(move.source, move.target) for move in ring.diff(ring.add("c"))} == {("a", "c"), ("b", "c")}
        True
        """
        if not isinstance(other, Ring):
            raise TypeError(f"diff takes a Ring, not {type(other).__name__}")
        if self._seed != (<Ring>other)._seed:
            raise InvalidArgument(f"rings of seeds {self._seed} and {other.seed} hash keys differently, so no range moves as one")
        return moves_list(&self._points, self._names, &(<Ring>other)._points, (<Ring>other)._names)


cdef uint64_t *sorted_points(str name, uint64_t seed, uint32_t first, uint32_t last) except NULL:
    cdef Py_ssize_t size = 0
    cdef const char *text = PyUnicode_AsUTF8AndSize(name, &size)
    cdef uint64_t *hashes = <uint64_t *>PyMem_RawMalloc((last - first + 1) * sizeof(uint64_t))
    if hashes == NULL:
        raise MemoryError()
    points_generate(hashes, text, <size_t>size, seed, first, last)
    points_sort(hashes, last - first)
    return hashes


def ring_from_bytes(bytes data):
    """What a pickled ring calls."""
    vnodes, seed, epoch, nodes = form.decode(data)
    cdef Ring it = Ring.__new__(Ring, vnodes=vnodes, seed=seed, epoch=epoch)
    it._set_members({name: Member(name, weight, zone) for name, weight, zone in nodes})
    it._build()
    return it
