# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""The life of one session: opened, renewed, limited, closed, lost.

The session is ours until the time before the last acknowledged renewal was sent, plus its time to live, minus a margin for
clocks that run at different speeds. Then everything that belongs to it is lost here, ahead of the cluster. Its holder may give
it a limit: then it is not ours any longer than that, and no renewal is sent that would be for a time behind the limit alone.

Knows nothing of numbers and marks (_lane_line.pyx), and of who sends: it says what the commands are, and what an answer means.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from quorate.raft._types cimport buffer, buffer_new, buffer_release, buffer_retain
from quorate.runtime._lane_line cimport line_end, line_expire, line_pause, line_refuse
from quorate.runtime._lane_structs cimport *
from quorate.runtime._notices cimport NOTICE_LANE, notice
from quorate.runtime._requests cimport request_answer
from quorate.runtime._structs cimport *


cdef extern from "command.h" nogil:
    enum:
        COMMAND_HEAD
        OPERATION_SESSION_OPEN
        OPERATION_SESSION_END
        END_GOODBYE

cdef extern from "<sys/random.h>" nogil:
    int getentropy(void *into, size_t size)

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_REALTIME

cdef enum:
    STATUS_OK = 0  # of a result (store/_state.pxd)


# Its end -----------------------------------------------------------------------------------------------------------------


cdef void lane_release(NativeLane *it) noexcept nogil:
    if shared_give_back(&it.references):
        buffer_release(it.opened)
        del it


cdef void lane_becomes(Lanes *it, NativeLane *lane, uint8_t state) noexcept nogil:
    if state != LANE_OPEN and state != LANE_CLOSING:
        shared_store64(&lane.deadline, 0)
    shared_store8(&lane.state, state)
    notice(it.notices, NOTICE_LANE, lane.id, state)


cdef void lane_finish(
    Lanes *it, NativeLane *lane, uint8_t state, uint8_t loss, uint8_t before, uint8_t after, uint64_t unapplied
) noexcept nogil:
    cdef Request *asker
    if over(lane):
        return
    shared_store8(&lane.loss, loss)
    if state == LANE_LOST:
        it.lost += 1
    lane_becomes(it, lane, state)
    renew_at(it, lane, 0)
    line_end(it, lane, before, after, unapplied)
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


cdef void lane_lose(Lanes *it, NativeLane *lane, uint8_t loss, uint64_t unapplied) noexcept nogil:
    lane_finish(it, lane, LANE_LOST, loss, OUTCOME_SESSION_LOST_BEFORE, OUTCOME_SESSION_LOST_AFTER, unapplied)


cdef void lane_closed(Lanes *it, NativeLane *lane) noexcept nogil:
    lane_finish(it, lane, LANE_CLOSED, LOSS_NONE, OUTCOME_SESSION_LOST_BEFORE, OUTCOME_SESSION_LOST_AFTER, NEVER)


# Its beginning -----------------------------------------------------------------------------------------------------------


cdef buffer *lane_opening(NativeLane *lane) except NULL nogil:
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
    return command


cdef void lane_opened(Lanes *it, NativeLane *lane, Sending *by) noexcept nogil:
    cdef buffer *result = by.result
    if over(lane) or by.attempt != lane.attempt or lane.session:
        return
    lane.asked = False
    if by.outcome != OUTCOME_DONE or result == NULL or result.length < RESULT_HEAD:
        lane.refusal = by.outcome
        line_pause(lane, by.outcome if by.outcome != OUTCOME_DONE else <uint8_t>OUTCOME_CONNECTION_LOST)
        wake(it, lane)
        return
    lane.backoff = 0
    buffer_release(lane.opened)
    lane.opened = result
    by.result = NULL
    if result.bytes[0] != STATUS_OK:
        lane_lose(it, lane, LOSS_REFUSED, 0)
        return
    lane.found = load_le64(result.bytes + RESULT_NUMBER)
    wake(it, lane)


