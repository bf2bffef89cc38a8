# Sessions: opened by a nonce, ended by a logged decision, and the order and memory of their numbered requests.

from libc.stdint cimport uint8_t, uint64_t

from quorate.store._csrc cimport command, item, sink
from quorate.store._state cimport Outcome, Session, StoreState

cdef enum:
    RESULT_HEAD = 18         # u8 status, u8 flags, u64 revision, u64 number; the body follows
    SESSION_ROW_FIXED = 45   # bytes of a row before the label

cdef enum Admission:
    EXECUTE = 1 # anything else: the result is in `out`, or has been written already
    REFUSED = 2
    ANSWERED = 3 # the retained result was written to `results`

# Whether a command of a session may be executed now; `results` gets the retained result of one that already was.
cdef int session_admit(StoreState *it, const command *what, Outcome *out, sink *results) except -1 nogil
# Keeps the encoded result of a numbered command that was executed.
cdef int session_retain(StoreState *it, const command *what, const uint8_t *result, size_t length) except -1 nogil
cdef int session_open(StoreState *it, const command *what, Outcome *out) except -1 nogil
cdef int session_end(StoreState *it, const command *what, Outcome *out) except -1 nogil
# Writes the rows of sessions that changed; before a publication.
cdef int sessions_flush(StoreState *it) except -1 nogil
# For a restored store: a session from its row, and a result into its counters. 0 if the row cannot be right.
cdef int session_restore(StoreState *it, const item *row) except -1 nogil
