# distutils: language = c
# cython: auto_pickle=False
# distutils: sources = csrc/xxh3.c
"""What the compiled placements other than the ring share: members, key rules, bounds, equality, byte form.

Knows no algorithm. Not final, because the algorithms derive from it: one virtual call of some 3 ns is the price of having
the rules of :class:`quorate.ring.Placement` in one place. The ring has its own, for the hottest path.
"""

from collections.abc import Mapping

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t

from quorate.ring._hash cimport hash_key
from quorate.ring._member cimport Member, checked_unsigned

from quorate.errors import EmptyRing, InvalidArgument, LimitExceeded
from quorate.limits import RING_NODES_MAX as _NODES_MAX
from quorate.ring import placement_form as _form


cdef extern from "places.h" nogil:
    uint64_t places_draw(uint64_t hash, uint64_t node_seed) noexcept


cdef Member member_of(object node):
    if isinstance(node, Member):
        return node
    if isinstance(node, str):
        return Member(node)
    raise TypeError(f"a node must be a str or a Member, not {type(node).__name__}")


cdef list members_of(object nodes):
    """Members in the order given, each checked."""
    if isinstance(nodes, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"nodes must be an iterable of names or Members, not one {type(nodes).__name__}")
    if isinstance(nodes, Mapping):
        return [Member(name, weight) for name, weight in nodes.items()]
    return [member_of(node) for node in nodes]


def restored(kind, form):
    """A placement from its byte form, for pickle."""
    return kind.from_bytes(form)


