# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/address.c csrc/net.c csrc/poller.c
"""Membership in a running node: the table of peers follows the configuration in the log, and questions of three kinds are
answered by the leader, to which every other node passes them on: who the members are, change them, hand the office over.

A change is answered when it is committed and applied, and no joint configuration is left of it. One is in flight at a time;
what the leader itself has under way (binding a member's incarnation) is waited for. What is refused says why.

Knows nothing of sockets, and of what waits for a new member to catch up.
"""

from cython.operator cimport dereference, postincrement
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.map cimport map as ordered_map
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._configuration cimport (
    contains,
    incarnation_of,
    is_member,
    is_voter,
    place_of,
)
from quorate.raft._log cimport log_term
from quorate.raft._types cimport (
    ACCEPTED,
    ADD_LEARNER,
    ADD_VOTER,
    CHANGE_IN_FLIGHT,
    LEADER,
    MEMBERS_MAX,
    MOVE_MEMBER,
    NO_COMMIT_IN_TERM,
    PROPOSE_CHANGE,
    REMOVE_MEMBER,
    REPLICATE,
    TRANSFER_LEADERSHIP,
    Change,
    Configuration,
    Core,
    Event,
    Progress,
    Update,
    buffer,
    buffer_from,
)
from quorate.runtime._members cimport *
from quorate.runtime._peers cimport PEERS_QUEUED, answer_lost, peer_of, peers_drop, peers_frame, peers_put, take_refusal
from quorate.runtime._completions cimport request_release
from quorate.runtime._requests cimport loop_answer, outcome_of, request_answer, request_new
from quorate.runtime._structs cimport *
from quorate.runtime._wire cimport *

ctypedef ordered_map[uint64_t, Managed].iterator managed_iterator
ctypedef ordered_map[uint64_t, Passed].iterator passed_iterator

cdef enum:
    ASKED_MAX = 256        # questions of other members that are not answered
    CATCH_UP_ENTRIES = 4096  # a learner that lacks more is not promoted
    # Body of REQUEST_CHANGE: u8 flags, u16 how many, each: u8 what, u64 id, u8 + name, u8 + address.
    FORCE = 1              # flag: remove also where too few of those that stay answer
    CHANGE_ADD = 1
    CHANGE_PROMOTE = 2
    CHANGE_REMOVE = 3
    CHANGE_MOVE = 4
    CHANGE_DEMOTE = 5
    CHANGES_MAX = 128
    # Flags of a member in the answer to REQUEST_MEMBERS.
    FLAG_VOTER = 1
    FLAG_LEAVING = 2       # a voter of the old half of a joint configuration
    FLAG_CONNECTED = 4
    FLAG_SELF = 8
    FLAG_KNOWN = 16        # match and silence are the leader's, and mean something
    FLAG_REFUSED = 32      # its incarnation is not the one that its id is bound to

cdef uint64_t TICK = 50000  # microseconds between looks at a transfer that is under way


# Bytes -------------------------------------------------------------------------------------------------------------------


cdef int put8(string *out, uint8_t x) except -1 nogil:
    out.append(<const char *>&x, 1)
    return 0


cdef int put16(string *out, uint16_t x) except -1 nogil:
    cdef uint8_t[2] bytes
    store_le16(bytes, x)
    out.append(<const char *>bytes, 2)
    return 0


cdef int put32(string *out, uint32_t x) except -1 nogil:
    cdef uint8_t[4] bytes
    store_le32(bytes, x)
    out.append(<const char *>bytes, 4)
    return 0


cdef int put64(string *out, uint64_t x) except -1 nogil:
    cdef uint8_t[8] bytes
    store_le64(bytes, x)
    out.append(<const char *>bytes, 8)
    return 0


cdef int place_part(const string *place, bint address, string *out) except -1 nogil:
    """The name in a place (u8 + name, u8 + address), or the address; empty if it has none."""
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


