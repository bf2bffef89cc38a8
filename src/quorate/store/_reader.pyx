# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""Reading a store from any Python thread, while entries are applied on another.

A read pins the published version, takes references to the rows, unpins, and only then makes Python objects: so the applying
thread never waits for it, it never sees half an entry, and a thread that stops in the middle of making objects holds nothing
back. Values are made into `bytes` when they are asked for.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from quorate.store._csrc cimport *
from quorate.store._permits cimport *
from quorate.store._reader cimport *
from quorate.store._state cimport *
from quorate.store._text cimport view_of

from quorate.errors import InvalidArgument
from quorate.store.views import Acquisition, PermitKind, SessionView
from quorate.store.views import Permit as PermitView


cdef inline bytes bytes_of(const uint8_t *at, Py_ssize_t length):
    return PyBytes_FromStringAndSize(<const char *> at, length)


@cython.final
@cython.freelist(256)
cdef class KeyValue:
    """A key as it was at one revision. Immutable.

    ``create_revision`` and ``mod_revision`` are log indexes, ``version`` counts the writes since the key was made, and
    ``session`` is its owner or 0.
    """

    def __dealloc__(self):
        if self.row != NULL:
            item_release(self.row)

    def __init__(self):
        raise TypeError("a KeyValue comes from a store")

    @property
    def key(self) -> bytes:
        return bytes_of(item_key(self.row) + self.skip, self.row.key_length - self.skip)

    def without(self, Py_ssize_t length) -> KeyValue:
        """The same with the first ``length`` bytes of its key not shown: as it is called inside a namespace.

        Raises InvalidArgument if the key is shorter.

        >>> from quorate.store import Store, commands
        >>> store = Store()
        >>> store.apply(1, 1, commands.put("app/rate", b"1")).revision
        1
        >>> store.reader.get("app/rate").without(4).key
        b'rate'
        """
        if length < 0 or length > self.row.key_length - self.skip:
            raise InvalidArgument(f"the key {self.key!r} has no {length} bytes to leave out")
        return key_value(item_retain(self.row), self.skip + length)

    @property
    def value(self) -> bytes:
        return bytes_of(item_value(self.row), self.row.value_length)

    @property
    def create_revision(self) -> int:
        return self.row.create_revision

    @property
    def mod_revision(self) -> int:
        return self.row.mod_revision

    @property
    def version(self) -> int:
        return self.row.version

    @property
    def session(self) -> int:
        return self.row.session

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KeyValue):
            return NotImplemented
        cdef const item *a = self.row
        cdef const item *b = (<KeyValue> other).row
        return a.length == b.length and a.key_length == b.key_length and a.create_revision == b.create_revision \
            and self.skip == (<KeyValue> other).skip and a.mod_revision == b.mod_revision and a.version == b.version and a.session == b.session \
            and memcmp(item_key(a), item_key(b), a.key_length + a.value_length) == 0

    def __hash__(self) -> int:
        return hash((self.key, self.mod_revision))

    def __repr__(self) -> str:
        value = self.value
        shown = repr(value) if len(value) <= 60 else f"{value[:50]!r}… ({len(value)} bytes)"
        owner = f", session={self.session}" if self.session else ""
        return f"KeyValue({self.key!r}, {shown}, mod_revision={self.mod_revision}, version={self.version}{owner})"


cdef KeyValue key_value(const item *row, Py_ssize_t skip):
    cdef KeyValue made = KeyValue.__new__(KeyValue)
    made.row = row
    made.skip = skip
    return made


# Rows that were retained under a pin.
cdef struct Taken:
    const item **rows
    size_t count
    size_t size


cdef int keep(Taken *it, const item *row) noexcept nogil:
    cdef const item **rows
    cdef size_t i
    if it.count == it.size:
        it.size = it.size * 2 if it.size else 64
        rows = <const item **> malloc(it.size * sizeof(item *))
        if rows == NULL:
            return -1
        for i in range(it.count):
            rows[i] = it.rows[i]
        free(it.rows)
        it.rows = rows
    it.rows[it.count] = item_retain(row)
    it.count += 1
    return 0


cdef void give_back(Taken *it) noexcept nogil:
    cdef size_t i
    for i in range(it.count):
        if it.rows[i] != NULL:
            item_release(it.rows[i])
    free(it.rows)


cdef int take_rows(
    const tree_node *root, view start, view end, uint64_t limit, Taken *out
) noexcept nogil:
    """1 if the limit cut it, -1 if memory is short."""
    cdef tree_cursor cursor
    cdef const item *row
    tree_seek(&cursor, root, start.bytes, start.length)
    while True:
        row = tree_at(&cursor)
        if row == NULL or (
            end.length and tree_compare(item_key(row), row.key_length, end.bytes, end.length) >= 0
        ):
            return 0
        if out.count == limit:
            return 1
        if keep(out, row) < 0:
            return -1
        tree_next(&cursor)


