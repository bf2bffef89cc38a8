# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""What must hold after every step: the checks that walk the whole log.

They run in debug builds and on demand; those that every build makes after every step are in ``_invariants.pxd``. A broken
invariant stops the node: going on would turn one node's error into the cluster's. Only reads.
"""

from libc.stdint cimport uint64_t

from quorate.raft._configuration cimport configuration_valid
from quorate.raft._log cimport log_at
from quorate.raft._types cimport Core, entry


cdef const char *broken_deeply(Core *core) noexcept nogil:
    """The checks that cost as much as the log is long."""
    cdef uint64_t index, term = core.log.snapshot_term, bytes = 0
    cdef size_t i
    cdef entry *it
    for index in range(core.log.snapshot_index + 1, core.log.last_index + 1):
        it = log_at(&core.log, index)
        if it.term < term:
            return b"terms fall within the log"
        term = it.term
        bytes += it.length
    if term != core.log.last_term:
        return b"last_term is not the term of the last entry"
    if bytes != core.log.payload_bytes:
        return b"payload_bytes is not the sum of the payloads"
    for i in range(core.log.configurations.size()):
        if not configuration_valid(&core.log.configurations[i].second):
            return b"a configuration in the log is not valid"
        if i > 0 and core.log.configurations[i - 1].first >= core.log.configurations[i].first:
            return b"configurations are out of order"
        if i > 0 and core.log.configurations[i].first <= core.log.snapshot_index:
            return b"a configuration below the snapshot was kept"
    return NULL
