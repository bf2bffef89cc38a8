# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""The line of one session: its commands get their numbers in the order in which they were asked, and stay until a result is
there; what comes to anything else is sent again, from the gap if the store names one. The store applies a number once and
keeps the result, so that it does not matter how often it was sent. A result is final whichever sending it answers; everything
else counts only for the newest sending.

The low-water mark is the number before which everything is answered. It goes along in the head of what is sent, and the
store forgets results up to it; no number is sent that is further above it than results are retained.

An asker that gave up is answered, by what is known: if any sending may have been appended, that is not known; else it did
not happen, and an empty transaction takes the number, so that those behind it can go on.

Knows nothing of how a session begins, is kept and ends, and of who sends: it says what is next, and what an answer means.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from quorate.raft._types cimport buffer, buffer_from, buffer_new, buffer_release
from quorate.runtime._lane_structs cimport *
from quorate.runtime._requests cimport request_answer
from quorate.runtime._structs cimport *


cdef extern from "command.h" nogil:
    enum:
        COMMAND_HEAD
        OPERATION_TRANSACTION
    void command_number(uint8_t *bytes, uint64_t session, uint64_t number, uint32_t window)

cdef enum:
    # Results of the store that a line looks at (store/_state.pxd); below SESSION_LOST the number is used up.
    STATUS_SESSION_LOST = 32
    STATUS_GAP = 33
    STATUS_BELOW_MARK = 34
    STATUS_WINDOW_FULL = 35
    RETAINED_BYTES = 65536    # of one session's results, unless another limit is logged

cdef uint64_t PAUSE_FIRST = 1000       # microseconds
cdef uint64_t PAUSE_MOST = 50000
cdef uint64_t PAUSE_CROWDED = 100000   # most, after a refusal for lack of room


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


cdef void line_refuse(Request *request, uint8_t outcome) noexcept nogil:
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


cdef void line_end(Lanes *it, NativeLane *lane, uint8_t before, uint8_t after, uint64_t unapplied) noexcept nogil:
    cdef LaneCommand *one
    cdef size_t i
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


# Answers from the cluster ------------------------------------------------------------------------------------------------


cdef void line_pause(NativeLane *lane, uint8_t outcome) noexcept nogil:
    cdef uint64_t most = PAUSE_MOST
    if outcome == OUTCOME_OVERLOADED or outcome == OUTCOME_STALLED or outcome == OUTCOME_DISK_FULL:
        most = PAUSE_CROWDED
    if outcome == OUTCOME_DONE and lane.backoff == 0:
        # A gap: what is missing can be sent at once, the first time.
        lane.backoff = 1
        return
    lane.backoff = min(max(2 * lane.backoff, PAUSE_FIRST), most)
    lane.pause = lane.backoff


cdef void line_again(Lanes *it, NativeLane *lane, uint64_t number) noexcept nogil:
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


cdef int line_answered(Lanes *it, NativeLane *lane, Sending *by, uint64_t *unapplied) except -1 nogil:
    cdef uint64_t number = by.tag
    cdef LaneCommand *what
    cdef buffer *result = by.result
    cdef uint8_t outcome = by.outcome
    cdef uint8_t status
    cdef uint64_t said
    cdef bint current
    unapplied[0] = NEVER
    if over(lane) or number < lane.base:
        return LOSS_NONE
    what = &lane.line[number - lane.base]
    what.flights -= 1
    if what.state == COMMAND_DONE:
        return LOSS_NONE
    current = what.state == COMMAND_SENT and by.attempt == what.attempt
    if outcome == OUTCOME_DONE and (result == NULL or result.length < RESULT_HEAD):
        outcome = OUTCOME_CONNECTION_LOST
    if outcome != OUTCOME_DONE:
        if proves(outcome):
            what.refusal = lane.refusal = outcome
        else:
            what.doubt = True
        if current:
            line_pause(lane, outcome)
            line_again(it, lane, number)
        return LOSS_NONE
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
        return LOSS_NONE
    if status == STATUS_SESSION_LOST:
        # This sending was not applied. If no other can have been, then nothing behind it was either.
        if not doubtful(what):
            unapplied[0] = number
        return LOSS_ENDED
    if status == STATUS_GAP:
        if said < lane.base:
            return LOSS_REWOUND
        if current and said <= number:
            line_pause(lane, OUTCOME_DONE)
            line_again(it, lane, said)
        return LOSS_NONE
    if status == STATUS_BELOW_MARK:
        # The mark is raised by answers alone, and this has none: the state that it speaks of is not of this lane.
        return LOSS_REWOUND
    if status == STATUS_WINDOW_FULL:
        lane.window = <uint32_t>max(<uint64_t>1, min(<uint64_t>lane.window, said))
        if current:
            line_pause(lane, OUTCOME_DONE)
            line_again(it, lane, number)
        return LOSS_NONE
    # Refused without using the number up, and it will be again: too new for the cluster.
    if doubtful(what):
        settle(lane, what, OUTCOME_CONNECTION_LOST, by, NULL)
    else:
        by.result = NULL
        settle(lane, what, OUTCOME_DONE, by, result)
    fill(lane, what)
    line_again(it, lane, number)
    return LOSS_NONE


# What is asked and what is sent ------------------------------------------------------------------------------------------


cdef int line_take(Lanes *it, NativeLane *lane, Request *request) except -1 nogil:
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


cdef int line_next(Lanes *it, NativeLane *lane) except -1 nogil:
    cdef LaneCommand *what
    cdef buffer *copy
    while lane.cursor < lane.line.size() and lane.line[lane.cursor].state == COMMAND_DONE:
        lane.cursor += 1
    if lane.cursor == lane.line.size() or lane.cursor >= lane.window:
        return 0
    if lane.closing and not lane.live:
        return 0  # only what nobody waits for any more
    what = &lane.line[lane.cursor]
    if lane.cursor == lane.numbered and lane.weight and lane.weight + what.weight > RETAINED_BYTES:
        return 0
    if what.shared:
        # Others read the bytes that were sent before, and the mark in them is an old one.
        copy = buffer_from(what.command.bytes, what.command.length)
        if copy == NULL:
            no_memory()
        buffer_release(what.command)
        what.command = copy
        what.shared = False
        it.again += 1
    command_number(what.command.bytes, lane.session, lane.base + lane.cursor, <uint32_t>(lane.cursor + 1))
    return 1


cdef void line_sent(NativeLane *lane) noexcept nogil:
    cdef LaneCommand *what = &lane.line[lane.cursor]
    if lane.cursor == lane.numbered:
        lane.numbered += 1
        lane.weight += what.weight
    what.attempt += 1
    what.shared = True
    what.state = COMMAND_SENT
    what.flights += 1
    lane.cursor += 1


cdef int line_expire(Lanes *it, NativeLane *lane, uint64_t now) except -1 nogil:
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
