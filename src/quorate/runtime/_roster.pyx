# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/address.c csrc/net.c csrc/poller.c
"""Who the members are: the table of peers follows the configuration in the log, and what this node is in the cluster follows
from it and from what the others say.

Knows nothing of sockets, of changes that are under way, and of who asks.
"""

from cython.operator cimport dereference
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libcpp.map cimport map as ordered_map
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._configuration cimport contains, incarnation_of, is_voter, place_of
from quorate.raft._types cimport Configuration, Core, Progress
from quorate.runtime._peers cimport peer_of, peers_drop, peers_put
from quorate.runtime._put cimport put8, put16, put64, put_text
from quorate.runtime._roster cimport *
from quorate.runtime._structs cimport *
from quorate.runtime._wire cimport *

cdef enum:
    # Flags of a member in the answer to REQUEST_MEMBERS.
    FLAG_VOTER = 1
    FLAG_LEAVING = 2       # a voter of the old half of a joint configuration
    FLAG_CONNECTED = 4
    FLAG_SELF = 8
    FLAG_KNOWN = 16        # match and silence are the leader's, and mean something
    FLAG_REFUSED = 32      # its incarnation is not the one that its id is bound to


# Places ------------------------------------------------------------------------------------------------------------------


cdef int roster_part(const string *place, bint address, string *out) except -1 nogil:
    cdef size_t name, length
    out.clear()
    if place == NULL or place.size() < 2:
        return 0
    name = <uint8_t>place[0][0]
    if place.size() < name + 2:
        return 0
    if not address:
        out.assign(place[0], 1, name)
        return 0
    length = <uint8_t>place[0][name + 1]
    if place.size() >= name + 2 + length:
        out.assign(place[0], name + 2, length)
    return 0


cdef const string *roster_place(Loop *it, const Configuration *who, uint64_t id) noexcept nogil:
    cdef const string *found = place_of(who, id)
    if found == NULL and it.members.given.count(id):
        return &it.members.given[id]
    return found


cdef int roster_ids(const Configuration *who, vector[uint64_t] *ids) except -1 nogil:
    cdef size_t i
    ids[0] = who.incoming
    for i in range(who.outgoing.size()):
        if not contains(ids, who.outgoing[i]):
            ids.push_back(who.outgoing[i])
    for i in range(who.learners.size()):
        ids.push_back(who.learners[i])
    return 0


# The table ---------------------------------------------------------------------------------------------------------------


cdef size_t committed_place(const Core *core) noexcept nogil:
    """Of the newest committed configuration in the log's list of them."""
    cdef size_t i = core.log.configurations.size() - 1
    while i and core.log.configurations[i].first > core.commit_index:
        i -= 1
    return i


cdef int follow_one(Loop *it, const Configuration *who, uint64_t id, vector[uint64_t] *seen, uint64_t now) except -1 nogil:
    cdef vector[string] addresses
    cdef string address
    if contains(seen, id):
        return 0
    seen.push_back(id)
    if id == it.core.id:
        return 0
    roster_part(place_of(who, id), True, &address)
    if not address.empty():
        addresses.push_back(address)
    if it.members.given.count(id):
        # Where all members were moved at once, only the lists that they were started with say where they are now.
        roster_part(&it.members.given[id], True, &address)
        if not address.empty() and (addresses.empty() or addresses[0] != address):
            addresses.push_back(address)
    return peers_put(&it.peers, id, incarnation_of(who, id), &addresses, now)


cdef int roster_follow(Loop *it) except -1 nogil:
    cdef Core *core = it.core
    cdef size_t committed = committed_place(core)
    cdef size_t newest = core.log.configurations.size() - 1
    cdef size_t i, j
    cdef Configuration *who
    cdef vector[uint64_t] seen
    cdef vector[uint64_t] gone
    cdef uint64_t now = clock_microseconds()
    cdef const string *place
    it.peers.newest_index = core.log.configurations[newest].first
    it.peers.configuration_index = core.log.configurations[committed].first
    # The newest first, because it rules; the others because it may be undone.
    for i in range(newest - committed + 1):
        who = &core.log.configurations[newest - i].second
        for j in range(who.incoming.size()):
            follow_one(it, who, who.incoming[j], &seen, now)
        for j in range(who.outgoing.size()):
            follow_one(it, who, who.outgoing[j], &seen, now)
        for j in range(who.learners.size()):
            follow_one(it, who, who.learners[j], &seen, now)
    for i in range(it.peers.members.size()):
        if it.peers.members[i].member and not contains(&seen, it.peers.members[i].id):
            gone.push_back(it.peers.members[i].id)
    for i in range(gone.size()):
        peers_drop(&it.peers, gone[i], now)
    who = &core.log.configurations[newest].second
    place = roster_place(it, who, core.id)
    if place != NULL:
        it.peers.place = place[0]
    it.members.seen_index = core.configuration_index
    it.members.settled = committed == newest and who.outgoing.empty()
    return publish(it)


