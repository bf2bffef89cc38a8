# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""The store as Python objects, for tests, tools and benchmarks: a thin face over the structs.

A lock stands for the one thread on which a runtime applies entries; reading goes around it, as it does in a runtime.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libcpp.vector cimport vector

from quorate.store._apply cimport *
from quorate.store._csrc cimport *
from quorate.store._reader cimport Reader, reader_new
from quorate.store._snapshot cimport *
from quorate.store._state cimport *
from quorate.store._text cimport view_of
from quorate.store._watch cimport *

from quorate.errors import Compacted, InvalidArgument
from quorate.store.views import EventKind, Limit, Result, WatchEvent


cdef extern from "entry.h" nogil:
    buffer *buffer_from(const void *bytes, uint32_t length)
    void buffer_release(buffer *it)


cdef StoreState *restored(object chunks, uint8_t known_version) except NULL:
    cdef SnapshotReader *reader = restore_begin(known_version)
    cdef view bytes_
    try:
        for chunk in chunks:
            view_of(chunk, &bytes_)
            with nogil:
                restore_feed(reader, bytes_.bytes, bytes_.length)
        return restore_finish(reader)
    finally:
        restore_free(reader)


@cython.final
cdef class Store:
    """A replicated store without its log: give it entries in order.

    >>> from quorate.store import Store, commands
    >>> store = Store()
    >>> store.apply(1, 1, commands.put("greeting", "hello"))
    Result(status=<Status.OK: 0>, flags=<ResultFlag: 0>, revision=1, number=0, body=b'')
    >>> store.reader.get("greeting")
    KeyValue(b'greeting', b'hello', mod_revision=1, version=1)

    ``known_version`` is the newest command version that this program knows; tests lower or raise it.
    """

    def __cinit__(self, *, uint8_t known_version=COMMAND_VERSION):
        self.store = store_new(known_version)
        self.known_version = known_version

    def __dealloc__(self):
        store_free(self.store)

    @property
    def reader(self) -> Reader:
        """Reads what is published, from any thread."""
        return reader_new(self.store.trees, self)

    def apply(self, uint64_t index, uint64_t term, const uint8_t[::1] command not None) -> Result:
        """Applies one command, and publishes.

        Raises InvariantBroken if the index does not follow the last one, NodeFailed if the command is of a newer version
        than this program knows; then nothing has changed.
        """
        cdef sink results
        cdef size_t length = command.shape[0]
        cdef const uint8_t *at = &command[0] if length else NULL
        results.bytes = NULL
        results.length = results.capacity = 0
        try:
            with nogil, self.lock:
                store_apply(self.store, index, term, at, length, &results)
                store_publish(self.store)
            return Result.decode(PyBytes_FromStringAndSize(<const char *> results.bytes, results.length))
        finally:
            sink_free(&results)

    def apply_batch(self, uint64_t first_index, uint64_t term, list commands not None, *, bint decode=True) -> list[Result]:
        """Applies consecutive commands as a runtime does, and publishes once."""
        cdef vector[entry] entries
        cdef vector[size_t] ends
        cdef sink results
        cdef buffer *shared = NULL
        cdef entry one
        cdef size_t begin
        cdef bytes joined = b"".join(commands)
        results.bytes = NULL
        results.length = results.capacity = 0
        if len(joined) > 0xFFFFFFFF:
            raise InvalidArgument("a batch has at most 4 GiB")
        try:
            # One buffer for all, as in a frame that was received.
            shared = buffer_from(<const char *> joined, <uint32_t> len(joined))
            if shared == NULL:
                raise MemoryError
            one.term = term
            one.data = shared
            one.kind = ENTRY_COMMAND
            one.offset = 0
            for command in commands:
                one.length = <uint32_t> len(command)
                entries.push_back(one)
                one.offset += one.length
            with nogil, self.lock:
                store_apply_batch(self.store, first_index, entries.data(), entries.size(), &results, &ends)
            if not decode:
                return []
            found = []
            begin = 0
            for end in ends:
                found.append(Result.decode(PyBytes_FromStringAndSize(<const char *> results.bytes + begin, end - begin)))
                begin = end
            return found
        finally:
            buffer_release(shared)
            sink_free(&results)

    def skip(self, uint64_t index, uint64_t term) -> None:
        """An entry that carries no command."""
        with nogil, self.lock:
            store_skip(self.store, index, term)
            store_publish(self.store)

    def configure(self, uint64_t index, uint64_t term, bytes membership not None) -> None:
        """An entry with a cluster configuration, of which the store only keeps the bytes."""
        cdef view bytes_
        view_of(membership, &bytes_)
        with nogil, self.lock:
            store_configure(self.store, index, term, bytes_.bytes, bytes_.length)
            store_publish(self.store)

    def rebase(self, uint64_t index) -> None:
        """Continues from a greater index, for a new cluster made from old data."""
        with nogil, self.lock:
            store_rebase(self.store, index)

    @property
    def applied_index(self) -> int:
        with self.lock:
            return self.store.applied_index

    @property
    def applied_term(self) -> int:
        with self.lock:
            return self.store.applied_term

    @property
    def cluster_version(self) -> int:
        with self.lock:
            return self.store.cluster_version

    @property
    def membership(self) -> bytes:
        with self.lock:
            return PyBytes_FromStringAndSize(<const char *> self.store.membership.bytes, self.store.membership.length)

    @property
    def limits(self) -> dict[Limit, int]:
        """The logged limits, as they are now."""
        with self.lock:
            return {limit: self.store.limits[<int> limit] for limit in Limit}

    def figures(self) -> dict[str, int]:
        """Sizes in bytes and counts, for measurements."""
        cdef forest_figures measured
        with self.lock:
            measured = forest_measure(self.store.trees)
            return {
                "keys": forest_count(self.store.trees, KEYS),
                "sessions": self.store.sessions.size(),
                "results": forest_count(self.store.trees, RESULTS),
                "permits": forest_count(self.store.trees, PERMITS),
                "idle": forest_count(self.store.trees, IDLE),
                "owned": forest_count(self.store.trees, OWNED),
                "acquired": forest_count(self.store.trees, ACQUIRED),
                "bytes": forest_bytes(self.store.trees),
                "nodes": measured.nodes,
                "node_bytes": measured.node_bytes,
                "retired": measured.retired,
                "events": self.store.history.end - self.store.history.first,
                "event_bytes": self.store.history.bytes,
            }

    def reclaim(self, uint32_t budget=100_000) -> int:
        """Frees up to ``budget`` things that waited for readers or snapshots; returns how many still wait."""
        cdef uint64_t left
        with nogil, self.lock:
            left = forest_reclaim(self.store.trees, budget)
        return left

    def watch(
        self, object start=b"", object end=b"", *, object after=None, bint keys=True, bint permits=False
    ) -> Watch:
        """Events of names in [start, end) after revision ``after`` (default: from now on)."""
        cdef view first
        cdef view last
        cdef Watch made
        cdef uint64_t revision
        view_of(start, &first)
        view_of(end, &last)
        made = Watch.__new__(Watch)
        made.owner = self
        with self.lock:
            revision = self.store.applied_index if after is None else after
            made.watcher = watcher_open(
                self.store, first, last, (WATCH_KEYS if keys else 0) | (WATCH_PERMITS if permits else 0), revision
            )
        return made

    def snapshot(self) -> Snapshot:
        """Begins a snapshot of the state as it is now. Raises Overloaded if too many are held."""
        cdef Snapshot made = Snapshot.__new__(Snapshot)
        made.owner = self
        with self.lock:
            made.writer = snapshot_begin(self.store)
        return made

    @staticmethod
    def restore(object chunks, *, uint8_t known_version=COMMAND_VERSION) -> Store:
        """A store from the bytes of a snapshot, in chunks of any size.

        Raises StorageError if they cannot be a whole snapshot, NodeFailed if they are of a newer version.
        """
        cdef Store made = Store(known_version=known_version)
        cdef StoreState *state = restored(chunks, known_version)
        store_free(made.store)
        made.store = state
        return made

    def install(self, object chunks) -> None:
        """Puts the state of a snapshot, of a greater index, in the place of this one, as a follower does that was sent one.

        Readers see one change, watches are compacted. Raises as :meth:`restore`, and InvalidArgument if the snapshot is
        not ahead; then nothing has changed.
        """
        cdef StoreState *fresh = restored(chunks, self.known_version)
        with nogil, self.lock:
            store_adopt(self.store, fresh)

    def __repr__(self) -> str:
        figures = self.figures()
        return f"Store(applied_index={self.applied_index}, keys={figures['keys']}, sessions={figures['sessions']})"