cdef object acquisition_of(const item *row, bytes name):
    cdef Place place
    place_load(row, &place)
    return Acquisition(
        state="held" if place.token else "waiting",
        name=name,
        session=place.session,
        acquisition=place.acquisition,
        token=place.token,
        units=place.units,
        since_ms=place.since_ms,
        queued_at=place.queued_at,
        value=bytes_of(item_value(row) + QUEUE_FIXED, row.value_length - QUEUE_FIXED),
    )


@cython.final
cdef class Reader:
    """The published state of a store. Every method may be called from any thread."""

    def __init__(self):
        raise TypeError("a Reader comes from a store")

    @property
    def revision(self) -> int:
        """The log index up to which everything is visible here."""
        cdef uint32_t ticket
        cdef uint64_t revision = forest_pin(self.trees, &ticket).revision
        forest_unpin(self.trees, ticket)
        return revision

    def get(self, object key) -> KeyValue | None:
        """The key, or None.

        >>> from quorate.store import Store, commands
        >>> store = Store()
        >>> store.apply(1, 1, commands.put("a", b"1")).revision
        1
        >>> store.reader.get("a").value
        b'1'
        """
        cdef view name
        cdef uint32_t ticket
        cdef const item *row
        view_of(key, &name)
        row = tree_get(forest_pin(self.trees, &ticket).roots[<int> KEYS], name.bytes, name.length)
        if row != NULL:
            item_retain(row)
        forest_unpin(self.trees, ticket)
        return None if row == NULL else key_value(row, 0)

    def value(self, object key) -> bytes | None:
        """The value of a key, or None: :meth:`get` without the revisions."""
        cdef view name
        cdef uint32_t ticket
        cdef const item *row
        view_of(key, &name)
        row = tree_get(forest_pin(self.trees, &ticket).roots[<int> KEYS], name.bytes, name.length)
        if row != NULL:
            item_retain(row)
        forest_unpin(self.trees, ticket)
        if row == NULL:
            return None
        value = bytes_of(item_value(row), row.value_length)
        item_release(row)
        return value

    def range(
        self, object start=b"", object end=b"", *, uint64_t limit=0, bint keys_only=False
    ) -> tuple[list[KeyValue] | list[bytes], bool]:
        """The keys with start <= key < end, in order, and whether ``limit`` cut them. An empty end is past the last key."""
        cdef view first
        cdef view last
        cdef uint32_t ticket
        cdef Taken rows
        cdef int cut
        cdef size_t i
        view_of(start, &first)
        view_of(end, &last)
        rows.rows = NULL
        rows.count = rows.size = 0
        with nogil:
            cut = take_rows(
                forest_pin(self.trees, &ticket).roots[<int> KEYS], first, last, limit or <uint64_t> -1, &rows
            )
            forest_unpin(self.trees, ticket)
        found = []
        try:
            if cut < 0:
                raise MemoryError
            for i in range(rows.count):
                if keys_only:
                    found.append(bytes_of(item_key(rows.rows[i]), rows.rows[i].key_length))
                else:
                    found.append(key_value(rows.rows[i], 0))
                    rows.rows[i] = NULL
        finally:
            give_back(&rows)
        return found, cut > 0

    def count(self, object start=b"", object end=b"") -> int:
        """How many keys have start <= key < end."""
        cdef view first
        cdef view last
        cdef uint32_t ticket
        cdef uint64_t count
        view_of(start, &first)
        view_of(end, &last)
        with nogil:
            count = tree_count(
                forest_pin(self.trees, &ticket).roots[<int> KEYS],
                first.bytes, first.length, last.bytes if last.length else NULL, last.length,
            )
            forest_unpin(self.trees, ticket)
        return count

    def session(self, uint64_t session) -> SessionView | None:
        """A session, or None if it is not open."""
        cdef uint8_t[8] key
        cdef uint32_t ticket
        cdef const item *row
        store_be64(key, session)
        row = tree_get(forest_pin(self.trees, &ticket).roots[<int> SESSIONS], key, 8)
        if row != NULL:
            item_retain(row)
        forest_unpin(self.trees, ticket)
        if row == NULL:
            return None
        made = session_view(row)
        item_release(row)
        return made

    def sessions(self, uint64_t limit=1000) -> list[SessionView]:
        """Open sessions, the oldest first."""
        cdef view whole
        cdef uint32_t ticket
        cdef Taken rows
        whole.bytes = NULL
        whole.length = 0
        rows.rows = NULL
        rows.count = rows.size = 0
        take_rows(forest_pin(self.trees, &ticket).roots[<int> SESSIONS], whole, whole, limit, &rows)
        forest_unpin(self.trees, ticket)
        try:
            return [session_view(rows.rows[i]) for i in range(rows.count)]
        finally:
            give_back(&rows)

    def acquisition(self, uint64_t session, uint64_t acquisition) -> Acquisition | None:
        """Where an acquisition stands, by its session and number: held, waiting, revoked, or None if it is over."""
        cdef uint8_t[16] key
        cdef uint8_t[25] place
        cdef uint32_t ticket
        cdef const tree_version *version
        cdef const item *row
        cdef const item *acquired
        cdef const uint8_t *at
        cdef uint64_t queued_at
        cdef uint64_t token
        acquired_key(key, session, acquisition)
        version = forest_pin(self.trees, &ticket)
        acquired = tree_get(version.roots[<int> ACQUIRED], key, 16)
        if acquired != NULL:
            at = item_value(acquired)
            queued_at = load_le64(at + 8)
            token = load_le64(at + 16)
            queue_key(place, load_le64(at), HELD if token else WAITING, token or queued_at, queued_at)
            row = item_retain(tree_get(version.roots[<int> QUEUE], place, QUEUE_KEY))
            item_retain(acquired)
        else:
            row = tree_get(version.roots[<int> REVOKED], key, 16)
            if row != NULL:
                item_retain(row)
        forest_unpin(self.trees, ticket)
        if row == NULL:
            return None
        at = item_value(row)
        if acquired != NULL:
            made = acquisition_of(
                row, bytes_of(item_value(acquired) + ACQUIRED_FIXED, acquired.value_length - ACQUIRED_FIXED)
            )
            item_release(acquired)
        else:
            made = Acquisition(
                state="revoked", name=bytes_of(at + REVOKED_FIXED + at[16], row.value_length - REVOKED_FIXED - at[16]),
                session=session, acquisition=acquisition, token=load_le64(at), queued_at=load_le64(at + 8),
                reason=bytes_of(at + REVOKED_FIXED, at[16]),
            )
        item_release(row)
        return made

    def permit(self, object name, uint64_t limit=100) -> PermitView | None:
        """A permit with its holders and waiters, at most ``limit`` of them; None if the name is not defined."""
        cdef view wanted
        cdef view first
        cdef view last
        cdef uint8_t[25] start
        cdef uint8_t[25] end
        cdef uint32_t ticket
        cdef const tree_version *version
        cdef const item *row
        cdef Taken rows
        cdef Permit permit
        view_of(name, &wanted)
        rows.rows = NULL
        rows.count = rows.size = 0
        version = forest_pin(self.trees, &ticket)
        row = tree_get(version.roots[<int> PERMITS], wanted.bytes, wanted.length)
        if row != NULL:
            item_retain(row)
            permit_load(row, &permit)
            queue_key(start, permit.id, 0, 0, 0)
            queue_key(end, permit.id + 1, 0, 0, 0)
            first.bytes = start
            last.bytes = end
            first.length = last.length = QUEUE_KEY
            take_rows(version.roots[<int> QUEUE], first, last, limit, &rows)
        forest_unpin(self.trees, ticket)
        if row == NULL:
            return None
        shown = bytes_of(item_key(row), row.key_length)
        item_release(row)
        try:
            return PermitView(
                name=shown, kind=PermitKind(permit.kind), capacity=permit.capacity, held=permit.held,
                holders=permit.holders, waiters=permit.waiters, token=permit.token,
                queue=tuple([acquisition_of(rows.rows[i], shown) for i in range(rows.count)]),
                forced_at=permit.forced_at, forced_token=permit.forced_token, forced_ms=permit.forced_ms,
                reason=bytes_of(permit.reason, permit.reason_length),
            )
        finally:
            give_back(&rows)

    def __repr__(self) -> str:
        return f"Reader(revision={self.revision}, keys={self.count()})"


cdef object session_view(const item *row):
    cdef const uint8_t *at = item_value(row)
    return SessionView(
        id=load_be64(item_key(row)), ttl_ms=load_le32(at), opened_ms=load_le64(at + 4), applied=load_le64(at + 12),
        mark=load_le64(at + 20), nonce=bytes_of(at + 28, NONCE_BYTES), label=bytes_of(at + 45, at[44]),
    )


cdef Reader reader_new(forest *trees, object owner):
    cdef Reader made = Reader.__new__(Reader)
    made.trees = trees
    made.owner = owner
    return made