cdef int roster_stepped(Loop *it, const Update *update) except -1 nogil:
    if it.core.configuration_index != it.members.seen_index or (
        not it.members.settled and it.core.commit_index >= it.core.configuration_index
    ):
        roster_follow(it)
    return 0


# What it looks like ------------------------------------------------------------------------------------------------------


cdef int publish(Loop *it) except -1 nogil:
    cdef string made
    roster_describe(it, &made, False)
    pthread_mutex_lock(&it.lock)
    it.members.roster.swap(made)
    it.members.version += 1
    pthread_mutex_unlock(&it.lock)
    return roster_judge(it)


cdef int roster_judge(Loop *it) except -1 nogil:
    cdef Configuration *who = &it.core.log.configurations.back().second
    cdef uint64_t id = it.core.id
    cdef uint8_t standing = STANDING_VOTER
    cdef size_t i
    cdef bint aside = False
    if not is_voter(who, id):
        standing = STANDING_LEARNER
        if not contains(&who.learners, id):
            standing = STANDING_JOINING if it.core.configuration_index == 0 or who.incoming.empty() else STANDING_REMOVED
    for i in range(it.peers.members.size()):
        if it.peers.members[i].refused_at <= it.peers.newest_index:
            continue
        if it.peers.members[i].refused == REFUSAL_INCARNATION:
            standing = STANDING_REFUSED
            aside = True
        elif it.peers.members[i].refused == REFUSAL_NOT_MEMBER and standing < STANDING_JOINING:
            standing = STANDING_REMOVED
            aside = True
    it.core.aside = aside
    if standing != it.members.standing:
        pthread_mutex_lock(&it.lock)
        it.members.standing = standing
        pthread_mutex_unlock(&it.lock)
    return 0


cdef int describe_one(Loop *it, string *out, const Configuration *who, uint64_t id, bint leads) except -1 nogil:
    cdef ordered_map[uint64_t, Progress].iterator progress = it.core.progress.end()
    cdef Peer *peer = peer_of(&it.peers, id)
    cdef string part
    cdef const string *place = roster_place(it, who, id)
    cdef uint8_t flags = 0
    cdef uint64_t match = 0, heard = 0
    if contains(&who.incoming, id):
        flags |= FLAG_VOTER
    elif contains(&who.outgoing, id):
        flags |= FLAG_LEAVING
    if id == it.core.id:
        flags |= FLAG_SELF | FLAG_CONNECTED | FLAG_KNOWN
        match = it.core.persisted_index
        heard = it.core.now
    elif peer != NULL:
        if peer.outgoing >= 0 and it.peers.connections[peer.outgoing].state == OPEN:
            flags |= FLAG_CONNECTED
        if peer.refusing == REFUSAL_INCARNATION:
            flags |= FLAG_REFUSED
    if leads and id != it.core.id:
        progress = it.core.progress.find(id)
        if progress != it.core.progress.end():
            flags |= FLAG_KNOWN
            match = dereference(progress).second.match_index
            heard = dereference(progress).second.last_response
    put64(out, id)
    roster_part(place, False, &part)
    put_text(out, &part)
    roster_part(place, True, &part)
    put_text(out, &part)
    put8(out, flags)
    put64(out, incarnation_of(who, id))
    put64(out, match)
    put64(out, it.core.now - heard if heard and heard < it.core.now else 0)
    return 0


cdef int roster_describe(Loop *it, string *out, bint leads) except -1 nogil:
    cdef Configuration *who = &it.core.log.configurations.back().second
    cdef vector[uint64_t] ids
    cdef size_t i
    roster_ids(who, &ids)
    put64(out, it.core.configuration_index)
    put64(out, it.leader)
    put64(out, it.core.log.last_index)
    put8(out, 0 if who.outgoing.empty() else 1)
    put16(out, <uint16_t>ids.size())
    for i in range(ids.size()):
        describe_one(it, out, who, ids[i], leads)
    return 0
