# distutils: language = c
# cython: auto_pickle=False
# distutils: sources = csrc/places.c csrc/xxh3.c
# distutils: extra_compile_args = -ffp-contract=off
"""SlotMap: a fixed number of slots, each of which belongs to a node; keys belong to slots for ever.

The planning is in slot_plan.py. Knows nothing of who carries out the moves.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport UINT64_MAX, uint16_t, uint32_t, uint64_t

from quorate.ring._member cimport checked_unsigned
from quorate.ring._placed cimport Placed

from quorate.errors import EmptyRing, InvalidArgument
from quorate.limits import RING_NODES_MAX as _NODES_MAX
from quorate.limits import SLOTS_MAX as _SLOTS_MAX
from quorate.ring import placement_form as _form
from quorate.ring import slot_plan as _slot_plan
from quorate.ring._hash import hash64 as _hash64


cdef extern from "places.h" nogil:
    uint16_t load_le16(const void *at) noexcept
    void store_le16(void *at, uint16_t x) noexcept
    uint32_t places_reduce(uint64_t hash, uint32_t size) noexcept
    void places_order(uint64_t hash, const uint64_t *seeds, const double *inverse_weights, uint32_t nodes, uint32_t wanted,
                      double *costs, uint64_t *draws, uint32_t *order) noexcept


cdef enum:
    NOBODY = 0xffff

assert _NODES_MAX <= NOBODY == _slot_plan.NOBODY, "the number of a node is never the one that stands for none"


@cython.final
cdef class SlotMap(Placed):
    """A fixed number of slots, each owned by a node: how stateful components are placed.

    A key belongs to slot ⌊(hash >> 32) · slots / 2^32⌋ for ever, hash being XXH3-64 under the map's seed. No node owns more
    slots than its cap, ⌈slots · weight / all weights⌉. Maps for other members are planned against the map there is: then
    exactly those slots move that have to, which are the slots of nodes that are gone and what a node owns above its cap.
    So a map depends on its history, and it is the map that processes share, not the list of members. Planning is
    deterministic: equal maps and equal members give equal plans everywhere.

    ``nodes`` is an iterable of names or Members or a mapping name → weight; ``slots`` from 1 to 1,048,576; ``seed`` (64 bits)
    gives another arrangement; ``epoch`` counts the changes and takes no part in equality. Errors as for
    :class:`quorate.ring.Ring`.

    Sources: partitions of equal size as in G. DeCandia et al., "Dynamo", SOSP 2007, §6.2, strategy 3; the bound on what a node
    holds as in V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2017.

    >>> slots = SlotMap(["a", "b", "c"])
    >>> slots["user:42"], slots.slot("user:42"), slots.counts()
    ('b', 10224, {'a': 5462, 'b': 5461, 'c': 5461})
    >>> plan = slots.plan(["a", "b", "c", "d"])
    >>> plan
    <Plan epoch 0 to 1: 4096 of 16384 slots move>
    >>> plan.moves[0]
    SlotMove(slot=4096, source='a', target='d')
    """

    cdef:
        uint16_t *_owners  # _slots of them, each the number of a node or NOBODY; owned
        uint64_t *_seeds  # one a node; owned
        double *_inverse_weights  # one a node; owned
        uint32_t _slots
        bint _equal  # all weights are the same

    def __init__(self, nodes=(), *, slots=16384, seed=0, epoch=0):
        cdef uint32_t count = <uint32_t>checked_unsigned(slots, "slots", 1, _SLOTS_MAX)
        self.settle(nodes, seed, epoch, True)
        self._slots = count
        self._assign(_slot_plan.planned([NOBODY] * slots, [member.weight for member in self.members]))

    cdef int _assign(self, list owners) except -1:
        """Takes over the owners, each the number of a node or NOBODY."""
        cdef uint32_t i
        PyMem_RawFree(self._owners)
        PyMem_RawFree(self._seeds)
        PyMem_RawFree(self._inverse_weights)
        self._owners = <uint16_t *>PyMem_RawMalloc(self._slots * sizeof(uint16_t))
        self._seeds = <uint64_t *>PyMem_RawCalloc(self._count + 1, sizeof(uint64_t))
        self._inverse_weights = <double *>PyMem_RawCalloc(self._count + 1, sizeof(double))
        if self._owners == NULL or self._seeds == NULL or self._inverse_weights == NULL:
            raise MemoryError
        for i in range(self._slots):
            self._owners[i] = owners[i]
        for i in range(self._count):
            self._seeds[i] = _hash64(self.names[i], self._seed)
            self._inverse_weights[i] = 1.0 / <double>self.members[i].weight
            self._equal = (i == 0 or self._equal) and self._inverse_weights[i] == self._inverse_weights[0]
        return 0

    def __dealloc__(self):
        PyMem_RawFree(self._owners)
        PyMem_RawFree(self._seeds)
        PyMem_RawFree(self._inverse_weights)

    cdef uint32_t owner_of(self, uint64_t place) noexcept nogil:
        return self._owners[places_reduce(place, self._slots)]

    cdef int prefer(self, uint64_t place, uint32_t wanted, uint32_t *out) except -1 nogil:
        """The slot's owner, then the other nodes by rendezvous on the slot, which does not depend on the map's history."""
        cdef uint32_t slot = places_reduce(place, self._slots), i, found = 1
        cdef uint32_t more = wanted + 1 if wanted < self._count else self._count
        cdef size_t n = self._count
        cdef double *costs = <double *>PyMem_RawMalloc(n * (sizeof(double) + sizeof(uint64_t) + sizeof(uint32_t)))
        cdef uint64_t *draws = <uint64_t *>(costs + n)
        cdef uint32_t *order = <uint32_t *>(draws + n)
        if costs == NULL:
            raise MemoryError
        out[0] = self._owners[slot]
        places_order(slot, self._seeds, NULL if self._equal else self._inverse_weights, self._count, more, costs, draws,
                     order)
        for i in range(more):
            if found == wanted:
                break
            if order[i] != out[0]:
                out[found] = order[i]
                found += 1
        PyMem_RawFree(costs)
        return 0

    cdef dict options(self):
        return {"seed": self._seed, "slots": self._slots}

    cdef uint64_t parameter(self):
        return self._slots

    cdef bytes payload(self):
        cdef bytes owners = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(2 * self._slots))
        cdef uint32_t i
        for i in range(self._slots):
            store_le16(PyBytes_AS_STRING(owners) + 2 * i, self._owners[i])
        return owners

    @classmethod
    def from_bytes(cls, form):
        """The map of a byte form; InvalidArgument if it is damaged, of another kind, of a newer version, or above a cap."""
        cdef SlotMap made = SlotMap.__new__(SlotMap)
        cdef uint32_t i
        cdef bytes payload
        cdef list owners
        read = _form.decode("SlotMap", form)
        payload = read.payload
        if not 1 <= read.parameter <= _SLOTS_MAX:
            raise _form.wrong("SlotMap", f"slots must be from 1 to {_SLOTS_MAX}, not {read.parameter}")
        if PyBytes_GET_SIZE(payload) != 2 * read.parameter:
            raise _form.wrong("SlotMap", f"{len(payload)} bytes are not the owners of {read.parameter} slots")
        made.settle(read.members, read.seed, read.epoch, True)
        made._slots = read.parameter
        owners = [load_le16(PyBytes_AS_STRING(payload) + 2 * i) for i in range(made._slots)]
        held = [0] * made._count
        for owner in owners:
            if made._count == 0 and owner == NOBODY:
                continue
            if not owner < made._count:
                raise _form.wrong("SlotMap", f"a slot belongs to node {owner}, and there are {made._count}")
            held[owner] += 1
        for name, count, cap in zip(made.names, held, _slot_plan.caps(made._slots, [m.weight for m in made.members])):
            if count > cap:
                raise _form.wrong("SlotMap", f"node {name!r:.60} owns {count} slots, above its cap of {cap}")
        made._assign(owners)
        _form.check_same("SlotMap", form, made)
        return made

    # Planning

    cdef Placed remade(self, list members):
        return self._next(members)

    cdef SlotMap _next(self, object nodes):
        cdef SlotMap after = SlotMap.__new__(SlotMap)
        cdef uint32_t i
        if self._epoch == UINT64_MAX:
            raise InvalidArgument(f"the epoch {self._epoch} is the last one; make a new SlotMap")
        after.settle(nodes, self._seed, self._epoch + 1, True)
        after._slots = self._slots
        numbers = [after._positions.get(name, NOBODY) for name in self.names]
        owners = [NOBODY if self._owners[i] == NOBODY else numbers[self._owners[i]] for i in range(self._slots)]
        after._assign(_slot_plan.planned(owners, [member.weight for member in after.members]))
        return after

    def plan(self, nodes):
        """How to get to another set of members: a :class:`Plan` with the map of the next epoch and the slots that move.

        ``nodes`` are all the members to be, with their weights, as for the constructor; a node of the same name keeps its
        slots. The number of moves is the least that any map within the caps could have. Nodes that receive slots are filled
        evenly, but a new node may stay below its share where the others are within their caps.
        """
        cdef SlotMap after = self._next(nodes)
        cdef uint32_t slot
        cdef list moves = []
        for slot in range(self._slots):
            source = self.owner(slot)
            target = after.owner(slot)
            if source != target:
                moves.append(_slot_plan.SlotMove(slot, source, target))
        return _slot_plan.Plan(self, after, tuple(moves))

    # What it says

    @property
    def slots(self):
        """How many slots there are."""
        return self._slots

    def slot(self, key, /):
        """The slot of a key; it depends on the number of slots and the seed alone."""
        return places_reduce(self.place_of(key), self._slots)

    def owner(self, slot, /):
        """The node that owns a slot; None if there is no node."""
        cdef uint64_t number = checked_unsigned(slot, "slot", 0, <Py_ssize_t>self._slots - 1)
        return None if self._owners[number] == NOBODY else self.names[<Py_ssize_t>self._owners[number]]

    def slots_of(self, name, /):
        """The slots that a node owns, in order; InvalidArgument if there is no such node."""
        cdef uint32_t node = self.known(name), i
        return [i for i in range(self._slots) if self._owners[i] == node]

    def counts(self):
        """How many slots each node owns."""
        cdef list held = [0] * self._count
        cdef uint32_t i
        if self._count:
            for i in range(self._slots):
                held[self._owners[i]] += 1
        return dict(zip(self.names, held))

    def caps(self):
        """The most slots that each node may own: its share, rounded up."""
        return dict(zip(self.names, _slot_plan.caps(self._slots, [member.weight for member in self.members])))

    def ranges(self):
        """The slots as runs of one owner: a list of (first slot, last slot + 1, name); the name is None without nodes."""
        cdef list runs = []
        cdef uint32_t start = 0, i
        for i in range(1, self._slots + 1):
            if i == self._slots or self._owners[i] != self._owners[start]:
                runs.append((start, i, self.owner(start)))
                start = i
        return runs
