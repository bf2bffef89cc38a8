# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/net.c csrc/frame.c csrc/crc32c.c csrc/poller.c
"""Connections of a client to nodes: which there are, hello and welcome, news, frames in and bytes out.

A client holds a link to the leader and one to another node, for local reads and as a second source of news. While it has
no leader, or hears nothing from a node that owes it an answer, it tries every place that it knows (_places.pyx), one
shortly after the other.

What comes from nodes is bounded and checked before it is believed. Knows nothing of what is asked: answers go out as
frames, and a link that ended is closed by who sees to its asks.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset
from libcpp.vector cimport vector

from quorate.client._links cimport *
from quorate.client._places cimport *
from quorate.client._structs cimport *
from quorate.runtime._structs cimport (
    FRAME_HEADER,
    FRAME_MORE,
    FRAME_NEWER,
    FRAME_STRANGER,
    FRAME_WHOLE,
    POLLER_CLOSED,
    POLLER_READ,
    POLLER_WRITE,
    frame_decode,
    frame_encode,
    frame_part,
    load_le64,
    net_close,
    net_connected,
    net_read,
    net_write,
    poller_change,
    poller_remove,
)
from quorate.runtime._wire cimport CLIENT_VERSION, KIND_ANSWER, KIND_CLIENT, KIND_NEWS, KIND_REFUSAL, KIND_WELCOME


cdef extern from "base.h" nogil:
    uint16_t load_le16(const void *at)

cdef enum:
    GREETING_MAX = 65536       # bytes of a welcome
    PAYLOAD_MAX = 67108864     # of an answer: as much as a node queues for one client
    IN_FIRST = 4096
    IN_ROOM = 65536
    NAME_MAX = 255
    MEMBERS_MAX = 64
    CLUSTER_AT = 1             # in the hello and in the welcome
    NEWS_HEAD = 51             # u8 version, 16 bytes cluster, u64 node, leader, term, applied, u16 members

# Microseconds.
cdef uint64_t WELCOME_PATIENCE = 2000000
cdef uint64_t FRAME_PATIENCE = 30000000   # for the rest of a frame that has begun
cdef uint64_t STAGGER = 50000             # between two attempts, while none has failed
cdef uint64_t ALONE = 200000              # without the leader for so long: look everywhere
cdef uint64_t CALM = 2000000              # a link that nobody needs is kept for so long
cdef uint64_t STEADY = 1000000            # a link that held so long, or was of use, is made again at once
cdef uint64_t NEVER = <uint64_t>-1


# Which there are ---------------------------------------------------------------------------------------------------------


cdef int node_link(Engine *it, uint64_t node) noexcept nogil:
    cdef int i
    for i in range(LINKS):
        if it.links[i].state == LINK_OPEN and it.links[i].node == node and not it.links[i].broken:
            return i
    return -1


cdef int open_links(Engine *it) noexcept nogil:
    cdef int i, count = 0
    for i in range(LINKS):
        count += it.links[i].state == LINK_OPEN and not it.links[i].broken
    return count


cdef inline bint keeps_up(const Link *link, uint64_t now) noexcept nogil:
    return not link.probed and link.behind_until <= now


cdef int settle_near(Engine *it, uint64_t now) noexcept nogil:
    """Keeps the link for local reads where it is, or puts it to a node that does not lead, or to any."""
    cdef int i, other = -1
    if it.near_link >= 0:
        if it.links[it.near_link].state != LINK_OPEN or it.links[it.near_link].broken:
            it.near_link = -1
        elif it.links[it.near_link].node != it.leader and keeps_up(&it.links[it.near_link], now):
            return 0
    for i in range(LINKS):
        if it.links[i].state != LINK_OPEN or it.links[i].broken:
            continue
        if it.links[i].node != it.leader and keeps_up(&it.links[i], now):
            it.near_link = i
            return 0
        if other < 0 or not keeps_up(&it.links[other], now):
            other = i
    it.near_link = other
    return 0


cdef int close_idle(Engine *it, uint64_t now, uint64_t *due) except -1 nogil:
    """In calm: links that are neither the leader's nor near, and the places that nobody named for long."""
    cdef int i
    cdef size_t j
    for i in range(LINKS):
        if it.links[i].state != LINK_OPEN or i == it.near_link or it.links[i].node == it.leader or it.links[i].in_flight:
            continue
        if now >= it.links[i].used_at + CALM:
            link_close(it, i, TROUBLE_NONE, 0, now)
        else:
            due[0] = min(due[0], it.links[i].used_at + CALM)
    for j in range(it.places.size()):
        if (it.places[j].used and not it.places[j].given and not it.places[j].told and it.places[j].link < 0
                and it.places[j].looking == NULL):
            it.places[j] = Place()
    return 0


