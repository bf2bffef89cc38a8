"""The ring points of csrc/points.h, for the compiled modules of this folder; each links points.c and xxh3.c."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

cdef extern from "points.h":
    enum:
        POINTS_BATCH
    ctypedef struct c_points "points":
        uint64_t *marks
        uint32_t *buckets
        uint16_t *rests
        uint32_t count
        uint32_t shift
    size_t points_bytes(uint32_t count) noexcept nogil
    void points_place(c_points *it, void *block, uint32_t count) noexcept nogil
    void points_generate(uint64_t *hashes, const void *name, size_t length, uint64_t ring_seed, uint32_t first,
                         uint32_t last) noexcept nogil
    void points_sort(uint64_t *hashes, uint32_t count) noexcept nogil
    void points_build(c_points *it, const uint64_t *hashes, const uint16_t *owners) noexcept nogil
    void points_merge(c_points *it, const c_points *base, const uint64_t *hashes, uint32_t count, uint16_t owner,
                      bint is_new) noexcept nogil
    void points_drop(c_points *it, const c_points *base, const uint64_t *hashes, uint32_t count, uint16_t owner,
                     bint is_gone) noexcept nogil
    void points_find_many(const c_points *it, const uint64_t *hashes, int32_t *out, size_t n) noexcept nogil
    void points_arcs(const c_points *it, uint64_t *arcs) noexcept nogil
    uint32_t points_find(const c_points *it, uint64_t h) noexcept nogil
    uint64_t points_hash(const c_points *it, uint32_t i) noexcept nogil
    uint16_t points_owner_at(const c_points *it, uint32_t i) noexcept nogil
    uint16_t points_owner(const c_points *it, uint64_t h) noexcept nogil

# One node's numbers; its name is at the same place of Ring._names.
cdef struct node_state:
    double weight
    uint32_t count  # of points
    uint32_t zone   # a number of its zone within this ring; 0 if no zone is stated