cdef const string *known_place(Loop *it, const Configuration *who, uint64_t id) noexcept nogil:
    """As the configuration says, else as the list at the start."""
    cdef const string *found = place_of(who, id)
    if found == NULL and it.members.given.count(id):
        return &it.members.given[id]
    return found


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
    place_part(place_of(who, id), True, &address)
    if not address.empty():
        addresses.push_back(address)
    if it.members.given.count(id):
        # Where all members were moved at once, only the lists that they were started with say where they are now.
        place_part(&it.members.given[id], True, &address)
        if not address.empty() and (addresses.empty() or addresses[0] != address):
            addresses.push_back(address)
    return peers_put(&it.peers, id, incarnation_of(who, id), &addresses, now)


cdef int members_follow(Loop *it) except -1 nogil:
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
    place = known_place(it, who, core.id)
    if place != NULL:
        it.peers.place = place[0]
    it.members.seen_index = core.configuration_index
    it.members.settled = committed == newest and who.outgoing.empty()
    return publish_roster(it)


cdef int publish_roster(Loop *it) except -1 nogil:
    cdef string made
    describe(it, &made, False)
    pthread_mutex_lock(&it.lock)
    it.members.roster.swap(made)
    it.members.version += 1
    pthread_mutex_unlock(&it.lock)
    return judge_standing(it)


cdef int judge_standing(Loop *it) except -1 nogil:
    """What this node is in the cluster. Who was told by a newer configuration than its own that it is no member believes it."""
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
    cdef const string *place = known_place(it, who, id)
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
    place_part(place, False, &part)
    put8(out, <uint8_t>part.size())
    out.append(part)
    place_part(place, True, &part)
    put8(out, <uint8_t>part.size())
    out.append(part)
    put8(out, flags)
    put64(out, incarnation_of(who, id))
    put64(out, match)
    put64(out, it.core.now - heard if heard and heard < it.core.now else 0)
    return 0


cdef int members_of(const Configuration *who, vector[uint64_t] *ids) except -1 nogil:
    cdef size_t i
    ids[0] = who.incoming
    for i in range(who.outgoing.size()):
        if not contains(ids, who.outgoing[i]):
            ids.push_back(who.outgoing[i])
    for i in range(who.learners.size()):
        ids.push_back(who.learners[i])
    return 0


cdef int describe(Loop *it, string *out, bint leads) except -1 nogil:
    """The answer to REQUEST_MEMBERS: u64 index of the configuration, u64 leader, u64 last index, u8 joint, u16 members, each:
    u64 id, u8 + name, u8 + address, u8 flags, u64 incarnation, u64 match index, u64 microseconds without a word of it."""
    cdef Configuration *who = &it.core.log.configurations.back().second
    cdef vector[uint64_t] ids
    cdef size_t i
    members_of(who, &ids)
    put64(out, it.core.configuration_index)
    put64(out, it.leader)
    put64(out, it.core.log.last_index)
    put8(out, 0 if who.outgoing.empty() else 1)
    put16(out, <uint16_t>ids.size())
    for i in range(ids.size()):
        describe_one(it, out, who, ids[i], leads)
    return 0


# Answers -----------------------------------------------------------------------------------------------------------------


cdef int answer_text(Loop *it, Request *request, uint8_t outcome, const string *words) except -1 nogil:
    loop_answer(it, request, outcome, 0, buffer_from(words.data(), <uint32_t>words.size()))
    return 0


cdef int reject(Loop *it, Request *request, const char *words) except -1 nogil:
    cdef string text
    text.assign(words)
    return answer_text(it, request, OUTCOME_REJECTED, &text)


cdef void member_answered(Request *request) noexcept nogil:
    """Of a request that another member passed on: keeps it until the end of the turn, when a frame is made of it."""
    cdef Loop *it = <Loop *>request.asker
    request.next = it.members.answered
    it.members.answered = request