cdef uint64_t links_tick(Engine *it, uint64_t now) except? 0 nogil:
    cdef uint64_t due = NEVER, at
    cdef Place *place
    cdef size_t i
    cdef int best = -1
    cdef bint hunting, near_missing, leading, placed = False
    cdef int open, others = 0, trying = 0
    places_looked_up(it, now)
    for i in range(LINKS):
        if it.links[i].state in (LINK_CONNECTING, LINK_GREETING):
            trying += 1
    for i in range(it.places.size()):
        trying += it.places[i].looking != NULL
        placed = placed or (it.places[i].used and it.places[i].node == it.leader)
    open = open_links(it)
    leading = it.leader != 0 and node_link(it, it.leader) >= 0
    if leading:
        it.alone_since = 0
        others = open - 1
    else:
        if it.alone_since == 0:
            it.alone_since = now
        others = open
    hunting = open == 0 or (it.alone_since and (now >= it.alone_since + ALONE or (it.leader and not placed)))
    for i in range(LINKS):
        if it.links[i].state == LINK_OPEN and it.links[i].probed:
            hunting = True  # whether it lives is not known: somebody else may tell of another leader
    if it.alone_since and not hunting:
        due = min(due, it.alone_since + ALONE)
    near_missing = it.near_wanted and others == 0 and trying == 0 and it.members.size() > 1
    for i in range(it.places.size()):
        place = &it.places[i]
        if not place.used or place.link >= 0 or place.looking != NULL or (place.node and node_link(it, place.node) >= 0):
            continue
        if not place.given and not it.follow:
            continue
        if it.leader and place.node == it.leader:
            if place.retry_at <= now:
                place_try(it, i, now)
                # Its state is looked at in the next turn, which the attempt or its failure brings about.
                due = min(due, it.places[i].retry_at if it.places[i].link < 0 and it.places[i].looking == NULL else NEVER)
            else:
                due = min(due, place.retry_at)
        elif hunting or near_missing:
            if best < 0 or place.retry_at < it.places[best].retry_at:
                best = <int>i
    if best >= 0:
        at = max(it.places[best].retry_at, it.next_attempt_at)
        if at <= now:
            it.next_attempt_at = now + STAGGER
            place_try(it, best, now)
            due = min(due, it.next_attempt_at)
        else:
            due = min(due, at)
    settle_near(it, now)
    if leading and not hunting:
        close_idle(it, now, &due)
    return max(due, <uint64_t>1)


# News --------------------------------------------------------------------------------------------------------------------


cdef int office_news(Engine *it, uint64_t leader, uint64_t term, uint64_t teller, uint64_t now) except -1 nogil:
    """An older term is no news, unless the newer one has brought no leader for long; that a term has no leader is believed
    from the leader of it alone."""
    if term < it.term and not (leader and it.leader == 0 and it.alone_since and now >= it.alone_since + LEADERLESS):
        return 0
    if term == it.term and (leader == it.leader or (leader == 0 and teller != it.leader)):
        return 0
    if leader and leader != it.leader:
        it.figures.leader_changes += 1
    it.leader = leader
    it.term = term
    it.doubted = False
    memset(it.hold_until, 0, ROUTES * sizeof(uint64_t))
    it.news = True
    return 1


