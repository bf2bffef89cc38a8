# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/mailbox.c csrc/poller.c
"""Questions of Python threads to the loop: a bounded mailbox in, and a condition variable on which the asker sleeps.

An asker holds the GIL neither while it waits nor while it puts; it looks for signals ten times a second or more, so that
Ctrl-C works. What it gave up waiting for is still the loop's, which forgets it when its time is over or its place in the log
is known.

Knows nothing of what commands say.
"""

cimport cython
from cpython.ref cimport PyObject
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorate.raft._types cimport (
    LEADER_CHANGED,
    NO_LEADER,
    NO_ROOM,
    NOT_LEADER,
    OVERLOADED,
    STALLED,
    TRANSFERRING,
    buffer,
)
from quorate.runtime._completions cimport Asked, request_finish, request_release
from quorate.runtime._requests cimport *
from quorate.runtime._structs cimport *
from quorate.runtime._threads cimport condition_init, seconds_from_now

from quorate.errors import Overloaded


cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int microseconds)

cdef extern from *:
    """
    static inline void reference_take(uint32_t *references) { __atomic_fetch_add(references, 1u, __ATOMIC_RELAXED); }
    static inline uint32_t reference_count(const uint32_t *it) { return __atomic_load_n(it, __ATOMIC_ACQUIRE); }
    /* The Cork that this thread has begun; borrowed, because whoever begins one holds it until it ends. */
    static thread_local PyObject *the_cork = nullptr;
    static inline void cork_set(PyObject *it) { the_cork = it; }
    static inline PyObject *cork_get(void) { return the_cork; }
    """
    void cork_set(PyObject *it) noexcept
    PyObject *cork_get() noexcept
    void reference_take(uint32_t *references) noexcept nogil
    uint32_t reference_count(const uint32_t *it) noexcept nogil

cdef extern from "quorate/runtime/lanes.hpp" namespace "quorate" nogil:
    const uint8_t REQUEST_LANE_CLOSE

cdef extern from "command.h" nogil:
    int command_frees(const uint8_t *bytes, size_t length)

cdef double SLICE_SECONDS = 0.05  # how long a signal may have to wait
cdef double LATE_SECONDS = 5.0    # how late the end of a long poll may be


cdef uint8_t outcome_of(uint8_t status) noexcept nogil:
    """What the core's refusal means to a caller; each proves that nothing was appended."""
    if status == NO_LEADER or status == LEADER_CHANGED:
        return OUTCOME_NO_LEADER
    if status == NOT_LEADER:
        return OUTCOME_NOT_LEADER
    if status == OVERLOADED:
        return OUTCOME_OVERLOADED
    if status == TRANSFERRING:
        return OUTCOME_TRANSFERRING
    if status == STALLED:
        return OUTCOME_STALLED
    if status == NO_ROOM:
        return OUTCOME_DISK_FULL
    return OUTCOME_REFUSED


cdef Request *request_new(uint8_t kind, buffer *command, uint64_t expires_at) except NULL nogil:
    """With two references: the asker's and the loop's. Takes over the command."""
    cdef Request *made = new Request()
    request_prepare(made, kind, command, expires_at)
    return made


cdef void request_prepare(Request *made, uint8_t kind, buffer *command, uint64_t expires_at) noexcept nogil:
    made.kind = kind
    made.command = command
    made.expires_at = expires_at
    condition_init(&made.answered)


cdef void request_answer(
    Request *it, uint8_t outcome, uint64_t index, uint64_t term, uint64_t leader, buffer *result
) noexcept nogil:
    if it.then != NULL:
        it.index = index
        it.term = term
        it.leader = leader
        it.result = result
        it.outcome = outcome
        it.then(it)
        return
    pthread_mutex_lock(&it.lock)
    it.index = index
    it.term = term
    it.leader = leader
    it.result = result
    it.outcome = outcome
    request_finish(it)


cdef bint request_frees(const Request *it) noexcept nogil:
    if it.kind == REQUEST_RENEW or it.kind == REQUEST_LANE_CLOSE:
        return True
    if it.command == NULL or (it.kind != REQUEST_PROPOSE and it.kind <= REQUEST_TRANSFER):
        return False
    return command_frees(<const uint8_t *>it.command.bytes, it.command.length) != 0


cdef uint8_t request_put(mailbox *mail, poller *poll, const int *ended, Request *it) noexcept nogil:
    cdef bint asleep = False
    cdef uint8_t outcome = request_leave(mail, ended, it, &asleep)
    if asleep:
        poller_wake(poll)
    return outcome


cdef uint8_t request_leave(mailbox *mail, const int *ended, Request *it, bint *asleep) noexcept nogil:
    cdef int put
    reference_take(&it.references)
    # The last places are for what gives back: under overload it is what helps.
    put = MAILBOX_FULL if mailbox_crowded(mail) and not request_frees(it) else mailbox_put(mail, it)
    if put == MAILBOX_WAKE:
        asleep[0] = True
    elif put != MAILBOX_PUT:
        request_release(it)
        request_release(it)
        return OUTCOME_OVERLOADED if put == MAILBOX_FULL else OUTCOME_STOPPED_BEFORE
    if mailbox_closed(mail):
        # The loop is at its end, and this may have come in behind its last look: then nobody else answers it.
        while not flag_get(ended):
            usleep(100)
        if request_wait(it, 0.0) == OUTCOME_PENDING:
            request_answer(it, OUTCOME_STOPPED_BEFORE, 0, 0, 0, NULL)
    request_release(it)
    return 0


