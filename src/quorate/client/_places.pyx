# distutils: language = c++
# distutils: sources = csrc/net.c csrc/lookup.c csrc/poller.c
"""Places where nodes may be found: an address as it was written or told, what it stands for, and how it is tried.

Each place is tried again after a growing pause, and at once at the next address of its name. Names are looked up anew for each
round over their addresses, in other threads. Knows nothing of what is said on a connection, and of who is needed.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from quorate.client._places cimport *
from quorate.client._structs cimport *
from quorate.runtime._structs cimport (
    POLLER_WRITE,
    net_address_ip,
    net_address_unix,
    net_close,
    net_connect,
    poller_add,
    poller_wake,
)

# Microseconds.
cdef uint64_t CONNECT_PATIENCE = 2000000
cdef uint64_t BACKOFF_FIRST = 5000
cdef uint64_t BACKOFF_MAX = 500000


cdef uint64_t chance(Engine *it, uint64_t bound) noexcept nogil:
    """A number below ``bound``: xorshift, good enough to keep clients apart."""
    it.random ^= it.random << 13
    it.random ^= it.random >> 7
    it.random ^= it.random << 17
    return it.random % bound


cdef int place_read(Place *place) except -1 nogil:
    """Takes an address apart: ``unix:/path``, ``host:port``, ``[::1]:port``; numbers need no lookup."""
    cdef const char *text = place.text.data()
    cdef size_t length = place.text.size()
    cdef size_t colon = length
    cdef uint32_t port = 0
    cdef size_t i, begin = 0, end
    cdef net_address address
    place.trouble.kind = TROUBLE_UNTRIED
    if length > 5 and memcmp(text, b"unix:", 5) == 0:
        begin = 7 if length > 7 and memcmp(text + 5, b"//", 2) == 0 else 5
        if net_address_unix(&address, text + begin, length - begin) == 0:
            place.found.push_back(address)
            place.lasting = True
            return 0
        place.trouble.kind = TROUBLE_ADDRESS
        return 0
    for i in range(length):
        if text[i] == c":":
            colon = i
    for i in range(colon + 1, length):
        if text[i] < c"0" or text[i] > c"9" or port > 65535:
            port = 65536
            break
        port = 10 * port + <uint32_t>(text[i] - c"0")
    end = colon
    if end > 1 and text[0] == c"[" and text[end - 1] == c"]":
        begin = 1
        end -= 1
    if colon >= length or begin >= end or end - begin > LOOKUP_HOST_MAX or port == 0 or port > 65535:
        place.trouble.kind = TROUBLE_ADDRESS
        return 0
    place.host.assign(text + begin, end - begin)
    place.port = <uint16_t>port
    if net_address_ip(&address, place.host.c_str(), place.port, 0) == 0:
        place.found.push_back(address)
        place.lasting = True
    return 0


cdef int place_add(Engine *it, const char *text, size_t length, bint given) except -2 nogil:
    cdef size_t i, free = it.places.size()
    cdef Place made
    made.text.assign(text, length)
    for i in range(it.places.size()):
        if it.places[i].used and it.places[i].text == made.text:
            return <int>i
        if not it.places[i].used and i < free:
            free = i
    if free >= PLACES_MAX:
        return -1
    made.used = True
    made.given = given
    place_read(&made)
    if free == it.places.size():
        it.places.push_back(made)
    else:
        it.places[free] = made
    return <int>free


# Attempts ----------------------------------------------------------------------------------------------------------------


cdef int place_failed(Engine *it, uint32_t number, uint8_t trouble, int32_t detail, uint64_t now) except -1 nogil:
    cdef Place *place = &it.places[number]
    place.trouble.kind = trouble
    place.trouble.detail = detail
    it.next_attempt_at = now
    it.news = True
    if place.next < place.found.size():
        place.retry_at = now
        return 0
    place.next = 0
    if not place.lasting:
        place.found.clear()
    place.backoff = min(max(2 * place.backoff, BACKOFF_FIRST), BACKOFF_MAX)
    if trouble in (TROUBLE_STRANGER, TROUBLE_NEWER, TROUBLE_CLUSTER, TROUBLE_ADDRESS):
        place.backoff = BACKOFF_MAX  # it will hardly become another in a moment
    place.retry_at = now + place.backoff // 2 + chance(it, place.backoff)
    return 0


cdef void looked_up(void *context) noexcept nogil:
    poller_wake(<poller *>context)


cdef int place_try(Engine *it, uint32_t number, uint64_t now) except -1 nogil:
    cdef Place *place = &it.places[number]
    cdef Link *link
    cdef int fd
    cdef uint32_t slot
    place.tried_at = now
    it.figures.attempts += 1
    if place.found.empty():
        if not place.host.empty():
            place.looking = lookup_start(place.host.c_str(), place.port, looked_up, it.poll)
        if place.looking == NULL:
            return place_failed(it, number, TROUBLE_ADDRESS, 0, now)
        return 0
    for slot in range(LINKS):
        if it.links[slot].state == LINK_FREE:
            break
    else:
        place.retry_at = now + BACKOFF_MAX
        return 0
    link = &it.links[slot]
    fd = net_connect(&place.found[place.next])
    place.next += 1
    if fd < 0:
        return place_failed(it, number, TROUBLE_CONNECT, -fd, now)
    link.generation += 1
    if poller_add(it.poll, fd, POLLER_WRITE, token_of(link, slot)):
        net_close(fd)
        return place_failed(it, number, TROUBLE_CONNECT, 0, now)
    link.fd = fd
    link.state = LINK_CONNECTING
    link.queued = False
    link.place = <int>number
    link.node = 0
    link.deadline = now + CONNECT_PATIENCE
    link.broken = 0
    link.begin = link.end = link.sent = 0
    link.written = 0
    link.in_flight = link.prompt = 0
    link.heard_at = link.used_at = now
    link.waits_since = 0
    link.probed = link.useful = False
    link.behind_until = 0
    link.out.clear()
    place.link = <int>slot
    return 0


cdef int places_looked_up(Engine *it, uint64_t now) except -1 nogil:
    cdef net_address[LOOKUP_FOUND_MAX] found
    cdef Place *place
    cdef size_t i
    cdef int j, count, reason = 0
    for i in range(it.places.size()):
        place = &it.places[i]
        if place.looking == NULL:
            continue
        count = lookup_take(place.looking, found, LOOKUP_FOUND_MAX, &reason)
        if count == LOOKUP_PENDING:
            continue
        lookup_free(place.looking)
        place.looking = NULL
        place.next = 0
        for j in range(count):
            place.found.push_back(found[j])
        if count:
            place_try(it, i, now)
        else:
            place_failed(it, i, TROUBLE_LOOKUP, reason, now)
    return 0


cdef void places_close(Engine *it) noexcept nogil:
    cdef size_t i
    for i in range(it.places.size()):
        lookup_free(it.places[i].looking)
        it.places[i].looking = NULL
        it.places[i].link = -1
