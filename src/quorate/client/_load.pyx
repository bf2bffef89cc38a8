# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/command.c csrc/mailbox.c csrc/poller.c
"""A load generator: keeps a number of commands on their way through an engine, without the GIL, and measures each.

What a cluster takes is not what one Python thread can ask for; here the asking costs next to nothing. The commands are made
beforehand; each put copies one, hands it in as any asker does, and takes its place in the window again once the answer was
looked at. Each is asked once: whatever became of it is counted.

Knows nothing of what commands say, nor of whether a node or sockets are behind the engine.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from libcpp.algorithm cimport sort
from libcpp.vector cimport vector

from quorate.raft._types cimport ENTRY_BYTES_MAX, buffer, buffer_from
from quorate.runtime._completions cimport Completions, request_release
from quorate.runtime._requests cimport Door, request_new, request_put
from quorate.runtime._structs cimport *
from quorate.store._csrc cimport COMMAND_VERSION, command, command_decode

from quorate.errors import InvalidArgument, LimitExceeded
from quorate.store.views import Status


cdef extern from "<unistd.h>" nogil:
    int64_t c_read "read"(int fd, void *into, size_t size)
    int usleep(unsigned int microseconds)

cdef extern from "<poll.h>" nogil:
    ctypedef struct pollfd:
        int fd
        short events
        short revents
    int c_poll "poll"(pollfd *fds, unsigned long count, int milliseconds)
    enum:
        POLLIN

cdef extern from *:
    """
    static inline void reference_take(uint32_t *references) { __atomic_fetch_add(references, 1u, __ATOMIC_RELAXED); }
    static inline void reference_drop(uint32_t *references) { __atomic_fetch_sub(references, 1u, __ATOMIC_ACQ_REL); }
    static inline quorate::Request *list_take(quorate::Request **head) {
        return __atomic_exchange_n(head, nullptr, __ATOMIC_ACQUIRE);
    }
    """
    void reference_take(uint32_t *references) noexcept nogil
    void reference_drop(uint32_t *references) noexcept nogil  # of what somebody else holds as well
    Request *list_take(Request **head) noexcept nogil

WINDOW_MAX = 16384
COUNT_MAX = 10_000_000

cdef double LATE_SECONDS = 5.0  # an engine answers in time; this is for one that was paused

cdef enum:
    SLICE_MILLISECONDS = 50     # how long a signal may have to wait
    REFUSED_MICROSECONDS = 1000 # between tries while the engine refuses

# As errors.py and docs/internals/wire.md call them; by number.
cdef dict NAMES = {
    OUTCOME_PENDING: "unanswered",
    OUTCOME_NO_LEADER: "no_leader",
    OUTCOME_NOT_LEADER: "not_leader",
    OUTCOME_OVERLOADED: "overloaded",
    OUTCOME_TRANSFERRING: "transferring",
    OUTCOME_DISK_FULL: "disk_full",
    OUTCOME_STALLED: "stalled",
    OUTCOME_REPLACED: "replaced",
    OUTCOME_REFUSED: "refused",
    OUTCOME_STOPPED_BEFORE: "stopped_before",
    OUTCOME_CONNECTION_LOST: "connection_lost",
    OUTCOME_EXPIRED: "expired",
    OUTCOME_STOPPED_AFTER: "stopped_after",
    OUTCOME_UNREACHABLE: "unreachable",
    OUTCOME_MALFORMED: "malformed",
    OUTCOME_REJECTED: "rejected",
}

cdef dict STATUSES = {int(each): each.name.lower() for each in Status}

cdef struct Run:
    mailbox *mail
    poller *poll
    const int *ended
    Answered *answers
    uint64_t count
    uint64_t window
    uint64_t patience       # microseconds
    uint64_t asked
    uint64_t on_their_way
    uint64_t heard_at       # microseconds: the last answer
    bint over               # the engine is at its end: nothing more is asked
    bint refused            # the next try comes after a pause
    uint64_t[256] outcomes
    uint64_t[256] statuses  # of those that are DONE


cdef inline uint64_t nanoseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef void count_outcome(Run *it, uint8_t outcome) noexcept nogil:
    it.outcomes[outcome] += 1
    if outcome == OUTCOME_STOPPED_BEFORE or outcome == OUTCOME_STOPPED_AFTER:
        it.over = True
    elif outcome != OUTCOME_DONE:
        it.refused = True


cdef int put_one(Run *it, const char *bytes, size_t length) except -1 nogil:
    """Hands one in. It belongs to the engine then, and comes back in the list of what is answered."""
    cdef Request *made
    cdef uint8_t outcome
    cdef buffer *copy = buffer_from(bytes, <uint32_t>length)
    if copy == NULL:
        with gil:
            raise MemoryError
    made = request_new(REQUEST_PROPOSE, copy, clock_microseconds() + it.patience)
    made.references = 1  # the engine's alone: whoever is interrupted leaves nothing behind
    made.completions = it.answers
    reference_take(&it.answers.references)
    made.tag = nanoseconds()
    it.asked += 1
    outcome = request_put(it.mail, it.poll, it.ended, made)
    if outcome:
        reference_drop(&it.answers.references)
        count_outcome(it, outcome)
    else:
        it.on_their_way += 1
    return 0


cdef void take_answers(Run *it, vector[uint64_t] *times) noexcept nogil:
    cdef uint8_t[64] nothing
    cdef Request *at
    cdef Request *next
    cdef uint8_t status
    cdef uint64_t now
    # The descriptor first: what comes after it was read makes it readable again.
    c_read(it.answers.fd, nothing, sizeof(nothing))
    at = list_take(&it.answers.head)
    if at == NULL:
        return
    now = nanoseconds()
    it.heard_at = now // 1000
    while at != NULL:
        next = at.next
        it.on_their_way -= 1
        count_outcome(it, at.outcome)
        if at.outcome == OUTCOME_DONE:
            status = (<uint8_t *>at.result.bytes)[0] if at.result != NULL and at.result.length else 0
            it.statuses[status] += 1
            times.push_back(now - at.tag)  # has room for all
        request_release(at)
        at = next


cdef bint finished(const Run *it) noexcept nogil:
    return it.on_their_way == 0 and (it.over or it.asked == it.count)


cdef int work(Run *it, const vector[const char *] *texts, const vector[size_t] *lengths, vector[uint64_t] *times) except -1 nogil:
    """Asks and takes answers for at most a slice, so that signals get their turn."""
    cdef uint64_t until = clock_microseconds() + <uint64_t>SLICE_MILLISECONDS * 1000
    cdef pollfd waits
    cdef size_t which
    while not finished(it) and clock_microseconds() < until:
        if it.refused:
            it.refused = False
            usleep(REFUSED_MICROSECONDS)
        while it.asked < it.count and it.on_their_way < it.window and not it.over and not it.refused:
            which = it.asked % texts.size()
            put_one(it, texts[0][which], lengths[0][which])
        if it.on_their_way:
            waits.fd = it.answers.fd
            waits.events = POLLIN
            c_poll(&waits, 1, SLICE_MILLISECONDS)
            take_answers(it, times)
    return 0


cdef double quantile(const vector[uint64_t] *sorted, double part) noexcept nogil:
    return sorted[0][<size_t>((sorted.size() - 1) * part)] / 1e3 if sorted.size() else 0.0


def load(engine, list commands not None, *, uint64_t count, uint64_t window, double timeout=5.0):
    """Keeps ``window`` of ``commands`` (:mod:`quorate.store.commands`) on their way, in turn, until ``count`` were asked.

    Each is asked once, outside of a session, with ``timeout`` seconds; the time of each runs until its answer is looked at.
    Gives ``asked`` (less than ``count`` if the engine stopped meanwhile), ``done``, ``failed`` (how many by what became of
    them: an outcome's name, ``unanswered``, or the store's word), ``seconds``, ``rate`` (done in a second), and ``p50_us``
    and ``p99_us`` of what was answered as done, 0 without any. Ctrl-C raises; what is on its way then stays the engine's.

    Raises InvalidArgument, LimitExceeded; what befalls a put is counted and not raised.

    >>> from quorate.runtime.node import NativeNode
    >>> from quorate.store import commands
    >>> with NativeNode("a", 1, {1: ("a", "unix:/unused")}, durability="memory", listen=None) as node:
    ...     node.wait_ready()
    ...     figures = load(node, [commands.put("k", b"v")], count=100, window=8)
    ...     figures["done"], figures["failed"]
    (100, {})
    """
    cdef Run run
    cdef Run *it = &run
    cdef Door door
    cdef Completions completions
    cdef vector[const char *] texts
    cdef vector[size_t] lengths
    cdef vector[uint64_t] times
    cdef command what
    cdef int newer
    cdef uint64_t begin, took
    cdef uint64_t done = 0
    cdef bytes each
    cdef tuple kept = tuple(commands)
    if not kept or not 1 <= count <= <uint64_t>COUNT_MAX or not 1 <= window <= <uint64_t>WINDOW_MAX:
        raise InvalidArgument(f"a load needs commands, a count of 1 to {COUNT_MAX:,} and a window of 1 to {WINDOW_MAX:,}")
    if not 0 < timeout < 1e6:
        raise InvalidArgument(f"a timeout is a number of seconds above 0, not {timeout!r}")
    for each in kept:
        newer = 0
        if <uint64_t>PyBytes_GET_SIZE(each) > ENTRY_BYTES_MAX:
            raise LimitExceeded(f"a command has at most {ENTRY_BYTES_MAX} bytes, not {len(each)}")
        if command_decode(PyBytes_AS_STRING(each), PyBytes_GET_SIZE(each), COMMAND_VERSION, &what, &newer) != NULL or newer:
            raise InvalidArgument(f"these bytes are no command that this program knows: {each[:40]!r}")
        texts.push_back(PyBytes_AS_STRING(each))
        lengths.push_back(PyBytes_GET_SIZE(each))
    times.reserve(count)
    door = engine.door()
    completions = Completions()
    memset(&run, 0, sizeof(run))
    run.mail = door.mail
    run.poll = door.poll
    run.ended = door.ended
    run.answers = completions.it
    run.count = count
    run.window = window
    run.patience = <uint64_t>(timeout * 1e6)
    run.heard_at = clock_microseconds()
    begin = nanoseconds()
    while not finished(it):
        with nogil:
            work(it, &texts, &lengths, &times)
        PyErr_CheckSignals()
        if run.on_their_way and clock_microseconds() > run.heard_at + run.patience + <uint64_t>(LATE_SECONDS * 1e6):
            run.outcomes[OUTCOME_PENDING] += run.on_their_way
            break
    took = nanoseconds() - begin
    with nogil:
        sort(times.begin(), times.end())
    done = run.statuses[0]
    failed = {NAMES.get(number, f"outcome_{number}"): run.outcomes[number]
              for number in range(256) if number != OUTCOME_DONE and run.outcomes[number]}
    failed.update({STATUSES.get(number, f"status_{number}"): run.statuses[number]
                   for number in range(1, 256) if run.statuses[number]})
    return {
        "asked": run.asked, "done": done, "failed": failed, "seconds": took / 1e9, "rate": done / (took / 1e9),
        "p50_us": quantile(&times, 0.5), "p99_us": quantile(&times, 0.99),
    }
