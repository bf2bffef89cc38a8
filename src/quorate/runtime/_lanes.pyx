# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Exactly once, in order: what a client's native side does with the numbered commands of its sessions.

A lane is one session. This drives all lanes of an engine: takes what Python threads ask, sends what is ready and what the time
asks for, one renewal for all that are due, and passes answers on to the line of the session (_lane_line.pyx) and to its life
(_lane_life.pyx).

Knows nothing of connections, of logs and of Python; a loop drives it (_lanes.pxd says how). Nothing is answered and nothing
is sent while a caller goes through its own tables: an answer only notes, lanes_run sends.
"""

from cython.operator cimport dereference, preincrement
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libcpp.set cimport set as ordered_set

from quorate.raft._types cimport buffer, buffer_new, buffer_release, buffer_retain
from quorate.runtime._completions cimport request_clear
from quorate.runtime._lane_life cimport *
from quorate.runtime._lane_line cimport line_again, line_answered, line_next, line_refuse, line_sent, line_take
from quorate.runtime._lane_structs cimport *
from quorate.runtime._lanes cimport *
from quorate.runtime._requests cimport request_answer
from quorate.runtime._structs cimport *

cdef enum:
    RENEWALS_MAX = 8192       # sessions in one request
    SPARE_MAX = 8192

cdef uint64_t SENDING_PATIENCE = 5000000  # microseconds


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


# Answers from the cluster ------------------------------------------------------------------------------------------------


cdef void command_answered(Lanes *it, NativeLane *lane, Sending *by) noexcept nogil:
    cdef uint64_t unapplied = NEVER
    cdef int loss = line_answered(it, lane, by, &unapplied)
    if loss != LOSS_NONE:
        lane_lose(it, lane, <uint8_t>loss, unapplied)


cdef void renewal_answered(Lanes *it, Sending *by) noexcept nogil:
    """Of many lanes at once, each of which it counts as a flight."""
    cdef bint told = by.outcome == OUTCOME_DONE and by.result != NULL and by.result.length == by.lanes.size()
    cdef NativeLane *lane
    cdef size_t i
    if not told:
        it.renewals_failed += 1
    for i in range(by.lanes.size()):
        lane = by.lanes[i]
        lane.flights -= 1
        if over(lane):
            left(it, lane)
            continue
        lane_renewed(it, lane, by.result.bytes[i] if told else 3, by.sent_at)


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
            lane_opened(it, lane, by)
        else:
            lane_ended(it, lane, by)
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


cdef int send_once(Lanes *it, NativeLane *lane, LaneDriver *driver, uint8_t what, uint64_t now) except -1 nogil:
    """An opening or a goodbye: one at a time, of which only the newest counts."""
    cdef Sending *made = sending_new(it, lane, what, now)
    made.command = lane_opening(lane) if what == SENDING_OPEN else lane_goodbye(lane)
    lane.attempt += 1
    made.attempt = lane.attempt
    if send(it, driver, made) == 0:
        return 0
    lane.asked = True
    if what == SENDING_OPEN and lane.opened_from == 0:
        lane.opened_from = now
    return 1


cdef int send_command(Lanes *it, NativeLane *lane, LaneDriver *driver, uint64_t now) except -1 nogil:
    """The one at the cursor, which line_next made ready."""
    cdef LaneCommand *what = &lane.line[lane.cursor]
    cdef Sending *made = sending_new(it, lane, SENDING_COMMAND, now)
    made.command = buffer_retain(what.command)
    made.tag = lane.base + lane.cursor
    made.attempt = what.attempt + 1
    if send(it, driver, made) == 0:
        return 0
    line_sent(lane)
    return 1


cdef int pump(Lanes *it, NativeLane *lane, LaneDriver *driver, uint64_t now) except -1 nogil:
    """Sends what a lane has to send; 0 if the driver has no room for it."""
    if lane.pause:
        it.random ^= it.random << 13
        it.random ^= it.random >> 7
        it.random ^= it.random << 17
        # Not all at the same moment.
        lane.retry_at = now + lane.pause // 2 + it.random % (lane.pause // 2 + 1)
        lane.pause = 0
    if lane.found:
        lane_declare(it, lane, now)
    if lane.retry_at > now:
        timer_at(it, lane, lane.retry_at)
        return 1
    lane.retry_at = 0
    if over(lane):
        return 1
    if not lane.session:
        if lane.closing and not lane.live and not lane.opened_from:
            lane_closed(it, lane)
            return 1
        return 1 if lane.asked else send_once(it, lane, driver, SENDING_OPEN, now)
    while line_next(it, lane):
        if send_command(it, lane, driver, now) == 0:
            return 0
    if lane.closing and not lane.live and not lane.asked:
        return send_once(it, lane, driver, SENDING_END, now)
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


# A turn ------------------------------------------------------------------------------------------------------------------


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
        lane_due(it, lane, now)
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
                lane_closed(it, lane)
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
            line_again(it, lane, lane.base)
        elif not lane.session or lane.closing or not lane.line.empty():
            wake(it, lane)
    return 0


# Requests of Python threads ----------------------------------------------------------------------------------------------


cdef int lanes_take(Lanes *it, Request *request, uint64_t now) except -1 nogil:
    cdef NativeLane *lane = <NativeLane *>request.asker
    cdef size_t count = 1
    if lane == NULL:
        line_refuse(request, OUTCOME_MALFORMED)
        return 0
    if it.stopped:
        if request.kind == REQUEST_LANE_OPEN:
            shared_store8(&lane.loss, LOSS_STOPPED)
            lane_becomes(it, lane, LANE_LOST)
            lane_release(lane)  # the engine's; the request has one too
        line_refuse(request, OUTCOME_STOPPED_BEFORE)
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
        lane_limited(it, lane, now)
        return 0
    if request.kind == REQUEST_LANE_CLOSE:
        lane_close(it, lane, request, now)
        return 0
    if over(lane) or lane.closing:
        line_refuse(request, OUTCOME_SESSION_LOST_BEFORE)
        return 0
    if request.kind == REQUEST_LANE_MANY:
        count = (<Many *>request).commands.size()
    if it.queued + count > LANES_QUEUED_MAX:
        line_refuse(request, OUTCOME_OVERLOADED)
        return 0
    return line_take(it, lane, request)


cdef void lanes_stopped(Lanes *it) noexcept nogil:
    cdef ordered_set[NativeLane *].iterator at
    cdef NativeLane *lane
    it.stopped = True
    it.connected = False
    at = it.all.begin()
    while at != it.all.end():
        lane = dereference(at)
        preincrement(at)
        lane_finish(it, lane, LANE_LOST, LOSS_STOPPED, OUTCOME_STOPPED_BEFORE, OUTCOME_STOPPED_AFTER, NEVER)
    it.ready.clear()
    it.timers.clear()
    it.renewals.clear()
    at = it.all.begin()
    while at != it.all.end():
        lane_release(dereference(at))
        preincrement(at)
    it.all.clear()
