"""Long preference lists, for Ring."""

from libc.stdint cimport uint32_t

from quorate.ring._points cimport c_points, node_state

# Both walk from point `at`; n is at most the number of nodes.
cdef tuple first_distinct(const c_points *it, uint32_t at, Py_ssize_t n, tuple names)
cdef tuple spread(const c_points *it, uint32_t at, Py_ssize_t n, tuple names, const node_state *nodes, Py_ssize_t zones)
