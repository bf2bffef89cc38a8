# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/poller.c
"""Questions about members of a running node, of three kinds: who they are, change them, hand the office over. The leader answers
them (_roster.pyx, _changes.pyx); every other node passes them on to it, and its answer back.

Knows nothing of sockets, and of what a change needs.
"""

from cython.operator cimport dereference, postincrement
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.map cimport map as ordered_map
from libcpp.string cimport string

from quorate.raft._types cimport LEADER, buffer, buffer_from
from quorate.runtime._changes cimport changes_stopped, changes_take, changes_tick, changes_transfer
from quorate.runtime._completions cimport request_release
from quorate.runtime._members cimport *
from quorate.runtime._peers cimport PEERS_QUEUED, answer_lost, peers_frame, take_refusal
from quorate.runtime._put cimport put8, put32, put64
from quorate.runtime._requests cimport loop_answer, request_answer, request_new
from quorate.runtime._roster cimport roster_describe, roster_judge
from quorate.runtime._structs cimport *
from quorate.runtime._wire cimport *

ctypedef ordered_map[uint64_t, Passed].iterator passed_iterator

cdef enum:
    ASKED_MAX = 256        # questions of other members that are not answered

cdef uint64_t TICK = 50000  # microseconds between looks at a transfer that is under way


# Of other members --------------------------------------------------------------------------------------------------------


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


cdef inline const uint8_t *body_of(const Request *request, size_t *length) noexcept nogil:
    """What is asked. Of another member's request, behind its number."""
    cdef size_t front = 8 if request.then == member_answered else 0
    if request.command == NULL or request.command.length < front:
        length[0] = 0
        return NULL
    length[0] = request.command.length - front
    return <const uint8_t *>request.command.bytes + front


# Questions ---------------------------------------------------------------------------------------------------------------


cdef int members_take(Loop *it, Request *request, step_function step) except -1 nogil:
    cdef size_t length = 0
    cdef const uint8_t *body = body_of(request, &length)
    if request.kind == REQUEST_MEMBERS and length == 1 and body[0] == 1:
        return answer_members(it, request)  # this node's own view, which may be old
    if it.role == LEADER:
        if request.kind == REQUEST_MEMBERS:
            return answer_members(it, request)
        if request.kind == REQUEST_TRANSFER:
            return changes_transfer(it, request, body, length, step)
        return changes_take(it, request, body, length, step)
    if it.leader == 0:
        loop_answer(it, request, OUTCOME_NO_LEADER, 0, NULL)
        return 0
    if request.then == member_answered:
        loop_answer(it, request, OUTCOME_NOT_LEADER, 0, NULL)  # the asker finds out who leads; nothing goes round in circles
        return 0
    return pass_on(it, request, body, length)


cdef int answer_members(Loop *it, Request *request) except -1 nogil:
    cdef string out
    roster_describe(it, &out, it.role == LEADER)
    loop_answer(it, request, OUTCOME_DONE, 0, buffer_from(out.data(), <uint32_t>out.size()))
    return 0


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
        roster_judge(it)
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


# Time --------------------------------------------------------------------------------------------------------------------


cdef int members_tick(Loop *it, uint64_t now, step_function step) except -1 nogil:
    cdef passed_iterator at = it.members.passed.begin()
    cdef Request *request
    if not it.members.managed.empty():
        changes_tick(it, now, step)
    while at != it.members.passed.end():
        request = dereference(at).second.request
        if request.expires_at > now:
            postincrement(at)
            continue
        it.members.passed.erase(postincrement(at))
        loop_answer(it, request, OUTCOME_EXPIRED, 0, NULL)
    if it.members.answered != NULL:
        send_answers(it)
    return roster_judge(it)


cdef uint64_t members_deadline(Loop *it) noexcept nogil:
    cdef uint64_t due = <uint64_t>-1
    cdef passed_iterator at = it.members.passed.begin()
    while at != it.members.passed.end():
        due = min(due, dereference(at).second.request.expires_at)
        postincrement(at)
    if not it.members.managed.empty():
        due = min(due, it.core.now + TICK)
    return due


# The end -----------------------------------------------------------------------------------------------------------------


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
    cdef passed_iterator passed = it.members.passed.begin()
    cdef Request *request
    changes_stopped(it)
    while passed != it.members.passed.end():
        loop_answer(it, dereference(passed).second.request, OUTCOME_STOPPED_AFTER, 0, NULL)
        postincrement(passed)
    it.members.passed.clear()
    while it.members.answered != NULL:
        request = it.members.answered
        it.members.answered = request.next
        request_release(request)
