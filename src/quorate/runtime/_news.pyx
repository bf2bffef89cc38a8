# distutils: language = c++
"""What a node tells clients without being asked: who leads and who is a member, as far as it knows. Knows no connection."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._types cimport Configuration, Core
from quorate.runtime._news cimport *
from quorate.runtime._structs cimport *
from quorate.runtime._wire cimport CLIENT_VERSION


cdef extern from "base.h" nogil:
    void store_le16(void *at, uint16_t x)

cdef enum:
    CLUSTER_ID = 16
    NEWS_HEAD = 51  # u8 version, 16 bytes cluster, u64 node, u64 leader, u64 term, u64 applied, u16 members


cdef bint contains(const vector[uint64_t] *ids, uint64_t id) noexcept nogil:
    cdef size_t i
    for i in range(ids.size()):
        if ids[0][i] == id:
            return True
    return False


cdef int put_member(vector[uint8_t] *out, Core *core, const Configuration *all, uint64_t id) except -1 nogil:
    """u64 id, and what its owner says of it: u8 and name, u8 and address; u8 flags."""
    cdef const string *place = NULL
    cdef size_t i, start = out.size(), length = 2
    cdef uint8_t voter = contains(&all.incoming, id) or contains(&all.outgoing, id)
    for i in range(all.places.size()):
        if all.places[i].first == id:
            place = &all.places[i].second
    if place == NULL and core.known_places.count(id):
        place = &core.known_places[id]
    if place != NULL and well_formed(place):
        length = place.size()
    out.resize(start + 8 + length + 1)
    store_le64(out.data() + start, id)
    if place != NULL and length > 2:
        memcpy(out.data() + start + 8, place.data(), length)
    out[0][start + 8 + length] = voter
    return 0


cdef bint well_formed(const string *place) noexcept nogil:
    """Whether it is two texts: it came from a member's owner, and nobody else looks into it."""
    cdef size_t name, address
    if place.size() < 2:
        return False
    name = <uint8_t>place[0][0]
    if place.size() < name + 2:
        return False
    address = <uint8_t>place[0][name + 1]
    return place.size() == name + address + 2


cdef int make_news(Loop *it) except -1 nogil:
    """Who leads and who is a member, as far as this node knows."""
    cdef vector[uint8_t] *out = &it.clients.news
    cdef const Configuration *members = &it.core.log.configurations.back().second
    cdef uint16_t count = 0
    cdef size_t i
    out.assign(NEWS_HEAD, 0)
    out[0][0] = CLIENT_VERSION
    memcpy(out.data() + 1, it.peers.cluster, CLUSTER_ID)
    store_le64(out.data() + 17, it.peers.id)
    store_le64(out.data() + 25, it.leader)
    store_le64(out.data() + 33, it.term)
    store_le64(out.data() + 41, it.applied)
    for i in range(members.incoming.size()):
        put_member(out, it.core, members, members.incoming[i])
        count += 1
    for i in range(members.outgoing.size()):
        if not contains(&members.incoming, members.outgoing[i]):
            put_member(out, it.core, members, members.outgoing[i])
            count += 1
    for i in range(members.learners.size()):
        put_member(out, it.core, members, members.learners[i])
        count += 1
    store_le16(out.data() + 49, count)
    return 0
