# distutils: language = c++
# distutils: sources = csrc/address.c csrc/lookup.c csrc/net.c csrc/poller.c
"""Where a member is found: its addresses as people write them, tried in turn, and the numbers behind a name.

A name is looked up anew for every connection, in a thread of its own, so that a host may move and a silent name server costs
nobody but the one who is waited for. All numbers of a name are tried before the next address is.

Knows nothing of connections.
"""

from libc.stdint cimport uint16_t
from libcpp.string cimport string

from quorate.runtime._reach cimport *
from quorate.runtime._structs cimport *


cdef void wake(void *poll) noexcept nogil:
    poller_wake(<poller *>poll)


cdef int reach_reset(Peer *it) except -1 nogil:
    lookup_free(it.looking)
    it.looking = NULL
    it.found.clear()
    it.tried = 0
    it.turn = 0
    return 0


cdef int reach_made(Peer *it) except -1 nogil:
    it.found.clear()
    it.tried = 0
    return 0


cdef int looked_up(Peer *it) except -1 nogil:
    """1 if the lookup is over."""
    cdef net_address[LOOKUP_FOUND_MAX] found
    cdef int reason = 0
    cdef int count = lookup_take(it.looking, found, LOOKUP_FOUND_MAX, &reason)
    cdef int i
    if count == LOOKUP_PENDING:
        return 0
    lookup_free(it.looking)
    it.looking = NULL
    it.found.clear()
    it.tried = 0
    for i in range(count):
        it.found.push_back(found[i])
    if count == 0:
        it.turn += 1
    return 1


cdef int reach_next(Peer *it, poller *poll, net_address *to) except -1 nogil:
    cdef char[ADDRESS_HOST_MAX + 1] host
    cdef const string *text
    cdef uint16_t port = 0
    cdef int kind
    if it.looking != NULL and not looked_up(it):
        return 0
    if it.tried < it.found.size():
        to[0] = it.found[it.tried]
        it.tried += 1
        return 1
    if it.addresses.empty():
        return 0
    if not it.found.empty():
        it.turn += 1
    it.found.clear()
    it.tried = 0
    text = &it.addresses[it.turn % it.addresses.size()]
    kind = address_parse(text.data(), text.size(), to, host, &port)
    if kind == ADDRESS_NUMBER:
        it.found.push_back(to[0])
        it.tried = 1
        return 1
    if kind == ADDRESS_NAME:
        it.looking = lookup_start(host, port, wake, poll)
    if it.looking == NULL:
        it.turn += 1
    return 0
