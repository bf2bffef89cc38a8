# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/command.c csrc/mailbox.c csrc/poller.c
"""Lanes as Python threads hold them: thin handles over what the loop keeps.

A command is validated and copied here; the copy is numbered by the loop. A handle that is dropped without :meth:`Lane.close`
has its session ended all the same, once what is pending is answered. In a forked child a handle holds nothing.

Knows nothing of how commands get to the cluster (_lanes.pyx).
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from quorate.raft._types cimport ENTRY_BYTES_MAX, buffer, buffer_from, buffer_release
from quorate.runtime._completions cimport request_clear, request_release
from quorate.runtime._lane cimport *
from quorate.runtime._lane_life cimport lane_release
from quorate.runtime._lane_structs cimport *
from quorate.runtime._requests cimport request_await, request_hand_in, request_prepare, request_put
from quorate.runtime._structs cimport *
from quorate.store._csrc cimport (
    COMMAND_HEAD,
    COMMAND_VERSION,
    NONCE_BYTES,
    OPERATION_GET,
    OPERATION_RELEASE,
    OPERATION_TRANSACTION,
    command,
    command_decode,
    command_part,
    command_part_next,
)

import secrets
import time

from quorate.errors import Indeterminate, InvalidArgument, LimitExceeded, NodeFailed, NotHappened, Overloaded, SessionLost


cdef extern from "command.h" nogil:
    void command_number(uint8_t *bytes, uint64_t session, uint64_t number, uint32_t window)

cdef extern from *:
    """
    static inline void lane_retain(quorate::Lane *it) { __atomic_fetch_add(&it->references, 1u, __ATOMIC_RELAXED); }
    static inline uint64_t next_number(void) {
        static uint64_t last = 0;
        return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
    }
    """
    void lane_retain(NativeLane *it) noexcept nogil
    uint64_t next_number() noexcept nogil

cdef enum:
    READS_ANYTHING = 65536  # a weight that fills what a session retains
    PART_BYTES = 24         # of a result, for a part that reads nothing
    WORDS_BYTES = 300       # a reason that somebody gave

cdef double GRACE_SECONDS = 1.0
cdef double LABEL_MAX = 255

STATES = ("opening", "open", "closing", "closed", "lost")
LOSSES = (
    None,
    "the cluster has ended the session",
    "no renewal was acknowledged in time",
    "the cluster refused to open the session",
    "the cluster has an older state than it had, as after a restore",
    "the engine was stopped",
    "its holder passed the limit it was given",
)

cdef unsigned long _generation = 0  # of this process: forks since the module was loaded


def _forked():
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_forked)


# Requests ----------------------------------------------------------------------------------------------------------------


cdef void request_freed(Request *it) noexcept nogil:
    lane_release(<NativeLane *>it.asker)
    request_clear(it)
    del it


cdef void many_freed(Request *request) noexcept nogil:
    cdef Many *it = <Many *>request
    cdef size_t i
    for i in range(it.commands.size()):
        buffer_release(it.commands[i])
    for i in range(it.results.size()):
        buffer_release(it.results[i])
    lane_release(<NativeLane *>it.asker)
    request_clear(it)
    del it


cdef Request *to_lane(NativeLane *lane, uint8_t kind, buffer *command, double timeout) noexcept nogil:
    cdef Request *made = new Request()
    request_prepare(made, kind, command, clock_microseconds() + <uint64_t>(timeout * 1e6))
    lane_retain(lane)
    made.asker = lane
    made.freed = request_freed
    return made


cdef buffer *taken(bytes data, uint32_t *weight) except NULL:
    """A copy that may be numbered, of a command that may stand in a lane; its weight: what its result may retain."""
    cdef command what
    cdef command_part part
    cdef uint32_t at = 0
    cdef int newer = 0
    cdef const char *wrong
    cdef buffer *copy
    cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
    if length > ENTRY_BYTES_MAX:
        raise LimitExceeded(f"a command has at most {ENTRY_BYTES_MAX} bytes, not {length}")
    if length < COMMAND_HEAD:
        raise InvalidArgument("the command is malformed: it ends too early")
    copy = buffer_from(PyBytes_AS_STRING(data), <uint32_t>length)
    if copy == NULL:
        raise MemoryError
    command_number(copy.bytes, 1, 1, 1)
    wrong = command_decode(copy.bytes, length, COMMAND_VERSION, &what, &newer)
    if newer or wrong != NULL:
        buffer_release(copy)
        if newer:
            raise InvalidArgument("the command is of a newer version than this program knows")
        raise InvalidArgument(f"the command is malformed: {wrong.decode()}")
    weight[0] = 0
    if what.operation == OPERATION_TRANSACTION:
        weight[0] = PART_BYTES * (<uint32_t>what.thens + what.elses)
        while command_part_next(&what, &at, &part):
            if part.operation >= OPERATION_GET:
                weight[0] = READS_ANYTHING
                break
    elif what.operation >= OPERATION_RELEASE:
        weight[0] = WORDS_BYTES
    return copy


@cython.final
cdef class PendingMany(Asked):
    """Commands on their way together. :meth:`wait` gives what became of each."""

    cdef object value(self):
        cdef Many *it = <Many *>self.it
        cdef list made = []
        cdef buffer *result
        cdef size_t i
        for i in range(it.outcomes.size()):
            result = it.results[i]
            if it.outcomes[i] == OUTCOME_DONE and result != NULL:
                made.append(PyBytes_FromStringAndSize(<const char *>result.bytes, result.length))
            else:
                made.append(self.describe(it.outcomes[i], it.leader))
        return made

    def wait(self, timeout=None):
        """A list: for each command its encoded result, or the exception that says what became of it.

        Raises RequestTimeout if the list is not complete after ``timeout`` seconds.
        """
        cdef double left = self.timeout + GRACE_SECONDS if timeout is None else timeout
        cdef uint8_t outcome = request_await(self.it, left)
        if outcome == OUTCOME_PENDING:
            raise self.describe(OUTCOME_EXPIRED, 0)
        if outcome != OUTCOME_DONE:
            raise self.describe(outcome, self.it.leader)
        return self.value()

    def __len__(self):
        return (<Many *>self.it).outcomes.size()


cdef object lane_error(uint8_t outcome):
    if outcome == OUTCOME_SESSION_LOST_BEFORE:
        return SessionLost("the session is over; this was not applied", outcome=NotHappened("it was not applied"))
    if outcome == OUTCOME_SESSION_LOST_AFTER:
        return SessionLost("the session was lost before the outcome was known",
                           outcome=Indeterminate("it was sent, and may have been applied before the session ended"))
    if outcome == OUTCOME_NOT_SENT:
        return NotHappened("it was not sent in time: what this session sent before is not answered yet")
    return None


# The handle --------------------------------------------------------------------------------------------------------------


cdef Lane lane_open(
    object engine, mailbox *mail, poller *poll, const int *ended, object describe, double ttl, bytes label,
    object margin, double timeout, uint64_t mark,
):
    cdef Lane made = Lane.__new__(Lane)
    cdef double spare = ttl / 10 if margin is None else margin
    cdef bytes nonce = secrets.token_bytes(NONCE_BYTES)
    cdef Request *request
    if not 0.001 <= ttl <= 4_000_000:
        raise InvalidArgument(f"a session lives 0.001 to 4,000,000 seconds without a renewal, not {ttl!r}")
    if not 0 <= spare < ttl:
        raise InvalidArgument(f"the margin of a lane is at least 0 seconds and less than its ttl, not {margin!r}")
    if len(label) > LABEL_MAX:
        raise InvalidArgument(f"a label has at most 255 bytes, not {len(label)}")
    made.engine = engine
    made.mail = mail
    made.poll = poll
    made.ended = ended
    made.describe = describe
    made.generation = _generation
    made.it = new NativeLane()
    made.it.id = next_number()
    made.it.ttl_ms = <uint32_t>(ttl * 1000 + 0.5)
    made.it.ttl = <uint64_t>made.it.ttl_ms * 1000
    made.it.margin = <uint64_t>(spare * 1e6)
    made.it.label_length = <uint8_t>len(label)
    memcpy(made.it.label, PyBytes_AS_STRING(label), len(label))
    memcpy(made.it.nonce, PyBytes_AS_STRING(nonce), NONCE_BYTES)
    if mark:
        store_le64(made.it.nonce + 8, mark)
    made.opening = Pending.__new__(Pending)
    request = to_lane(made.it, REQUEST_LANE_OPEN, NULL, timeout)
    made.opening.it = request
    made.opening.engine = engine
    made.opening.ended = ended
    made.opening.describe = describe
    made.opening.timeout = timeout
    made.opening.grace = GRACE_SECONDS
    try:
        made.hand_in(request)
    except BaseException:
        lane_release(made.it)  # the engine's reference
        lane_release(made.it)  # the handle's
        made.it = NULL
        raise
    return made


@cython.final
@cython.no_gc_clear
cdef class Lane:
    """A session, and the commands in it: each applied exactly once, in the order in which they were submitted.

    It comes from an engine, which opens it, keeps it alive and sends everything again that was lost, all natively.
    ``opening`` is what became of the opening: its ``wait()`` gives (session, encoded result).
    """

    def __init__(self):
        raise TypeError("a Lane comes from a node or a client")

    def __dealloc__(self):
        cdef Request *request
        if self.it == NULL:
            return
        if self.generation == _generation:
            if self.ending is None and not flag_get(self.ended):
                flag_set(&self.it.dropped)
                request = to_lane(self.it, REQUEST_LANE_CLOSE, NULL, 1e9)
                request_put(self.mail, self.poll, self.ended, request)
                request_release(request)
            lane_release(self.it)

    cdef int mine(self) except -1:
        if self.generation != _generation:
            raise NodeFailed(
                "this session belongs to the parent process; a forked child has none. Connect again in the child",
                outcome=NotHappened("nothing was handed in"))
        return 0

    cdef int hand_in(self, Request *request) except -1:
        cdef uint8_t refused = request_hand_in(self.engine, self.mail, self.poll, self.ended, request)
        if refused == OUTCOME_OVERLOADED:
            raise Overloaded("the queue of requests is full; try again after a pause")
        if refused:
            raise self.describe(refused, 0)
        return 0

    cdef Pending asked(self, Request *request, double timeout):
        cdef Pending made = Pending.__new__(Pending)
        made.it = request
        made.engine = self.engine
        made.ended = self.ended
        made.describe = self.describe
        made.timeout = timeout
        made.grace = GRACE_SECONDS
        self.hand_in(request)
        return made

    def submit(self, bytes data not None, double timeout):
        """Hands an encoded command in (:mod:`quorate.store.commands`), behind those before it, and returns at once.

        What it says of session, number and mark is replaced. The answer's ``wait()`` gives (log index, encoded result).
        It raises SessionLost (its ``outcome`` says whether this may have been applied), RequestTimeout (not known), or
        what kept it from being sent (NotHappened). Raises InvalidArgument for bytes that are no command, Overloaded.
        """
        cdef uint32_t weight = 0
        cdef buffer *copy
        cdef Request *request
        self.mine()
        copy = taken(data, &weight)
        request = to_lane(self.it, REQUEST_LANE_COMMAND, copy, timeout)
        request.tag = weight
        return self.asked(request, timeout)

    def submit_many(self, list commands not None, double timeout):
        """Hands commands in as one; they are applied in order, and not as a whole. See :meth:`PendingMany.wait`."""
        cdef PendingMany made
        cdef Many *many
        cdef uint32_t weight = 0
        cdef bint heavy = False
        cdef vector[uint32_t] weights
        cdef size_t count = len(commands)
        self.mine()
        if count > MANY_COMMANDS_MAX:
            raise LimitExceeded(f"at most {MANY_COMMANDS_MAX} commands are handed in as one, not {count}")
        many = new Many()
        request_prepare(many, REQUEST_LANE_MANY, NULL, clock_microseconds() + <uint64_t>(timeout * 1e6))
        lane_retain(self.it)
        many.asker = self.it
        many.freed = many_freed
        made = PendingMany.__new__(PendingMany)
        made.it = many  # from here on it is freed with the handle
        made.engine = self.engine
        made.describe = self.describe
        made.timeout = timeout
        try:
            many.commands.reserve(count)
            weights.reserve(count)
            for data in commands:
                if not isinstance(data, bytes):
                    raise InvalidArgument(f"a command is bytes, not {type(data).__name__}")
                many.commands.push_back(taken(data, &weight))
                weights.push_back(weight)
                heavy = heavy or weight != 0
            if heavy:
                many.weights.swap(weights)
            many.results.resize(count)
            many.outcomes.resize(count)
            many.left = count
        except BaseException:
            request_release(many)  # the loop's reference
            raise
        self.hand_in(many)
        return made

    def close(self, double timeout=5.0):
        """Ends the session with all that belongs to it, once what is pending is answered; nothing can be submitted any
        more. The answer's ``wait()`` returns when it has ended. The second call returns the same answer."""
        self.mine()
        if self.ending is None:
            self.ending = self.asked(to_lane(self.it, REQUEST_LANE_CLOSE, NULL, timeout), timeout)
        return self.ending

    cdef int limit_to(self, uint64_t at) except -1:
        cdef Request *request
        lane_limit(self.it, at)
        request = to_lane(self.it, REQUEST_LANE_LIMIT, NULL, 1e9)
        # It holds in any case; a loop that could not be told sees it at its next look at the lane.
        request_put(self.mail, self.poll, self.ended, request)
        request_release(request)
        return 0

    def limit(self, seconds):
        """From now on the session is ours for so many seconds at most, whatever is renewed: then the lane is lost, even if
        this process never runs Python again. It is not renewed for a time behind that, so that the cluster ends it soon
        after, and at the latest a ttl later. None: without a limit again. A later call takes the place of an earlier one; a lane that is lost stays lost. From any thread.

        Raises InvalidArgument for what is no number of seconds.
        """
        cdef double most
        self.mine()
        if seconds is None:
            self.limit_to(<uint64_t>-1)
            return
        most = seconds
        if not 0 <= most < 4e6:
            raise InvalidArgument(f"a lane is limited to 0 to 4,000,000 seconds, not {seconds!r}")
        self.limit_to(clock_microseconds() + <uint64_t>(most * 1e6))

    cdef bint alive(self) noexcept:
        return clock_microseconds() < lane_deadline(self.it) and self.generation == _generation

    def held(self):
        """Whether the session is certainly alive, by the local clock. No lock, no system call."""
        return self.alive()

    @property
    def id(self) -> int:
        """Names the lane in notices; unique in this process."""
        return self.it.id

    @property
    def session(self) -> int:
        """Its number in the cluster; 0 as long as it is not open."""
        return lane_session(self.it)

    @property
    def ttl(self) -> float:
        """Seconds after which the cluster takes it for lost if nothing is heard of it."""
        return self.it.ttl / 1e6

    @property
    def state(self) -> str:
        """"opening", "open", "closing", "closed" or "lost"."""
        return STATES[lane_state(self.it)]

    @property
    def loss(self) -> str | None:
        """Why it is lost, in words; None if it is not."""
        return LOSSES[lane_loss(self.it)]

    @property
    def deadline(self) -> float:
        """Until when it is certainly alive if nothing more is heard, in seconds of time.monotonic(); 0.0 if it is not."""
        cdef uint64_t at = lane_deadline(self.it)
        if at == 0:
            return 0.0
        return time.monotonic() + (<double>at - <double>clock_microseconds()) / 1e6

    def __repr__(self):
        left = self.deadline - time.monotonic()
        how = f"alive for {left:.1f} s more" if left > 0 else self.loss or "not held"
        return f"<Lane of session {self.session}, {self.state}, {how}>"