@cython.final
cdef class Watch:
    """A watcher: where it is in the history, and what it wants."""

    def __init__(self):
        raise TypeError("a Watch comes from a store")

    def __dealloc__(self):
        watcher_free(self.watcher)

    def collect(self, int most=1000, uint64_t bytes_most=1 << 30) -> list[WatchEvent]:
        """The next events, at most ``most``. Raises Compacted if some are gone."""
        cdef Event *events
        cdef const item *row
        cdef int count
        cdef int i
        if most < 1:
            raise InvalidArgument("at least one event is collected at a time")
        events = <Event *> malloc(most * sizeof(Event))
        if events == NULL:
            raise MemoryError
        with self.owner.lock:
            count = watch_collect(self.owner.store, self.watcher, events, most, bytes_most)
            first = watch_first_available(self.owner.store)
        found = []
        for i in range(count):
            row = events[i].row
            found.append(WatchEvent(
                revision=events[i].revision, kind=EventKind(events[i].kind),
                name=PyBytes_FromStringAndSize(<const char *> item_key(row), row.key_length),
                value=b"" if events[i].kind >= EVENT_GRANT else PyBytes_FromStringAndSize(
                    <const char *> item_value(row), row.value_length
                ),
                version=row.version, session=events[i].session, acquisition=events[i].acquisition,
                token=events[i].token, last_of_revision=bool(events[i].last_of_revision),
            ))
            item_release(row)
        free(events)
        if count == WATCH_COMPACTED:
            raise Compacted(first_available=first)
        return found

    @property
    def revision(self) -> int:
        """Every event up to this revision has been collected: a watch may resume after it."""
        with self.owner.lock:
            return self.watcher.complete


