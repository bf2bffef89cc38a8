# distutils: language = c
# cython: auto_pickle=False
# distutils: sources = csrc/places.c csrc/xxh3.c
# distutils: extra_compile_args = -ffp-contract=off
"""Placement without a ring: Jump, JumpBack, Rendezvous and Maglev, immutable values like :class:`quorate.ring.Ring`.

The arithmetic is in csrc/places.c and gives the same on every machine; fused multiplication is off for that reason. Knows
nothing of members beyond their names and weights.
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from quorate.ring._member cimport checked_unsigned
from quorate.ring._placed cimport Placed

from quorate.errors import InvalidArgument
from quorate.limits import RING_NODES_MAX as _NODES_MAX
from quorate.limits import RING_POINTS_MAX as _POINTS_MAX
from quorate.ring import placement_form as _form
from quorate.ring._hash import hash64 as _hash64


cdef extern from "places.h" nogil:
    ctypedef struct places_turn:
        double due

    uint32_t places_jump(uint64_t hash, uint32_t buckets) noexcept
    uint32_t places_jumpback(uint64_t hash, uint32_t buckets) noexcept
    uint64_t places_draw(uint64_t hash, uint64_t node_seed) noexcept
    uint32_t places_rendezvous(uint64_t hash, const uint64_t *seeds, uint32_t nodes) noexcept
    uint32_t places_rendezvous_weighted(uint64_t hash, const uint64_t *seeds, const double *inverse_weights,
                                        uint32_t nodes) noexcept
    void places_order(uint64_t hash, const uint64_t *seeds, const double *inverse_weights, uint32_t nodes, uint32_t wanted,
                      double *costs, uint64_t *draws, uint32_t *order) noexcept
    bint places_is_prime(uint32_t number) noexcept
    uint32_t places_reduce(uint64_t hash, uint32_t size) noexcept
    void places_maglev(uint16_t *table, uint32_t size, const uint64_t *offsets, const uint64_t *skips, const double *weights,
                       uint32_t nodes, places_turn *heap) noexcept


_MAGLEV_LEAST = 65537  # Maglev §5.3 uses this size; it is the default up to 655 nodes


def jump_bucket(hash, buckets):
    """The bucket, from 0 to ``buckets`` - 1, of a 64-bit hash by jump consistent hash; see :class:`Jump`.
    InvalidArgument for numbers out of bounds: ``buckets`` is from 1 to 2,147,483,647.

    >>> jump_bucket(256, 1024)
    520
    """
    return places_jump(checked_unsigned(hash, "hash", 0, 0xffffffffffffffff),
                       <uint32_t>checked_unsigned(buckets, "buckets", 1, 0x7fffffff))


def jumpback_bucket(hash, buckets):
    """The bucket, from 0 to ``buckets`` - 1, of a 64-bit hash by JumpBackHash; see :class:`JumpBack`.
    Bounds as for :func:`jump_bucket`.

    >>> jumpback_bucket(256, 1024) < 1024
    True
    """
    return places_jumpback(checked_unsigned(hash, "hash", 0, 0xffffffffffffffff),
                           <uint32_t>checked_unsigned(buckets, "buckets", 1, 0x7fffffff))


cdef class _Numbered(Placed):
    """Nodes as numbered buckets: what Jump and JumpBack share."""

    def __init__(self, nodes=(), *, seed=0, epoch=0):
        self.settle(nodes, seed, epoch, False)
        for member in self.members:
            if member.weight != 1.0:
                raise InvalidArgument(
                    f"{type(self).__name__} knows no weights, and {member.name!r:.60} has {member.weight:g}; "
                    "use Ring, Rendezvous, Maglev or SlotMap"
                )

    def remove(self, name, /):
        """A placement of the next epoch without the last node. InvalidArgument for any other: nodes are numbered buckets
        here, and only the last number can go without moving nearly everything."""
        cdef uint32_t number = self.known(name)
        if number != self._count - 1:
            raise InvalidArgument(
                f"{type(self).__name__} can remove its last node only, which is {self.names[self._count - 1]!r:.60}, and not "
                f"{name!r:.60}; use Ring, Rendezvous or Maglev where any node may leave"
            )
        return self.remade(list(self.members[:number]))


@cython.final
cdef class Jump(_Numbered):
    """Jump consistent hash: perfectly even, no memory, O(log n); nodes come and go at the end only, and have no weights.

    ``nodes`` is an iterable of names or Members in their order, which is part of the placement; ``seed`` (64 bits) gives
    another arrangement. Raises TypeError for nodes of other types, :class:`quorate.errors.InvalidArgument` for duplicate or
    empty names, weights other than 1 and numbers out of bounds.

    Source: J. Lamping, E. Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014, Figure 1.

    >>> shards = Jump(["shard-0", "shard-1", "shard-2"])
    >>> shards["user:42"]
    'shard-1'
    >>> shards.add("shard-3").remove("shard-3") == shards
    True
    """

    cdef uint32_t owner_of(self, uint64_t place) noexcept nogil:
        return places_jump(place, self._count)


@cython.final
cdef class JumpBack(_Numbered):
    """JumpBackHash: as :class:`Jump`, in O(1) expected time whatever the number of nodes.

    Source: O. Ertl, "JumpBackHash: Say Goodbye to the Modulo Operation to Distribute Keys Uniformly to Buckets", 2024;
    the generator is SplitMix64, started at the key's hash.

    >>> shards = JumpBack([f"shard-{number}" for number in range(1000)])
    >>> shards["user:42"] == JumpBack(list(shards))[b"user:42"]
    True
    """

    cdef uint32_t owner_of(self, uint64_t place) noexcept nogil:
        return places_jumpback(place, self._count)


@cython.final
cdef class Rendezvous(Placed):
    """Rendezvous (highest random weight) hashing: exact weights and least movement for any change, in O(n) a lookup.

    Every node draws XXH3-64 of the key's hash under its own seed, which is XXH3-64 of its name; the least -ln(draw) / weight
    owns the key. So a key moves only to a node that is new or heavier, or from one that left or is lighter. ``nodes`` is
    an iterable of names or Members or a mapping name → weight; their order has no meaning. Errors as for
    :class:`quorate.ring.Ring`.

    Sources: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN 6(1), 1998; the
    weights by the logarithmic method of C. Schindelhauer, G. Schomaker, "Weighted Distributed Hash Tables", SPAA 2005.

    >>> places = Rendezvous({"small": 1, "large": 3})
    >>> places.nodes("user:42", 2)
    ('small', 'large')
    """

    cdef:
        uint64_t *_seeds  # one a node; owned
        double *_inverse_weights  # one a node; owned
        bint _equal  # all weights are the same

    def __init__(self, nodes=(), *, seed=0, epoch=0):
        cdef uint32_t i
        self.settle(nodes, seed, epoch, True)
        PyMem_RawFree(self._seeds)
        PyMem_RawFree(self._inverse_weights)
        self._seeds = <uint64_t *>PyMem_RawCalloc(self._count + 1, sizeof(uint64_t))
        self._inverse_weights = <double *>PyMem_RawCalloc(self._count + 1, sizeof(double))
        if self._seeds == NULL or self._inverse_weights == NULL:
            raise MemoryError
        self._equal = True
        for i in range(self._count):
            self._seeds[i] = _hash64(self.names[i], self._seed)
            self._inverse_weights[i] = 1.0 / <double>self.members[i].weight
            self._equal = self._equal and self._inverse_weights[i] == self._inverse_weights[0]

    def __dealloc__(self):
        PyMem_RawFree(self._seeds)
        PyMem_RawFree(self._inverse_weights)

    cdef uint32_t owner_of(self, uint64_t place) noexcept nogil:
        if self._equal:
            return places_rendezvous(place, self._seeds, self._count)
        return places_rendezvous_weighted(place, self._seeds, self._inverse_weights, self._count)

    cdef int prefer(self, uint64_t place, uint32_t wanted, uint32_t *out) except -1 nogil:
        cdef size_t n = self._count
        cdef uint32_t i
        cdef double *costs = <double *>PyMem_RawMalloc(n * (sizeof(double) + sizeof(uint64_t) + sizeof(uint32_t)))
        cdef uint64_t *draws = <uint64_t *>(costs + n)
        cdef uint32_t *order = <uint32_t *>(draws + n)
        if costs == NULL:
            raise MemoryError
        places_order(place, self._seeds, NULL if self._equal else self._inverse_weights, self._count, wanted, costs, draws,
                     order)
        for i in range(wanted):
            out[i] = order[i]
        PyMem_RawFree(costs)
        return 0


@cython.final
cdef class Maglev(Placed):
    """Maglev hashing: one look into a table; near-perfect balance, weights, and nearly the least movement.

    ``table_size`` is a prime, at most 16,777,216 and not below the number of nodes; 100 places a node keep shares within a
    percent. Without it the table has 65,537 places, or the next prime above 100 a node if that is more; ``add`` and
    ``remove`` keep it, because another size moves nearly everything. Nodes take turns in the order of their names, a node
    of weight w as often as w says. The rest is as for :class:`Rendezvous`.

    Source: D. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4.

    >>> backends = Maglev(["b1", "b2", "b3"])
    >>> backends["connection 7"]
    'b1'
    >>> backends.table_size
    65537
    """

    cdef:
        uint16_t *_table  # _size places, each the number of a node; owned; NULL without nodes
        uint32_t _size

    def __init__(self, nodes=(), *, table_size=None, seed=0, epoch=0):
        self.settle(nodes, seed, epoch, True)
        try:
            if table_size is None:
                table_size = max(_MAGLEV_LEAST, 100 * self._count)
                while not places_is_prime(table_size):
                    table_size += 1
            self._size = <uint32_t>checked_unsigned(table_size, "table_size", max(3, self._count), _POINTS_MAX)
            if not places_is_prime(self._size):
                raise InvalidArgument(f"table_size must be a prime, and {self._size} is none; 65537 and 655373 are")
            if self._count:
                self._fill()
        except BaseException:
            self._count = 0  # without a table there is nothing to look up in
            raise

    cdef int _fill(self) except -1:
        cdef size_t n = self._count
        cdef size_t i
        cdef uint64_t node
        cdef uint64_t *offsets = <uint64_t *>PyMem_RawCalloc(n, 2 * sizeof(uint64_t) + sizeof(double))
        cdef uint64_t *skips = offsets + n
        cdef double *weights = <double *>(skips + n)
        cdef places_turn *heap = <places_turn *>PyMem_RawCalloc(n, sizeof(places_turn))
        PyMem_RawFree(self._table)
        self._table = <uint16_t *>PyMem_RawCalloc(self._size, sizeof(uint16_t))
        try:
            if offsets == NULL or heap == NULL or self._table == NULL:
                raise MemoryError
            for i in range(n):
                node = _hash64(self.names[i], self._seed)
                offsets[i] = places_draw(node, 0)
                skips[i] = places_draw(node, 1)
                weights[i] = self.members[i].weight
            with nogil:
                places_maglev(self._table, self._size, offsets, skips, weights, <uint32_t>n, heap)
        finally:
            PyMem_RawFree(offsets)
            PyMem_RawFree(heap)
        return 0

    def __dealloc__(self):
        PyMem_RawFree(self._table)

    @property
    def table_size(self):
        """Places of the table, a prime."""
        return self._size

    def table(self):
        """The name of the node at each place of the table."""
        cdef uint32_t place
        if self._count == 0:
            return []
        return [self.names[<Py_ssize_t>self._table[place]] for place in range(self._size)]

    cdef uint32_t owner_of(self, uint64_t place) noexcept nogil:
        return self._table[places_reduce(place, self._size)]

    cdef dict options(self):
        return {"seed": self._seed, "table_size": self._size}

    cdef uint64_t parameter(self):
        return self._size

    @classmethod
    def from_bytes(cls, form):
        """The placement of a byte form; InvalidArgument if it is damaged, of another kind or of a newer version."""
        read = _form.decode(cls.__name__, form)
        made = cls(read.members, table_size=read.parameter, seed=read.seed, epoch=read.epoch)
        _form.check_same(cls.__name__, form, made)
        return made


assert _NODES_MAX <= 0xffff, "a place of a Maglev table holds the number of a node in 16 bits, and one value is free"
