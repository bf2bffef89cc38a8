# Connections to and from the other members; see _peers.pyx.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._types cimport Message
from quorate.runtime._structs cimport Connection, Peer, Peers

cdef enum:
    TOKEN_DISK = 1
    TOKEN_LISTENER = 2
    TOKEN_SLOTS = 16        # + the slot of a connection, in the lower half; its generation is in the upper half
    INCOMING_MAX = 256
    PEERS_UNCONNECTED = 0
    PEERS_QUEUED = 1
    PEERS_FULL = 2

# Room behind what was received, as much as is needed; -1: no memory.
cdef int connection_room(Connection *it) noexcept nogil
# Gives a connection of Peers::visitors away; its descriptor is watched by nobody then.
cdef void peers_hand_over(Peers *it, uint32_t slot, Connection *to) noexcept nogil
cdef Peer *peer_of(Peers *it, uint64_t id) noexcept nogil
cdef int peers_open(Peers *it) except -1 nogil
cdef uint64_t peers_deadline(Peers *it) noexcept nogil
cdef int peers_tick(Peers *it, uint64_t now) except -1 nogil
cdef int peers_accept(Peers *it, uint64_t now) except -1 nogil
# What a ready connection holds: read it, then take messages with peers_next until it says 0. Answers the slot, or -1 if the
# event was for an earlier user of it. 2 instead of 1: `other` of the peers is a frame of a kind that is not the protocol's.
cdef int peers_ready(Peers *it, uint64_t token, uint32_t ready, uint64_t now) except -2 nogil
cdef int peers_next(Peers *it, uint32_t slot, uint64_t now, Message *message) except -1 nogil
# PEERS_QUEUED, or why the message was dropped.
cdef int peers_send(Peers *it, const Message *message, uint64_t now) except -1 nogil
# Queues a frame of another kind than the protocol's: PEERS_QUEUED, or why it was dropped.
cdef int peers_frame(Peers *it, uint64_t to, uint8_t kind, const uint8_t *payload, size_t length) except -1 nogil
# An answer that somebody waits for was not queued: no goodbye to it can prove anything any more.
cdef void answer_lost(Peers *it, uint64_t to) noexcept nogil
# Closes a connection whose frame made no sense.
cdef int peers_damaged(Peers *it, uint32_t slot, uint64_t now) except -1 nogil
# Somebody is a member, bound to an incarnation or to none (0), and may be found at these addresses, tried in turn.
cdef int peers_put(Peers *it, uint64_t id, uint64_t bound, const vector[string] *addresses, uint64_t now) except -1 nogil
# Is none any more: it is told, and forgotten after a while.
cdef int peers_drop(Peers *it, uint64_t id, uint64_t now) except -1 nogil
# A member's words that it does not count this node as one.
cdef int take_refusal(Peers *it, uint64_t id, const uint8_t *at, size_t length) except -1 nogil
cdef int peers_flush(Peers *it, uint64_t now) except -1 nogil
# Whether somebody is gone or lost messages, and the core has not been told.
cdef bint peers_troubled(Peers *it) noexcept nogil
cdef uint64_t peers_queued(Peers *it) noexcept nogil
cdef uint64_t peers_connected(Peers *it) noexcept nogil
cdef void peers_close(Peers *it) noexcept nogil