cdef void loop_answer(Loop *it, Request *request, uint8_t outcome, uint64_t index, buffer *result) noexcept nogil:
    it.pending -= 1
    request_answer(request, outcome, index, it.term, it.leader, result)


cdef bint request_unwanted(Request *it) noexcept nogil:
    if it.unwanted != NULL:
        return it.unwanted[0]
    return it.then == NULL and reference_count(&it.references) == 1


cdef uint8_t request_wait(Request *it, double seconds) noexcept nogil:
    """Waits for the outcome; PENDING if the time is over."""
    cdef timespec until = seconds_from_now(seconds)
    cdef uint8_t outcome
    pthread_mutex_lock(&it.lock)
    while it.outcome == OUTCOME_PENDING:
        if pthread_cond_timedwait(&it.answered, &it.lock, &until) != 0:
            break
    outcome = it.outcome
    pthread_mutex_unlock(&it.lock)
    return outcome


cdef Pending ask(
    object engine, mailbox *mail, poller *poll, const int *ended, object describe, uint8_t kind, buffer *command,
    double timeout,
):
    """Puts a question into the mailbox. Takes over the command, whatever happens."""
    cdef Pending made = Pending.__new__(Pending)
    cdef uint8_t refused
    made.engine = engine
    made.ended = ended
    made.describe = describe
    # A long poll ends with an answer, for which there must be somebody.
    made.timeout = timeout + (LATE_SECONDS if kind == REQUEST_WATCH or kind == REQUEST_AWAIT else 0.0)
    made.it = request_new(kind, command, clock_microseconds() + <uint64_t>(timeout * 1e6))
    refused = request_hand_in(engine, mail, poll, ended, made.it)
    if refused == OUTCOME_OVERLOADED:
        raise Overloaded("the queue of requests is full; try again after a pause")
    if refused:
        raise describe(refused, 0)
    return made


# One wake-up for many ----------------------------------------------------------------------------------------------------


@cython.final
cdef class Cork:
    """Holds back the wake-up of an engine while a thread hands many questions in: ``begin``, hand in, ``end``; and
    ``flush`` when all are in. For an event loop, where each of a thousand tasks hands in one: waking the engine for each
    cost more than all the rest of a put.

    Belongs to one thread. Whoever makes ``end`` say True has to see to it that ``flush`` is called.
    """

    def begin(self):
        """From now on this thread wakes no engine."""
        cork_set(<PyObject *>self)

    def end(self):
        """From now on it does again. Whether a wake-up was held back that nobody has been told of."""
        cdef bint fresh = self.engine is not None and not self.told
        cork_set(NULL)
        self.told = self.told or fresh
        return fresh

    def flush(self):
        """Wakes what was to be woken."""
        self.told = False
        if self.engine is not None:
            engine, self.engine = self.engine, None
            poller_wake(self.poll)

    cdef void note(self, object engine, poller *poll):
        if self.engine is not None and self.poll != poll:
            poller_wake(self.poll)  # this thread talks to two engines in turn
        self.engine = engine
        self.poll = poll


cdef uint8_t request_hand_in(object engine, mailbox *mail, poller *poll, const int *ended, Request *it):
    cdef bint asleep = False
    cdef uint8_t outcome = request_leave(mail, ended, it, &asleep)
    cdef PyObject *cork
    if asleep:
        cork = cork_get()
        if cork == NULL:
            poller_wake(poll)
        else:
            (<Cork>cork).note(engine, poll)
    return outcome


cdef uint8_t request_await(Request *it, double seconds) except? 255:
    """The outcome; PENDING if it does not come in time, and then the rest of the request is still the loop's to write.
    Ctrl-C raises."""
    cdef uint8_t outcome = OUTCOME_PENDING
    cdef double some
    while True:
        some = max(min(seconds, SLICE_SECONDS), 0.0)
        with nogil:
            outcome = request_wait(it, some)
        if outcome != OUTCOME_PENDING:
            return outcome
        PyErr_CheckSignals()
        seconds -= some
        if seconds <= 0:
            return OUTCOME_PENDING


@cython.final
cdef class Pending(Asked):
    """A question on its way. :meth:`wait` gives the answer, or raises what became of it."""

    def wait(self, timeout=None):
        """(log index, result bytes or None). Raises what the outcome means; RequestTimeout after ``timeout`` seconds."""
        cdef double left = self.timeout + self.grace if timeout is None else timeout
        cdef uint8_t outcome = request_await(self.it, left)
        if outcome == OUTCOME_PENDING:
            raise self.describe(OUTCOME_EXPIRED, 0)
        if outcome != OUTCOME_DONE:
            raise self.error()
        return self.value()


@cython.final
cdef class Door:
    """The way into an engine for native code that puts questions in by itself (client/_load.pyx)."""

    def __init__(self):
        raise TypeError("a door comes from a node or a client")


cdef Door door_of(object engine, mailbox *mail, poller *poll, const int *ended):
    cdef Door made = Door.__new__(Door)
    made.engine = engine
    made.mail = mail
    made.poll = poll
    made.ended = ended
    return made
