# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/mailbox.c csrc/frame.c csrc/crc32c.c csrc/poller.c
"""The way of a question of a client: out of the mailbox, to the right node, and again to another one where that is safe.

What may be concluded is exact (DESIGN §9). Of a question whose last byte was not written to a socket, no node has the whole
frame: it did not happen, and is asked elsewhere. If the connection ended later, then what changes nothing is asked again,
and anything else becomes ConnectionLost. A node's proof that nothing was appended is believed, and the question asked again
when there is news, or after a pause, until its time is over; then the last such refusal is the answer.

Knows nothing of how nodes are found and connected to.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from quorate.client._asks cimport *
from quorate.client._links cimport *
from quorate.client._places cimport LINKS
from quorate.client._structs cimport *
from quorate.raft._types cimport buffer, buffer_from
from quorate.runtime._lane_structs cimport REQUEST_LANE_OPEN
from quorate.runtime._lanes cimport (
    lanes_connected,
    lanes_deadline,
    lanes_ready,
    lanes_run,
    lanes_stopped,
    lanes_take,
)
from quorate.runtime._requests cimport request_answer
from quorate.runtime._structs cimport (
    FRAME_HEADER,
    OUTCOME_CONNECTION_LOST,
    OUTCOME_DONE,
    OUTCOME_EXPIRED,
    OUTCOME_MALFORMED,
    OUTCOME_NO_LEADER,
    OUTCOME_NOT_LEADER,
    OUTCOME_OVERLOADED,
    OUTCOME_PENDING,
    OUTCOME_REJECTED,
    OUTCOME_REPLACED,
    OUTCOME_STOPPED_AFTER,
    OUTCOME_STOPPED_BEFORE,
    OUTCOME_TRANSFERRING,
    OUTCOME_UNREACHABLE,
    REQUEST_AWAIT,
    REQUEST_MEMBERS,
    REQUEST_PROPOSE,
    REQUEST_QUERY,
    REQUEST_READ,
    REQUEST_RENEW,
    REQUEST_STATUS,
    REQUEST_WATCH,
    Request,
    clock_microseconds,
    frame_encode,
    frame_part,
    load_le64,
    mailbox_take,
    store_le64,
)
from quorate.runtime._wire cimport KIND_ASK


cdef extern from "base.h" nogil:
    void store_le32(void *at, uint32_t x)

cdef enum:
    ASK_HEAD = 13           # u64 id, u32 patience, u8 kind
    ANSWER_HEAD = 33        # u64 id, u8 outcome, u64 index, term, leader
    SLOT_BITS = 20
    QUERY_LOCAL = 1
    AWAIT_BYTES = 16        # without a revision
    STALE_MAX = 1024        # places in line of asks that are over
    LOSSES_MAX = 8          # a question that ends so many connections is not asked again

# Microseconds.
cdef uint64_t HOLD = 50000          # a route rests so long after a refusal, unless there is news
cdef uint64_t LAST = 50000          # with less time than this left, a question is not asked again
cdef uint64_t LATE = 2000000        # how late the end of a long poll may be
cdef uint64_t LEADER_PATIENCE = 300000  # while it is being connected to, nobody else is asked
cdef uint64_t PROMPT_QUIET = 500000 # after so long a node that owes an answer is asked whether it is there
cdef uint64_t POLL_QUIET = 2000000  # the same, if it owes only what waits for something to happen
cdef uint64_t HUNG = 2000000        # and so long after that it is taken for dead
cdef uint64_t BEHIND = 5000000      # so long a node that did not answer a local read in time is asked no other one
cdef uint64_t LOOK_AGAIN = 20000
cdef uint64_t NEVER = <uint64_t>-1


cdef inline bint long_poll(uint8_t kind) noexcept nogil:
    return kind == REQUEST_WATCH or kind == REQUEST_AWAIT


cdef inline bint changes_nothing(uint8_t kind) noexcept nogil:
    """Asked twice, it is as if it was asked once."""
    return kind in (REQUEST_READ, REQUEST_QUERY, REQUEST_WATCH, REQUEST_AWAIT, REQUEST_RENEW, REQUEST_STATUS, REQUEST_MEMBERS)


cdef uint8_t route_of(const Request *request) noexcept nogil:
    if request.kind == REQUEST_WATCH or request.kind == REQUEST_STATUS:
        return ROUTE_NEAR
    if request.kind == REQUEST_QUERY and request.command != NULL and request.command.length and request.command.bytes[0] == QUERY_LOCAL:
        return ROUTE_NEAR
    return ROUTE_LEADER


cdef inline uint64_t id_of(const Ask *ask, uint32_t number) noexcept nogil:
    return (<uint64_t>ask.generation << SLOT_BITS) | number


cdef inline Ask *ask_of(Engine *it, uint64_t id) noexcept nogil:
    """The ask that this is the id of; NULL if it is over, or was sent again since."""
    cdef uint64_t number = id & ((1 << SLOT_BITS) - 1)
    if number >= it.asks.size() or not it.asks[number].used or it.asks[number].generation != <uint32_t>(id >> SLOT_BITS):
        return NULL
    return &it.asks[number]


# In ----------------------------------------------------------------------------------------------------------------------


cdef int ask_new(Engine *it) except -1 nogil:
    """A free ask's number."""
    cdef uint32_t number
    if it.free_asks.empty():
        it.asks.push_back(Ask())
        number = <uint32_t>it.asks.size() - 1
    else:
        number = it.free_asks.back()
        it.free_asks.pop_back()
    it.asks[number].used = True
    it.asks[number].link = -1
    it.asks[number].refusal = 0
    it.asks[number].losses = 0
    it.asks[number].generation += 1
    return <int>number


