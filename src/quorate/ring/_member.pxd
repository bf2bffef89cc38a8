"""What a node of a placement is, and the checks of its parts, for the compiled placements."""

from libc.stdint cimport uint64_t

cdef str checked_name(object name)
cdef double checked_weight(object weight) except -1.0
cdef str checked_zone(object zone)
cdef str shown(object value)
cdef uint64_t checked_unsigned(object value, str name, object least, object most) except? 0xffffffffffffffff

# name → Member, or None for one of weight 1 without a zone; of any form in which a constructor takes its nodes.
cdef dict members_of(object nodes)


cdef class Member:
    cdef readonly str name
    cdef readonly double weight
    cdef readonly str zone  # None if not stated
