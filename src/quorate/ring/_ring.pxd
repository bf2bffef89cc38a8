"""The fields of a Ring. All are written while it is made, by one thread, and never after: so that no reader needs a lock."""

from libc.stdint cimport uint32_t, uint64_t

from quorate.ring._points cimport c_points, node_state


cdef class Ring:
    cdef c_points _points      # arrays in one block that this ring owns: _points.marks is its start
    cdef node_state *_nodes    # owned; one for each name
    cdef tuple _names          # exact str, ascending
    cdef tuple _zones          # one for each name, None where not stated; None for the whole if none is stated
    cdef uint64_t _seed
    cdef uint64_t _epoch
    cdef uint32_t _vnodes
    cdef Py_ssize_t _zone_count # numbers of zones in use, with 0

    cdef int _allocate(self, Py_ssize_t nodes) except -1
    cdef int _allocate_points(self, uint64_t count) except -1
    cdef int _build(self) except -1
    cdef int _set_members(self, dict members) except -1
    cdef int _number_zones(self) except -1
    cdef Ring _changed(self, tuple names, tuple zones)
    cdef Py_ssize_t _place(self, object name) except -2
    cdef Py_ssize_t _known(self, object name) except -1
    cdef list _entries(self)
