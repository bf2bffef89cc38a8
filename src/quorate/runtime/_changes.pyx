# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/address.c csrc/net.c csrc/poller.c
"""What a leader is asked to do with its members: change them, or hand the office over.

A change is answered when it is committed and applied, and no joint configuration is left of it. One is in flight at a time;
what the leader itself has under way (binding a member's incarnation) is waited for. What is refused says why.

Knows nothing of who asks, and of what waits for a new member to catch up.
"""

from cython.operator cimport dereference, postincrement
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libcpp.map cimport map as ordered_map
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._configuration cimport contains, is_member, is_voter
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
    buffer_from,
)
from quorate.runtime._changes cimport *
from quorate.runtime._peers cimport peer_of
from quorate.runtime._put cimport put_text
from quorate.runtime._requests cimport loop_answer, outcome_of
from quorate.runtime._roster cimport roster_ids, roster_part, roster_place
from quorate.runtime._structs cimport *

ctypedef ordered_map[uint64_t, Managed].iterator managed_iterator

cdef enum:
    CATCH_UP_ENTRIES = 4096  # a learner that lacks more is not promoted
    # Body of REQUEST_CHANGE: u8 flags, u16 how many, each: u8 what, u64 id, u8 + name, u8 + address.
    FORCE = 1              # flag: remove also where too few of those that stay answer
    CHANGE_ADD = 1
    CHANGE_PROMOTE = 2
    CHANGE_REMOVE = 3
    CHANGE_MOVE = 4
    CHANGE_DEMOTE = 5
    CHANGES_MAX = 128


cdef int answer_text(Loop *it, Request *request, uint8_t outcome, const string *words) except -1 nogil:
    loop_answer(it, request, outcome, 0, buffer_from(words.data(), <uint32_t>words.size()))
    return 0


cdef int reject(Loop *it, Request *request, const char *words) except -1 nogil:
    cdef string text
    text.assign(words)
    return answer_text(it, request, OUTCOME_REJECTED, &text)


cdef bint alive(Core *core, uint64_t id) noexcept nogil:
    """Whether the leader heard of a member lately."""
    cdef ordered_map[uint64_t, Progress].iterator found
    if id == core.id:
        return True
    found = core.progress.find(id)
    if found == core.progress.end():
        return False
    return core.now - min(core.now, dereference(found).second.last_response) <= core.settings.election_timeout_max


# Whether it may be -------------------------------------------------------------------------------------------------------


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
                roster_part(roster_place(it, who, one.id), False, &name)
            if name.empty():
                why.assign(b"a member has a name")
                return 0
            put_text(&one.place, &name)
            put_text(&one.place, &address)
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
    roster_ids(who, &ids)
    for i in range(changes.size()):
        one = &changes[0][i]
        if one.type == ADD_LEARNER and not one.place.empty():
            most += 1
            roster_part(&one.place, False, &name)
            if is_member(who, one.id):
                why.assign(b"a member of this id is there already; remove it first if it was replaced")
                return 0
            for j in range(ids.size()):
                roster_part(roster_place(it, who, ids[j]), False, &other)
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


# What is asked -----------------------------------------------------------------------------------------------------------


cdef int changes_take(Loop *it, Request *request, const uint8_t *body, size_t length, step_function step) except -1 nogil:
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


cdef int changes_transfer(Loop *it, Request *request, const uint8_t *body, size_t length, step_function step) except -1 nogil:
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


# What becomes of it ------------------------------------------------------------------------------------------------------


cdef int changes_placed(Loop *it, const Update *update, size_t which) except -1 nogil:
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


cdef int changes_tick(Loop *it, uint64_t now, step_function step) except -1 nogil:
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


cdef void changes_stopped(Loop *it) noexcept nogil:
    cdef managed_iterator at = it.members.managed.begin()
    while at != it.members.managed.end():
        loop_answer(it, dereference(at).second.request,
               OUTCOME_STOPPED_AFTER if dereference(at).second.proposed else OUTCOME_STOPPED_BEFORE, 0, NULL)
        postincrement(at)
    it.members.managed.clear()
