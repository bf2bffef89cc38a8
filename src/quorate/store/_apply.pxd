# What a native runtime calls: entries in, results out, one publication a batch. All of it on one thread.

from libc.stdint cimport uint8_t, uint64_t
from libcpp.vector cimport vector

from quorate.store._csrc cimport entry, sink
from quorate.store._state cimport StoreState

# Applies the command of the entry at `index`, which must follow the last one, and appends its encoded result to `results`:
#
#     u8 status, u8 flags, u64 revision (= index), u64 number, body
#
# Nothing of it is visible to readers before store_publish. -1 with an exception: this node must stop. NodeFailed if the
# command is of a newer version than this program knows; then nothing has changed.
cdef int store_apply(
    StoreState *it, uint64_t index, uint64_t term, const uint8_t *command_bytes, size_t length, sink *results
) except -1 nogil
# An entry that is none of the store's: an empty one of a new leader.
cdef int store_skip(StoreState *it, uint64_t index, uint64_t term) except -1 nogil
# An entry with a cluster configuration; its bytes go into snapshots as they are.
cdef int store_configure(
    StoreState *it, uint64_t index, uint64_t term, const uint8_t *membership, size_t length
) except -1 nogil
# Shows readers everything up to the last entry.
cdef int store_publish(StoreState *it) except -1 nogil
# Applies and publishes a batch of consecutive entries of all kinds. `ends` gets, for each entry, where its result ends in
# `results`; what is no command has an empty one. Overlaps the memory accesses of many entries, so prefer it; a long batch
# is published in parts.
cdef int store_apply_batch(
    StoreState *it, uint64_t first_index, const entry *entries, size_t count, sink *results, vector[size_t] *ends
) except -1 nogil
# For a new cluster made from an old one's data: continues from `index`, above everything that was, and marks the history
# as compacted, so that no token or revision comes twice.
cdef int store_rebase(StoreState *it, uint64_t index) except -1 nogil