@cython.final
cdef class Snapshot:
    """The bytes of the store at one index, while it goes on changing."""

    def __init__(self):
        raise TypeError("a Snapshot comes from a store")

    def __dealloc__(self):
        snapshot_end(self.writer)

    @property
    def index(self) -> int:
        with self.lock:
            if self.writer == NULL:
                raise InvalidArgument("the snapshot is closed")
            return snapshot_index(self.writer)

    def read(self, size_t size=1 << 20) -> bytes:
        """The next bytes, empty at the end."""
        cdef uint8_t *out
        cdef int64_t length
        with self.lock:
            if self.writer == NULL:
                raise InvalidArgument("the snapshot is closed")
            out = <uint8_t *> malloc(size)
            if out == NULL:
                raise MemoryError
            try:
                with nogil:
                    length = snapshot_read(self.writer, out, size)
                return PyBytes_FromStringAndSize(<const char *> out, length)
            finally:
                free(out)

    def close(self) -> None:
        """Gives the version back; again is harmless."""
        with self.lock:
            snapshot_end(self.writer)
            self.writer = NULL

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self):
        while chunk := self.read():
            yield chunk


def constants() -> dict[str, int]:
    """The numbers of the binary forms as the compiled code has them; a test holds `views` against them."""
    return {
        "Status.OK": OK, "Status.COMPARE_FAILED": COMPARE_FAILED, "Status.FENCED": FENCED, "Status.LIMIT": LIMIT,
        "Status.NOT_A_NUMBER": NOT_A_NUMBER, "Status.OVERFLOW": OVERFLOW, "Status.QUEUED": QUEUED,
        "Status.WOULD_BLOCK": WOULD_BLOCK, "Status.KIND_MISMATCH": KIND_MISMATCH,
        "Status.CAPACITY_MISMATCH": CAPACITY_MISMATCH, "Status.UPGRADE_REFUSED": UPGRADE_REFUSED,
        "Status.ACQUISITION_CONFLICT": ACQUISITION_CONFLICT, "Status.NOT_HELD": NOT_HELD,
        "Status.REVOKED_BY_FORCE": REVOKED_BY_FORCE, "Status.NOT_FOUND": NOT_FOUND, "Status.INVALID": INVALID,
        "Status.SESSION_LOST": SESSION_LOST, "Status.GAP": GAP, "Status.BELOW_MARK": BELOW_MARK,
        "Status.WINDOW_FULL": WINDOW_FULL, "Status.MALFORMED": MALFORMED,
        "Status.VERSION_NOT_ENABLED": VERSION_NOT_ENABLED,
        "ResultFlag.REPLAYED": REPLAYED, "ResultFlag.MORE": MORE, "ResultFlag.GRANTED": GRANTED,
        "ResultFlag.SUCCEEDED": SUCCEEDED, "ResultFlag.SHORT": SHORT,
        "PermitKind.MUTEX": PERMIT_MUTEX, "PermitKind.SEMAPHORE": PERMIT_SEMAPHORE, "PermitKind.RWLOCK": PERMIT_RWLOCK,
        "PermitKind.ELECTION": PERMIT_ELECTION,
        "SessionEnd.GOODBYE": END_GOODBYE, "SessionEnd.EXPIRED": END_EXPIRED,
        "SessionEnd.PROCESS_EXIT": END_PROCESS_EXIT, "SessionEnd.FORCED": END_FORCED,
        "EventKind.PUT": EVENT_PUT, "EventKind.DELETE": EVENT_DELETE, "EventKind.EXPIRE": EVENT_EXPIRE,
        "EventKind.GRANT": EVENT_GRANT, "EventKind.RELEASE": EVENT_RELEASE, "EventKind.REVOKE": EVENT_REVOKE,
        "EventKind.VALUE": EVENT_VALUE, "EventKind.WAIT": EVENT_WAIT,
        "Limit.KEY_BYTES": LIMIT_KEY_BYTES, "Limit.VALUE_BYTES": LIMIT_VALUE_BYTES, "Limit.KEYS": LIMIT_KEYS,
        "Limit.STORE_BYTES": LIMIT_STORE_BYTES, "Limit.TRANSACTION_OPERATIONS": LIMIT_TRANSACTION_OPERATIONS,
        "Limit.RESULT_BYTES": LIMIT_RESULT_BYTES, "Limit.DELETE_RANGE_KEYS": LIMIT_DELETE_RANGE_KEYS,
        "Limit.SESSIONS": LIMIT_SESSIONS, "Limit.SESSION_KEYS": LIMIT_SESSION_KEYS,
        "Limit.SESSION_RESULTS": LIMIT_SESSION_RESULTS, "Limit.SESSION_RESULT_BYTES": LIMIT_SESSION_RESULT_BYTES,
        "Limit.SESSION_PERMITS": LIMIT_SESSION_PERMITS, "Limit.SESSION_TTL_MIN_MS": LIMIT_SESSION_TTL_MIN_MS,
        "Limit.SESSION_TTL_MAX_MS": LIMIT_SESSION_TTL_MAX_MS, "Limit.PERMITS": LIMIT_PERMITS,
        "Limit.PERMIT_WAITERS": LIMIT_PERMIT_WAITERS, "Limit.IDLE_PERMITS": LIMIT_IDLE_PERMITS,
        "Limit.HISTORY_EVENTS": LIMIT_HISTORY_EVENTS, "Limit.HISTORY_BYTES": LIMIT_HISTORY_BYTES,
        "RWLOCK_CAPACITY": RWLOCK_CAPACITY,
    }
