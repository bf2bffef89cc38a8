# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Many answers to one Python thread, which is woken once for all that wait: what an event loop needs in place of a thread
for each question.

The thread that answers puts the request into a list without a lock, and writes the descriptor if the list was empty. The
Python thread reads the descriptor, takes the whole list, and finds the object that was attached to each. No Python object
is touched on the answering side: the handles of attached requests are kept alive by the set in :class:`Completions`.

Knows nothing of what questions say, nor of asyncio; :meth:`Completions.settle` needs objects with asyncio.Future's methods.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from quorate.raft._types cimport buffer_release
from quorate.runtime._completions cimport *
from quorate.runtime._structs cimport OUTCOME_DONE, OUTCOME_MALFORMED, OUTCOME_PENDING, OUTCOME_REJECTED
from quorate.runtime._structs cimport pthread_cond_destroy, pthread_cond_signal, pthread_mutex_destroy, pthread_mutex_lock, pthread_mutex_unlock

from quorate.errors import InvalidArgument, Rejected


cdef extern from "<unistd.h>" nogil:
    int64_t c_read "read"(int fd, void *into, size_t size)
    int64_t c_write "write"(int fd, const void *data, size_t size)
    int c_close "close"(int fd)

cdef extern from *:
    """
    static inline void reference_take(uint32_t *references) { __atomic_fetch_add(references, 1u, __ATOMIC_RELAXED); }
    static inline bool reference_give_back(uint32_t *references) {
        return __atomic_fetch_sub(references, 1u, __ATOMIC_ACQ_REL) == 1;
    }
    /* Puts `it` in front; whether the list was empty. */
    static inline bool list_put(quorate::Request **head, quorate::Request *it) {
        quorate::Request *first = __atomic_load_n(head, __ATOMIC_RELAXED);
        do it->next = first;
        while (!__atomic_compare_exchange_n(head, &first, it, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
        return first == nullptr;
    }
    static inline quorate::Request *list_take(quorate::Request **head) {
        return __atomic_exchange_n(head, nullptr, __ATOMIC_ACQUIRE);
    }
    static inline quorate::Request *list_turn(quorate::Request *it) {
        quorate::Request *turned = nullptr;
        while (it) {
            quorate::Request *next = it->next;
            it->next = turned;
            turned = it;
            it = next;
        }
        return turned;
    }
    """
    void reference_take(uint32_t *references) noexcept nogil
    bint reference_give_back(uint32_t *references) noexcept nogil
    bint list_put(Request **head, Request *it) noexcept nogil
    Request *list_take(Request **head) noexcept nogil
    Request *list_turn(Request *it) noexcept nogil


# Native ------------------------------------------------------------------------------------------------------------------


cdef void request_release(Request *it) noexcept nogil:
    if not reference_give_back(&it.references):
        return
    if it.freed != NULL:
        it.freed(it)
        return
    request_clear(it)
    del it


cdef void request_clear(Request *it) noexcept nogil:
    buffer_release(it.command)
    buffer_release(it.result)
    pthread_cond_destroy(&it.answered)
    pthread_mutex_destroy(&it.lock)


cdef void answered_release(Answered *it) noexcept nogil:
    cdef Request *left
    cdef Request *next
    if not reference_give_back(&it.references):
        return
    left = list_take(&it.head)
    while left != NULL:
        next = left.next
        request_release(left)
        left = next
    c_close(it.fd)
    if it.write_fd != it.fd:
        c_close(it.write_fd)
    del it


cdef void answered_put(Answered *it, Request *request) noexcept nogil:
    """Takes over one reference to each of the two."""
    cdef uint64_t one = 1
    if list_put(&it.head, request):
        c_write(it.write_fd, &one, sizeof(one))
    answered_release(it)


cdef void request_finish(Request *it) noexcept nogil:
    """The outcome is written, and the lock held: wakes the asker, lets the lock go, and gives the loop's reference back."""
    cdef Answered *completions = it.completions
    pthread_cond_signal(&it.answered)
    pthread_mutex_unlock(&it.lock)
    if completions != NULL:
        answered_put(completions, it)
    else:
        request_release(it)


# What Python holds -------------------------------------------------------------------------------------------------------


cdef class Asked:
    """A question on its way."""

    def __init__(self):
        raise TypeError("a question comes from a node or a client")

    def __dealloc__(self):
        if self.it != NULL:
            request_release(self.it)

    cdef object value(self):
        if self.it.result == NULL:
            return self.it.index, None
        return self.it.index, PyBytes_FromStringAndSize(<const char *>self.it.result.bytes, self.it.result.length)

    cdef object error(self):
        if self.it.result != NULL and (self.it.outcome == OUTCOME_REJECTED or self.it.outcome == OUTCOME_MALFORMED):
            words = PyBytes_FromStringAndSize(<const char *>self.it.result.bytes, self.it.result.length).decode()
            return Rejected(words) if self.it.outcome == OUTCOME_REJECTED else InvalidArgument(words)
        return self.describe(self.it.outcome, self.it.leader)

    def attach(self, Completions completions not None, object attached, convert=None):
        """Has ``completions`` tell when this is answered, or at once if it is already, by giving ``attached`` back.

        ``convert(index, result)`` makes the value that :meth:`Completions.settle` sets. Raises InvalidArgument if it is
        attached already.
        """
        completions.take(self, attached, convert)

    @property
    def done(self) -> bool:
        """Whether :meth:`wait` would return at once."""
        cdef uint8_t outcome
        pthread_mutex_lock(&self.it.lock)
        outcome = self.it.outcome
        pthread_mutex_unlock(&self.it.lock)
        return outcome != OUTCOME_PENDING

    def __repr__(self):
        return f"<{type(self).__name__} {'answered' if self.done else 'waiting'}>"


