# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/mailbox.c csrc/poller.c
"""Lanes without a cluster and without a clock: what they send comes out, and what becomes of it is put in by a test.

Runs the same native rules as a node or a client, in the calling thread. Knows nothing of what a cluster would answer.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.map cimport map as ordered_map

from quorate.raft._types cimport buffer, buffer_from
from cython.operator cimport dereference

from quorate.runtime._lane cimport Lane, lane_error, lane_open
from quorate.runtime._lane_structs cimport *
from quorate.runtime._lanes cimport *
from quorate.runtime._notices cimport Notices, notices_free, notices_new, notices_wait
from quorate.runtime._requests cimport request_answer
from quorate.runtime._structs cimport *

OUTCOMES = (
    "pending", "done", "no_leader", "not_leader", "overloaded", "transferring", "disk_full", "stalled", "replaced",
    "refused", "stopped_before", "connection_lost", "expired", "stopped_after",
)  # fmt: skip


class Came(Exception):
    """What a pending question of a rig came to, if it is not done: ``outcome`` is a name of OUTCOMES, or a number."""

    def __init__(self, outcome):
        super().__init__(OUTCOMES[outcome] if outcome < len(OUTCOMES) else str(outcome))
        self.outcome = str(self)


cdef struct Under:
    uint64_t last
    uint64_t room
    ordered_map[uint64_t, Request *] *way


cdef int rig_sends(void *context, Request *request) except -1 nogil:
    cdef Under *under = <Under *>context
    if under.room == 0:
        return 0
    under.room -= 1
    under.last += 1
    under.way[0][under.last] = request
    return 1


@cython.final
cdef class LaneRig:
    """An engine of lanes whose time (microseconds) and cluster are the caller's. One thread."""

    cdef Lanes *lanes
    cdef Notices *notes
    cdef mailbox *mail
    cdef poller *poll
    cdef LaneDriver driver
    cdef Under under
    cdef ordered_map[uint64_t, Request *] way
    cdef int ended
    cdef public uint64_t now
    cdef object __weakref__

    def __cinit__(self, *, uint64_t seed=1):
        self.now = 1_000_000
        self.notes = notices_new()
        self.lanes = lanes_new(self.notes, seed)
        self.mail = mailbox_new(4096)
        self.poll = poller_new(8)
        if self.mail == NULL or self.poll == NULL:
            raise MemoryError
        self.under.last = 0
        self.under.way = &self.way
        self.driver.context = &self.under
        self.driver.send = rig_sends

    def __dealloc__(self):
        if self.lanes != NULL:
            self.halt()
            lanes_free(self.lanes)
            notices_free(self.notes)
        if self.mail != NULL:
            mailbox_free(self.mail)
        poller_free(self.poll)

    cdef int halt(self) except -1:
        while not self.way.empty():
            self.answer_one(dereference(self.way.begin()).first, OUTCOME_CONNECTION_LOST, NULL)
        lanes_stopped(self.lanes)
        self.take(0)
        return 0

    cdef int take(self, uint64_t expires_at) except -1:
        """What was handed in comes to the lanes, and its time counts from the rig's."""
        cdef Request *request
        while True:
            request = <Request *>mailbox_take(self.mail)
            if request == NULL:
                return 0
            request.expires_at = expires_at
            lanes_take(self.lanes, request, self.now)

    cdef int answer_one(self, uint64_t key, uint8_t outcome, buffer *result) except -1:
        cdef Request *request = self.way[key]
        self.way.erase(key)
        request_answer(request, outcome, 1, 1, 1, result)
        return 0

    def describe(self, uint8_t outcome, uint64_t leader):
        return lane_error(outcome) or Came(outcome)

    def lane(self, double ttl, double timeout, margin=None):
        """Opens a lane; ``timeout`` in seconds of the rig's time."""
        made = lane_open(self, self.mail, self.poll, &self.ended, self.describe, ttl, b"rig", margin, 1.0, 0)
        self.take(self.now + <uint64_t>(timeout * 1e6))
        return made

    def submit(self, Lane lane not None, bytes command not None, double timeout):
        made = lane.submit(command, 1.0)
        self.take(self.now + <uint64_t>(timeout * 1e6))
        return made

    def submit_many(self, Lane lane not None, list commands not None, double timeout):
        made = lane.submit_many(commands, 1.0)
        self.take(self.now + <uint64_t>(timeout * 1e6))
        return made

    def close(self, Lane lane not None, double timeout):
        made = lane.close(1.0)
        self.take(self.now + <uint64_t>(timeout * 1e6))
        return made

    def limit(self, Lane lane not None, double seconds):
        """A limit in seconds of the rig's time; below 0: none."""
        lane.limit_to(self.now + <uint64_t>(seconds * 1e6) if seconds >= 0 else <uint64_t>-1)
        self.take(0)

    def collect(self):
        """What handles asked for by being dropped."""
        self.take(<uint64_t>-1 // 2)

    def deadline_of(self, Lane lane not None):
        """Until when a lane is certainly alive, in the rig's time; 0 if it is not."""
        return lane_deadline(lane.it)

    def run(self, uint64_t room=1_000_000):
        """One turn with room for so many sendings: [(key, kind, bytes)] of what was sent."""
        cdef uint64_t before = self.under.last
        cdef uint64_t key
        cdef Request *request
        self.under.room = room
        lanes_run(self.lanes, &self.driver, self.now)
        made = []
        for key in range(before + 1, self.under.last + 1):
            if self.way.count(key):
                request = self.way[key]
                made.append((key, request.kind, PyBytes_FromStringAndSize(
                    <const char *>request.command.bytes, request.command.length)))
        return made

    def body(self, uint64_t key):
        """The bytes of a sending as they are now, which others share."""
        if not self.way.count(key):
            raise KeyError(key)
        return PyBytes_FromStringAndSize(<const char *>self.way[key].command.bytes, self.way[key].command.length)

    def answer(self, uint64_t key, str outcome not None, bytes result=None):
        """What became of a sending, once; ``outcome`` is a name of OUTCOMES."""
        cdef buffer *made = NULL
        if not self.way.count(key):
            raise KeyError(key)
        if result is not None:
            made = buffer_from(PyBytes_AS_STRING(result), <uint32_t>PyBytes_GET_SIZE(result))
        self.answer_one(key, OUTCOMES.index(outcome), made)

    def connected(self, bint yes):
        """There is a leader to send to, perhaps another one; or there is none."""
        lanes_connected(self.lanes, yes, self.now)

    @property
    def deadline(self) -> int:
        """When :meth:`run` has to be called at the latest, in the rig's time."""
        return lanes_deadline(self.lanes)

    @property
    def figures(self) -> dict:
        return {"open": self.lanes.all.size(), "queued": self.lanes.queued, "sent": self.lanes.sent,
                "again": self.lanes.again, "restarts": self.lanes.restarts, "lost": self.lanes.lost}

    def notices(self):
        return notices_wait(self.notes, 0.0, {})

    def stop(self):
        """The engine's end: answers everything."""
        self.halt()
