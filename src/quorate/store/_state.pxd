# The store as plain structs. Everything replicated lies in the tables of one forest (csrc/tree.h), so that one publication
# shows an entry whole, one hold is a consistent snapshot, and one walk gives canonical bytes. Beside the tables stand only
# small counters, and indexes that can be made anew from the tables.
#
# One thread, the apply thread, calls everything here. Readers use a pinned version (see _reader).

from cython.operator cimport dereference
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from quorate.store._csrc cimport command, forest, item, sink, tree_place, view

# Keys of the tables; numbers in keys are big-endian. The value of each is described where its module makes it.
cdef enum: # Table
    KEYS = 0      # user key
    OWNED = 1     # session, user key: made from KEYS
    SESSIONS = 2  # session
    RESULTS = 3   # session, number
    PERMITS = 4   # name
    QUEUE = 5     # permit, state, token or place in the queue, place in the queue
    ACQUIRED = 6  # session, acquisition: made from QUEUE
    REVOKED = 7   # session, acquisition
    IDLE = 8      # idle since, permit: made from PERMITS

# What an operation came to. Below SESSION_LOST the operation was carried out or judged, and its number is used up.
cdef enum: # Status
    OK = 0
    COMPARE_FAILED = 1        # number: the key's mod_revision, 0 if it does not exist
    FENCED = 2                # the fence's token does not hold its permit
    LIMIT = 3                 # number: the limit that would be passed
    NOT_A_NUMBER = 4          # an increment of a value that is not a decimal integer
    OVERFLOW = 5              # an increment beyond 64 bits, signed
    QUEUED = 6                # a waiter
    WOULD_BLOCK = 7           # a try that would have had to wait
    KIND_MISMATCH = 8         # number: the kind of the first definition
    CAPACITY_MISMATCH = 9     # number: the capacity of the first definition
    UPGRADE_REFUSED = 10      # from reader to writer within one acquisition
    ACQUISITION_CONFLICT = 11 # the acquisition's number was used for something else
    NOT_HELD = 12
    REVOKED_BY_FORCE = 13     # body: the reason
    NOT_FOUND = 14
    INVALID = 15              # number: what the limit or version must be at least, or at most
    SESSION_LOST = 32
    GAP = 33                  # number: the one that must come first
    BELOW_MARK = 34           # number: the low-water mark
    WINDOW_FULL = 35          # number: the most results that are retained
    MALFORMED = 36
    VERSION_NOT_ENABLED = 37  # number: the cluster's version

cdef enum: # ResultFlag
    REPLAYED = 1   # the retained result of an earlier application
    MORE = 2       # a range was cut by its limit
    GRANTED = 4
    SUCCEEDED = 8  # a transaction took its first branch
    SHORT = 16     # what it had read is not retained

cdef enum: # Limit
    LIMIT_KEY_BYTES = 1
    LIMIT_VALUE_BYTES = 2
    LIMIT_KEYS = 3
    LIMIT_STORE_BYTES = 4
    LIMIT_TRANSACTION_OPERATIONS = 5
    LIMIT_RESULT_BYTES = 6
    LIMIT_DELETE_RANGE_KEYS = 7
    LIMIT_SESSIONS = 8
    LIMIT_SESSION_KEYS = 9
    LIMIT_SESSION_RESULTS = 10
    LIMIT_SESSION_RESULT_BYTES = 11
    LIMIT_SESSION_PERMITS = 12
    LIMIT_SESSION_TTL_MIN_MS = 13
    LIMIT_SESSION_TTL_MAX_MS = 14
    LIMIT_PERMITS = 15
    LIMIT_PERMIT_WAITERS = 16
    LIMIT_IDLE_PERMITS = 17
    LIMIT_HISTORY_EVENTS = 18
    LIMIT_HISTORY_BYTES = 19
    LIMITS_END = 20

