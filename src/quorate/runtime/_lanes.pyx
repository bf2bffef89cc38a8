# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Exactly once, in order: what a client's native side does with the numbered commands of its sessions.

A lane is one session. Its commands get their numbers in the order in which they were asked, and stay in its line until a
result is there; what comes to anything else is sent again, from the gap if the store names one. The store applies a number
once and keeps the result, so that it does not matter how often it was sent. A result is final whichever sending it answers;
everything else counts only for the newest sending.

The low-water mark is the number before which everything is answered. It goes along in the head of what is sent, and the
store forgets results up to it; no number is sent that is further above it than results are retained.

An asker that gave up is answered, by what is known: if any sending may have been appended, that is not known; else it did
not happen, and an empty transaction takes the number, so that those behind it can go on.

The session is ours until the time before the last acknowledged renewal was sent, plus its time to live, minus a margin for
clocks that run at different speeds. Then everything that belongs to it is lost here, ahead of the cluster. Its holder may give
it a limit: then it is not ours any longer than that, and no renewal is sent that would be for a time behind the limit alone.

Knows nothing of connections, of logs and of Python; a loop drives it (_lanes.pxd says how). Nothing is answered and nothing
is sent while a caller goes through its own tables: an answer only notes, lanes_run sends.
"""

from cython.operator cimport dereference, preincrement
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from libcpp.pair cimport pair
from libcpp.set cimport set as ordered_set

from quorate.raft._types cimport buffer, buffer_from, buffer_new, buffer_release, buffer_retain
from quorate.runtime._completions cimport request_clear
from quorate.runtime._lanes cimport *
from quorate.runtime._notices cimport NOTICE_LANE, notice
from quorate.runtime._requests cimport request_answer
from quorate.runtime._structs cimport *


cdef extern from "command.h" nogil:
    enum:
        COMMAND_HEAD
        COMMAND_VERSION
        OPERATION_TRANSACTION
        OPERATION_SESSION_OPEN
        OPERATION_SESSION_END
        END_GOODBYE
    void command_number(uint8_t *bytes, uint64_t session, uint64_t number, uint32_t window)
    uint16_t load_le16(const void *at)
    void store_le16(void *at, uint16_t x)
    void store_le32(void *at, uint32_t x)

cdef extern from "<sys/random.h>" nogil:
    int getentropy(void *into, size_t size)

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_REALTIME

cdef extern from *:
    """
    static inline void shared_take(uint32_t *count) { __atomic_fetch_add(count, 1u, __ATOMIC_RELAXED); }
    static inline bool shared_give_back(uint32_t *count) { return __atomic_fetch_sub(count, 1u, __ATOMIC_ACQ_REL) == 1; }
    static inline uint64_t shared_load64(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void shared_store64(uint64_t *at, uint64_t x) { __atomic_store_n(at, x, __ATOMIC_RELEASE); }
    static inline uint8_t shared_load8(const uint8_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void shared_store8(uint8_t *at, uint8_t x) { __atomic_store_n(at, x, __ATOMIC_RELEASE); }
    """
    bint shared_give_back(uint32_t *count) noexcept nogil
    uint64_t shared_load64(const uint64_t *at) noexcept nogil
    void shared_store64(uint64_t *at, uint64_t x) noexcept nogil
    uint8_t shared_load8(const uint8_t *at) noexcept nogil
    void shared_store8(uint8_t *at, uint8_t x) noexcept nogil

ctypedef pair[uint64_t, LanePointer] place

cdef enum:
    # Results of the store that lanes look at (store/_state.pxd); below SESSION_LOST the number is used up.
    STATUS_OK = 0
    STATUS_SESSION_LOST = 32
    STATUS_GAP = 33
    STATUS_BELOW_MARK = 34
    STATUS_WINDOW_FULL = 35
    RESULT_HEAD = 18
    RESULT_NUMBER = 10
    RENEWALS_MAX = 8192       # sessions in one request
    SPARE_MAX = 8192
    RETAINED_BYTES = 65536    # of one session's results, unless another limit is logged

cdef uint64_t NEVER = <uint64_t>-1
cdef uint64_t SENDING_PATIENCE = 5000000
cdef uint64_t PAUSE_FIRST = 1000       # microseconds
cdef uint64_t PAUSE_MOST = 50000
cdef uint64_t PAUSE_CROWDED = 100000   # most, after a refusal for lack of room


cdef Lanes *lanes_new(Notices *notices, uint64_t seed) except NULL:
    cdef Lanes *made = new Lanes()
    made.notices = notices
    made.random = seed | 1
    return made


cdef void lanes_free(Lanes *it) noexcept nogil:
    cdef size_t i
    if it == NULL:
        return
    for i in range(it.spare.size()):
        del it.spare[i]
    del it


cdef void lane_release(NativeLane *it) noexcept nogil:
    if shared_give_back(&it.references):
        buffer_release(it.opened)
        del it


cdef uint64_t lane_deadline(const NativeLane *it) noexcept nogil:
    return min(shared_load64(&it.deadline), shared_load64(&it.limit))


cdef void lane_limit(NativeLane *it, uint64_t at) noexcept nogil:
    shared_store64(&it.limit, at)


cdef uint8_t lane_state(const NativeLane *it) noexcept nogil:
    return shared_load8(&it.state)


cdef uint8_t lane_loss(const NativeLane *it) noexcept nogil:
    return shared_load8(&it.loss)


cdef uint64_t lane_session(const NativeLane *it) noexcept nogil:
    return shared_load64(&it.session)


cdef inline bint proves(uint8_t outcome) noexcept nogil:
    """That nothing was appended, or that what was can never be committed."""
    return OUTCOME_NO_LEADER <= outcome <= OUTCOME_STOPPED_BEFORE or outcome == OUTCOME_UNREACHABLE or outcome == OUTCOME_MALFORMED


cdef inline bint over(const NativeLane *lane) noexcept nogil:
    return lane.state == LANE_CLOSED or lane.state == LANE_LOST


# Places in the tables ----------------------------------------------------------------------------------------------------


cdef void wake(Lanes *it, NativeLane *lane) noexcept nogil:
    if not lane.ready:
        lane.ready = True
        it.ready.push_back(lane)


cdef void timer_at(Lanes *it, NativeLane *lane, uint64_t at) noexcept nogil:
    """Not later than this. A timer that comes too early is set again, so that nobody has to move it back."""
    if at == NEVER or (lane.timer and lane.timer <= at):
        return
    if lane.timer:
        it.timers.erase(place(lane.timer, lane))
    lane.timer = max(at, <uint64_t>1)
    it.timers.insert(place(lane.timer, lane))


cdef void renew_at(Lanes *it, NativeLane *lane, uint64_t at) noexcept nogil:
    """At this time; 0: not."""
    if lane.renew_at:
        it.renewals.erase(place(lane.renew_at, lane))
    lane.renew_at = at
    if at:
        it.renewals.insert(place(at, lane))


cdef void state_is(Lanes *it, NativeLane *lane, uint8_t state) noexcept nogil:
    if state != LANE_OPEN and state != LANE_CLOSING:
        shared_store64(&lane.deadline, 0)
    shared_store8(&lane.state, state)
    notice(it.notices, NOTICE_LANE, lane.id, state)


cdef bint left(Lanes *it, NativeLane *lane) noexcept nogil:
    """Whether the engine let a lane go that is over, so that it must not be touched any more."""
    if not over(lane) or lane.flights or lane.ready:
        return False
    if it.all.erase(lane):
        if lane.timer:
            it.timers.erase(place(lane.timer, lane))
            lane.timer = 0
        lane_release(lane)
        return True
    return False


# Answers to askers -------------------------------------------------------------------------------------------------------


cdef void settle(NativeLane *lane, LaneCommand *what, uint8_t outcome, const Sending *by, buffer *result) noexcept nogil:
    """Tells the asker of a command. Takes the result over."""
    cdef Request *request = what.request
    cdef uint64_t index = by.index if by != NULL else 0
    cdef uint64_t term = by.term if by != NULL else 0
    cdef uint64_t leader = by.leader if by != NULL else 0
    cdef Many *many
    if request == NULL:
        buffer_release(result)
        return
    what.request = NULL
    lane.live -= 1
    if request.kind == REQUEST_LANE_MANY:
        many = <Many *>request
        many.results[what.position] = result
        many.outcomes[what.position] = outcome
        many.left -= 1
        if many.left:
            return
        # What became of each stands with it.
        result = NULL
        outcome = OUTCOME_DONE
    request_answer(request, outcome, index, term, leader, result)


cdef void refuse(Request *request, uint8_t outcome) noexcept nogil:
    """Answers a request that never came into a line."""
    cdef Many *many
    cdef size_t i
    if request.kind == REQUEST_LANE_MANY:
        many = <Many *>request
        for i in range(many.outcomes.size()):
            many.outcomes[i] = outcome
        many.left = 0
        outcome = OUTCOME_DONE
    request_answer(request, outcome, 0, 0, 0, NULL)


cdef inline bint doubtful(const LaneCommand *what) noexcept nogil:
    return what.doubt or what.flights


cdef void forget(LaneCommand *what) noexcept nogil:
    """A command whose number is used up."""
    what.state = COMMAND_DONE
    buffer_release(what.command)
    what.command = NULL


cdef void advance(Lanes *it, NativeLane *lane) noexcept nogil:
    """Raises the low-water mark over what is answered."""
    while lane.numbered and lane.line.front().state == COMMAND_DONE:
        lane.weight -= lane.line.front().weight  # now the mark lets the cluster forget the result
        lane.line.pop_front()
        lane.base += 1
        lane.numbered -= 1
        it.queued -= 1
        if lane.cursor:
            lane.cursor -= 1


cdef void finish(
    Lanes *it, NativeLane *lane, uint8_t state, uint8_t loss, uint8_t before, uint8_t after, uint64_t unapplied
) noexcept nogil:
    """The end of a lane, once: what is pending gets the outcome `before` if it is proven not to have been applied, else
    `after`. Numbers from `unapplied` on were not, because they are applied in order."""
    cdef LaneCommand *one
    cdef Request *asker
    cdef size_t i
    if over(lane):
        return
    shared_store8(&lane.loss, loss)
    if state == LANE_LOST:
        it.lost += 1
    state_is(it, lane, state)
    renew_at(it, lane, 0)
    for i in range(lane.line.size()):
        one = &lane.line[i]
        buffer_release(one.command)
        one.command = NULL
        settle(lane, one, after if i < lane.numbered and lane.base + i < unapplied and doubtful(one) else before, NULL, NULL)
    it.queued -= lane.line.size()
    lane.base += lane.numbered
    lane.line.clear()
    lane.numbered = 0
    lane.cursor = 0
    if lane.opening != NULL:
        asker = lane.opening
        lane.opening = NULL
        if loss == LOSS_REFUSED:
            request_answer(asker, OUTCOME_DONE, 0, 0, 0, buffer_retain(lane.opened))
        else:
            request_answer(asker, before, 0, 0, 0, NULL)
    if lane.ending != NULL:
        asker = lane.ending
        lane.ending = NULL
        if state == LANE_CLOSED or loss == LOSS_ENDED or loss == LOSS_REFUSED:
            request_answer(asker, OUTCOME_DONE, 0, 0, 0, NULL)
        else:
            request_answer(asker, after, 0, 0, 0, NULL)
    wake(it, lane)  # so that lanes_run lets it go


cdef void lose(Lanes *it, NativeLane *lane, uint8_t loss, uint64_t unapplied) noexcept nogil:
    finish(it, lane, LANE_LOST, loss, OUTCOME_SESSION_LOST_BEFORE, OUTCOME_SESSION_LOST_AFTER, unapplied)


# Answers from the cluster ------------------------------------------------------------------------------------------------


cdef void pause(NativeLane *lane, uint8_t outcome) noexcept nogil:
    """How long to wait before the next try; longer each time, until there is progress."""
    cdef uint64_t most = PAUSE_MOST
    if outcome == OUTCOME_OVERLOADED or outcome == OUTCOME_STALLED or outcome == OUTCOME_DISK_FULL:
        most = PAUSE_CROWDED
    if outcome == OUTCOME_DONE and lane.backoff == 0:
        # A gap: what is missing can be sent at once, the first time.
        lane.backoff = 1
        return
    lane.backoff = min(max(2 * lane.backoff, PAUSE_FIRST), most)
    lane.pause = lane.backoff


cdef void again_from(Lanes *it, NativeLane *lane, uint64_t number) noexcept nogil:
    """Everything from this number on is to be sent again."""
    cdef size_t i = number - lane.base if number > lane.base else 0
    it.restarts += 1
    lane.cursor = min(lane.cursor, i)
    while i < lane.numbered:
        if lane.line[i].state == COMMAND_SENT:
            lane.line[i].state = COMMAND_WAITS
        i += 1
    wake(it, lane)


cdef int fill(NativeLane *lane, LaneCommand *what) except -1 nogil:
    """Puts an empty transaction in the place of a command that did not happen and will not."""
    cdef buffer *made = buffer_new(COMMAND_HEAD + 6)
    if made == NULL:
        no_memory()
    memset(made.bytes, 0, COMMAND_HEAD + 6)
    made.bytes[0] = 1
    made.bytes[1] = OPERATION_TRANSACTION
    buffer_release(what.command)
    what.command = made
    what.shared = False
    what.state = COMMAND_WAITS
    lane.weight -= what.weight
    what.weight = 0
    return 0


cdef int no_memory() except -1 nogil:
    with gil:
        raise MemoryError


cdef int command_answered(Lanes *it, NativeLane *lane, Sending *by) except -1 nogil:
    cdef uint64_t number = by.tag
    cdef LaneCommand *what
    cdef buffer *result = by.result
    cdef uint8_t outcome = by.outcome
    cdef uint8_t status
    cdef uint64_t said
    cdef bint current
    if over(lane) or number < lane.base:
        return 0
    what = &lane.line[number - lane.base]
    what.flights -= 1
    if what.state == COMMAND_DONE:
        return 0
    current = what.state == COMMAND_SENT and by.attempt == what.attempt
    if outcome == OUTCOME_DONE and (result == NULL or result.length < RESULT_HEAD):
        outcome = OUTCOME_CONNECTION_LOST
    if outcome != OUTCOME_DONE:
        if proves(outcome):
            what.refusal = lane.refusal = outcome
        else:
            what.doubt = True
        if current:
            pause(lane, outcome)
            again_from(it, lane, number)
        return 0
    status = result.bytes[0]
    said = load_le64(result.bytes + RESULT_NUMBER)
    if status < STATUS_SESSION_LOST:
        lane.backoff = 0
        by.result = NULL
        settle(lane, what, OUTCOME_DONE, by, result)
        forget(what)
        advance(it, lane)
        if lane.cursor < lane.line.size() or lane.closing:
            wake(it, lane)
        return 0
    if status == STATUS_SESSION_LOST:
        # This sending was not applied. If no other can have been, then nothing behind it was either.
        lose(it, lane, LOSS_ENDED, NEVER if doubtful(what) else number)
        return 0
    if status == STATUS_GAP:
        if said < lane.base:
            lose(it, lane, LOSS_REWOUND, NEVER)
        elif current and said <= number:
            pause(lane, OUTCOME_DONE)
            again_from(it, lane, said)
        return 0
    if status == STATUS_BELOW_MARK:
        # The mark is raised by answers alone, and this has none: the state that it speaks of is not of this lane.
        lose(it, lane, LOSS_REWOUND, NEVER)
        return 0
    if status == STATUS_WINDOW_FULL:
        lane.window = <uint32_t>max(<uint64_t>1, min(<uint64_t>lane.window, said))
        if current:
            pause(lane, OUTCOME_DONE)
            again_from(it, lane, number)
        return 0
    # Refused without using the number up, and it will be again: too new for the cluster.
    if doubtful(what):
        settle(lane, what, OUTCOME_CONNECTION_LOST, by, NULL)
    else:
        by.result = NULL
        settle(lane, what, OUTCOME_DONE, by, result)
    fill(lane, what)
    again_from(it, lane, number)
    return 0


cdef void opening_answered(Lanes *it, NativeLane *lane, Sending *by) noexcept nogil:
    cdef buffer *result = by.result
    if over(lane) or by.attempt != lane.attempt or lane.session:
        return
    lane.asked = False
    if by.outcome != OUTCOME_DONE or result == NULL or result.length < RESULT_HEAD:
        lane.refusal = by.outcome
        pause(lane, by.outcome if by.outcome != OUTCOME_DONE else <uint8_t>OUTCOME_CONNECTION_LOST)
        wake(it, lane)
        return
    lane.backoff = 0
    buffer_release(lane.opened)
    lane.opened = result
    by.result = NULL
    if result.bytes[0] != STATUS_OK:
        lose(it, lane, LOSS_REFUSED, 0)
        return
    lane.found = load_le64(result.bytes + RESULT_NUMBER)
    wake(it, lane)


cdef void ending_answered(Lanes *it, NativeLane *lane, Sending *by) noexcept nogil:
    if over(lane) or by.attempt != lane.attempt:
        return
    lane.asked = False
    if by.outcome == OUTCOME_DONE:
        # Whether it was found or had ended already.
        finish(it, lane, LANE_CLOSED, LOSS_NONE, OUTCOME_SESSION_LOST_BEFORE, OUTCOME_SESSION_LOST_AFTER, NEVER)
        return
    lane.refusal = by.outcome
    pause(lane, by.outcome)
    wake(it, lane)


cdef void renewal_answered(Lanes *it, Sending *by) noexcept nogil:
    """Of many lanes at once, each of which it counts as a flight."""
    cdef bint told = by.outcome == OUTCOME_DONE and by.result != NULL and by.result.length == by.lanes.size()
    cdef NativeLane *lane
    cdef uint8_t said
    cdef size_t i
    if not told:
        it.renewals_failed += 1
    for i in range(by.lanes.size()):
        lane = by.lanes[i]
        lane.flights -= 1
        if over(lane):
            left(it, lane)
            continue
        said = by.result.bytes[i] if told else 3
        if said == 0:
            it.renewed += 1
            if by.sent_at + lane.ttl - lane.margin > lane.deadline:
                shared_store64(&lane.deadline, by.sent_at + lane.ttl - lane.margin)
            renew_at(it, lane, by.sent_at + lane.ttl // 3)
        elif said == 1:
            lose(it, lane, LOSS_ENDED, NEVER)
        else:
            # Not known, or its expiry is proposed: another leader may still hold it.
            renew_at(it, lane, by.sent_at + max(<uint64_t>20000, lane.ttl // 30))


cdef void sending_done(Lanes *it, Sending *by) noexcept nogil:
    buffer_release(by.command)
    buffer_release(by.result)
    by.command = NULL
    by.result = NULL
    by.lanes.clear()
    if it.spare.size() < SPARE_MAX:
        it.spare.push_back(by)
    else:
        request_clear(by)
        del by


cdef void sending_answered(Request *request) noexcept nogil:
    """The driver's answer. Only notes what is to be done."""
    cdef Sending *by = <Sending *>request
    cdef NativeLane *lane = <NativeLane *>by.asker
    cdef Lanes *it
    if by.what == SENDING_RENEWAL:
        it = <Lanes *>by.asker
        renewal_answered(it, by)
    else:
        it = lane.lanes
        lane.flights -= 1
        if by.what == SENDING_COMMAND:
            command_answered(it, lane, by)
        elif by.what == SENDING_OPEN:
            opening_answered(it, lane, by)
        else:
            ending_answered(it, lane, by)
        left(it, lane)
    sending_done(it, by)


# Sending -----------------------------------------------------------------------------------------------------------------


cdef Sending *sending_new(Lanes *it, NativeLane *lane, uint8_t what, uint64_t now) except NULL nogil:
    cdef Sending *made
    if it.spare.empty():
        made = new Sending()
        made.then = sending_answered
    else:
        made = it.spare.back()
        it.spare.pop_back()
    made.references = 1
    made.kind = REQUEST_RENEW if what == SENDING_RENEWAL else REQUEST_PROPOSE
    made.outcome = OUTCOME_PENDING
    made.expires_at = now + SENDING_PATIENCE
    made.asker = lane
    made.what = what
    made.sent_at = now
    made.tag = 0
    return made


cdef int send(Lanes *it, LaneDriver *driver, Sending *made) except -1 nogil:
    """1 if the driver took it; else it is gone."""
    cdef NativeLane *lane = <NativeLane *>made.asker
    cdef int taken = driver.send(driver.context, made)
    if taken < 0:
        return -1
    if taken == 0:
        sending_done(it, made)
        return 0
    if made.what != SENDING_RENEWAL:
        lane.flights += 1
    it.sent += 1
    return 1


cdef int send_opening(Lanes *it, NativeLane *lane, LaneDriver *driver, uint64_t now) except -1 nogil:
    cdef Sending *made = sending_new(it, lane, SENDING_OPEN, now)
    cdef buffer *command = buffer_new(COMMAND_HEAD + 30 + lane.label_length)
    cdef uint8_t *at
    cdef timespec wall
    if command == NULL:
        no_memory()
    at = command.bytes
    memset(at, 0, COMMAND_HEAD)
    at[0] = 1
    at[1] = OPERATION_SESSION_OPEN
    clock_gettime(CLOCK_REALTIME, &wall)
    store_le64(at + COMMAND_HEAD, wall.tv_sec * 1000 + wall.tv_nsec // 1000000)
    store_le32(at + COMMAND_HEAD + 8, lane.ttl_ms)
    memcpy(at + COMMAND_HEAD + 12, lane.nonce, 16)
    store_le16(at + COMMAND_HEAD + 28, lane.label_length)
    memcpy(at + COMMAND_HEAD + 30, lane.label, lane.label_length)
    made.command = command
    lane.attempt += 1
    made.attempt = lane.attempt
    if send(it, driver, made) == 0:
        return 0
    lane.asked = True
    if lane.opened_from == 0:
        lane.opened_from = now
    return 1


cdef int send_ending(Lanes *it, NativeLane *lane, LaneDriver *driver, uint64_t now) except -1 nogil:
    cdef Sending *made = sending_new(it, lane, SENDING_END, now)
    cdef buffer *command = buffer_new(COMMAND_HEAD + 9)
    if command == NULL:
        no_memory()
    memset(command.bytes, 0, COMMAND_HEAD)
    command.bytes[0] = 1
    command.bytes[1] = OPERATION_SESSION_END
    store_le64(command.bytes + COMMAND_HEAD, lane.session)
    command.bytes[COMMAND_HEAD + 8] = END_GOODBYE
    made.command = command
    lane.attempt += 1
    made.attempt = lane.attempt
    if send(it, driver, made) == 0:
        return 0
    lane.asked = True
    return 1


cdef int send_command(Lanes *it, NativeLane *lane, LaneDriver *driver, uint64_t now) except -1 nogil:
    """The one at the cursor: 1 if it was sent, 0 if the driver has no room, 2 if the window is full."""
    cdef LaneCommand *what = &lane.line[lane.cursor]
    cdef uint64_t number = lane.base + lane.cursor
    cdef bint fresh = lane.cursor == lane.numbered
    cdef uint32_t weight = what.weight
    cdef Sending *made
    cdef buffer *copy
    if lane.cursor >= lane.window:
        return 2
    if fresh and lane.weight and lane.weight + weight > RETAINED_BYTES:
        return 2
    if what.shared:
        # Others read the bytes that were sent before, and the mark in them is an old one.
        copy = buffer_from(what.command.bytes, what.command.length)
        if copy == NULL:
            no_memory()
        buffer_release(what.command)
        what.command = copy
        what.shared = False
        it.again += 1
    command_number(what.command.bytes, lane.session, number, <uint32_t>(lane.cursor + 1))
    made = sending_new(it, lane, SENDING_COMMAND, now)
    made.command = buffer_retain(what.command)
    made.tag = number
    made.attempt = what.attempt + 1
    if send(it, driver, made) == 0:
        return 0
    if fresh:
        lane.numbered += 1
        lane.weight += weight
    what.attempt += 1
    what.shared = True
    what.state = COMMAND_SENT
    what.flights += 1
    lane.cursor += 1
    return 1


cdef int declare_open(Lanes *it, NativeLane *lane, uint64_t now) except -1 nogil:
    """There is a session. Unless so much time went by that it may have ended again: then another one is opened."""
    cdef Request *asker = lane.opening
    if now >= lane.opened_from + lane.ttl - lane.margin:
        lane.found = 0
        lane.opened_from = 0
        getentropy(lane.nonce, 16)
        return 0
    shared_store64(&lane.session, lane.found)
    shared_store64(&lane.deadline, lane.opened_from + lane.ttl - lane.margin)
    lane.found = 0
    renew_at(it, lane, lane.opened_from + lane.ttl // 3)
    timer_at(it, lane, lane_deadline(lane))
    state_is(it, lane, LANE_CLOSING if lane.closing else LANE_OPEN)
    if asker != NULL:
        lane.opening = NULL
        request_answer(asker, OUTCOME_DONE, lane.session, 0, 0, buffer_retain(lane.opened))
    return 0


cdef int pump(Lanes *it, NativeLane *lane, LaneDriver *driver, uint64_t now) except -1 nogil:
    """Sends what a lane has to send; 0 if the driver has no room for it."""
    cdef int sent
    if lane.pause:
        it.random ^= it.random << 13
        it.random ^= it.random >> 7
        it.random ^= it.random << 17
        # Not all at the same moment.
        lane.retry_at = now + lane.pause // 2 + it.random % (lane.pause // 2 + 1)
        lane.pause = 0
    if lane.found:
        declare_open(it, lane, now)
    if lane.retry_at > now:
        timer_at(it, lane, lane.retry_at)
        return 1
    lane.retry_at = 0
    if over(lane):
        return 1
    if not lane.session:
        if lane.closing and not lane.live and not lane.opened_from:
            finish(it, lane, LANE_CLOSED, LOSS_NONE, OUTCOME_SESSION_LOST_BEFORE, OUTCOME_SESSION_LOST_AFTER, NEVER)
            return 1
        return 1 if lane.asked else send_opening(it, lane, driver, now)
    while lane.cursor < lane.line.size():
        if lane.line[lane.cursor].state == COMMAND_DONE:
            lane.cursor += 1
            continue
        if lane.closing and not lane.live:
            break  # only what nobody waits for any more
        sent = send_command(it, lane, driver, now)
        if sent == 0:
            return 0
        if sent == 2:
            break
    if lane.closing and not lane.live and not lane.asked:
        return send_ending(it, lane, driver, now)
    return 1


cdef int renew(Lanes *it, LaneDriver *driver, uint64_t now) except -1 nogil:
    """One request for all lanes that are due, or will be soon."""
    cdef Sending *made
    cdef NativeLane *lane
    cdef buffer *body
    cdef size_t i, count
    cdef int sent
    while not it.renewals.empty() and dereference(it.renewals.begin()).first <= now:
        made = sending_new(it, <NativeLane *>it, SENDING_RENEWAL, now)
        while not it.renewals.empty() and made.lanes.size() < RENEWALS_MAX:
            lane = dereference(it.renewals.begin()).second
            if lane.renew_at > now + lane.ttl // 6:
                break
            renew_at(it, lane, 0)
            if lane.deadline >= shared_load64(&lane.limit):
                timer_at(it, lane, shared_load64(&lane.limit))
                continue
            made.lanes.push_back(lane)
            if flag_get(&lane.dropped) and not lane.closing:
                lane.closing = True
                wake(it, lane)
        count = made.lanes.size()
        if count == 0:
            sending_done(it, made)
            continue
        body = buffer_new(2 + 8 * count)
        if body == NULL:
            no_memory()
        store_le16(body.bytes, <uint16_t>count)
        for i in range(count):
            lane = made.lanes[i]
            store_le64(body.bytes + 2 + 8 * i, lane.session)
            # In case that no answer comes.
            renew_at(it, lane, now + max(<uint64_t>20000, lane.ttl // 6))
            lane.flights += 1
        made.command = body
        made.expires_at = now + made.lanes[0].ttl // 3
        sent = driver.send(driver.context, made)
        if sent < 0:
            return -1
        if sent == 0:
            made.outcome = OUTCOME_OVERLOADED
            sending_answered(made)
            return 0
        it.sent += 1
    return 0


# Time --------------------------------------------------------------------------------------------------------------------


cdef int expire(Lanes *it, NativeLane *lane, uint64_t now) except -1 nogil:
    """Answers askers whose time is over."""
    cdef LaneCommand *one
    cdef uint8_t refusal
    cdef size_t i = 0
    cdef size_t kept
    lane.expiry = NEVER
    while i < lane.numbered:
        one = &lane.line[i]
        if one.request != NULL:
            if one.request.expires_at > now:
                lane.expiry = min(lane.expiry, one.request.expires_at)
            elif doubtful(one):
                settle(lane, one, OUTCOME_EXPIRED, NULL, NULL)
            else:
                # What follows may be on its way with the numbers behind.
                refusal = one.refusal
                settle(lane, one, refusal if refusal else <uint8_t>OUTCOME_NOT_SENT, NULL, NULL)
                fill(lane, one)
        i += 1
    kept = i
    while i < lane.line.size():
        one = &lane.line[i]
        if one.request.expires_at > now:
            lane.expiry = min(lane.expiry, one.request.expires_at)
            if kept != i:
                lane.line[kept] = one[0]
            kept += 1
        else:
            refusal = lane.refusal if not it.connected or not lane.session else <uint8_t>OUTCOME_NOT_SENT
            if not proves(refusal):
                refusal = OUTCOME_NO_LEADER if not it.connected else <uint8_t>OUTCOME_NOT_SENT
            settle(lane, one, refusal, NULL, NULL)
            buffer_release(one.command)
            it.queued -= 1
        i += 1
    lane.line.resize(kept)
    return 0


cdef uint8_t unanswered(Lanes *it, const NativeLane *lane) noexcept nogil:
    """What an opening or a goodbye came to when its asker's time is over."""
    if lane.asked or not proves(lane.refusal):
        return OUTCOME_EXPIRED if lane.asked or it.connected else <uint8_t>OUTCOME_NO_LEADER
    return lane.refusal


cdef int due(Lanes *it, NativeLane *lane, uint64_t now) except -1 nogil:
    """What the time means to a lane."""
    cdef Request *asker
    if over(lane):
        return 0
    if lane.opening != NULL and lane.opening.expires_at <= now:
        asker = lane.opening
        lane.opening = NULL
        request_answer(asker, unanswered(it, lane), 0, 0, 0, NULL)
    if lane.ending != NULL and lane.ending.expires_at <= now:
        asker = lane.ending
        lane.ending = NULL
        request_answer(asker, unanswered(it, lane), 0, 0, 0, NULL)
    if lane.session and now >= lane_deadline(lane):
        # Nothing of a lane that passed its limit is renewed, so that the cluster ends the session by itself.
        lose(it, lane, LOSS_DEADLINE if now >= lane.deadline else LOSS_LIMIT, NEVER)
        return 0
    if lane.closing and not lane.session and lane.opened_from and not lane.live and now >= lane.opened_from + lane.ttl:
        # Whether it was opened is not known, and it is over by itself.
        lose(it, lane, LOSS_DEADLINE, NEVER)
        return 0
    if now >= lane.expiry:
        expire(it, lane, now)
    if lane.retry_at and now >= lane.retry_at:
        lane.retry_at = 0
        wake(it, lane)
    if lane.closing:
        wake(it, lane)
    schedule(it, lane, now)
    return 0


cdef void schedule(Lanes *it, NativeLane *lane, uint64_t now) noexcept nogil:
    """When to look at the time again. Never at once: whoever goes through the timers that are due would not come to an end."""
    cdef uint64_t at = lane.expiry
    if lane.opening != NULL:
        at = min(at, lane.opening.expires_at)
    if lane.ending != NULL:
        at = min(at, lane.ending.expires_at)
    if lane.session:
        at = min(at, lane_deadline(lane))
    elif lane.closing and lane.opened_from:
        at = min(at, lane.opened_from + lane.ttl)
    if lane.retry_at:
        at = min(at, lane.retry_at)
    timer_at(it, lane, max(at, now + 1000) if at != NEVER else NEVER)


cdef bint lanes_ready(Lanes *it) noexcept nogil:
    return it.connected and not it.ready.empty()


cdef uint64_t lanes_deadline(Lanes *it) noexcept nogil:
    cdef uint64_t at = NEVER
    if not it.timers.empty():
        at = dereference(it.timers.begin()).first
    if it.connected and not it.renewals.empty():
        at = min(at, dereference(it.renewals.begin()).first)
    return at


cdef int lanes_run(Lanes *it, LaneDriver *driver, uint64_t now) except -1 nogil:
    cdef NativeLane *lane
    cdef size_t i, count
    while not it.timers.empty() and dereference(it.timers.begin()).first <= now:
        lane = dereference(it.timers.begin()).second
        it.timers.erase(it.timers.begin())
        lane.timer = 0
        due(it, lane, now)
    if it.connected:
        renew(it, driver, now)
    # Once around: a lane that is woken meanwhile comes behind.
    count = it.ready.size()
    for i in range(count):
        lane = it.ready.front()
        if it.connected and not over(lane):
            if pump(it, lane, driver, now) == 0:
                return 0
        elif not over(lane):
            if lane.closing and not lane.session and not lane.live and not lane.opened_from:
                finish(it, lane, LANE_CLOSED, LOSS_NONE, OUTCOME_SESSION_LOST_BEFORE, OUTCOME_SESSION_LOST_AFTER, NEVER)
            else:
                # Waits for a leader, whom lanes_connected tells of.
                it.ready.pop_front()
                lane.ready = False
                continue
        it.ready.pop_front()
        lane.ready = False
        left(it, lane)
    return 0


cdef int lanes_connected(Lanes *it, bint connected, uint64_t now) except -1 nogil:
    cdef ordered_set[NativeLane *].iterator at = it.all.begin()
    cdef NativeLane *lane
    it.connected = connected
    if not connected:
        return 0
    while at != it.all.end():
        lane = dereference(at)
        preincrement(at)
        if over(lane):
            continue
        # What is on its way to the last leader may never be answered; sent again, it is applied once all the same.
        lane.asked = False
        lane.pause = 0
        lane.retry_at = 0
        if lane.numbered:
            again_from(it, lane, lane.base)
        elif not lane.session or lane.closing or not lane.line.empty():
            wake(it, lane)
    return 0


# Requests of Python threads ----------------------------------------------------------------------------------------------


cdef int line_up(Lanes *it, NativeLane *lane, Request *request) except -1 nogil:
    cdef Many *many
    cdef LaneCommand made
    cdef size_t i
    made.request = request
    if request.kind == REQUEST_LANE_COMMAND:
        made.command = request.command
        request.command = NULL
        made.weight = <uint32_t>request.tag
        lane.line.push_back(made)
        lane.live += 1
        it.queued += 1
    else:
        many = <Many *>request
        for i in range(many.commands.size()):
            made.command = many.commands[i]
            many.commands[i] = NULL
            made.weight = many.weights[i] if not many.weights.empty() else 0
            made.position = <uint32_t>i
            lane.line.push_back(made)
        lane.live += many.commands.size()
        it.queued += many.commands.size()
        if many.commands.empty():
            request_answer(request, OUTCOME_DONE, 0, 0, 0, NULL)
            return 0
    if request.expires_at < lane.expiry:
        lane.expiry = request.expires_at
        timer_at(it, lane, lane.expiry)
    if lane.retry_at == 0:
        wake(it, lane)
    return 0


cdef int lanes_take(Lanes *it, Request *request, uint64_t now) except -1 nogil:
    cdef NativeLane *lane = <NativeLane *>request.asker
    cdef size_t count = 1
    if lane == NULL:
        refuse(request, OUTCOME_MALFORMED)
        return 0
    if it.stopped:
        if request.kind == REQUEST_LANE_OPEN:
            shared_store8(&lane.loss, LOSS_STOPPED)
            state_is(it, lane, LANE_LOST)
            lane_release(lane)  # the engine's; the request has one too
        refuse(request, OUTCOME_STOPPED_BEFORE)
        return 0
    if request.kind == REQUEST_LANE_OPEN:
        lane.lanes = it
        it.all.insert(lane)
        lane.opening = request
        timer_at(it, lane, request.expires_at)
        wake(it, lane)
        return 0
    if request.kind == REQUEST_LANE_LIMIT:
        request_answer(request, OUTCOME_DONE, 0, 0, 0, NULL)
        if lane.session and not over(lane):
            if lane.deadline < shared_load64(&lane.limit) and not lane.renew_at:
                renew_at(it, lane, now)  # the limit was put off, and renewals had come to an end
            schedule(it, lane, now)
        return 0
    if request.kind == REQUEST_LANE_CLOSE:
        if over(lane):
            if lane.state == LANE_CLOSED or lane.loss == LOSS_ENDED or lane.loss == LOSS_REFUSED:
                refuse(request, OUTCOME_DONE)
            else:
                refuse(request, OUTCOME_SESSION_LOST_AFTER)
        elif lane.ending != NULL or lane.closing:
            refuse(request, OUTCOME_REFUSED)
        else:
            lane.closing = True
            lane.ending = request
            if lane.session:
                state_is(it, lane, LANE_CLOSING)
            schedule(it, lane, now)
            wake(it, lane)
        return 0
    if over(lane) or lane.closing:
        refuse(request, OUTCOME_SESSION_LOST_BEFORE)
        return 0
    if request.kind == REQUEST_LANE_MANY:
        count = (<Many *>request).commands.size()
    if it.queued + count > LANES_QUEUED_MAX:
        refuse(request, OUTCOME_OVERLOADED)
        return 0
    return line_up(it, lane, request)


cdef void lanes_stopped(Lanes *it) noexcept nogil:
    cdef ordered_set[NativeLane *].iterator at
    cdef NativeLane *lane
    it.stopped = True
    it.connected = False
    at = it.all.begin()
    while at != it.all.end():
        lane = dereference(at)
        preincrement(at)
        finish(it, lane, LANE_LOST, LOSS_STOPPED, OUTCOME_STOPPED_BEFORE, OUTCOME_STOPPED_AFTER, NEVER)
    it.ready.clear()
    it.timers.clear()
    it.renewals.clear()
    at = it.all.begin()
    while at != it.all.end():
        lane_release(dereference(at))
        preincrement(at)
    it.all.clear()