cdef int members_read(Engine *it, const uint8_t *at, const uint8_t *end, uint16_t count) except -1 nogil:
    """1 if the bytes are that list of members, exactly; it is taken over then."""
    cdef vector[KnownMember] found
    cdef KnownMember one
    cdef uint16_t i
    if count > MEMBERS_MAX:
        return 0
    for i in range(count):
        if end - at < 9 or end - at < 9 + at[8] + 1:
            return 0
        one.id = load_le64(at)
        one.name.assign(<const char *>at + 9, at[8])
        at += 9 + at[8]
        if end - at < 1 + at[0] + 1:
            return 0
        one.address.assign(<const char *>at + 1, at[0])
        at += 1 + at[0]
        one.flags = at[0]
        at += 1
        found.push_back(one)
    if at != end:
        return 0
    it.members.swap(found)
    return 1


cdef int members_placed(Engine *it) except -1 nogil:
    """Each member's address is a place."""
    cdef size_t i
    cdef int number
    for i in range(it.places.size()):
        it.places[i].told = False
    for i in range(it.members.size()):
        if it.members[i].address.empty():
            continue
        number = place_add(it, it.members[i].address.data(), it.members[i].address.size(), False)
        if number >= 0:
            it.places[number].told = True
            if it.places[number].node == 0:
                it.places[number].node = it.members[i].id
    it.news = True
    return 0


cdef int take_news(Engine *it, uint32_t slot, const frame *found, uint64_t now) except -1 nogil:
    """Takes a welcome or news in; TROUBLE_NONE, or what is wrong with it."""
    cdef Link *link = &it.links[slot]
    cdef const uint8_t *at = found.payload
    cdef uint64_t leader, term, applied
    if found.length >= 1 and at[0] > CLIENT_VERSION:
        return TROUBLE_NEWER
    if found.length < NEWS_HEAD or load_le64(at + 17) == 0:
        return TROUBLE_DAMAGED
    if it.cluster_known and memcmp(it.cluster, at + CLUSTER_AT, 16) != 0:
        return TROUBLE_CLUSTER
    leader = load_le64(at + 25)
    term = load_le64(at + 33)
    applied = load_le64(at + 41)
    if term > it.members_term or (term == it.members_term and applied >= it.members_applied):
        if not members_read(it, at + NEWS_HEAD, at + found.length, load_le16(at + 49)):
            return TROUBLE_DAMAGED
        it.members_term = term
        it.members_applied = applied
        members_placed(it)
    if not it.cluster_known:
        memcpy(it.cluster, at + CLUSTER_AT, 16)
        it.cluster_known = True
    link.node = load_le64(at + 17)
    it.places[link.place].node = link.node
    office_news(it, leader, term, link.node, now)
    return TROUBLE_NONE


cdef int greet(Engine *it, uint32_t slot) except -1 nogil:
    """Our hello, with the cluster that we know by now."""
    cdef Link *link = &it.links[slot]
    cdef frame_part part
    if it.cluster_known:
        memcpy(it.hello.data() + CLUSTER_AT, it.cluster, 16)
    part.bytes = it.hello.data()
    part.length = it.hello.size()
    link.out.resize(FRAME_HEADER + part.length)
    frame_encode(link.out.data(), KIND_CLIENT, 0, &part, 1)
    memcpy(link.out.data() + FRAME_HEADER, part.bytes, part.length)
    return link_queue(it, slot)


cdef int take_welcome(Engine *it, uint32_t slot, const frame *found, uint64_t now) except -1 nogil:
    """What a node says first. The link is open afterwards, or closed."""
    cdef Link *link = &it.links[slot]
    cdef Place *place = &it.places[link.place]
    cdef int wrong, other
    if found.kind == KIND_REFUSAL and found.length >= 2 and found.length >= 2 + <uint32_t>found.payload[1]:
        place.trouble.text.assign(<const char *>found.payload + 2, found.payload[1])
        return link_close(it, slot, TROUBLE_REFUSED, found.payload[0], now)
    wrong = take_news(it, slot, found, now) if found.kind == KIND_WELCOME else TROUBLE_DAMAGED
    if wrong != TROUBLE_NONE:
        return link_close(it, slot, <uint8_t>wrong, 0, now)
    other = node_link(it, link.node)
    if other >= 0:
        # The same node at another address: one link is enough.
        return link_close(it, slot, TROUBLE_NONE, 0, now)
    link.state = LINK_OPEN
    link.deadline = 0
    link.heard_at = link.used_at = now
    place = &it.places[link.place]
    place.trouble.kind = TROUBLE_NONE
    place.next = place.found.size()
    if link.node == it.leader:
        it.doubted = False
    it.figures.connected += 1
    it.news = True
    return 0


