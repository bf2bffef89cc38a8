# Who the members are, and how this node reaches them; see _roster.pyx.

from libc.stdint cimport uint64_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.raft._types cimport Configuration, Update
from quorate.runtime._structs cimport Loop

# Before the thread starts, and after each step: the peers are those of the configuration in force.
cdef int roster_follow(Loop *it) except -1 nogil
cdef int roster_stepped(Loop *it, const Update *update) except -1 nogil
# What this node is in the cluster. Who was told by a newer configuration than its own that it is no member believes it.
cdef int roster_judge(Loop *it) except -1 nogil
# The answer to REQUEST_MEMBERS: u64 index of the configuration, u64 leader, u64 last index, u8 joint, u16 members, each:
# u64 id, u8 + name, u8 + address, u8 flags, u64 incarnation, u64 match index, u64 microseconds without a word of it.
cdef int roster_describe(Loop *it, string *out, bint leads) except -1 nogil

# The ids in both halves of a configuration.
cdef int roster_ids(const Configuration *who, vector[uint64_t] *ids) except -1 nogil
# Where a member is found, as the configuration says, else as the list at the start.
cdef const string *roster_place(Loop *it, const Configuration *who, uint64_t id) noexcept nogil
# The name in a place (u8 + name, u8 + address), or the address; empty if it has none.
cdef int roster_part(const string *place, bint address, string *out) except -1 nogil