cdef int send_answers(Loop *it) except -1 nogil:
    cdef Request *at = it.members.answered
    cdef Request *next
    cdef string payload
    it.members.answered = NULL
    while at != NULL:
        next = at.next
        it.members.asked -= 1
        payload.clear()
        put64(&payload, load_le64(at.command.bytes))  # the asker's number: see members_frame
        put8(&payload, at.outcome)
        put64(&payload, at.index)
        put64(&payload, at.term)
        put64(&payload, at.leader)
        if at.result != NULL:
            payload.append(<const char *>at.result.bytes, at.result.length)
        if peers_frame(&it.peers, at.tag, KIND_ANSWER, <const uint8_t *>payload.data(), payload.size()) != PEERS_QUEUED:
            answer_lost(&it.peers, at.tag)
        request_release(at)
        at = next
    return 0


# Questions ---------------------------------------------------------------------------------------------------------------


cdef inline const uint8_t *body_of(const Request *request, size_t *length) noexcept nogil:
    """What is asked. Of another member's request, behind its number."""
    cdef size_t front = 8 if request.then == member_answered else 0
    if request.command == NULL or request.command.length < front:
        length[0] = 0
        return NULL
    length[0] = request.command.length - front
    return <const uint8_t *>request.command.bytes + front


cdef int members_take(Loop *it, Request *request, step_function step) except -1 nogil:
    cdef size_t length = 0
    cdef const uint8_t *body = body_of(request, &length)
    if request.kind == REQUEST_MEMBERS and length == 1 and body[0] == 1:
        return answer_members(it, request)  # this node's own view, which may be old
    if it.role == LEADER:
        if request.kind == REQUEST_MEMBERS:
            return answer_members(it, request)
        if request.kind == REQUEST_TRANSFER:
            return transfer(it, request, body, length, step)
        return change(it, request, body, length, step)
    if it.leader == 0:
        loop_answer(it, request, OUTCOME_NO_LEADER, 0, NULL)
        return 0
    if request.then == member_answered:
        loop_answer(it, request, OUTCOME_NOT_LEADER, 0, NULL)  # the asker finds out who leads; nothing goes round in circles
        return 0
    return pass_on(it, request, body, length)


cdef int answer_members(Loop *it, Request *request) except -1 nogil:
    cdef string out
    describe(it, &out, it.role == LEADER)
    return answer_text(it, request, OUTCOME_DONE, &out)