cdef enum: # EventKind
    EVENT_PUT = 1
    EVENT_DELETE = 2   # row: as it was before
    EVENT_EXPIRE = 3   # the same, because its session ended
    EVENT_GRANT = 4    # row: of the permit; token, session and acquisition: of the holder
    EVENT_RELEASE = 5
    EVENT_REVOKE = 6
    EVENT_VALUE = 7    # a holder changed its value
    EVENT_WAIT = 8     # somebody began to wait; session and acquisition are theirs, token is 0

cdef struct Event:
    uint64_t revision
    item *row  # one reference
    uint64_t session
    uint64_t acquisition
    uint64_t token
    uint32_t kind
    uint32_t last_of_revision

# A circle of the latest events; its size is a power of two.
cdef struct History:
    Event *all
    uint64_t size
    uint64_t first  # place of the oldest, counted since the store was made
    uint64_t end    # place behind the newest
    uint64_t bytes
    uint64_t since  # revision after which no event is missing

cdef struct Session:
    uint64_t id
    uint64_t opened_ms
    uint64_t applied       # invariant: mark <= applied; the results in (mark, applied] are retained
    uint64_t mark
    uint64_t result_bytes  # of the retained bodies
    uint32_t ttl_ms
    uint32_t keys          # rows in OWNED
    uint32_t permits       # rows in ACQUIRED and REVOKED
    uint8_t dirty          # its row in SESSIONS is older than this
    uint8_t nonce[16]
    uint8_t label_length
    uint8_t label[255]

# What became of the sessions since it was last taken; for the leader's own deadlines, not replicated.
cdef struct SessionChange:
    uint64_t id
    uint32_t ttl_ms  # 0: ended

cdef struct StoreState:
    forest *trees
    uint64_t applied_index
    uint64_t applied_term
    uint64_t writing         # index of the entry that is being applied, or was last
    uint64_t published_index
    uint64_t clock_ms       # the greatest time in any entry; for people, never for decisions
    uint64_t history_floor  # logged: watches may not resume from before
    uint8_t cluster_version
    uint8_t known_version   # of this program; not replicated
    uint64_t limits[20]
    sink membership         # opaque bytes of the Raft core
    unordered_map[uint64_t, Session*] *sessions
    unordered_map[uint64_t, uint64_t] *nonces  # hash of the nonce -> session; a chain of equal hashes is walked
    vector[uint64_t] *dirty
    vector[SessionChange] *changes
    History history
    sink body               # of the result that is being made
    sink reason             # why the last command was malformed, for people

# The result that is being made; its body is in store.body.
cdef struct Outcome:
    uint32_t status
    uint32_t flags
    uint64_t number

cdef StoreState *store_new(uint8_t known_version) except NULL nogil
cdef void store_free(StoreState *it) noexcept nogil
cdef int no_memory() except -1 nogil
cdef uint64_t limit_default(uint32_t limit) noexcept nogil
cdef uint64_t limit_least(uint32_t limit) noexcept nogil
cdef uint64_t limit_most(uint32_t limit) noexcept nogil

# Rows of the tables that are not user keys.
cdef int row_put(
    StoreState *it, uint32_t table, const uint8_t *key, uint32_t length, const void *value, uint32_t value_length
) except -1 nogil
cdef int row_remove(StoreState *it, uint32_t table, const uint8_t *key, uint32_t length) except -1 nogil

# The history of events. `row` is borrowed; the history takes a reference of its own.
cdef int event_add(
    StoreState *it, uint32_t kind, const item *row, uint64_t session, uint64_t acquisition, uint64_t token
) except -1 nogil
cdef void history_trim(StoreState *it) noexcept nogil
cdef void history_clear(StoreState *it, uint64_t since) noexcept nogil


cdef inline Session *session_of(StoreState *it, uint64_t id) noexcept nogil:
    found = it.sessions.find(id)
    if found == it.sessions.end():
        return NULL
    return dereference(found).second
