# What must hold after every step, and between one step and the next: the checks that every build makes.
#
# They stand here, inline, because they run after each step and cost less than a call into another module would. Each names
# the rule that it guards. Only reads.

from cython.operator cimport dereference, postincrement
from libcpp.map cimport map as ordered_map
from libc.stdint cimport uint64_t

from quorate.raft._types cimport LEADER, SNAPSHOT, Core, Progress


cdef const char *broken_deeply(Core *core) noexcept nogil


cdef inline void remember(Core *core) noexcept nogil:
    """Keep what the checks of change compare with."""
    core.before.term = core.current_term
    core.before.vote = core.voted_for
    core.before.commit = core.commit_index
    core.before.applied = core.last_applied
    core.before.last_index = core.log.last_index
    core.before.role = core.role


cdef inline const char *broken_progress(Core *core) noexcept nogil:
    cdef ordered_map[uint64_t, Progress].iterator at = core.progress.begin()
    cdef Progress *peer
    while at != core.progress.end():
        peer = &dereference(at).second
        if peer.match_index >= peer.next_index and peer.mode != SNAPSHOT:
            return b"match_index < next_index does not hold for a peer"
        if peer.match_index > core.log.last_index:
            return b"a peer has more than its leader"
        if peer.next_index > core.log.last_index + 1:
            return b"next_index of a peer is beyond the log"
        postincrement(at)
    return NULL


cdef inline const char *broken_invariant(Core *core) noexcept nogil:
    """What is broken, in words; NULL if all is well."""
    # Within one state
    if core.commit_index > core.log.last_index:
        return b"commit_index is beyond the log: something uncommitted, or truncated, counts as committed"
    if core.last_applied > core.applying or core.applying > core.commit_index:
        return b"last_applied <= applying <= commit_index does not hold: something uncommitted was applied"
    if core.log.snapshot_index > core.last_applied:
        return b"the log was compacted beyond what is applied"
    if core.persisted_index > core.handed_index or core.handed_index > core.log.last_index:
        return b"persisted_index <= handed_index <= last_index does not hold: something is durable that was never written"
    if core.log.last_term > core.current_term:
        return b"the log holds an entry of a term that this node has not reached"
    if core.configuration_index != core.log.configurations.back().first:
        return b"the configuration in force is not the newest of the log"
    if core.configuration_index > core.log.last_index:
        return b"the configuration in force was truncated"
    # Between two states
    if core.current_term < core.before.term:
        return b"current_term fell"
    if core.current_term == core.before.term and core.before.vote != 0 and core.voted_for != core.before.vote:
        return b"the vote changed within a term: two leaders could be elected (Raft 5.2)"
    if core.commit_index < core.before.commit:
        return b"commit_index fell: something committed was lost"
    if core.last_applied < core.before.applied:
        return b"last_applied fell"
    if core.role == LEADER:
        if core.leader != core.id:
            return b"a leader follows somebody else"
        if core.term_start_index == 0 or core.term_start_index > core.log.last_index:
            return b"a leader has no entry of its own term"
        if core.before.role == LEADER and core.before.term == core.current_term and (
            core.log.last_index < core.before.last_index
        ):
            return b"a leader removed entries of its own log (Raft 5.3: Leader Append-Only)"
        return broken_progress(core)
    return NULL