@cython.final
cdef class Completions:
    """Tells one thread of answers, by a descriptor that becomes readable: ``loop.add_reader(completions.fd, ...)``.

    One thread at a time drains; any thread may attach. What is still attached when this is dropped is forgotten.

    >>> with Completions() as completions:
    ...     completions.drain()
    []
    """

    def __cinit__(self):
        self.held = set()
        self.it = new Answered()
        if hasattr(os, "eventfd"):
            self.it.fd = self.it.write_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self.it.fd, self.it.write_fd = os.pipe()
            os.set_blocking(self.it.fd, False)
            os.set_blocking(self.it.write_fd, False)

    def __dealloc__(self):
        if self.it != NULL:
            answered_release(self.it)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    @property
    def fd(self) -> int:
        """The descriptor; -1 after :meth:`close`. Readable once something was answered since the last :meth:`drain`."""
        return -1 if self.it == NULL else self.it.fd

    @property
    def waiting(self) -> int:
        """How many are attached and not drained."""
        return len(self.held)

    def close(self):
        """Gives back what is attached, and forgets it. The thread that drains calls it, once it does not watch
        :attr:`fd` any more."""
        cdef Answered *it = self.it
        cdef Asked asked
        cdef list left = []
        if it != NULL:
            self.it = NULL
            answered_release(it)
        for asked in self.held:
            left.append(asked.attached)
        self.held.clear()
        return left

    cdef int take(self, Asked asked, object attached, object convert) except -1:
        cdef Request *it = asked.it
        cdef bint fresh, answered
        if self.it == NULL:
            raise InvalidArgument("these completions are closed")
        # Before the answer can come: whoever drains looks at these.
        pthread_mutex_lock(&it.lock)
        fresh = it.handle == NULL
        if fresh:
            it.handle = <void *><PyObject *>asked
        pthread_mutex_unlock(&it.lock)
        if not fresh:
            raise InvalidArgument("a question is attached once")
        asked.attached = attached
        asked.convert = convert
        self.held.add(asked)
        reference_take(&self.it.references)
        pthread_mutex_lock(&it.lock)
        answered = it.outcome != OUTCOME_PENDING
        if not answered:
            it.completions = self.it
        pthread_mutex_unlock(&it.lock)
        if answered:
            reference_take(&it.references)
            answered_put(self.it, it)
        return 0

    cdef Request *begin(self) noexcept:
        """The answered ones, oldest first. The descriptor first: what comes after it was read makes it readable again."""
        cdef uint8_t[64] nothing
        if self.it == NULL:
            return NULL
        c_read(self.it.fd, nothing, sizeof(nothing))
        return list_turn(list_take(&self.it.head))

    def drain(self):
        """What was answered since the last time, oldest first: [(attached, value, error)].

        ``value`` is what the question's ``wait()`` would return, and ``error`` None; or ``value`` is None, and ``error``
        what it would raise. Never blocks.
        """
        cdef list made = []
        cdef Request *at = self.begin()
        cdef Request *next
        cdef Asked asked
        while at != NULL:
            next = at.next
            asked = <Asked><PyObject *>at.handle
            attached, asked.attached = asked.attached, None
            try:
                if at.outcome == OUTCOME_DONE:
                    made.append((attached, asked.value(), None))
                else:
                    made.append((attached, None, asked.error()))
            except Exception as error:
                made.append((attached, None, error))
            self.held.discard(asked)
            request_release(at)
            at = next
        return made

    def settle(self):
        """:meth:`drain` for attached futures: gives each its result, converted, or its exception. How many there were.

        A future that is done already, because its asker was cancelled, is left alone.
        """
        cdef Request *at = self.begin()
        cdef Request *next
        cdef Asked asked
        cdef int count = 0
        broken = None
        while at != NULL:
            next = at.next
            asked = <Asked><PyObject *>at.handle
            future, asked.attached = asked.attached, None
            try:
                if not future.done():
                    if at.outcome == OUTCOME_DONE:
                        settled(asked, future)
                    else:
                        future.set_exception(asked.error())
            except Exception as error:
                broken = error  # of one future, whose loop may be closed; the others get theirs
            self.held.discard(asked)
            request_release(at)
            count += 1
            at = next
        if broken is not None:
            raise broken
        return count

    def __repr__(self):
        return f"<Completions of {len(self.held)}, descriptor {self.fd}>"


cdef int settled(Asked asked, object future) except -1:
    try:
        value = asked.value()
        if asked.convert is not None:
            value = asked.convert(*value)
    except Exception as error:
        future.set_exception(error)
        return 0
    future.set_result(value)
    return 0