# Receiving ---------------------------------------------------------------------------------------------------------------


cdef int make_room(Link *it) except -1 nogil:
    """Room behind what was received. Memory grows with the bytes that came, not with what they claim."""
    cdef size_t left = it.end - it.begin
    cdef size_t room = IN_ROOM if it.state == LINK_OPEN else IN_FIRST
    if it.begin and (left == 0 or it.begin >= left):
        memmove(it.input.data(), it.input.data() + it.begin, left)
        it.begin = 0
        it.end = left
    if it.input.size() - it.end < room // 4:
        it.input.resize(max(room, 2 * it.input.size()))
    return 0


cdef int links_ready(Engine *it, uint64_t token, uint32_t ready, uint64_t now) except -2 nogil:
    cdef uint32_t slot = <uint32_t>token - TOKEN_SLOTS
    cdef Link *link = &it.links[slot]
    cdef int64_t count
    cdef int reason
    if link.state == LINK_FREE or link.generation != <uint32_t>(token >> 32):
        return -1
    if link.state == LINK_CONNECTING:
        reason = net_connected(link.fd)
        if reason != 0:
            link_close(it, slot, TROUBLE_CONNECT, reason, now)
            return -1
        link.state = LINK_GREETING
        link.deadline = now + WELCOME_PATIENCE
        poller_change(it.poll, link.fd, POLLER_READ)
        greet(it, slot)
        return -1
    if ready & POLLER_WRITE:
        link_queue(it, slot)
    if ready & (POLLER_READ | POLLER_CLOSED):
        make_room(link)
        count = net_read(link.fd, link.input.data() + link.end, link.input.size() - link.end)
        if count < 0:
            link.broken = <int32_t>-count
        elif count:
            link.end += <size_t>count
            link.heard_at = now
            link.waits_since = now
            link.probed = False
            it.figures.bytes_received += count
    return <int>slot


cdef int links_next(Engine *it, uint32_t slot, uint64_t now, frame *found) except -1 nogil:
    cdef Link *link = &it.links[slot]
    cdef size_t size = 0
    cdef int status
    cdef int wrong
    while link.state in (LINK_GREETING, LINK_OPEN) and link.begin < link.end:
        status = frame_decode(
            link.input.data() + link.begin, link.end - link.begin,
            PAYLOAD_MAX if link.state == LINK_OPEN else GREETING_MAX, found, &size,
        )
        if status == FRAME_MORE:
            if link.deadline == 0:
                link.deadline = now + FRAME_PATIENCE
            break
        if status != FRAME_WHOLE:
            wrong = (TROUBLE_STRANGER if status == FRAME_STRANGER else TROUBLE_NEWER if status == FRAME_NEWER
                     else TROUBLE_DAMAGED)
            if link.state == LINK_OPEN:
                it.places[link.place].trouble.kind = <uint8_t>wrong
                link.broken = -1
                link.begin = link.end
                return 0
            return link_close(it, slot, <uint8_t>wrong, 0, now)
        link.begin += size
        if link.state == LINK_GREETING:
            take_welcome(it, slot, found, now)
            continue
        link.deadline = 0
        if found.kind == KIND_ANSWER:
            return 1
        if found.kind == KIND_NEWS:
            wrong = take_news(it, slot, found, now)
        elif found.kind == KIND_REFUSAL:
            wrong = TROUBLE_REFUSED
            if found.length >= 2 and found.length >= 2 + <uint32_t>found.payload[1]:
                it.places[link.place].trouble.text.assign(<const char *>found.payload + 2, found.payload[1])
        else:
            continue  # of a later version of this protocol, and nothing that we asked for
        if wrong != TROUBLE_NONE:
            it.places[link.place].trouble.kind = <uint8_t>wrong
            link.broken = -1
            link.begin = link.end
            return 0
    if link.broken and link.state == LINK_GREETING:
        return link_close(it, slot, TROUBLE_LOST, link.broken, now)
    return 0


