# distutils: language = c
# distutils: sources = csrc/points.c csrc/xxh3.c
"""Who owns which part of the circle, and what differs between two rings. Looks no key up and changes nothing."""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport UINT64_MAX, int32_t, uint32_t, uint64_t

from quorate.ring._points cimport c_points, points_arcs, points_find, points_hash, points_owner_at

from quorate.ring.values import Move, Range

cdef object WHOLE = 2**64


cdef list points_list(const c_points *it, tuple names):
    cdef Py_ssize_t i
    return [(points_hash(it, i), names[points_owner_at(it, i)]) for i in range(it.count)]


cdef list ranges_list(const c_points *it, tuple names):
    """Ranges from 0 to 2**64; neighbours of one owner are joined."""
    cdef list found = []
    cdef uint64_t start = 0
    cdef uint32_t i
    for i in range(it.count):
        # Of equal hashes the first rules, and the pad after the last point has the owner of the first. A range ends behind
        # its point if the next hash has another owner.
        if i and points_hash(it, i) == points_hash(it, i - 1):
            continue
        if points_hash(it, i) != UINT64_MAX and points_owner_at(it, next_place(it, i)) != points_owner_at(it, i):
            found.append(Range(start, points_hash(it, i) + 1, names[points_owner_at(it, i)]))
            start = points_hash(it, i) + 1
    if it.count:
        found.append(Range(start, WHOLE, names[points_owner_at(it, points_find(it, start))]))
    return found


cdef uint32_t next_place(const c_points *it, uint32_t i) noexcept nogil:
    """The first point, or pad, of a greater hash than point i."""
    cdef uint64_t h = points_hash(it, i)
    while i < it.count and points_hash(it, i) == h:
        i += 1
    return i


cdef dict shares(const c_points *it, tuple names):
    cdef Py_ssize_t i, nodes = len(names)
    cdef bint any_arc = False
    cdef dict result = {}
    cdef uint64_t *arcs = <uint64_t *>PyMem_RawCalloc(nodes + 1, sizeof(uint64_t))
    if arcs == NULL:
        raise MemoryError()
    try:
        points_arcs(it, arcs)
        for i in range(nodes):
            any_arc = any_arc or arcs[i] != 0
            result[names[i]] = <object>arcs[i] / WHOLE
    finally:
        PyMem_RawFree(arcs)
    if nodes and not any_arc:
        # 2**64 is 0 in 64 bits: the node of the first point has it all.
        result[names[points_owner_at(it, 0)]] = 1.0
    return result


cdef list moves_list(const c_points *a, tuple a_names, const c_points *b, tuple b_names):
    """One walk over both circles; a range is written only where the owners differ."""
    cdef list found = []
    cdef uint32_t i = 0, j = 0
    cdef uint64_t last, start = 0, since = 0
    cdef int32_t source, target, old_source = -1, old_target = -1  # -1: nothing moves, or no node
    cdef Py_ssize_t k
    cdef dict places
    cdef int32_t *same
    if a.count == 0 and b.count == 0:
        return found
    same = <int32_t *>PyMem_RawCalloc(len(b_names) + 1, sizeof(int32_t))
    if same == NULL:
        raise MemoryError()
    try:
        places = {name: k for k, name in enumerate(a_names)}
        for k in range(len(b_names)):
            same[k] = places.get(b_names[k], -1)
        while True:
            # The next stretch of two owners ends at the nearer of the two next points; the pads end both at 2**64 - 1.
            last = min(points_hash(a, i), points_hash(b, j))
            source = points_owner_at(a, i) if a.count else -1
            target = points_owner_at(b, j) if b.count else -1
            if source >= 0 and target >= 0 and same[target] == source:
                source = target = -1
            if source != old_source or target != old_target:
                if old_source != -1 or old_target != -1:
                    found.append(moved(since, start, a_names, b_names, old_source, old_target))
                since = start
                old_source, old_target = source, target
            if last == UINT64_MAX:
                if source != -1 or target != -1:
                    found.append(moved(since, WHOLE, a_names, b_names, source, target))
                return found
            while i < a.count and points_hash(a, i) == last:
                i += 1
            while j < b.count and points_hash(b, j) == last:
                j += 1
            start = last + 1
    finally:
        PyMem_RawFree(same)


cdef object moved(object start, object end, tuple a_names, tuple b_names, int32_t source, int32_t target):
    return Move(start, end, None if source < 0 else a_names[source], None if target < 0 else b_names[target])
