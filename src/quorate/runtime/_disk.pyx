# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""What steps want written, on its way to the log's own thread and back. Never blocks on the disk.

The log takes what fits into its queue; the rest waits here, in order, until the log says that something became durable. A
commit index alone is worth remembering but no fdatasync of its own (that would double the price of a lone put): it goes
along with whatever is written next.

Tickets: the core numbers its updates, the log numbers what it accepts. A write that is larger than the log takes at once goes
in pieces, and only the last piece carries the core's ticket.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t
from libcpp cimport bool as cbool

from quorate.raft._types cimport PERSISTED, EntryRef, Event, Update
from quorate.runtime._disk cimport *
from quorate.runtime._structs cimport *
from quorate.storage._csrc cimport entry as log_entry
from quorate.storage._wal cimport (
    SUBMIT_NOTHING,
    WAL_ACCEPTED,
    WAL_BUSY,
    WAL_FULL,
    WAL_INVALID,
    Completion,
    HardState as LogHardState,
    Submission,
    Wal,
    wal_state,
    wal_submission_max,
    wal_submit,
)

from quorate.errors import InvariantBroken, StorageError

cdef enum:
    PIECE_ENTRIES = 16384  # well below the bound of the log's queue
    RECORD_COST = 64       # more than a record adds to its payload


cdef int disk_failed() except -1 nogil:
    with gil:
        raise StorageError("the log cannot be written")


cdef int rule_broken(const char *rule) except -1 nogil:
    with gil:
        raise InvariantBroken(f"the log refuses a write: {rule.decode()}")


cdef int disk_write(Loop *it, Update *update) except -1 nogil:
    """Takes what a step wants written out of its update."""
    cdef Writing *made
    if not update.sync:
        if update.has_hard_state:
            it.has_lazy = True
            it.lazy = update.hard_state
        return 0
    if not update.has_hard_state and update.entries.empty():
        return nothing_to_write(it, update)
    it.backlog.push_back(Writing())
    made = &it.backlog.back()
    made.ticket = update.ticket
    made.has_hard_state = update.has_hard_state
    made.hard_state = update.hard_state
    made.first_index = update.first_index
    made.taken = 0
    made.entries.swap(update.entries)
    it.wanted_ticket = update.ticket
    return disk_push(it)


cdef int nothing_to_write(Loop *it, const Update *update) except -1 nogil:
    """A chunk of a snapshot alone, which goes to a file of its own: it counts as durable with what was written before it.

    It may be lost in a crash all the same. Nothing relies on it before the whole snapshot is installed.
    """
    cdef Event event
    it.wanted_ticket = update.ticket
    if not it.backlog.empty():
        it.backlog.back().ticket = update.ticket
    elif not it.tickets.empty():
        it.tickets.back().core = update.ticket
    else:
        it.durable_ticket = update.ticket
        event.type = PERSISTED
        event.ticket = update.ticket
        it.own.push_back(event)
    return 0


cdef int disk_push(Loop *it) except -1 nogil:
    """Hands on what waits, until the log takes no more."""
    cdef Wal *wal = <Wal *>it.wal
    cdef Writing *front
    cdef Submission what
    cdef LogHardState hard
    cdef uint64_t bytes, most, ticket
    cdef size_t count
    cdef int answer
    cdef cbool first, last
    cdef Ticket made
    while not it.backlog.empty():
        front = &it.backlog.front()
        most = wal_submission_max(wal)
        first = front.taken == 0
        bytes = 4 * RECORD_COST
        count = 0
        while front.taken + count < front.entries.size() and count < PIECE_ENTRIES:
            bytes += front.entries[front.taken + count].length + RECORD_COST
            if bytes > most and count:
                break
            count += 1
        last = front.taken + count == front.entries.size()
        # Only if nothing waits behind: else the commit index could speak of entries that the log does not have yet.
        if first and it.has_lazy and it.backlog.size() == 1 and not front.has_hard_state:
            front.has_hard_state = True
            front.hard_state = it.lazy
        what.hard = NULL
        if front.has_hard_state and (first or last):
            hard.term = front.hard_state.term
            hard.vote = front.hard_state.vote
            # Term and vote go in front of the entries of that term; a commit index not in front of what it speaks of.
            hard.commit = front.hard_state.commit if last else it.written_commit
            what.hard = &hard
        what.base_kind = front.base_kind if first else SUBMIT_NOTHING
        what.base.index = front.base_index
        what.base.term = front.base_term
        what.entries = <const log_entry *>(front.entries.data() + front.taken)
        what.count = count
        what.first_index = front.first_index + front.taken
        # The core takes in nothing that grows while a majority is full. What it gives out is written as long as there is
        # room: what was on its way, deletes and releases, what others lead to here.
        what.essential = True
        answer = wal_submit(wal, &what, &ticket)
        if answer == WAL_BUSY or answer == WAL_FULL:
            return 0
        if answer == WAL_INVALID:
            it.failure = FAILURE_LOG_RULE
            return rule_broken(what.broken_rule)
        if answer != WAL_ACCEPTED:
            it.failure = FAILURE_DISK
            return disk_failed()
        if first and front.has_hard_state and front.hard_state.commit >= it.lazy.commit:
            it.has_lazy = False
        if what.hard != NULL:
            it.written_commit = hard.commit
        made.wal = ticket
        made.core = front.ticket if last else 0
        it.tickets.push_back(made)
        front.taken += count
        if last:
            it.backlog.pop_front()
    return 0


cdef int disk_completed(Loop *it, Durable *out) except -1 nogil:
    """What became durable since the last time. The caller releases what waited for it, and tells the core."""
    cdef Completion completion
    cdef cbool full = False
    out.ticket = out.index = out.term = 0
    if wal_state(<Wal *>it.wal, &completion, &full) != 0:
        it.failure = FAILURE_DISK
        return disk_failed()
    while not it.tickets.empty() and it.tickets.front().wal <= completion.ticket:
        if it.tickets.front().core:
            out.ticket = it.tickets.front().core
        it.tickets.pop_front()
    if out.ticket:
        it.durable_ticket = out.ticket
        out.index = completion.index
        out.term = completion.term
    out.full_changed = full != it.disk_full
    it.disk_full = full
    return disk_push(it)


cdef void disk_flush(Loop *it) noexcept nogil:
    """At the end of a node: the commit index that nothing took along. Worth a try, no more."""
    cdef Submission what
    cdef LogHardState hard
    cdef uint64_t ticket
    if not it.has_lazy or not it.backlog.empty():
        return
    hard.term = it.lazy.term
    hard.vote = it.lazy.vote
    hard.commit = it.lazy.commit
    what.hard = &hard
    what.base_kind = SUBMIT_NOTHING
    what.entries = NULL
    what.count = 0
    what.first_index = 0
    what.essential = True
    wal_submit(<Wal *>it.wal, &what, &ticket)
    it.has_lazy = False