cdef int ask_begin(Engine *it, Request *request) except -1 nogil:
    cdef uint32_t number = <uint32_t>ask_new(it)
    cdef Ask *ask = &it.asks[number]
    ask.request = request
    ask.kind = request.kind
    ask.route = route_of(request)
    ask.expires_at = request.expires_at
    it.expiry_at = min(it.expiry_at, ask.expires_at)
    it.figures.asked += 1
    it.figures.parked += 1
    it.parked[ask.route].push_back(id_of(ask, number))
    return 0


cdef bint asks_wanted(Engine *it) noexcept nogil:
    return it.figures.parked + it.figures.in_flight < ASKS_MAX


cdef int asks_take(Engine *it, uint64_t now) except -1 nogil:
    cdef Request *request
    while asks_wanted(it):
        request = <Request *>mailbox_take(it.mail)
        if request == NULL:
            return 0
        if request.kind >= REQUEST_LANE_OPEN:
            lanes_take(it.lanes, request, now)
        else:
            ask_begin(it, request)
    return 0


# Out ---------------------------------------------------------------------------------------------------------------------


cdef int route_link(Engine *it, uint8_t route, uint64_t now) noexcept nogil:
    """Where a question of this kind goes now; -1: it waits."""
    if it.hold_until[route] > now:
        return -1
    return it.near_link if route == ROUTE_NEAR else leader_link(it, now)


cdef int leader_link(Engine *it, uint64_t now) noexcept nogil:
    """The way to the leader, or -1."""
    cdef int slot
    cdef size_t i
    if it.leader:
        slot = node_link(it, it.leader)
        if slot >= 0:
            return slot
        for i in range(it.places.size()):
            if it.places[i].used and it.places[i].node == it.leader and now < it.places[i].tried_at + LEADER_PATIENCE and (
                it.places[i].link >= 0 or it.places[i].looking != NULL
            ):
                return -1
        if it.alone_since == 0 or now == it.alone_since:
            return -1  # it was lost in this turn, and the next attempt is due at once
    elif not it.alone_since or now < it.alone_since + LEADERLESS:
        return -1  # there will be news
    # Any node passes it on to a leader that we cannot reach or do not know.
    return it.near_link