# Sending -----------------------------------------------------------------------------------------------------------------


cdef int link_queue(Engine *it, uint32_t slot) except -1 nogil:
    if not it.links[slot].queued:
        it.links[slot].queued = True
        it.unsent.push_back(slot)
    return 0


cdef int flush_slot(Engine *it, uint32_t slot, uint64_t now) except -1 nogil:
    cdef Link *link = &it.links[slot]
    cdef vector[uint8_t] smaller
    cdef int64_t count
    cdef size_t left
    link.queued = False
    if link.state not in (LINK_GREETING, LINK_OPEN) or link.broken:
        return 0
    left = link.out.size() - link.sent
    if left == 0:
        return 0
    count = net_write(link.fd, link.out.data() + link.sent, left)
    if count < 0:
        if link.state == LINK_GREETING:
            return link_close(it, slot, TROUBLE_LOST, <int32_t>-count, now)
        # What the node said before it went may still lie there; reading will tell of the end.
        poller_change(it.poll, link.fd, POLLER_READ)
        return 0
    it.figures.bytes_sent += count
    link.sent += <size_t>count
    link.written += <uint64_t>count
    if <size_t>count == left:
        link.out.clear()
        link.sent = 0
        if link.out.capacity() > OUTPUT_MAX // 4:
            link.out.swap(smaller)
        poller_change(it.poll, link.fd, POLLER_READ)
        return 0
    if link.sent > link.out.size() // 2:
        link.out.erase(link.out.begin(), link.out.begin() + link.sent)
        link.sent = 0
    poller_change(it.poll, link.fd, POLLER_READ | POLLER_WRITE)
    return 0


cdef int links_flush(Engine *it, uint64_t now) except -1 nogil:
    cdef size_t i
    for i in range(it.unsent.size()):
        flush_slot(it, it.unsent[i], now)
    it.unsent.clear()
    return 0


# Ending ------------------------------------------------------------------------------------------------------------------


cdef void give_back(Engine *it, Link *link) noexcept nogil:
    cdef int fd = link.fd
    if link.state == LINK_FREE:
        return
    poller_remove(it.poll, fd)
    link.fd = -1  # first: a child that forks here must not close a number that is used again
    net_close(fd)
    link.state = LINK_FREE


cdef int link_close(Engine *it, uint32_t slot, uint8_t trouble, int32_t detail, uint64_t now) except -1 nogil:
    """``trouble`` NONE: we end it because nobody needs it."""
    cdef Link *link = &it.links[slot]
    cdef Place *place = &it.places[link.place]
    cdef vector[uint8_t] nothing, also
    cdef bint steady = link.state == LINK_OPEN and (link.useful or now >= place.tried_at + STEADY)
    give_back(it, link)
    link.out.swap(nothing)
    link.input.swap(also)
    link.begin = link.end = 0
    place.link = -1
    it.news = True
    if it.near_link == <int>slot:
        it.near_link = -1
    if trouble == TROUBLE_NONE:
        place.trouble.kind = TROUBLE_NONE
        place.backoff = 0
        place.retry_at = now
        place.next = 0
        if not place.lasting:
            place.found.clear()
        return 0
    place_failed(it, link.place, trouble, detail, now)
    if steady:
        place.backoff = 0
        place.retry_at = now
    return 0


cdef void links_close(Engine *it) noexcept nogil:
    """Gives every connection and lookup back. Done once, at the end; again is harmless."""
    cdef size_t i
    for i in range(it.links.size()):
        give_back(it, &it.links[i])
    places_close(it)
