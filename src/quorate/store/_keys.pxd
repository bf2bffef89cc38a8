# Keys and values: what the operations on them do.

from quorate.store._csrc cimport command, item
from quorate.store._state cimport Outcome, Session, StoreState

# Carries out a write of keys, or refuses it with a status; all of it or nothing.
cdef int keys_apply(StoreState *it, const command *what, Outcome *out) except -1 nogil
# Deletes the keys that belong to a session which ends.
cdef int keys_end_session(StoreState *it, Session *session) except -1 nogil
# For a restored store: checks the row of a key and what belongs to its session; 0 if it cannot be right.
cdef int key_restore(StoreState *it, const item *row) except -1 nogil
