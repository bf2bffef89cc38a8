# distutils: language = c
"""Long preference lists: many distinct nodes, or nodes spread over zones. The short ones are in Ring.nodes itself."""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from quorate.ring._points cimport c_points, node_state, points_owner_at


cdef Py_ssize_t nodes_up_to(const uint32_t *sizes, Py_ssize_t zones, Py_ssize_t each) noexcept nogil:
    """How many nodes there are if each zone gives `each` or all that it has."""
    cdef Py_ssize_t i, total = 0
    for i in range(zones):
        total += min(<Py_ssize_t>sizes[i], each)
    return total


cdef tuple first_distinct(const c_points *it, uint32_t at, Py_ssize_t n, tuple names):
    """The first n distinct nodes from a point on, told apart by a table."""
    cdef Py_ssize_t found = 0
    cdef uint16_t owner
    cdef list found_names = []
    cdef uint8_t *seen = <uint8_t *>PyMem_RawCalloc(PyTuple_GET_SIZE(names), 1)
    if seen == NULL:
        raise MemoryError()
    try:
        while found < n:
            owner = points_owner_at(it, at)
            if not seen[owner]:
                seen[owner] = True
                found_names.append(<object>PyTuple_GET_ITEM(names, owner))
                found += 1
            at += 1
            if at >= it.count:
                at = 0
    finally:
        PyMem_RawFree(seen)
    return tuple(found_names)


cdef tuple spread(const c_points *it, uint32_t at, Py_ssize_t n, tuple names, const node_state *nodes, Py_ssize_t zones):
    """The first n nodes by (how many of their own zone come before them, place on the ring)."""
    cdef Py_ssize_t i, low = 0, high = n, middle, rank, room, found = 0, size = PyTuple_GET_SIZE(names)
    cdef uint16_t owner
    cdef uint32_t zone
    cdef list picked = []
    cdef uint32_t *sizes = <uint32_t *>PyMem_RawCalloc(2 * zones * sizeof(uint32_t) + size, 1)
    cdef uint32_t *taken = sizes + zones
    cdef uint8_t *seen = <uint8_t *>(taken + zones)
    if sizes == NULL:
        raise MemoryError()
    try:
        for i in range(size):
            sizes[nodes[i].zone] += 1
        # `low` becomes the last rank that is needed: all nodes of lower ranks are in, and `room` of it.
        while low < high:
            middle = (low + high) // 2
            if nodes_up_to(sizes, zones, middle + 1) >= n:
                high = middle
            else:
                low = middle + 1
        room = n - nodes_up_to(sizes, zones, low)
        while found < n:
            owner = points_owner_at(it, at)
            if not seen[owner]:
                seen[owner] = True
                zone = nodes[owner].zone
                rank = taken[zone]
                taken[zone] += 1
                if rank < low or (rank == low and room):
                    room -= rank == low
                    picked.append((rank, found, <object>PyTuple_GET_ITEM(names, owner)))
                    found += 1
            at += 1
            if at >= it.count:
                at = 0
    finally:
        PyMem_RawFree(sizes)
    picked.sort()
    return tuple([name for _, _, name in picked])
