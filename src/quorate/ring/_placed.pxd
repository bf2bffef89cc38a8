"""What the compiled placements other than the ring share: members, key rules, bounds, equality, byte form."""

from libc.stdint cimport uint32_t, uint64_t


cdef class Placed:
    cdef:
        readonly tuple names  # of the nodes; owner i is names[i]
        readonly tuple members  # a Member for each name
        dict _positions  # name → i
        uint64_t _seed
        uint64_t _epoch
        uint32_t _count  # len(names)
        bint _settled  # members are there, and stay
        bint _zoned  # some member has a zone

    # For placements to override; `owner_of` has to be. Each is called with at least one node only.
    cdef uint64_t place_of(self, object key) except? 0xffffffffffffffff
    cdef uint32_t owner_of(self, uint64_t place) noexcept nogil
    cdef int prefer(self, uint64_t place, uint32_t wanted, uint32_t *out) except -1 nogil

    # What a placement has besides members, seed and epoch, as keyword arguments of its constructor and in its byte form.
    cdef dict options(self)
    cdef uint64_t parameter(self)
    cdef bytes payload(self)

    cdef tuple spread(self, tuple order, Py_ssize_t wanted)
    cdef int settle(self, object nodes, object seed, object epoch, bint by_name) except -1
    cdef uint32_t known(self, object name) except? 0xffffffff
    cdef Placed remade(self, list members)
    cdef bytes form(self, uint64_t epoch)
