"""What a ring's points say about who owns what, as Python values, for Ring."""

from quorate.ring._points cimport c_points

cdef list points_list(const c_points *it, tuple names)
cdef list ranges_list(const c_points *it, tuple names)
cdef dict shares(const c_points *it, tuple names)
cdef list moves_list(const c_points *a, tuple a_names, const c_points *b, tuple b_names)
