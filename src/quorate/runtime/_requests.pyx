# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/mailbox.c csrc/poller.c
"""Questions of Python threads to the loop: a bounded mailbox in, and a condition variable on which the asker sleeps.

An asker holds the GIL neither while it waits nor while it puts; it looks for signals ten times a second or more, so that
Ctrl-C works. What it gave up waiting for is still the loop's, which forgets it when its time is over or its place in the log
is known.

Knows nothing of what commands say.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorate.raft._types cimport buffer, buffer_release
from quorate.runtime._requests cimport *
from quorate.runtime._structs cimport *

from quorate.errors import NodeFailed, Overloaded


cdef extern from *:
    """
    static inline uint32_t request_give_back(uint32_t *references) {
        return __atomic_fetch_sub(references, 1u, __ATOMIC_ACQ_REL);
    }
    """
    uint32_t request_give_back(uint32_t *references) noexcept nogil

cdef double SLICE_SECONDS = 0.05  # how long a signal may have to wait


cdef Request *request_new(uint8_t kind, buffer *command, uint64_t expires_at) except NULL:
    """With two references: the asker's and the loop's. Takes over the command."""
    cdef Request *made = new Request()
    cdef pthread_condattr_t attributes
    made.kind = kind
    made.command = command
    made.expires_at = expires_at
    pthread_mutex_init(&made.lock, NULL)
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(&made.answered, &attributes)
    pthread_condattr_destroy(&attributes)
    return made


cdef void request_release(Request *it) noexcept nogil:
    if request_give_back(&it.references) != 1:
        return
    buffer_release(it.command)
    buffer_release(it.result)
    pthread_cond_destroy(&it.answered)
    pthread_mutex_destroy(&it.lock)
    del it


cdef void request_answer(
    Request *it, uint8_t outcome, uint64_t index, uint64_t term, uint64_t leader, buffer *result
) noexcept nogil:
    pthread_mutex_lock(&it.lock)
    it.index = index
    it.term = term
    it.leader = leader
    it.result = result
    it.outcome = outcome
    pthread_cond_signal(&it.answered)
    pthread_mutex_unlock(&it.lock)
    request_release(it)


cdef uint8_t request_wait(Request *it, double seconds) noexcept nogil:
    """Waits for the outcome; PENDING if the time is over."""
    cdef timespec until
    cdef uint8_t outcome
    clock_gettime(CLOCK_MONOTONIC, &until)
    until.tv_sec += <long>seconds
    until.tv_nsec += <long>((seconds - <long>seconds) * 1e9)
    if until.tv_nsec >= 1000000000:
        until.tv_nsec -= 1000000000
        until.tv_sec += 1
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
    cdef int put
    made.engine = engine
    made.ended = ended
    made.describe = describe
    made.timeout = timeout
    made.it = request_new(kind, command, clock_microseconds() + <uint64_t>(timeout * 1e6))
    put = mailbox_put(mail, made.it)
    if put == MAILBOX_WAKE:
        poller_wake(poll)
    elif put != MAILBOX_PUT:
        request_release(made.it)  # the loop's reference
        if put == MAILBOX_FULL:
            raise Overloaded("the queue of requests is full; try again after a pause")
        raise describe(OUTCOME_STOPPED_BEFORE, 0)
    return made


@cython.final
cdef class Pending:
    """A question on its way. :meth:`wait` gives the answer, or raises what became of it."""

    def __init__(self):
        raise TypeError("a Pending comes from a node")

    def __dealloc__(self):
        if self.it != NULL:
            request_release(self.it)

    def wait(self, timeout=None):
        """(log index, result bytes or None). Raises what the outcome means; RequestTimeout after ``timeout`` seconds."""
        cdef double left = self.timeout if timeout is None else timeout
        cdef double some
        cdef uint8_t outcome = OUTCOME_PENDING
        cdef bint ended = False
        while True:
            some = max(min(left, SLICE_SECONDS), 0.0)
            with nogil:
                outcome = request_wait(self.it, some)
            if outcome != OUTCOME_PENDING:
                break
            PyErr_CheckSignals()
            left -= some
            if ended:
                # The loop has answered everything that it had; this came in behind its back.
                outcome = OUTCOME_STOPPED_BEFORE
                break
            ended = flag_get(self.ended) != 0
            if left <= 0 and not ended:
                outcome = OUTCOME_EXPIRED
                break
        if outcome != OUTCOME_DONE:
            raise self.describe(outcome, self.it.leader)
        if self.it.result == NULL:
            return self.it.index, None
        return self.it.index, PyBytes_FromStringAndSize(<const char *>self.it.result.bytes, self.it.result.length)

    @property
    def done(self) -> bool:
        """Whether :meth:`wait` would return at once."""
        cdef uint8_t outcome
        pthread_mutex_lock(&self.it.lock)
        outcome = self.it.outcome
        pthread_mutex_unlock(&self.it.lock)
        return outcome != OUTCOME_PENDING

    def __repr__(self):
        return f"<Pending {'answered' if self.done else 'waiting'}>"