cdef class Placed:
    """Base of the placements; see :class:`quorate.ring.Placement` for what all of them promise."""

    def __cinit__(self, *args, **kwargs):
        self.names = ()
        self.members = ()
        self._positions = {}

    cdef int settle(self, object nodes, object seed, object epoch, bint by_name) except -1:
        """Takes over the members: in the order of their names, or in the order given where that has a meaning."""
        cdef list members = members_of(nodes)
        cdef dict positions = {}
        if self._settled:
            raise TypeError(f"a {type(self).__name__} is immutable; make a new one")
        if len(members) > _NODES_MAX:
            raise LimitExceeded(f"a {type(self).__name__} has at most {_NODES_MAX} nodes, not {len(members)}")
        if by_name:
            members.sort()
        for member in members:
            if member.name in positions:
                raise InvalidArgument(f"node {member.name!r:.60} is named twice; names must be distinct")
            positions[member.name] = len(positions)
            self._zoned = self._zoned or member.zone is not None
        self._seed = checked_unsigned(seed, "seed", 0, UINT64_MAX)
        self._epoch = checked_unsigned(epoch, "epoch", 0, UINT64_MAX)
        self.members = tuple(members)
        self.names = tuple(positions)
        self._positions = positions
        self._count = <uint32_t>len(members)
        self._settled = True
        return 0

    # For the algorithms

    cdef uint64_t place_of(self, object key) except? 0xffffffffffffffff:
        return hash_key(key, self._seed)

    cdef uint32_t owner_of(self, uint64_t place) noexcept nogil:
        return 0

    cdef int prefer(self, uint64_t place, uint32_t wanted, uint32_t *out) except -1 nogil:
        """Owners of the key under one seed after another, each node once: each draw is as even, and moves as little, as the
        first. (Neighbours in a Maglev table would not do: whoever follows a node there follows it too often.)"""
        cdef uint32_t found = 0, owner
        cdef uint64_t draw = 0
        cdef uint64_t most = 64 + 8 * <uint64_t>self._count
        cdef uint8_t *seen = <uint8_t *>PyMem_RawCalloc(self._count, 1)
        if seen == NULL:
            raise MemoryError
        while found < wanted and draw < most:
            owner = self.owner_of(place if draw == 0 else places_draw(place, draw))
            draw += 1
            if not seen[owner]:
                seen[owner] = True
                out[found] = owner
                found += 1
        # Nearly all nodes were asked for, and chance left some out for long: the rest follows by number.
        for owner in range(self._count):
            if found == wanted:
                break
            if not seen[owner]:
                out[found] = owner
                found += 1
        PyMem_RawFree(seen)
        return 0

    cdef dict options(self):
        return {"seed": self._seed}

    cdef uint64_t parameter(self):
        return 0

    cdef bytes payload(self):
        return b""

    cdef Placed remade(self, list members):
        if self._epoch == UINT64_MAX:
            raise InvalidArgument(f"the epoch {self._epoch} is the last one; make a new {type(self).__name__}")
        return type(self)(members, epoch=self._epoch + 1, **self.options())

    cdef uint32_t known(self, object name) except? 0xffffffff:
        """The number of the node of this name."""
        if not isinstance(name, str):
            raise TypeError(f"a node name must be a str, not {type(name).__name__}")
        number = self._positions.get(name)
        if number is None:
            raise InvalidArgument(f"there is no node {name!r:.60} in this {type(self).__name__}")
        return number

    # Readers

    def __getitem__(self, key):
        """The node that owns the key."""
        cdef uint64_t place = self.place_of(key)
        if self._count == 0:
            raise EmptyRing()
        return self.names[<Py_ssize_t>self.owner_of(place)]

    def node(self, key, /):
        """The node that owns the key: the same as ``self[key]``.

        TypeError for a key that is neither str nor bytes-like, EmptyRing (a LookupError) if there is no node.
        """
        cdef uint64_t place = self.place_of(key)
        if self._count == 0:
            raise EmptyRing()
        return self.names[<Py_ssize_t>self.owner_of(place)]

    def nodes(self, key, n, *, bint zones=False):
        """The first ``n`` distinct nodes for the key, in order of preference; the first is the owner.

        With ``zones``, zones take turns: a node comes after all that have fewer nodes of their own zone before them in the
        order. So the first nodes are in as many zones as there are. Nodes without a zone count as one zone together. This
        asks for the whole order, and so takes O(n log n) of all nodes.

        InvalidArgument unless ``n`` is from 1 to the number of nodes; EmptyRing if there is no node.
        """
        cdef uint64_t place = self.place_of(key)
        if not isinstance(n, int):
            raise TypeError(f"n must be an int, not {type(n).__name__}")
        if self._count == 0:
            raise EmptyRing()
        if not 1 <= n <= self._count:
            raise InvalidArgument(f"n must be from 1 to {self._count}, the number of nodes, not {n!r:.60}")
        cdef uint32_t wanted = n, i
        if zones and self._zoned:
            wanted = self._count
        cdef uint32_t *out = <uint32_t *>PyMem_RawMalloc(wanted * sizeof(uint32_t))
        if out == NULL:
            raise MemoryError
        try:
            self.prefer(place, wanted, out)
            if zones and self._zoned:
                return self.spread(tuple([self.members[<Py_ssize_t>out[i]] for i in range(wanted)]), n)
            return tuple([self.names[<Py_ssize_t>out[i]] for i in range(wanted)])
        finally:
            PyMem_RawFree(out)

    cdef tuple spread(self, tuple order, Py_ssize_t wanted):
        """The first names of an order of members once zones take turns in it."""
        cdef dict before = {}  # zone → how many of its members came so far
        cdef list ranked = []
        cdef Member member
        for member in order:
            rank = before.get(member.zone, 0)
            before[member.zone] = rank + 1
            ranked.append((rank, len(ranked), member.name))
        ranked.sort()
        return tuple([name for _, _, name in ranked[:wanted]])

    def node_many(self, keys):
        """The owner of each key of an iterable, in order: a list of names. Errors as for :meth:`node`."""
        cdef list found = []
        cdef uint64_t place
        if isinstance(keys, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"keys must be an iterable of keys, not one {type(keys).__name__}")
        for key in keys:
            place = self.place_of(key)
            if self._count == 0:
                raise EmptyRing()
            found.append(self.names[<Py_ssize_t>self.owner_of(place)])
        return found

    def hash(self, key, /):
        """The hash that places the key."""
        return self.place_of(key)

    def __len__(self):
        return self._count

    def __iter__(self):
        return iter(self.names)

    def __contains__(self, name):
        return isinstance(name, str) and name in self._positions

    @property
    def seed(self):
        """The seed of all hashes (64 bits)."""
        return self._seed

    @property
    def epoch(self):
        """How many changes led here; carried along, and no part of equality."""
        return self._epoch

    # Changes

    def add(self, node, *, weight=None, zone=None):
        """A placement of the next epoch with one node more: a name (with ``weight`` and ``zone``), or a Member.

        InvalidArgument if the name is taken, and as the constructor.
        """
        cdef Member member
        if isinstance(node, Member):
            if weight is not None or zone is not None:
                raise TypeError("a Member has its weight and zone; pass them only with a name")
            member = node
        else:
            member = Member(node, 1.0 if weight is None else weight, zone)
        if member.name in self._positions:
            raise InvalidArgument(f"there is a node {member.name!r:.60} already; names must be distinct")
        return self.remade([*self.members, member])

    def remove(self, name, /):
        """A placement of the next epoch without the node of this name; InvalidArgument if there is none."""
        cdef uint32_t number = self.known(name)
        return self.remade([*self.members[:number], *self.members[number + 1:]])

    def with_weight(self, name, weight):
        """A placement of the next epoch in which the node of this name has another weight; InvalidArgument if none has."""
        cdef uint32_t number = self.known(name)
        cdef Member member = self.members[number]
        changed = Member(member.name, weight, member.zone)
        return self.remade([*self.members[:number], changed, *self.members[number + 1:]])

    # Values

    cdef bytes form(self, uint64_t epoch):
        return _form.encode(type(self).__name__, self._seed, epoch, self.parameter(), self.members, self.payload())

    @classmethod
    def from_bytes(cls, form):
        """The placement of a byte form; InvalidArgument if it is damaged, of another kind or of a newer version."""
        read = _form.decode(cls.__name__, form)
        made = cls(read.members, seed=read.seed, epoch=read.epoch)
        _form.check_same(cls.__name__, form, made)
        return made

    def to_bytes(self):
        """The canonical byte form, with version and check: placements that are equal and of one epoch have the same."""
        return self.form(self._epoch)

    @property
    def fingerprint(self):
        """64 bits of the content (the epoch apart), by which two processes can tell that they agree."""
        return _form.fingerprint(self.form(0))

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return self is other or self.form(0) == (<Placed>other).form(0)

    def __hash__(self):
        return hash((type(self).__name__, self._seed, self.members))

    def __reduce__(self):
        return restored, (type(self), self.to_bytes())

    def __repr__(self):
        cdef list shown = [repr(name) for name in self.names[:3]]
        if self._count > 3:
            shown.append(f"… {self._count} in all")
        options = "".join(f", {name}={value!r}" for name, value in self.options().items() if value)
        return f"<{type(self).__name__} {', '.join(shown) or 'empty'}{options}, epoch={self._epoch}>"
