# distutils: language = c++
# distutils: sources = csrc/net.c csrc/frame.c csrc/crc32c.c csrc/poller.c csrc/buffer.c csrc/lookup.c
"""Connections between members: one in each direction, made by the sender, on which only the sender's messages travel.

The maker says a hello (cluster, who it is, its incarnation, whom it wants, where it is found), the taker answers with its own,
and from then on frames with Raft messages follow. Members come and go while the node runs: somebody unknown whose configuration
is newer than ours may have become one, and is listened to for as long as it stays connected. Everything that a stranger may do has a bound and a counter, and costs the stranger its
connection: other bytes, another cluster, a claim of a huge frame, silence, a flood.

Knows nothing of what messages mean. Messages that cannot be sent are dropped, as the protocol allows; who lost some is
marked, so that the loop tells the core.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, strlen
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._codec cimport message_decode, message_encode
from quorate.raft._types cimport (
    APPEND_ENTRIES,
    FORWARD_PROPOSAL,
    MEMBER_PLACE_MAX,
    MEMBERS_MAX,
    Message,
    buffer,
    buffer_from,
    buffer_new,
    buffer_references,
    buffer_release,
)
from quorate.runtime._reach cimport reach_made, reach_next, reach_reset
from quorate.runtime._structs cimport *
from quorate.runtime._wire cimport *


cdef extern from "<errno.h>" nogil:
    enum:
        EAGAIN
        EMFILE
        ENFILE
        ENOBUFS
        ENOMEM

cdef enum:
    HELLO_BYTES = 49       # as wire.hpp says, without the place
    HOME_BYTES = 12        # and the process behind it
    HELLO_BOUND = 600      # of a member or a client
    HELLO_VERSION = 1
    CHUNK_FIRST = 1024     # for who has not said a hello
    CHUNK_BYTES = 65536
    CHUNK_ROOM = 4096      # less than this left: a new chunk
    COPY_BELOW = 16384     # entries of smaller messages get memory of their own instead of holding a chunk
    READS_PER_EVENT = 16   # so that one busy connection does not keep the others waiting
    OUTPUT_MAX = 33554432  # bytes queued for one peer, plus one message

# Microseconds.
cdef uint64_t HELLO_PATIENCE = 2000000    # for a hello, once connected
cdef uint64_t FRAME_PATIENCE = 30000000   # for the rest of a frame that has begun
cdef uint64_t OUTPUT_PATIENCE = 5000000   # for any progress of queued output
cdef uint64_t BACKOFF_FIRST = 5000
cdef uint64_t BACKOFF_MAX = 500000
cdef uint64_t LEAVE_PATIENCE = 1000000    # for telling a member that it was removed
cdef uint64_t LISTEN_PAUSE = 100000       # when the system has no descriptor to give


cdef uint64_t chance(Peers *it, uint64_t bound) noexcept nogil:
    """A number below ``bound``: xorshift, good enough to keep retries apart."""
    it.random ^= it.random << 13
    it.random ^= it.random >> 7
    it.random ^= it.random << 17
    return it.random % bound


cdef Peer *peer_of(Peers *it, uint64_t id) noexcept nogil:
    cdef size_t i
    for i in range(it.members.size()):
        if it.members[i].id == id:
            return &it.members[i]
    return NULL


cdef inline uint64_t token_of(const Connection *connection, uint32_t slot) noexcept nogil:
    return (<uint64_t>connection.generation << 32) | (TOKEN_SLOTS + slot)


# Slots ---------------------------------------------------------------------------------------------------------------


cdef int take_slot(Peers *it, int fd, uint8_t state, cbool incoming, uint64_t deadline) noexcept nogil:
    """A slot that watches the connection; -1 if there is none, and then the connection is closed."""
    cdef size_t i
    cdef Connection *made
    for i in range(it.connections.size()):
        made = &it.connections[i]
        if made.state == SLOT_FREE:
            made.generation += 1
            if poller_add(it.poll, fd, POLLER_WRITE if state == CONNECTING else POLLER_READ, token_of(made, i)):
                break
            made.fd = fd
            made.state = state
            made.incoming = incoming
            made.queued = False
            made.peer = 0
            made.deadline = deadline
            made.begin = made.end = made.need = 0
            made.sent = 0
            it.top = max(it.top, <uint32_t>i + 1)
            return <int>i
    net_close(fd)
    return -1


cdef int close_slot(Peers *it, uint32_t slot, uint64_t now) except -1 nogil:
    """Ends a connection, and plans the next attempt or notes who is gone."""
    cdef Connection *connection = &it.connections[slot]
    cdef Peer *peer
    cdef vector[uint8_t] nothing
    cdef int fd = connection.fd
    if connection.state == SLOT_FREE:
        return 0
    poller_remove(it.poll, fd)
    connection.fd = -1  # first: a child that forks here must not close a number that is used again
    net_close(fd)
    if connection.incoming and connection.state != OPEN:
        it.strangers -= 1
    connection.state = SLOT_FREE
    while it.top and it.connections[it.top - 1].state == SLOT_FREE:
        it.top -= 1
    connection.out.swap(nothing)
    buffer_release(connection.chunk)
    connection.chunk = NULL
    peer = peer_of(it, connection.peer) if connection.peer else NULL
    if peer != NULL:
        if peer.outgoing == <int>slot:
            peer.outgoing = -1
            peer.cut = True
            peer.lost = True
            peer.backoff = min(max(2 * peer.backoff, BACKOFF_FIRST), BACKOFF_MAX)
            peer.retry_at = now + peer.backoff // 2 + chance(it, peer.backoff)
        if peer.incoming == <int>slot:
            peer.incoming = -1
            peer.unheard = True
            it.gone.push_back(connection.peer)
    return 0


cdef int refuse(Peers *it, uint32_t slot, int counter, uint64_t now) except -1 nogil:
    it.counters[counter] += 1
    return close_slot(it, slot, now)


cdef void peers_hand_over(Peers *it, uint32_t slot, Connection *to) noexcept nogil:
    cdef Connection *connection = &it.connections[slot]
    poller_remove(it.poll, connection.fd)
    to.fd = connection.fd
    to.chunk = connection.chunk
    to.begin = connection.begin
    to.end = connection.end
    to.incoming = True
    connection.fd = -1
    connection.chunk = NULL
    connection.state = SLOT_FREE
    it.strangers -= 1
    while it.top and it.connections[it.top - 1].state == SLOT_FREE:
        it.top -= 1


cdef int refuse_saying(Peers *it, uint32_t slot, int counter, uint8_t reason, const char *words, uint64_t now) except -1 nogil:
    """Refuses who has not been let in yet, and tells it why, as far as its socket takes that at once."""
    cdef Connection *connection = &it.connections[slot]
    cdef uint8_t[FRAME_HEADER + 266] out
    cdef size_t length = strlen(words)
    cdef frame_part part
    if connection.incoming and connection.out.empty() and length < 256:
        out[FRAME_HEADER] = reason
        out[FRAME_HEADER + 1] = <uint8_t>length
        memcpy(&out[FRAME_HEADER + 2], words, length)
        store_le64(&out[FRAME_HEADER + 2 + length], it.configuration_index)
        part.bytes = &out[FRAME_HEADER]
        part.length = length + 10
        frame_encode(out, KIND_REFUSAL, 0, &part, 1)
        net_write(connection.fd, out, FRAME_HEADER + part.length)
    return refuse(it, slot, counter, now)


cdef int peers_open(Peers *it) except -1 nogil:
    cdef int reason = 0
    if it.listener >= 0:
        reason = poller_add(it.poll, it.listener, POLLER_READ, TOKEN_LISTENER)
    if reason:
        with gil:
            raise OSError(reason, "the listening socket cannot be watched")
    return 0


cdef void peers_close(Peers *it) noexcept nogil:
    """Gives every connection and the listener back. Done once, at the end; again is harmless."""
    cdef size_t i
    cdef int fd
    for i in range(it.connections.size()):
        if it.connections[i].state != SLOT_FREE:
            fd = it.connections[i].fd
            it.connections[i].fd = -1
            poller_remove(it.poll, fd)
            net_close(fd)
            buffer_release(it.connections[i].chunk)
            it.connections[i].chunk = NULL
            it.connections[i].state = SLOT_FREE
    for i in range(it.members.size()):
        lookup_free(it.members[i].looking)
        it.members[i].looking = NULL
    if it.listener >= 0:
        fd = it.listener
        it.listener = -1
        poller_remove(it.poll, fd)
        net_close(fd)


# Coming and going ------------------------------------------------------------------------------------------------------


cdef int connect_to(Peers *it, Peer *peer, uint64_t now) except -1 nogil:
    cdef net_address to
    cdef int fd = -1
    cdef int slot = -1
    if reach_next(peer, it.poll, &to):
        fd = net_connect(&to)
    elif peer.looking != NULL:
        return 0
    peer.backoff = min(max(2 * peer.backoff, BACKOFF_FIRST), BACKOFF_MAX)
    peer.retry_at = now + peer.backoff // 2 + chance(it, peer.backoff)
    if fd >= 0:
        slot = take_slot(it, fd, CONNECTING, False, now + HELLO_PATIENCE)
    if slot >= 0:
        it.connections[slot].peer = peer.id
        peer.outgoing = slot
    return 0


cdef int evict_stranger(Peers *it, uint64_t now) except -1 nogil:
    """A member says its hello at once, so that a crowd of silent strangers does not keep it out."""
    cdef size_t i, oldest = 0
    cdef uint64_t least = <uint64_t>-1
    cdef Connection *connection
    for i in range(it.connections.size()):
        connection = &it.connections[i]
        if connection.state == GREETING and connection.incoming and connection.deadline < least:
            least = connection.deadline
            oldest = i
    if least == <uint64_t>-1:
        return 0
    return refuse(it, oldest, COUNT_FLOOD, now)


cdef int peers_accept(Peers *it, uint64_t now) except -1 nogil:
    """Takes what waits, at most 64 at a time. When too many have not said who they are, the oldest of them has to go."""
    cdef int i, fd
    for i in range(64):
        fd = net_accept(it.listener)
        if fd == -EAGAIN:
            return 0
        if fd < 0:
            if fd in (-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM):
                # It would be reported again and again; look away for a while.
                poller_remove(it.poll, it.listener)
                it.listen_again_at = now + LISTEN_PAUSE
                return 0
            continue
        if it.strangers >= INCOMING_MAX:
            evict_stranger(it, now)
        if take_slot(it, fd, GREETING, True, now + HELLO_PATIENCE) < 0:
            it.counters[COUNT_FLOOD] += 1
            continue
        it.strangers += 1
        it.counters[COUNT_ACCEPTED] += 1
    return 0


cdef uint64_t peers_deadline(Peers *it) noexcept nogil:
    """When peers_tick has something to do."""
    cdef uint64_t due = <uint64_t>-1
    cdef size_t i
    for i in range(it.members.size()):
        if it.members[i].leave_at:
            due = min(due, it.members[i].leave_at)
        elif it.members[i].outgoing < 0 and it.members[i].looking == NULL:
            due = min(due, it.members[i].retry_at)
    for i in range(it.top):
        if it.connections[i].state != SLOT_FREE and it.connections[i].deadline:
            due = min(due, it.connections[i].deadline)
    if it.listen_again_at:
        due = min(due, it.listen_again_at)
    return due


cdef int peers_tick(Peers *it, uint64_t now) except -1 nogil:
    """Connects to whom it is time to, and ends what took too long."""
    cdef size_t i
    cdef Connection *connection
    cdef Peer *peer
    for i in range(it.top):
        connection = &it.connections[i]
        if connection.state != SLOT_FREE and connection.deadline and connection.deadline <= now:
            refuse(it, i, COUNT_SLOW, now)
    i = 0
    while i < it.members.size():
        peer = &it.members[i]
        if not peer.member and (peer.leave_at <= now if peer.leave_at else peer.incoming < 0):
            forget(it, i, now)
            continue
        if peer.outgoing < 0 and peer.leave_at == 0 and (peer.looking != NULL or peer.retry_at <= now):
            connect_to(it, peer, now)
        i += 1
    if it.listen_again_at and it.listen_again_at <= now:
        it.listen_again_at = 0
        peers_open(it)
    return 0


# Who is a member -------------------------------------------------------------------------------------------------------


cdef int forget(Peers *it, size_t place, uint64_t now) except -1 nogil:
    cdef Peer *peer = &it.members[place]
    if peer.outgoing >= 0:
        close_slot(it, peer.outgoing, now)
    if peer.incoming >= 0:
        close_slot(it, peer.incoming, now)
    reach_reset(peer)
    it.members.erase(it.members.begin() + place)
    return 0


cdef bint same_texts(const vector[string] *one, const vector[string] *other) noexcept nogil:
    cdef size_t i
    if one.size() != other.size():
        return False
    for i in range(one.size()):
        if one[0][i] != other[0][i]:
            return False
    return True


cdef int peers_put(Peers *it, uint64_t id, uint64_t bound, const vector[string] *addresses, uint64_t now) except -1 nogil:
    cdef Peer *peer = peer_of(it, id)
    if peer == NULL:
        it.members.push_back(Peer())
        peer = &it.members.back()
        peer.id = id
        peer.retry_at = now
    peer.member = True
    peer.leave_at = 0
    peer.bound = bound
    if not same_texts(&peer.addresses, addresses):
        peer.addresses = addresses[0]
        reach_reset(peer)
        if peer.outgoing < 0:
            peer.retry_at = now
            peer.backoff = 0
    return 0


cdef int peers_drop(Peers *it, uint64_t id, uint64_t now) except -1 nogil:
    cdef Peer *peer = peer_of(it, id)
    cdef uint8_t[10] payload
    if peer == NULL or not peer.member:
        return 0
    peer.member = False
    peer.leave_at = now + LEAVE_PATIENCE
    payload[0] = REFUSAL_NOT_MEMBER
    payload[1] = 0
    store_le64(&payload[2], it.configuration_index)
    peers_frame(it, id, KIND_REFUSAL, payload, sizeof(payload))
    return 0


cdef int maybe_member(Peers *it, uint64_t id, const string *place, uint64_t now) except -1 nogil:
    """Room for somebody who may have become a member in a configuration that has not reached us; 0 if there is none."""
    cdef vector[string] addresses
    cdef size_t name, length
    if it.members.size() >= 2 * MEMBERS_MAX:
        return 0
    if place.size() >= 2:
        name = <uint8_t>place[0][0]
        if place.size() >= name + 2:
            length = <uint8_t>place[0][name + 1]
            if place.size() == name + 2 + length and length:
                addresses.push_back(place.substr(name + 2, length))
    peers_put(it, id, 0, &addresses, now)
    it.members.back().member = False
    return 1


# Hello -----------------------------------------------------------------------------------------------------------------


cdef int queue_hello(Peers *it, uint32_t slot, uint64_t to) except -1 nogil:
    cdef Connection *connection = &it.connections[slot]
    cdef uint8_t[1024] payload
    cdef frame_part part
    cdef size_t start = connection.out.size()
    cdef size_t length = HELLO_BYTES + 2 + it.place.size() + HOME_BYTES
    payload[0] = HELLO_VERSION
    memcpy(&payload[1], it.cluster, 16)
    store_le64(&payload[17], it.id)
    store_le64(&payload[25], it.incarnation)
    store_le64(&payload[33], to)
    store_le64(&payload[41], it.newest_index)
    store_le16(&payload[HELLO_BYTES], <uint16_t>it.place.size())
    memcpy(&payload[HELLO_BYTES + 2], it.place.data(), it.place.size())
    store_le32(&payload[length - HOME_BYTES], it.process)
    store_le64(&payload[length - HOME_BYTES + 4], it.started)
    part.bytes = payload
    part.length = length
    connection.out.resize(start + FRAME_HEADER + length)
    frame_encode(connection.out.data() + start, KIND_HELLO, 0, &part, 1)
    memcpy(connection.out.data() + start + FRAME_HEADER, payload, length)
    return queue_slot(it, slot)


cdef int queue_slot(Peers *it, uint32_t slot) except -1 nogil:
    if not it.connections[slot].queued:
        it.connections[slot].queued = True
        it.unsent.push_back(slot)
    return 0


cdef int take_hello(Peers *it, uint32_t slot, const frame *found, uint64_t now) except -1 nogil:
    """Holds a hello against who we are and whom we expect. The connection is open afterwards, or closed."""
    cdef Connection *connection = &it.connections[slot]
    cdef const uint8_t *at = found.payload
    cdef uint64_t id, index
    cdef Peer *peer
    cdef string place
    cdef Neighbour home
    cdef bint told
    cdef size_t length
    cdef int old
    if found.kind == KIND_REFUSAL and not connection.incoming:
        take_refusal(it, connection.peer, found.payload, found.length)
        return close_slot(it, slot, now)
    if found.kind != KIND_HELLO or found.length < HELLO_BYTES:
        return refuse(it, slot, COUNT_DAMAGED, now)
    if at[0] > HELLO_VERSION:
        return refuse_saying(it, slot, COUNT_NEWER, REFUSAL_VERSION, b"this node knows only version 1 of the hello", now)
    if memcmp(at + 1, it.cluster, 16) != 0:
        return refuse_saying(it, slot, COUNT_WRONG_CLUSTER, REFUSAL_CLUSTER, b"this node belongs to another cluster", now)
    id = load_le64(at + 17)
    index = load_le64(at + 41)
    if found.length >= HELLO_BYTES + 2:
        length = load_le16(at + HELLO_BYTES)
        told = found.length == HELLO_BYTES + 2 + length + HOME_BYTES
        if length <= MEMBER_PLACE_MAX and (told or found.length == HELLO_BYTES + 2 + length):
            place.assign(<const char *>at + HELLO_BYTES + 2, length)
            if told:
                home.process = load_le32(at + HELLO_BYTES + 2 + length)
                home.started = load_le64(at + HELLO_BYTES + 2 + length + 4)
    if load_le64(at + 33) != it.id or id == it.id or (connection.peer and connection.peer != id):
        return refuse_saying(it, slot, COUNT_NOT_MEMBER, REFUSAL_RECEIVER, b"another node is wanted than the one that is here", now)
    peer = peer_of(it, id)
    # Whoever knows a newer configuration than ours may have become a member by it, or have got a new incarnation.
    if (peer == NULL or not peer.member) and index <= it.configuration_index:
        return refuse_saying(it, slot, COUNT_NOT_MEMBER, REFUSAL_NOT_MEMBER, b"this node is no member", now)
    if peer != NULL and peer.bound and peer.bound != load_le64(at + 25) and index <= it.configuration_index:
        peer.refusing = REFUSAL_INCARNATION
        peer.incarnation = load_le64(at + 25)
        return refuse_saying(
            it, slot, COUNT_NOT_MEMBER, REFUSAL_INCARNATION,
            b"this member had other data: remove it, and add it again with its empty directory", now,
        )
    if peer == NULL:
        if not connection.incoming or not maybe_member(it, id, &place, now):
            return refuse(it, slot, COUNT_NOT_MEMBER, now)
        peer = peer_of(it, id)
    peer.incarnation = load_le64(at + 25)
    peer.refusing = 0
    peer.place = place
    connection.state = OPEN
    connection.deadline = 0
    if home.process:
        home.slot = slot
        home.generation = connection.generation
        it.near.push_back(home)
    if not connection.incoming:
        peer.backoff = 0
        peer.refused = 0
        reach_made(peer)
        it.counters[COUNT_CONNECTED] += 1
        return 0
    it.strangers -= 1
    connection.peer = id
    old = peer.incoming
    peer.incoming = <int>slot
    if old >= 0:
        # It connected anew. What is left of the old one is not read, and may have been an answer.
        close_slot(it, old, now)
        peer.unheard = True
    if peer.outgoing < 0:
        peer.retry_at = now       # it is there: do not wait for our turn
        peer.backoff = 0
    return queue_hello(it, slot, id)


cdef int take_refusal(Peers *it, uint64_t id, const uint8_t *at, size_t length) except -1 nogil:
    """A member tells that it does not count this node as one."""
    cdef Peer *peer = peer_of(it, id)
    if peer == NULL or length < 2 or length != 10 + <size_t>at[1]:
        return 0
    peer.refused = at[0]
    peer.refused_at = load_le64(at + 2 + at[1])
    return 0


# Receiving ---------------------------------------------------------------------------------------------------------------


cdef int connection_room(Connection *it) noexcept nogil:
    """Room behind what was received. Memory grows with the bytes that came, not with what they claim. -1: no memory."""
    cdef uint32_t left = it.end - it.begin
    cdef uint32_t size
    cdef buffer *made
    if it.chunk != NULL and left == 0 and buffer_references(it.chunk) == 1:
        it.begin = it.end = 0
    if (it.chunk != NULL and it.chunk.length - it.end >= min(<uint32_t>CHUNK_ROOM, it.chunk.length // 2)
            and (it.state != OPEN or it.chunk.length >= CHUNK_BYTES)):
        return 0
    size = CHUNK_BYTES if it.state == OPEN else CHUNK_FIRST
    if left and it.need > size:
        size = min(it.need, max(size, 2 * left))
    while size - left < size // 2 and size < it.need + CHUNK_BYTES:
        size *= 2
    made = buffer_new(size)
    if made == NULL:
        return -1
    if left:
        memcpy(made.bytes, it.chunk.bytes + it.begin, left)
    buffer_release(it.chunk)
    it.chunk = made
    it.begin = 0
    it.end = left
    return 0


cdef int receive(Peers *it, uint32_t slot, uint64_t now) except -1 nogil:
    cdef Connection *connection = &it.connections[slot]
    cdef int64_t count
    cdef int i
    cdef uint32_t room
    for i in range(READS_PER_EVENT):
        if connection_room(connection) < 0:
            return close_slot(it, slot, now)
        room = connection.chunk.length - connection.end
        count = net_read(connection.fd, connection.chunk.bytes + connection.end, room)
        if count < 0:
            return close_slot(it, slot, now)
        connection.end += <uint32_t>count
        it.counters[COUNT_BYTES_RECEIVED] += count
        if count < room or connection.state != OPEN:
            return 0
        if connection.end - connection.begin >= CHUNK_BYTES and connection.need <= connection.end - connection.begin:
            return 0  # enough to decode; the rest is reported again
    return 0


cdef int peers_ready(Peers *it, uint64_t token, uint32_t ready, uint64_t now) except -2 nogil:
    cdef uint32_t slot = <uint32_t>token - TOKEN_SLOTS
    cdef Connection *connection = &it.connections[slot]
    if connection.state == SLOT_FREE or connection.generation != <uint32_t>(token >> 32):
        return -1
    if connection.state == CONNECTING:
        if net_connected(connection.fd) != 0:
            close_slot(it, slot, now)
            return -1
        connection.state = GREETING
        connection.deadline = now + HELLO_PATIENCE
        poller_change(it.poll, connection.fd, POLLER_READ)
        queue_hello(it, slot, connection.peer)
        return <int>slot
    if ready & POLLER_WRITE:
        queue_slot(it, slot)
    if ready & (POLLER_READ | POLLER_CLOSED):
        receive(it, slot, now)
    return <int>slot if it.connections[slot].state != SLOT_FREE else -1


cdef int take_message(Peers *it, uint32_t slot, const frame *found, Message *message) except -1 nogil:
    """1 if the frame is a message of the peer that this connection belongs to."""
    cdef Connection *connection = &it.connections[slot]
    cdef buffer *own
    cdef Py_ssize_t size
    if found.kind != KIND_RAFT or not connection.incoming or found.length < 3:
        return 0
    if found.length < COPY_BELOW and found.payload[2] in (APPEND_ENTRIES, FORWARD_PROPOSAL):
        # A small entry must not keep a whole chunk alive for as long as it is in the log.
        own = buffer_from(found.payload, found.length)
        if own == NULL:
            return 0
        size = message_decode(own, 0, found.length, message)
        buffer_release(own)
    else:
        size = message_decode(
            connection.chunk, <uint32_t>(found.payload - <const uint8_t *>connection.chunk.bytes), found.length, message
        )
    return size == <Py_ssize_t>found.length and message.sender == connection.peer and message.group == found.group


cdef int peers_next(Peers *it, uint32_t slot, uint64_t now, Message *message) except -1 nogil:
    """The next message that is whole: 1, 2 for a frame of another kind, or 0 if there is none. ``message`` comes in empty."""
    cdef Connection *connection = &it.connections[slot]
    cdef frame found
    cdef size_t size
    cdef int status
    while connection.state != SLOT_FREE and connection.begin < connection.end:
        status = frame_decode(
            connection.chunk.bytes + connection.begin, connection.end - connection.begin,
            it.payload_max if connection.state == OPEN else HELLO_BOUND, &found, &size,
        )
        if status == FRAME_MORE:
            connection.need = <uint32_t>size
            if connection.deadline == 0:
                connection.deadline = now + FRAME_PATIENCE
            return 0
        if status != FRAME_WHOLE:
            refuse(it, slot, COUNT_STRANGER if status == FRAME_STRANGER else COUNT_NEWER if status == FRAME_NEWER
                   else COUNT_TOO_LARGE if status == FRAME_TOO_LARGE else COUNT_DAMAGED, now)
            return 0
        if found.kind == KIND_CLIENT and connection.incoming and connection.state == GREETING:
            # Not a member: whoever takes it over decodes it again.
            connection.state = ARRIVED
            it.visitors.push_back(slot)
            return 0
        connection.begin += <uint32_t>size
        connection.need = 0
        if connection.state != OPEN:
            take_hello(it, slot, &found, now)
            continue
        if connection.incoming:
            connection.deadline = 0
        if connection.incoming and (
            found.kind == KIND_RENEW or found.kind == KIND_RENEWED or found.kind == KIND_ASK or found.kind == KIND_ANSWER
            or found.kind == KIND_REFUSAL or found.kind == KIND_GOODBYE
        ):
            it.other_kind = found.kind
            it.other = found.payload
            it.other_length = found.length
            return 2
        if take_message(it, slot, &found, message) != 1:
            refuse(it, slot, COUNT_DAMAGED, now)
            return 0
        it.counters[COUNT_RECEIVED] += 1
        return 1
    return 0


# Sending -----------------------------------------------------------------------------------------------------------------


cdef int peers_send(Peers *it, const Message *message, uint64_t now) except -1 nogil:
    """Encodes behind what waits already; everything of one turn leaves with one system call."""
    cdef Peer *peer = peer_of(it, message.receiver)
    cdef Connection *connection
    cdef frame_part part
    cdef size_t start
    if peer == NULL:
        it.counters[COUNT_DROPPED] += 1
        return PEERS_UNCONNECTED
    if peer.outgoing < 0 or it.connections[peer.outgoing].state != OPEN:
        it.counters[COUNT_DROPPED] += 1
        peer.lost = True
        return PEERS_UNCONNECTED
    connection = &it.connections[peer.outgoing]
    start = connection.out.size()
    if start - connection.sent > OUTPUT_MAX:
        it.counters[COUNT_DROPPED] += 1
        peer.lost = True
        return PEERS_FULL
    connection.out.resize(start + FRAME_HEADER)
    message_encode(message, &connection.out)
    part.bytes = connection.out.data() + start + FRAME_HEADER
    part.length = connection.out.size() - start - FRAME_HEADER
    if part.length > it.payload_max:
        connection.out.resize(start)
        it.counters[COUNT_DROPPED] += 1
        return PEERS_FULL
    frame_encode(connection.out.data() + start, KIND_RAFT, message.group, &part, 1)
    it.counters[COUNT_SENT] += 1
    queue_slot(it, peer.outgoing)
    return PEERS_QUEUED


cdef int peers_frame(Peers *it, uint64_t to, uint8_t kind, const uint8_t *payload, size_t length) except -1 nogil:
    cdef Peer *peer = peer_of(it, to)
    cdef Connection *connection
    cdef frame_part part
    cdef size_t start
    if peer == NULL or peer.outgoing < 0 or it.connections[peer.outgoing].state != OPEN:
        return PEERS_UNCONNECTED
    connection = &it.connections[peer.outgoing]
    start = connection.out.size()
    if start - connection.sent > OUTPUT_MAX:
        return PEERS_FULL
    connection.out.resize(start + FRAME_HEADER + length)
    if length:
        memcpy(connection.out.data() + start + FRAME_HEADER, payload, length)
    part.bytes = payload
    part.length = length
    frame_encode(connection.out.data() + start, kind, 0, &part, 1)
    queue_slot(it, peer.outgoing)
    return PEERS_QUEUED


cdef void answer_lost(Peers *it, uint64_t to) noexcept nogil:
    cdef Peer *peer = peer_of(it, to)
    if peer != NULL:
        peer.answers_lost = True


cdef int peers_damaged(Peers *it, uint32_t slot, uint64_t now) except -1 nogil:
    return refuse(it, slot, COUNT_DAMAGED, now)


cdef int flush_slot(Peers *it, uint32_t slot, uint64_t now) except -1 nogil:
    cdef Connection *connection = &it.connections[slot]
    cdef vector[uint8_t] smaller
    cdef int64_t count
    cdef size_t left
    connection.queued = False
    if connection.state in (SLOT_FREE, CONNECTING):
        return 0
    left = connection.out.size() - connection.sent
    if left == 0:
        return 0
    count = net_write(connection.fd, connection.out.data() + connection.sent, left)
    if count < 0:
        return close_slot(it, slot, now)
    it.counters[COUNT_BYTES_SENT] += count
    connection.sent += count
    if <size_t>count == left:
        connection.out.clear()
        connection.sent = 0
        if connection.out.capacity() > OUTPUT_MAX // 16:
            connection.out.swap(smaller)
        if connection.state == OPEN and not connection.incoming:
            connection.deadline = 0
        poller_change(it.poll, connection.fd, POLLER_READ)
        return 0
    if connection.sent > connection.out.size() // 2:
        connection.out.erase(connection.out.begin(), connection.out.begin() + connection.sent)
        connection.sent = 0
    if connection.state == OPEN and not connection.incoming and (count or connection.deadline == 0):
        connection.deadline = now + OUTPUT_PATIENCE
    poller_change(it.poll, connection.fd, POLLER_READ | POLLER_WRITE)
    return 0


cdef int peers_flush(Peers *it, uint64_t now) except -1 nogil:
    cdef size_t i
    for i in range(it.unsent.size()):
        flush_slot(it, it.unsent[i], now)
    it.unsent.clear()
    return 0


cdef bint peers_troubled(Peers *it) noexcept nogil:
    cdef size_t i
    for i in range(it.members.size()):
        if it.members[i].lost:
            return True
    return not it.gone.empty()


cdef uint64_t peers_queued(Peers *it) noexcept nogil:
    """Bytes that are encoded and not sent."""
    cdef uint64_t total = 0
    cdef size_t i
    for i in range(it.members.size()):
        if it.members[i].outgoing >= 0:
            total += it.connections[it.members[i].outgoing].out.size() - it.connections[it.members[i].outgoing].sent
    return total


cdef uint64_t peers_connected(Peers *it) noexcept nogil:
    """Members that messages can be sent to."""
    cdef uint64_t count = 0
    cdef size_t i
    for i in range(it.members.size()):
        if it.members[i].outgoing >= 0 and it.connections[it.members[i].outgoing].state == OPEN:
            count += 1
    return count
