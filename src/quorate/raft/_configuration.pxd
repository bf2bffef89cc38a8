# Cluster configurations: who decides, what a change makes of them, and their bytes in the log.

from libc.stdint cimport uint8_t, uint64_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._types cimport Change, Configuration, EntryRef


cdef bint contains(const vector[uint64_t] *ids, uint64_t id) noexcept nogil
cdef bint is_voter(const Configuration *it, uint64_t id) noexcept nogil
cdef bint is_member(const Configuration *it, uint64_t id) noexcept nogil
cdef uint64_t incarnation_of(const Configuration *it, uint64_t id) noexcept nogil
cdef int bind_incarnation(Configuration *it, uint64_t id, uint64_t incarnation) except -1 nogil
# What the configuration says of a member; NULL if nothing.
cdef const string *place_of(const Configuration *it, uint64_t id) noexcept nogil
# An empty place takes it away.
cdef int put_place(Configuration *it, uint64_t id, const string &place) except -1 nogil
cdef bint configuration_valid(const Configuration *it) noexcept nogil
cdef int configuration_change(
    const Configuration *current, const vector[Change] *changes, int mode, Configuration *result
) except -1 nogil
cdef size_t configuration_size(const Configuration *it) noexcept nogil
cdef void configuration_write(const Configuration *it, uint8_t *at) noexcept nogil
cdef int configuration_encode(const Configuration *it, EntryRef *result) except -1 nogil
cdef Py_ssize_t configuration_decode(const uint8_t *at, size_t length, Configuration *result) except -2 nogil
cdef object configuration_object(uint64_t index, const Configuration *it)
cdef int configuration_from_object(object source, Configuration *result) except -1
