"""Reading from many threads while entries are applied: never half an entry, never back in time, never freed memory."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from quorate.store import KeyValue, Reader, Snapshot, Store, Watch
from quorate.store import commands as c

PAIRS = 200


def together(writer: Callable[[Callable[[], bool]], None], *readers: Callable[[threading.Event], None]) -> None:
    """Runs the readers until the writer is done; what any of them raises is raised here."""
    done = threading.Event()
    errors: list[BaseException] = []

    def guarded(reader: Callable[[threading.Event], None]) -> None:
        try:
            reader(done)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        writer(lambda: not errors)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def test_never_half_a_transaction_and_never_back_in_time() -> None:
    store = Store()
    reader = store.reader
    reads = [0, 0, 0]

    def write(going: Callable[[], bool]) -> None:
        index = 1
        random_ = random.Random(1)
        while going() and (index < 12_000 or min(reads) < 20):
            commands = []
            for _ in range(20):
                number = random_.randrange(PAIRS)
                value = b"%d" % random_.randrange(1000)
                parts = [c.do_put(f"left/{number}", value), c.do_put(f"right/{number}", value)]
                if random_.random() < 0.2:
                    parts = [c.do_delete(f"left/{number}"), c.do_delete(f"right/{number}")]
                commands.append(c.transaction([], parts))
            store.apply_batch(index, 1, commands, decode=False)
            index += len(commands)

    def read_ranges(done: threading.Event) -> None:
        last = 0
        while not done.is_set():
            rows, _ = reader.range()
            left = {row.key[5:]: (row.value, row.mod_revision) for row in rows if row.key.startswith(b"left/")}
            right = {row.key[6:]: (row.value, row.mod_revision) for row in rows if row.key.startswith(b"right/")}
            assert left == right
            newest = max((row.mod_revision for row in rows), default=0)
            assert reader.revision >= newest
            assert reader.revision >= last
            last = reader.revision
            reads[0] += 1

    def read_keys(done: threading.Event) -> None:
        random_ = random.Random(2)
        last: dict[int, int] = {}
        while not done.is_set():
            number = random_.randrange(PAIRS)
            row = reader.get(f"left/{number}")
            if row is not None:
                assert row.mod_revision >= last.get(number, 0)
                assert row.version >= 1
                last[number] = row.mod_revision
            assert reader.count("left/", "left0") <= PAIRS
            reads[1] += 1

    def save(done: threading.Event) -> None:
        while not done.is_set():
            with store.snapshot() as snapshot:
                data = b"".join(snapshot)
            copy = Store.restore([data])
            assert copy.reader.count("left/", "left0") == copy.reader.count("right/", "right0")
            assert copy.applied_index == copy.reader.revision
            reads[2] += 1

    together(write, read_ranges, read_keys, save)
    store.reclaim()
    assert store.figures()["retired"] == 0


def test_a_value_lives_as_long_as_its_python_object() -> None:
    store = Store()
    store.apply(1, 1, c.put("k", b"first"))
    row = store.reader.get("k")
    for index in range(2, 2000):
        store.apply(index, 1, c.put("k", b"x" * (index % 300)))
    del store
    assert row is not None
    assert row.value == b"first"
    assert row == row
    assert "first" in repr(row)


def test_equality_and_hash_of_rows() -> None:
    store = Store()
    store.apply(1, 1, c.put("k", b"v"))
    one, same = store.reader.get("k"), store.reader.get(b"k")
    store.apply(2, 1, c.put("k", b"v"))
    other = store.reader.get("k")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != "k"
    assert "…" in repr(_long(store))


def _long(store: Store) -> KeyValue | None:
    store.apply(3, 1, c.put("long", b"v" * 500))
    return store.reader.get("long")


@pytest.mark.parametrize("kind", [KeyValue, Reader, Snapshot, Watch])
def test_they_come_from_a_store(kind: type) -> None:
    with pytest.raises(TypeError, match="comes from a store"):
        kind()


def test_what_is_not_there() -> None:
    reader = Store().reader
    assert reader.get("k") is None
    assert reader.value("k") is None
    assert reader.session(1) is None
    assert reader.acquisition(1, 1) is None
    assert reader.permit("k") is None
    assert reader.range() == ([], False)
    assert repr(reader) == "Reader(revision=0, keys=0)"
