# Places where nodes may be found; see _places.pyx.

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from quorate.client._structs cimport Engine, Link

cdef enum:
    TOKEN_SLOTS = 16        # + the slot of a link, in the lower half; its generation is in the upper half
    LINKS = 16
    PLACES_MAX = 128

# Makes a place of an address as it was written; the slot, or -1 if there are too many.
cdef int place_add(Engine *it, const char *text, size_t length, bint given) except -2 nogil
# Begins an attempt: a lookup, or a connection in a free slot.
cdef int place_try(Engine *it, uint32_t number, uint64_t now) except -1 nogil
# Plans the next attempt: at once at the next address of a name, later after the last one.
cdef int place_failed(Engine *it, uint32_t number, uint8_t trouble, int32_t detail, uint64_t now) except -1 nogil
# Names that were found out are connected to.
cdef int places_looked_up(Engine *it, uint64_t now) except -1 nogil
# Gives every lookup back.
cdef void places_close(Engine *it) noexcept nogil


cdef inline uint64_t token_of(const Link *link, uint32_t slot) noexcept nogil:
    return (<uint64_t>link.generation << 32) | (TOKEN_SLOTS + slot)
