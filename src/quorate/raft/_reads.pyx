# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Linearizable reads without a log entry (Raft §8; dissertation §6.4): ReadIndex from leader and follower, and leases.

A leader may answer from its state machine once it knows that it was still the leader after the question came: a majority
answered a round of messages sent since. With leases a majority's earlier answer stands for a while. Knows nothing of how
rounds are sent; it only says that one is wanted.
"""

from libc.stdint cimport uint8_t, uint64_t

from quorate.raft._core cimport ROUND, majority_value, send
from quorate.raft._types cimport (
    ACCEPTED,
    FORWARD_READ,
    FORWARD_READ_RESPONSE,
    LEASE_IGNORES_PAUSE,
    NO_LEADER,
    OVERLOADED,
    QUORATE_MUTATION,
    READ_BEFORE_COMMIT,
    READ_WITHOUT_QUORUM,
    REJECT_STALE,
    Core,
    ForwardedRead,
    Message,
    PendingRead,
    ReadResult,
    Update,
)


cdef int answer(Core *core, Update *update, uint64_t id, uint64_t asker, uint64_t index, uint8_t status) except -1 nogil:
    """Tell the asker: its own callers at once if refused, else when the state machine has ``index``."""
    cdef ReadResult result
    cdef Message *made
    if asker != core.id:
        made = send(core, update, FORWARD_READ_RESPONSE, asker, False)
        made.id = id
        made.index = index
        made.status = status
        return 0
    result.id = id
    result.index = index
    result.status = status
    if status != ACCEPTED:
        update.reads.push_back(result)
    else:
        core.ready_reads.push_back(result)
    return 0


cdef bint lease_holds(Core *core) noexcept nogil:
    if not core.settings.lease_reads or core.transfer_target:
        return False  # who hands over its office serves no more reads from its lease
    return core.now < core.lease_until or (QUORATE_MUTATION(core, LEASE_IGNORES_PAUSE) and core.lease_until > 0)


cdef int read_asked(Core *core, Update *update, uint64_t id, uint64_t asker, bint fresh) except -1 nogil:
    """The leader takes a read in. ``asker`` is itself or the follower that forwarded it; ``fresh``: a lease will not do."""
    cdef PendingRead pending
    if core.pending_reads.size() + core.ready_reads.size() >= core.settings.max_pending_reads:
        return answer(core, update, id, asker, 0, OVERLOADED)
    pending.id = id
    pending.asker = asker
    pending.index = core.commit_index
    if core.commit_index < core.term_start_index and not QUORATE_MUTATION(core, READ_BEFORE_COMMIT):
        # What earlier terms committed is known only after the first commit of this one (Raft §8).
        pending.round = 0
        pending.index = 0
    elif (not fresh and lease_holds(core)) or QUORATE_MUTATION(core, READ_WITHOUT_QUORUM):
        return answer(core, update, id, asker, core.commit_index, ACCEPTED)
    else:
        pending.round = core.round + 1  # one that is sent after the question came
        core.round_wanted = True
    core.pending_reads.push_back(pending)
    return 0


cdef int reads_after_first_commit(Core *core, Update *update) except -1 nogil:
    """The first entry of this term is committed: reads that waited for it know their index now."""
    cdef size_t i
    for i in range(core.pending_reads.size()):
        if core.pending_reads[i].round == 0:
            core.pending_reads[i].index = core.commit_index
            core.pending_reads[i].round = core.round + 1
            core.round_wanted = True
    return 0


cdef int rounds_confirmed(Core *core, Update *update) except -1 nogil:
    """A round was answered by somebody: see which rounds have a majority, renew the lease, and release reads."""
    cdef uint64_t confirmed = majority_value(core, ROUND)
    cdef PendingRead pending
    if confirmed > core.confirmed_round:
        core.confirmed_round = confirmed
        while not core.rounds.empty() and core.rounds.front().number <= confirmed:
            # The promise of a majority counts from when the round was sent, by our own clock.
            core.lease_until = core.rounds.front().sent_at + core.settings.lease
            core.rounds.pop_front()
    while not core.pending_reads.empty():
        pending = core.pending_reads.front()
        if pending.round == 0 or pending.round > core.confirmed_round:
            break
        core.pending_reads.pop_front()
        answer(core, update, pending.id, pending.asker, pending.index, ACCEPTED)
    return 0


cdef int reads_refused(Core *core, Update *update, uint8_t status) except -1 nogil:
    """The office is gone: whoever waits is told so."""
    cdef PendingRead pending
    while not core.pending_reads.empty():
        pending = core.pending_reads.front()
        core.pending_reads.pop_front()
        answer(core, update, pending.id, pending.asker, 0, status)
    return 0


cdef int read_forward(Core *core, Update *update, uint64_t id) except -1 nogil:
    """A follower asks its leader. The token is new in every life of this node, so that no late answer fits another read."""
    cdef ForwardedRead forwarded
    cdef Message *made
    if core.leader == 0 or not core.settings.forward:
        return answer(core, update, id, core.id, 0, NO_LEADER)
    if core.forwarded_reads.size() + core.ready_reads.size() >= core.settings.max_pending_reads:
        return answer(core, update, id, core.id, 0, OVERLOADED)
    core.read_token += 1
    forwarded.token = core.read_token
    forwarded.id = id
    forwarded.expires_at = core.now + core.settings.election_timeout_max
    core.forwarded_reads.push_back(forwarded)
    made = send(core, update, FORWARD_READ, core.leader, False)
    made.id = forwarded.token
    return 0


cdef int read_forward_answered(Core *core, Update *update, const Message *message) except -1 nogil:
    cdef size_t i
    cdef uint64_t id
    for i in range(core.forwarded_reads.size()):
        if core.forwarded_reads[i].token == message.id:
            id = core.forwarded_reads[i].id
            core.forwarded_reads.erase(core.forwarded_reads.begin() + i)
            return answer(core, update, id, core.id, message.index, message.status)
    core.rejected[REJECT_STALE] += 1
    return 0


cdef int forwarded_refused(Core *core, Update *update, uint8_t status, bint expired_only) except -1 nogil:
    """Give up forwarded reads: all of them when the leader changed, or those that waited too long."""
    while not core.forwarded_reads.empty():
        if expired_only and core.forwarded_reads.front().expires_at > core.now:
            break
        answer(core, update, core.forwarded_reads.front().id, core.id, 0, status)
        core.forwarded_reads.pop_front()
    return 0