cdef int lane_declare(Lanes *it, NativeLane *lane, uint64_t now) except -1 nogil:
    cdef Request *asker = lane.opening
    if now >= lane.opened_from + lane.ttl - lane.margin:
        lane.found = 0
        lane.opened_from = 0
        getentropy(lane.nonce, 8)  # the other half may be the mark of this process
        return 0
    shared_store64(&lane.session, lane.found)
    shared_store64(&lane.deadline, lane.opened_from + lane.ttl - lane.margin)
    lane.found = 0
    renew_at(it, lane, lane.opened_from + lane.ttl // 3)
    timer_at(it, lane, lane_deadline(lane))
    lane_becomes(it, lane, LANE_CLOSING if lane.closing else LANE_OPEN)
    if asker != NULL:
        lane.opening = NULL
        request_answer(asker, OUTCOME_DONE, lane.session, 0, 0, buffer_retain(lane.opened))
    return 0


# While it lasts ----------------------------------------------------------------------------------------------------------


cdef void lane_renewed(Lanes *it, NativeLane *lane, uint8_t said, uint64_t sent_at) noexcept nogil:
    if said == 0:
        it.renewed += 1
        if sent_at + lane.ttl - lane.margin > lane.deadline:
            shared_store64(&lane.deadline, sent_at + lane.ttl - lane.margin)
        renew_at(it, lane, sent_at + lane.ttl // 3)
    elif said == 1:
        lane_lose(it, lane, LOSS_ENDED, NEVER)
    else:
        # Not known, or its expiry is proposed: another leader may still hold it.
        renew_at(it, lane, sent_at + max(<uint64_t>20000, lane.ttl // 30))


cdef void lane_limited(Lanes *it, NativeLane *lane, uint64_t now) noexcept nogil:
    if lane.session and not over(lane):
        if lane.deadline < shared_load64(&lane.limit) and not lane.renew_at:
            renew_at(it, lane, now)  # the limit was put off, and renewals had come to an end
        lane_schedule(it, lane, now)


# A goodbye ---------------------------------------------------------------------------------------------------------------


cdef void lane_close(Lanes *it, NativeLane *lane, Request *request, uint64_t now) noexcept nogil:
    if over(lane):
        if lane.state == LANE_CLOSED or lane.loss == LOSS_ENDED or lane.loss == LOSS_REFUSED:
            line_refuse(request, OUTCOME_DONE)
        else:
            line_refuse(request, OUTCOME_SESSION_LOST_AFTER)
    elif lane.ending != NULL or lane.closing:
        line_refuse(request, OUTCOME_REFUSED)
    else:
        lane.closing = True
        lane.ending = request
        if lane.session:
            lane_becomes(it, lane, LANE_CLOSING)
        lane_schedule(it, lane, now)
        wake(it, lane)


cdef buffer *lane_goodbye(NativeLane *lane) except NULL nogil:
    cdef buffer *command = buffer_new(COMMAND_HEAD + 9)
    if command == NULL:
        no_memory()
    memset(command.bytes, 0, COMMAND_HEAD)
    command.bytes[0] = 1
    command.bytes[1] = OPERATION_SESSION_END
    store_le64(command.bytes + COMMAND_HEAD, lane.session)
    command.bytes[COMMAND_HEAD + 8] = END_GOODBYE
    return command


cdef void lane_ended(Lanes *it, NativeLane *lane, Sending *by) noexcept nogil:
    if over(lane) or by.attempt != lane.attempt:
        return
    lane.asked = False
    if by.outcome == OUTCOME_DONE:
        # Whether it was found or had ended already.
        lane_closed(it, lane)
        return
    lane.refusal = by.outcome
    line_pause(lane, by.outcome)
    wake(it, lane)


# Time --------------------------------------------------------------------------------------------------------------------


cdef uint8_t unanswered(Lanes *it, const NativeLane *lane) noexcept nogil:
    """What an opening or a goodbye came to when its asker's time is over."""
    if lane.asked or not proves(lane.refusal):
        return OUTCOME_EXPIRED if lane.asked or it.connected else <uint8_t>OUTCOME_NO_LEADER
    return lane.refusal


cdef int lane_due(Lanes *it, NativeLane *lane, uint64_t now) except -1 nogil:
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
        lane_lose(it, lane, LOSS_DEADLINE if now >= lane.deadline else LOSS_LIMIT, NEVER)
        return 0
    if lane.closing and not lane.session and lane.opened_from and not lane.live and now >= lane.opened_from + lane.ttl:
        # Whether it was opened is not known, and it is over by itself.
        lane_lose(it, lane, LOSS_DEADLINE, NEVER)
        return 0
    if now >= lane.expiry:
        line_expire(it, lane, now)
    if lane.retry_at and now >= lane.retry_at:
        lane.retry_at = 0
        wake(it, lane)
    if lane.closing:
        wake(it, lane)
    lane_schedule(it, lane, now)
    return 0


cdef void lane_schedule(Lanes *it, NativeLane *lane, uint64_t now) noexcept nogil:
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