cdef int pass_on(Loop *it, Request *request, const uint8_t *body, size_t length) except -1 nogil:
    cdef uint64_t id = it.next_id
    cdef uint64_t now = clock_microseconds()
    cdef string payload
    cdef Passed *made
    it.next_id += 1
    put64(&payload, id)
    put32(&payload, <uint32_t>(min(request.expires_at - now, <uint64_t>3600000000) // 1000) if request.expires_at > now else 0)
    put8(&payload, request.kind)
    payload.append(<const char *>body, length)
    if peers_frame(&it.peers, it.leader, KIND_ASK, <const uint8_t *>payload.data(), payload.size()) != PEERS_QUEUED:
        loop_answer(it, request, OUTCOME_NO_LEADER, 0, NULL)
        return 0
    made = &it.members.passed[id]
    made.request = request
    made.leader = it.leader
    return 0


cdef int members_frame(
    Loop *it, uint64_t peer, uint8_t kind, const uint8_t *at, size_t length, step_function step
) except -1 nogil:
    cdef Request *request
    cdef buffer *body
    cdef string copy
    cdef passed_iterator found
    if kind == KIND_REFUSAL:
        take_refusal(&it.peers, peer, at, length)
        judge_standing(it)
        return 1
    if kind == KIND_ASK:
        if length < 13 or at[12] < REQUEST_MEMBERS or at[12] > REQUEST_TRANSFER or length > 65536:
            return 0
        if it.members.asked >= ASKED_MAX:
            return 1  # it will ask again, or give up
        copy.append(<const char *>at, 8)
        copy.append(<const char *>at + 13, length - 13)
        body = buffer_from(copy.data(), <uint32_t>copy.size())
        if body == NULL:
            return 1
        request = request_new(at[12], body, clock_microseconds() + <uint64_t>load_le32(at + 8) * 1000)
        request_release(request)  # nobody holds it but the loop
        request.then = member_answered
        request.asker = it
        request.tag = peer
        it.pending += 1
        it.members.asked += 1
        members_take(it, request, step)
        return 1
    if kind == KIND_ANSWER:
        if length < 33:
            return 0
        found = it.members.passed.find(load_le64(at))
        if found == it.members.passed.end() or dereference(found).second.leader != peer:
            return 1
        request = dereference(found).second.request
        it.members.passed.erase(found)
        body = buffer_from(at + 33, <uint32_t>(length - 33)) if length > 33 else NULL
        it.pending -= 1
        request_answer(request, at[8], load_le64(at + 9), load_le64(at + 17), load_le64(at + 25), body)
        return 1
    return 0


cdef int members_lost(Loop *it, uint64_t peer, bint proven) except -1 nogil:
    cdef passed_iterator at = it.members.passed.begin()
    cdef Request *request
    while at != it.members.passed.end():
        if dereference(at).second.leader != peer:
            postincrement(at)
            continue
        request = dereference(at).second.request
        it.members.passed.erase(postincrement(at))
        loop_answer(it, request, OUTCOME_NO_LEADER if proven or request.kind == REQUEST_MEMBERS else OUTCOME_CONNECTION_LOST, 0, NULL)
    return 0


# The leader decides ------------------------------------------------------------------------------------------------------


cdef bint alive(Core *core, uint64_t id) noexcept nogil:
    """Whether the leader heard of a member lately."""
    cdef ordered_map[uint64_t, Progress].iterator found
    if id == core.id:
        return True
    found = core.progress.find(id)
    if found == core.progress.end():
        return False
    return core.now - min(core.now, dereference(found).second.last_response) <= core.settings.election_timeout_max


cdef int objection(Loop *it, const vector[Change] *changes, uint8_t flags, string *why) except -1 nogil:
    """Why the changes are not made, in words; nothing if they may be."""
    cdef Core *core = it.core
    cdef Configuration *who = &core.log.configurations.back().second
    cdef ordered_map[uint64_t, Progress].iterator progress
    cdef const Change *one
    cdef string name, other
    cdef vector[uint64_t] voters
    cdef size_t i, j, answering = 0
    cdef bint removes = False
    cdef uint64_t most = who.incoming.size() + who.learners.size()
    cdef vector[uint64_t] ids
    members_of(who, &ids)
    for i in range(changes.size()):
        one = &changes[0][i]
        if one.type == ADD_LEARNER and not one.place.empty():
            most += 1
            place_part(&one.place, False, &name)
            if is_member(who, one.id):
                why.assign(b"a member of this id is there already; remove it first if it was replaced")
                return 0
            for j in range(ids.size()):
                place_part(known_place(it, who, ids[j]), False, &other)
                if other == name:
                    why.assign(b"a member of this name is there already; remove it first if it was replaced")
                    return 0
        elif not is_member(who, one.id):
            why.assign(b"there is no such member")
            return 0
        elif one.type == ADD_VOTER:
            if is_voter(who, one.id):
                why.assign(b"it votes already")
                return 0
            progress = core.progress.find(one.id)
            if (progress == core.progress.end() or dereference(progress).second.mode != REPLICATE
                    or dereference(progress).second.match_index + CATCH_UP_ENTRIES < core.log.last_index):
                why.assign(b"it has not caught up with the log yet; promote it when it has")
                return 0
        elif one.type == REMOVE_MEMBER or one.type == ADD_LEARNER:
            removes = removes or is_voter(who, one.id)
    if most > MEMBERS_MAX:
        why.assign(b"there are as many members as there can be")
        return 0
    voters = who.incoming
    for i in range(changes.size()):
        one = &changes[0][i]
        for j in range(voters.size()):
            if voters[j] == one.id and (one.type == REMOVE_MEMBER or one.type == ADD_LEARNER):
                voters.erase(voters.begin() + j)
                break
        if one.type == ADD_VOTER:
            voters.push_back(one.id)
    if voters.empty():
        why.assign(b"the last member that votes cannot go")
        return 0
    for i in range(voters.size()):
        answering += alive(core, voters[i])
    if removes and not flags & FORCE and answering * 2 <= voters.size():
        why.assign(b"too few of the members that would stay answer, so that nothing could be decided any more; "
                   b"bring them back or remove them first")
    return 0


cdef const uint8_t *read_text(const uint8_t *at, const uint8_t *end, string *out) noexcept nogil:
    """Past a u8 and its bytes; NULL if they are not there."""
    if at == NULL or at >= end or <size_t>(end - at) < 1 + <size_t>at[0]:
        return NULL
    out.assign(<const char *>at + 1, at[0])
    return at + 1 + at[0]


cdef int read_changes(Loop *it, const uint8_t *body, size_t length, vector[Change] *changes, string *why) except -1 nogil:
    """The changes of a body, or why it is none."""
    cdef const uint8_t *at = body + 3
    cdef const uint8_t *end = body + length
    cdef Configuration *who = &it.core.log.configurations.back().second
    cdef net_address number
    cdef char[ADDRESS_HOST_MAX + 1] host
    cdef uint16_t port = 0
    cdef uint8_t what
    cdef size_t i, count
    cdef string name, address
    cdef Change one
    why.assign(b"the body of the change is malformed")
    if length < 3 or load_le16(body + 1) == 0 or load_le16(body + 1) > CHANGES_MAX:
        return 0
    count = load_le16(body + 1)
    for i in range(count):
        if end - at < 9:
            return 0
        what = at[0]
        one = Change()
        one.id = load_le64(at + 1)
        at = read_text(at + 9, end, &name)
        at = read_text(at, end, &address)
        if at == NULL:
            return 0
        if one.id == 0:
            why.assign(b"an id is at least 1")
            return 0
        if what == CHANGE_ADD or what == CHANGE_MOVE:
            if address_parse(address.data(), address.size(), &number, host, &port) == ADDRESS_NONE:
                why.assign(b"the address is none; write host:port, [IPv6]:port or unix:/path")
                return 0
            if what == CHANGE_MOVE and name.empty():
                place_part(known_place(it, who, one.id), False, &name)
            if name.empty():
                why.assign(b"a member has a name")
                return 0
            put8(&one.place, <uint8_t>name.size())
            one.place.append(name)
            put8(&one.place, <uint8_t>address.size())
            one.place.append(address)
        if what == CHANGE_ADD or what == CHANGE_DEMOTE:
            one.type = ADD_LEARNER
        elif what == CHANGE_PROMOTE:
            one.type = ADD_VOTER
        elif what == CHANGE_REMOVE:
            one.type = REMOVE_MEMBER
        elif what == CHANGE_MOVE:
            one.type = MOVE_MEMBER
        else:
            return 0
        changes.push_back(one)
    if at != end:
        return 0
    why.clear()
    return 0


cdef int change(Loop *it, Request *request, const uint8_t *body, size_t length, step_function step) except -1 nogil:
    cdef uint64_t id
    cdef Managed *made
    cdef string why
    cdef managed_iterator at = it.members.managed.begin()
    cdef vector[Change] changes
    read_changes(it, body, length, &changes, &why)
    if not why.empty():
        return answer_text(it, request, OUTCOME_MALFORMED, &why)
    while at != it.members.managed.end():
        if dereference(at).second.request.kind == REQUEST_CHANGE:
            return reject(it, request, b"another change of members is under way; ask again when it is done")
        postincrement(at)
    objection(it, &changes, body[0], &why)
    if not why.empty():
        return answer_text(it, request, OUTCOME_REJECTED, &why)
    id = it.next_id
    it.next_id += 1
    made = &it.members.managed[id]
    made.request = request
    made.changes.swap(changes)
    return propose(it, id, step)


cdef int propose(Loop *it, uint64_t id, step_function step) except -1 nogil:
    cdef Event event
    cdef Managed *what = &it.members.managed[id]
    what.proposed = True
    event.type = PROPOSE_CHANGE
    event.id = id
    event.changes = what.changes
    return step(it, &event)


cdef int transfer(Loop *it, Request *request, const uint8_t *body, size_t length, step_function step) except -1 nogil:
    """To the one that is asked for, or to the one whose log is the longest of those that answer (dissertation §3.10)."""
    cdef Core *core = it.core
    cdef ordered_map[uint64_t, Progress].iterator at = core.progress.begin()
    cdef Event event
    cdef uint64_t target = load_le64(body) if length == 8 else 0
    cdef uint64_t best = 0
    cdef Peer *peer
    cdef string why
    if length != 8:
        why.assign(b"the body of a transfer is an id")
        return answer_text(it, request, OUTCOME_MALFORMED, &why)
    if target == core.id:
        loop_answer(it, request, OUTCOME_DONE, 0, NULL)
        return 0
    while target == 0 and at != core.progress.end():
        peer = peer_of(&it.peers, dereference(at).first)
        if (contains(&core.log.configurations.back().second.incoming, dereference(at).first) and peer != NULL
                and peer.outgoing >= 0 and alive(core, dereference(at).first)
                and (best == 0 or dereference(at).second.match_index > core.progress[best].match_index)):
            best = dereference(at).first
        postincrement(at)
    target = target if target else best
    if target == 0:
        return reject(it, request, b"no other member that votes answers, so that there is nobody to hand over to")
    if not is_voter(&core.log.configurations.back().second, target):
        return reject(it, request, b"it does not vote, so that it cannot lead")
    event.type = TRANSFER_LEADERSHIP
    event.id = target
    event.ticket = it.next_id
    it.next_id += 1
    it.members.managed[event.ticket].request = request
    it.members.managed[event.ticket].proposed = True
    return step(it, &event)


cdef int members_placed(Loop *it, const Update *update, size_t which) except -1 nogil:
    cdef managed_iterator found = it.members.managed.find(update.proposals[which].id)
    cdef uint8_t status = update.proposals[which].status
    cdef Request *request
    if found == it.members.managed.end():
        return 0
    if status == ACCEPTED:
        dereference(found).second.placed = True
        dereference(found).second.index = update.proposals[which].index
        dereference(found).second.term = update.proposals[which].term
        return 1
    if status == CHANGE_IN_FLIGHT or status == NO_COMMIT_IN_TERM:
        dereference(found).second.proposed = False  # it waits for what the leader itself has under way
        return 1
    request = dereference(found).second.request
    it.members.managed.erase(found)
    loop_answer(it, request, outcome_of(status), 0, NULL)
    return 1


cdef int changed(Loop *it, Managed *what, uint8_t *outcome) noexcept nogil:
    """1 if it is known what became of a change that has its place in the log."""
    cdef uint64_t term = 0
    if what.index > it.applied:
        return 0
    if not log_term(&it.core.log, what.index, &term):
        outcome[0] = OUTCOME_CONNECTION_LOST  # compacted away before it was looked at
        return 1
    if term != what.term:
        outcome[0] = OUTCOME_REPLACED
        return 1
    outcome[0] = OUTCOME_DONE
    return it.members.settled and it.core.log.configurations.back().first <= it.applied


cdef int handed_over(Loop *it, Managed *what, uint8_t *outcome) noexcept nogil:
    outcome[0] = OUTCOME_DONE
    if it.role != LEADER:
        return it.leader != 0
    if it.core.transfer_target:
        return 0
    outcome[0] = OUTCOME_REJECTED
    return 1


cdef int manage(Loop *it, uint64_t now, step_function step) except -1 nogil:
    """Looks what became of changes and transfers."""
    cdef managed_iterator at = it.members.managed.begin()
    cdef Managed *what
    cdef Request *request
    cdef uint64_t id, index
    cdef uint8_t outcome
    cdef bint over
    while at != it.members.managed.end():
        id = dereference(at).first
        what = &dereference(at).second
        request = what.request
        outcome = OUTCOME_PENDING
        index = what.index
        if not what.proposed:
            if it.role != LEADER:
                outcome = OUTCOME_NOT_LEADER if it.leader else OUTCOME_NO_LEADER
            elif request.expires_at <= now:
                outcome = OUTCOME_STALLED
            over = outcome != OUTCOME_PENDING
            if not over and it.members.settled and it.core.commit_index >= it.core.term_start_index:
                postincrement(at)
                propose(it, id, step)
                continue
        elif request.kind == REQUEST_TRANSFER:
            over = handed_over(it, what, &outcome)
        else:
            over = what.placed and changed(it, what, &outcome)
        if not over and what.proposed and request.expires_at <= now:
            outcome = OUTCOME_EXPIRED
            over = True
        if not over:
            postincrement(at)
            continue
        it.members.managed.erase(postincrement(at))
        if outcome == OUTCOME_REJECTED:
            reject(it, request, b"it did not take over in time, and this node goes on leading")
        else:
            loop_answer(it, request, outcome, index if outcome == OUTCOME_DONE else 0, NULL)
    return 0


# Time --------------------------------------------------------------------------------------------------------------------


cdef int members_stepped(Loop *it, const Update *update) except -1 nogil:
    if it.core.configuration_index != it.members.seen_index or (
        not it.members.settled and it.core.commit_index >= it.core.configuration_index
    ):
        members_follow(it)
    return 0


cdef int members_tick(Loop *it, uint64_t now, step_function step) except -1 nogil:
    cdef passed_iterator at = it.members.passed.begin()
    cdef Request *request
    if not it.members.managed.empty():
        manage(it, now, step)
    while at != it.members.passed.end():
        request = dereference(at).second.request
        if request.expires_at > now:
            postincrement(at)
            continue
        it.members.passed.erase(postincrement(at))
        loop_answer(it, request, OUTCOME_EXPIRED, 0, NULL)
    if it.members.answered != NULL:
        send_answers(it)
    return judge_standing(it)


cdef uint64_t members_deadline(Loop *it) noexcept nogil:
    cdef uint64_t due = <uint64_t>-1
    cdef passed_iterator at = it.members.passed.begin()
    while at != it.members.passed.end():
        due = min(due, dereference(at).second.request.expires_at)
        postincrement(at)
    if not it.members.managed.empty():
        due = min(due, it.core.now + TICK)
    return due


cdef int members_goodbye(Loop *it) except -1 nogil:
    """To all others, when this node stops: behind the last answer, so that what has none was never taken in."""
    cdef size_t i
    if not it.members.managed.empty():
        return 0  # a change that is under way has not been answered
    for i in range(it.peers.members.size()):
        if not it.peers.members[i].answers_lost:
            peers_frame(&it.peers, it.peers.members[i].id, KIND_GOODBYE, NULL, 0)
    return 0


cdef void members_stopped(Loop *it) noexcept nogil:
    cdef managed_iterator at = it.members.managed.begin()
    cdef passed_iterator passed = it.members.passed.begin()
    cdef Request *request
    while at != it.members.managed.end():
        loop_answer(it, dereference(at).second.request,
               OUTCOME_STOPPED_AFTER if dereference(at).second.proposed else OUTCOME_STOPPED_BEFORE, 0, NULL)
        postincrement(at)
    it.members.managed.clear()
    while passed != it.members.passed.end():
        loop_answer(it, dereference(passed).second.request, OUTCOME_STOPPED_AFTER, 0, NULL)
        postincrement(passed)
    it.members.passed.clear()
    while it.members.answered != NULL:
        request = it.members.answered
        it.members.answered = request.next
        request_release(request)