cdef int ask_send(Engine *it, uint32_t number, uint32_t slot, uint64_t now) except -1 nogil:
    cdef Ask *ask = &it.asks[number]
    cdef Link *link = &it.links[slot]
    cdef const buffer *body = ask.request.command if ask.request != NULL else NULL
    cdef uint32_t length = body.length if body != NULL else 0
    cdef uint32_t more = 8 if ask.kind == REQUEST_AWAIT and length == AWAIT_BYTES else 0
    cdef size_t start = link.out.size()
    cdef uint64_t left = ask.expires_at - now if ask.expires_at > now else 0
    cdef uint8_t *at
    cdef frame_part part
    link.out.resize(start + FRAME_HEADER + ASK_HEAD + length + more)
    at = link.out.data() + start + FRAME_HEADER
    store_le64(at, id_of(ask, number))
    store_le32(at + 8, <uint32_t>min(max(left // 1000, <uint64_t>1), <uint64_t>0xffffffff))
    at[12] = ask.kind
    if length:
        memcpy(at + ASK_HEAD, body.bytes, length)
    # What any answer showed, no later one of another node may lack.
    if ask.kind == REQUEST_QUERY and ask.route == ROUTE_NEAR and length >= 9:
        store_le64(at + ASK_HEAD + 1, max(load_le64(at + ASK_HEAD + 1), it.seen))
    elif more:
        store_le64(at + ASK_HEAD + AWAIT_BYTES, it.seen)
    elif ask.kind == REQUEST_AWAIT and length >= AWAIT_BYTES + 8:
        store_le64(at + ASK_HEAD + AWAIT_BYTES, max(load_le64(at + ASK_HEAD + AWAIT_BYTES), it.seen))
    part.bytes = at
    part.length = ASK_HEAD + length + more
    frame_encode(link.out.data() + start, KIND_ASK, 0, &part, 1)
    ask.link = <int>slot
    ask.ends_at = link.written + (link.out.size() - link.sent)
    if link.in_flight == 0 or (link.prompt == 0 and not link.probed and not long_poll(ask.kind)):
        link.waits_since = now
        it.due = min(it.due, now + PROMPT_QUIET)
    link.in_flight += 1
    link.prompt += not long_poll(ask.kind)
    link.used_at = now
    it.figures.in_flight += 1
    return link_queue(it, slot)


cdef inline bint has_room(const Link *link) noexcept nogil:
    return link.in_flight < LINK_ASKS_MAX and link.out.size() - link.sent < OUTPUT_MAX


cdef int asks_pump(Engine *it, uint64_t now) except -1 nogil:
    cdef uint8_t route
    cdef uint64_t id
    cdef Ask *ask
    cdef int slot
    for route in range(ROUTES):
        if it.parked[route].empty():
            continue
        slot = route_link(it, route, now)
        while slot >= 0 and not it.parked[route].empty():
            if not has_room(&it.links[slot]):
                break
            id = it.parked[route].front()
            it.parked[route].pop_front()
            ask = ask_of(it, id)
            if ask == NULL:
                continue
            it.figures.parked -= 1
            ask_send(it, <uint32_t>(id & ((1 << SLOT_BITS) - 1)), slot, now)
    return 0


# Lanes -------------------------------------------------------------------------------------------------------------------


cdef int lane_sends(void *context, Request *request) except -1 nogil:
    """The driver of lanes. What they send waits nowhere: they know themselves what to send again, and in which order."""
    cdef Engine *it = <Engine *>context
    cdef uint32_t number
    cdef Ask *ask
    # Renewals are few, and no overload may cost a session.
    if it.lanes_link < 0 or not (request.kind == REQUEST_RENEW or has_room(&it.links[it.lanes_link])):
        return 0
    number = <uint32_t>ask_new(it)
    ask = &it.asks[number]
    ask.request = request
    ask.kind = request.kind
    ask.route = ROUTE_LEADER
    ask.expires_at = request.expires_at
    it.expiry_at = min(it.expiry_at, ask.expires_at)
    it.figures.asked += 1
    ask_send(it, number, <uint32_t>it.lanes_link, clock_microseconds())
    return 1


cdef int lanes_turn(Engine *it, uint64_t now) except -1 nogil:
    cdef int slot = leader_link(it, now)
    if slot < 0:
        if it.lanes_link >= 0:
            it.lanes_link = -1
            lanes_connected(it.lanes, False, now)
    elif (slot != it.lanes_link or it.links[slot].generation != it.lanes_generation or it.leader != it.lanes_leader
            or it.term != it.lanes_term):
        # What went another way may never be answered.
        it.lanes_link = slot
        it.lanes_generation = it.links[slot].generation
        it.lanes_leader = it.leader
        it.lanes_term = it.term
        lanes_connected(it.lanes, True, now)
    it.driver.context = it
    it.driver.send = lane_sends
    return lanes_run(it.lanes, &it.driver, now)


cdef uint64_t lanes_due(Engine *it) noexcept nogil:
    if it.lanes_link >= 0 and lanes_ready(it.lanes) and has_room(&it.links[it.lanes_link]):
        return 0
    return lanes_deadline(it.lanes)


# Back --------------------------------------------------------------------------------------------------------------------


cdef void unlink(Engine *it, Ask *ask) noexcept nogil:
    """It is not in flight any more, or does not wait any more."""
    cdef Link *link
    if ask.link < 0:
        it.figures.parked -= 1
        return
    link = &it.links[ask.link]
    link.in_flight -= 1
    link.prompt -= not long_poll(ask.kind)
    it.figures.in_flight -= 1
    ask.link = -1


cdef int finish(Engine *it, uint32_t number, uint8_t outcome, uint64_t index, buffer *result) except -1 nogil:
    """Answers, once :func:`unlink` was called. Takes over the result."""
    cdef Ask *ask = &it.asks[number]
    cdef Request *request = ask.request
    ask.used = False
    ask.request = NULL
    it.free_asks.push_back(number)
    if request != NULL:
        it.figures.answered += 1
        request_answer(request, outcome, index, it.term, it.leader, result)
    return 0


cdef int park(Engine *it, uint32_t number) except -1 nogil:
    """It is asked again, under another id, once :func:`unlink` was called."""
    cdef Ask *ask = &it.asks[number]
    ask.generation += 1
    it.figures.parked += 1
    it.figures.asked_again += 1
    it.parked[ask.route].push_back(id_of(ask, number))
    return 0


cdef inline bint of_a_lane(const Ask *ask) noexcept nogil:
    """Its lane decides when, and behind what, it is sent again."""
    return ask.kind == REQUEST_PROPOSE and ask.request != NULL and ask.request.then != NULL


cdef bint refused_for_now(uint8_t outcome) noexcept nogil:
    """A node proved that it did not happen, and another one, or the same one later, may do it."""
    return outcome in (
        OUTCOME_NO_LEADER, OUTCOME_NOT_LEADER, OUTCOME_TRANSFERRING, OUTCOME_REPLACED, OUTCOME_STOPPED_BEFORE,
    )


cdef int ask_answered(Engine *it, uint32_t slot, const frame *found, uint64_t now) except -1 nogil:
    cdef const uint8_t *at = found.payload
    cdef uint32_t number
    cdef uint64_t id, index, term, leader
    cdef uint8_t outcome
    cdef buffer *result = NULL
    cdef Ask *ask
    cdef bint there
    if found.length < ANSWER_HEAD:
        it.places[it.links[slot].place].trouble.kind = TROUBLE_DAMAGED
        it.links[slot].broken = -1
        return 0
    id = load_le64(at)
    outcome = at[8]
    index = load_le64(at + 9)
    term = load_le64(at + 17)
    leader = load_le64(at + 25)
    if leader:
        office_news(it, leader, term, it.links[slot].node, now)
    ask = ask_of(it, id)
    if ask == NULL or ask.link != <int>slot:
        return 0  # its asker gave up, or it was asked elsewhere meanwhile
    it.links[slot].useful = True
    number = <uint32_t>(id & ((1 << SLOT_BITS) - 1))
    there = now + LAST < ask.expires_at
    unlink(it, ask)
    if outcome == OUTCOME_DONE:
        if ask.kind != REQUEST_STATUS and ask.kind != REQUEST_MEMBERS and index > it.seen:
            it.seen = index
        if ask.route == ROUTE_LEADER:
            it.doubted = False
        if found.length > ANSWER_HEAD and ask.request != NULL:
            result = buffer_from(at + ANSWER_HEAD, found.length - ANSWER_HEAD)
            if result == NULL:
                return finish(it, number, OUTCOME_CONNECTION_LOST, 0, NULL)
        return finish(it, number, outcome, index, result)
    if refused_for_now(outcome) and ask.request != NULL and not of_a_lane(ask):
        ask.refusal = OUTCOME_NO_LEADER if outcome == OUTCOME_STOPPED_BEFORE else outcome
        if not there:
            return finish(it, number, ask.refusal, 0, NULL)
        # An answer from before the newest news says nothing of now.
        if ask.route == ROUTE_NEAR or (term >= it.term and (it.leader == leader or leader == 0)):
            it.hold_until[ask.route] = max(it.hold_until[ask.route], now + HOLD)
            it.doubted = it.doubted or ask.route == ROUTE_LEADER
        return park(it, number)
    if outcome in (OUTCOME_CONNECTION_LOST, OUTCOME_STOPPED_AFTER) and ask.request != NULL and changes_nothing(ask.kind) and there:
        ask.refusal = OUTCOME_NO_LEADER
        it.hold_until[ask.route] = max(it.hold_until[ask.route], now + HOLD)
        return park(it, number)
    if outcome == OUTCOME_PENDING or outcome == OUTCOME_STOPPED_AFTER or outcome == OUTCOME_UNREACHABLE:
        outcome = OUTCOME_CONNECTION_LOST  # the node's own affair: what is known is that the outcome is not
    if found.length > ANSWER_HEAD and ask.request != NULL and (outcome == OUTCOME_REJECTED or outcome == OUTCOME_MALFORMED):
        result = buffer_from(at + ANSWER_HEAD, found.length - ANSWER_HEAD)  # why, in words
    return finish(it, number, outcome, index, result)


cdef int asks_lost(Engine *it, uint32_t slot, uint64_t now) except -1 nogil:
    cdef uint64_t written = it.links[slot].written
    cdef size_t i
    cdef Ask *ask
    it.figures.lost += 1
    it.doubted = it.doubted or it.links[slot].node == it.leader
    if it.links[slot].in_flight == 0:
        return 0
    for i in range(it.asks.size()):
        ask = &it.asks[i]
        if not ask.used or ask.link != <int>slot:
            continue
        unlink(it, ask)
        if ask.request == NULL:
            finish(it, i, OUTCOME_CONNECTION_LOST, 0, NULL)
        elif written < ask.ends_at:
            if of_a_lane(ask):
                finish(it, i, OUTCOME_UNREACHABLE, 0, NULL)
            else:
                park(it, i)
        elif changes_nothing(ask.kind) and ask.losses < LOSSES_MAX:
            ask.losses += 1
            park(it, i)
        else:
            finish(it, i, OUTCOME_CONNECTION_LOST, 0, NULL)
    return 0


cdef int asks_moved(Engine *it, uint64_t old_leader, uint64_t now) except -1 nogil:
    """What changes nothing is asked of the new leader. What changes something stays: the old one may still answer."""
    cdef int slot = node_link(it, old_leader) if old_leader else -1
    cdef size_t i
    cdef Ask *ask
    if slot < 0 or it.leader == old_leader or it.links[slot].in_flight == 0:
        return 0
    for i in range(it.asks.size()):
        ask = &it.asks[i]
        if (ask.used and ask.link == slot and ask.route == ROUTE_LEADER and ask.request != NULL
                and changes_nothing(ask.kind)):
            unlink(it, ask)
            park(it, i)
    return 0


# Time ----------------------------------------------------------------------------------------------------------------------


cdef int probe(Engine *it, uint32_t slot, uint64_t now) except -1 nogil:
    """Any answer shows that the node is there."""
    cdef uint32_t number = <uint32_t>ask_new(it)
    cdef Ask *ask = &it.asks[number]
    ask.request = NULL
    ask.kind = REQUEST_STATUS
    ask.route = ROUTE_NEAR
    ask.expires_at = now + HUNG + PROMPT_QUIET
    it.expiry_at = min(it.expiry_at, ask.expires_at)
    ask_send(it, number, slot, now)
    it.links[slot].probed = True
    return 0


cdef int leave_behind(Engine *it, uint32_t slot, uint64_t now) except -1 nogil:
    """A node owes the answer to a local read: it may be cut off from the others, and wait for what it will not hear of.
    If somebody else can be asked, they are, for a while."""
    cdef size_t i
    cdef Ask *ask
    for i in range(LINKS):
        if i != slot and it.links[i].state == LINK_OPEN and not it.links[i].broken and not it.links[i].probed:
            break
    else:
        return 0
    it.links[slot].behind_until = now + BEHIND
    for i in range(it.asks.size()):
        ask = &it.asks[i]
        if ask.used and ask.link == <int>slot and ask.route == ROUTE_NEAR and ask.request != NULL:
            unlink(it, ask)
            park(it, i)
    return 0


cdef uint64_t asks_watch(Engine *it, uint64_t now) except? 0 nogil:
    cdef uint64_t due = NEVER, at
    cdef Link *link
    cdef uint32_t slot
    for slot in range(LINKS):
        link = &it.links[slot]
        if link.state == LINK_FREE:
            continue
        if link.deadline:
            if link.deadline <= now:
                if link.state == LINK_OPEN:
                    asks_lost(it, slot, now)
                link_close(it, slot, TROUBLE_SLOW if link.state == LINK_CONNECTING else TROUBLE_SILENT
                           if link.state == LINK_GREETING else TROUBLE_HUNG, 0, now)
                continue
            due = min(due, link.deadline)
        if link.state == LINK_OPEN and link.in_flight:
            at = link.waits_since + (PROMPT_QUIET if link.prompt else POLL_QUIET) + (HUNG if link.probed else 0)
            if at > now:
                due = min(due, at)
            elif link.probed:
                asks_lost(it, slot, now)
                link_close(it, slot, TROUBLE_HUNG, 0, now)
            else:
                if link.prompt and it.near_link == <int>slot:
                    leave_behind(it, slot, now)
                probe(it, slot, now)
                due = min(due, now + HUNG)
    return max(due, <uint64_t>1)


cdef uint64_t asks_deadline(Engine *it, uint64_t now) noexcept nogil:
    """When an ask expires, or a route is to be looked at again because somebody waits for it."""
    cdef uint64_t due = it.expiry_at
    cdef uint8_t route
    for route in range(ROUTES):
        if not it.parked[route].empty():
            due = min(due, it.hold_until[route] if it.hold_until[route] > now else now + LOOK_AGAIN)
    return due


cdef int forget_stale(Engine *it) except -1 nogil:
    """Places in line of asks that are over: nobody comes by to drop them while there is no link."""
    cdef uint8_t route
    cdef uint64_t id
    cdef size_t i, count
    for route in range(ROUTES):
        count = it.parked[route].size()
        if count < 2 * it.figures.parked + STALE_MAX:
            continue
        for i in range(count):
            id = it.parked[route].front()
            it.parked[route].pop_front()
            if ask_of(it, id) != NULL:
                it.parked[route].push_back(id)
    return 0


cdef int asks_expire(Engine *it, uint64_t now) except -1 nogil:
    """Answers whose time is over: not known if it was handed to a node, else why it could not be."""
    cdef uint64_t first = NEVER, at
    cdef size_t i
    cdef Ask *ask
    cdef int slot
    cdef uint8_t outcome
    cdef bint in_flight
    if now < it.expiry_at:
        return 0
    for i in range(it.asks.size()):
        ask = &it.asks[i]
        if not ask.used:
            continue
        in_flight = ask.link >= 0  # what is only queued can be written any moment, and cannot be taken back
        # The end of a long poll is the node's to say.
        at = ask.expires_at + (LATE if in_flight and long_poll(ask.kind) else 0)
        if at > now:
            first = min(first, at)
            continue
        if in_flight:
            outcome = OUTCOME_EXPIRED
        elif ask.refusal:
            outcome = ask.refusal
        elif route_link(it, ask.route, now) >= 0:
            outcome = OUTCOME_OVERLOADED
        else:
            outcome = OUTCOME_NO_LEADER if open_links(it) else OUTCOME_UNREACHABLE
        it.figures.expired += 1
        slot = ask.link if ask.route == ROUTE_NEAR and ask.request != NULL and not long_poll(ask.kind) else -1
        unlink(it, ask)
        finish(it, i, outcome, 0, NULL)
        if slot >= 0 and slot == it.near_link:
            leave_behind(it, <uint32_t>slot, now)
    forget_stale(it)
    # Not more often than each millisecond, however many there are.
    it.expiry_at = max(first, now + 1000) if first != NEVER else NEVER
    return 0


cdef void asks_stopped(Engine *it) noexcept nogil:
    """The engine has ended: answers everything that it was given."""
    cdef Request *request
    cdef Ask *ask
    cdef size_t i
    for i in range(it.asks.size()):
        ask = &it.asks[i]
        if not ask.used or ask.request == NULL:
            continue
        request = ask.request
        ask.request = NULL
        request_answer(
            request, OUTCOME_STOPPED_AFTER if ask.link >= 0 and it.links[ask.link].written >= ask.ends_at
            else OUTCOME_STOPPED_BEFORE, 0, it.term, it.leader, NULL,
        )
    it.asks.clear()
    lanes_stopped(it.lanes)
    while True:
        request = <Request *>mailbox_take(it.mail)
        if request == NULL:
            return
        if request.kind < REQUEST_LANE_OPEN:
            request_answer(request, OUTCOME_STOPPED_BEFORE, 0, it.term, it.leader, NULL)
        elif lanes_take(it.lanes, request, 0) < 0:
            return  # a lane that has stopped only refuses, which cannot fail
