"""Lookups of whole buffers, for Ring."""

from libc.stdint cimport uint64_t

from quorate.ring._points cimport c_points

cdef object index_buffer(const c_points *it, object keys, object out, uint64_t seed, bint hashed)
