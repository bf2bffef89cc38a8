"""Each rule of keys, transactions, logged limits and versions, one test a rule."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from quorate.errors import InvariantBroken, NodeFailed
from quorate.store import KeyValue, Store
from quorate.store import commands as c
from quorate.store.views import Limit, Status
from store.driver import Driver


@pytest.fixture
def log() -> Driver:
    return Driver()


def found(log: Driver, key: str) -> KeyValue:
    row = log.store.reader.get(key)
    assert row is not None
    return row


def test_the_revision_is_the_log_index_and_the_version_counts_writes(log: Driver) -> None:
    log.store.skip(1, 1)
    log.index = 1
    log.ok(c.put("k", b"1"))
    log.ok(c.put("k", b"2"))
    row = found(log, "k")
    assert (row.create_revision, row.mod_revision, row.version, row.value) == (2, 3, 2, b"2")
    log.ok(c.delete("k"))
    log.ok(c.put("k", b"3"))
    assert (found(log, "k").create_revision, found(log, "k").version) == (5, 1)


def test_delete_says_whether_it_was_there(log: Driver) -> None:
    log.ok(c.put("k", b"1"))
    assert [log.ok(c.delete("k")).number for _ in range(2)] == [1, 0]


def test_ranges_are_ordered_by_bytes_and_cut_by_their_limit(log: Driver) -> None:
    for key in (b"b", b"a\x00", b"a", b"\xff", b"a/1", b"a" * 100):
        log.ok(c.put(key, b""))
    reader = log.store.reader
    everything = [b"a", b"a\x00", b"a/1", b"a" * 100, b"b", b"\xff"]
    assert reader.range(keys_only=True) == (everything, False)
    assert reader.range("a", "b", keys_only=True) == (everything[:4], False)
    assert reader.range("a", "b", limit=2, keys_only=True) == (everything[:2], True)
    assert reader.range("a", "b", limit=4, keys_only=True) == (everything[:4], False)
    assert reader.range("b", "a") == ([], False)
    assert (reader.count(), reader.count("a", "b"), reader.count("a/", "a0"), reader.count("b", "a")) == (6, 4, 1, 0)


def test_delete_range_is_bounded_and_says_that_more_are_left(log: Driver) -> None:
    log.ok(c.set_limits({Limit.DELETE_RANGE_KEYS: 3}))
    for number in range(5):
        log.ok(c.put(f"k{number}", b""))
    first = log.ok(c.delete_range("k", "l"))
    assert (first.number, first.more) == (3, True)
    second = log.ok(c.delete_range("k", "l"))
    assert (second.number, second.more) == (2, False)


def test_compare_and_set_by_revision(log: Driver) -> None:
    first = log.ok(c.compare_and_set("k", b"1", 0))
    refused = log.do(c.compare_and_set("k", b"2", 0))
    assert (refused.status, refused.number) == (Status.COMPARE_FAILED, first.revision)
    log.ok(c.compare_and_set("k", b"2", first.revision))
    assert log.value("k") == b"2"


@pytest.mark.parametrize(
    ("before", "by", "after"),
    [
        (None, 5, 5),
        (b"-7", 7, 0),
        (b"007", 1, 8),
        (b"9223372036854775806", 1, 2**63 - 1),
        (b"-9223372036854775807", -1, -(2**63)),
    ],
)
def test_increment(log: Driver, before: bytes | None, by: int, after: int) -> None:
    if before is not None:
        log.ok(c.put("n", before))
    assert log.ok(c.increment("n", by)).number == after % 2**64
    assert log.value("n") == b"%d" % after


@pytest.mark.parametrize(
    ("before", "by", "status"),
    [
        (b"", 1, Status.NOT_A_NUMBER),
        (b"-", 1, Status.NOT_A_NUMBER),
        (b"1x", 1, Status.NOT_A_NUMBER),
        (b"+1", 1, Status.NOT_A_NUMBER),
        (b"9223372036854775808", 1, Status.NOT_A_NUMBER),
        (b"-9223372036854775809", 1, Status.NOT_A_NUMBER),
        (b"9223372036854775807", 1, Status.OVERFLOW),
        (b"-9223372036854775808", -1, Status.OVERFLOW),
    ],
)
def test_increment_refused(log: Driver, before: bytes, by: int, status: Status) -> None:
    log.ok(c.put("n", before))
    assert log.do(c.increment("n", by)).status == status
    assert log.value("n") == before


class TestTransactions:
    def test_one_revision_for_all_parts(self, log: Driver) -> None:
        done = log.ok(c.transaction([], [c.do_put("a", b"1"), c.do_increment("b", 2), c.do_delete("c")]))
        assert found(log, "a").mod_revision == found(log, "b").mod_revision == done.revision
        assert done.succeeded

    def test_the_branch_depends_on_all_compares(self, log: Driver) -> None:
        log.ok(c.put("a", b"1"))
        for relation, expected in (("==", b"then"), (">", b"else")):
            done = log.ok(
                c.transaction(
                    [c.compare("a", "value", "==", b"1"), c.compare("a", "version", relation, 1)],
                    [c.do_put("out", b"then")],
                    [c.do_put("out", b"else")],
                )
            )
            assert done.succeeded == (expected == b"then")
            assert log.value("out") == expected

    def test_a_key_that_does_not_exist_has_numbers_0_and_no_value(self, log: Driver) -> None:
        def holds(*compare: object) -> bool:
            return log.ok(c.transaction([c.compare(*compare)], [])).succeeded  # type: ignore[arg-type]

        assert holds("no", "mod_revision", "==", 0)
        assert holds("no", "version", "<", 1)
        assert not holds("no", "value", "==", b"")
        assert holds("no", "value", "!=", b"")
        assert not holds("no", "value", "<", b"zzz")

    def test_refused_as_a_whole(self, log: Driver) -> None:
        log.ok(c.put("text", b"x"))
        before = log.store.reader.range()[0]
        watch = log.store.watch()
        refused = log.do(c.transaction([], [c.do_put("a", b"1"), c.do_increment("text")]))
        assert refused.status == Status.NOT_A_NUMBER
        assert log.store.reader.range()[0] == before
        assert watch.collect() == []

    def test_limits_are_held_against_all_parts_together(self, log: Driver) -> None:
        log.ok(c.set_limits({Limit.KEYS: 3}))
        log.ok(c.put("a", b""))
        parts = [c.do_put(f"k{number}", b"") for number in range(3)]
        refused = log.do(c.transaction([], parts))
        assert (refused.status, refused.number) == (Status.LIMIT, Limit.KEYS)
        assert log.ok(c.transaction([], parts[:2])).status == Status.OK

    def test_reads_see_the_parts_before_them_and_are_encoded(self, log: Driver) -> None:
        log.ok(c.put("b", b"old"))
        done = log.ok(
            c.transaction(
                [], [c.do_get("b"), c.do_put("b", b"new"), c.do_get("b"), c.do_get("no"), c.do_range("a", "c")]
            )
        )
        old = struct.pack("<H1sI3s4Q", 1, b"b", 3, b"old", 1, 1, 1, 0)
        new = struct.pack("<H1sI3s4Q", 1, b"b", 3, b"new", 1, 2, 2, 0)
        assert done.body == (
            bytes([32, 1]) + old + bytes([1]) + bytes([32, 1]) + new + bytes([32, 0]) + bytes([33, 0, 1, 0, 0, 0]) + new
        )

    def test_what_a_transaction_reads_is_bounded(self, log: Driver) -> None:
        log.ok(c.set_limits({Limit.RESULT_BYTES: 1024}))
        log.ok(c.put("big", b"x" * 2000))
        log.ok(c.put("c", b"small"))
        done = log.ok(c.transaction([], [c.do_get("big"), c.do_range("b"), c.do_get("c")]))
        assert done.body[:2] == bytes([32, 2])
        assert done.body[2:8] == bytes([33, 1, 0, 0, 0, 0])
        assert b"small" in done.body

    def test_deletes_of_all_parts_are_bounded_together(self, log: Driver) -> None:
        log.ok(c.set_limits({Limit.DELETE_RANGE_KEYS: 3}))
        for number in range(6):
            log.ok(c.put(f"k{number}", b""))
        done = log.ok(c.transaction([], [c.do_delete_range("k0", "k2"), c.do_delete_range("k2", "l")]))
        assert done.body == struct.pack("<BBQBBQ", 3, 0, 2, 3, 1, 1)
        assert log.store.reader.count() == 3

    def test_the_number_of_parts_is_a_logged_limit(self, log: Driver) -> None:
        log.ok(c.set_limits({Limit.TRANSACTION_OPERATIONS: 1}))
        refused = log.do(c.transaction([], [c.do_get("a"), c.do_get("b")]))
        assert (refused.status, refused.number) == (Status.LIMIT, Limit.TRANSACTION_OPERATIONS)


class TestLimits:
    @pytest.mark.parametrize(
        ("limit", "value", "command"),
        [
            (Limit.KEY_BYTES, 3, c.put("four", b"")),
            (Limit.VALUE_BYTES, 3, c.put("k", b"four")),
            (Limit.KEYS, 1, c.put("another", b"")),
            (Limit.STORE_BYTES, 1024, c.put("k", b"x" * 1100)),
        ],
    )
    def test_a_write_beyond_is_refused_and_changes_nothing(
        self, log: Driver, limit: Limit, value: int, command: bytes
    ) -> None:
        log.ok(c.put("one", b"1"))
        log.ok(c.set_limits({limit: value}))
        refused = log.do(command)
        assert (refused.status, refused.number) == (Status.LIMIT, limit)
        assert [row.key for row in log.store.reader.range()[0]] == [b"one"]

    def test_what_shrinks_is_never_refused_for_the_size_of_the_store(self, log: Driver) -> None:
        log.ok(c.put("k", b"x" * 2000))
        log.ok(c.set_limits({Limit.STORE_BYTES: 1024}))
        log.ok(c.put("k", b"x" * 1500))
        assert log.do(c.put("k", b"x" * 1501)).status == Status.LIMIT
        log.ok(c.delete("k"))

    def test_keys_of_a_session(self, log: Driver) -> None:
        log.ok(c.set_limits({Limit.SESSION_KEYS: 2}))
        session = log.open()
        for key in ("a", "b", "a"):
            log.ok(c.put(key, b"", session=session, owned=True))
        refused = log.do(c.put("c", b"", session=session, owned=True))
        assert (refused.status, refused.number) == (Status.LIMIT, Limit.SESSION_KEYS)
        log.ok(c.delete("a"))
        log.ok(c.put("c", b"", session=session, owned=True))

    def test_all_or_none_and_only_within_their_bounds(self, log: Driver) -> None:
        before = log.store.limits
        for wrong in (
            {Limit.KEYS: 5, Limit.KEY_BYTES: 5000},
            {Limit.KEYS: 5, 99: 1},
            {Limit.KEYS: 5, Limit.SESSION_TTL_MIN_MS: 7000, Limit.SESSION_TTL_MAX_MS: 6000},
            {Limit.SESSIONS: 0},
        ):
            assert log.do(c.set_limits(wrong)).status == Status.INVALID
        assert log.store.limits == before
        log.ok(c.set_limits({Limit.KEYS: 5}))
        assert log.store.limits == {**before, Limit.KEYS: 5}


class TestVersions:
    def test_a_command_of_a_newer_version_stops_the_old_node_alone(self) -> None:
        old, new = Store(known_version=1), Store(known_version=2)
        for store in (old, new):
            store.apply(1, 1, c.put("k", b"1"))
        raised = c.set_version(2)
        assert new.apply(2, 1, raised).status == Status.OK
        with pytest.raises(NodeFailed, match="version 2"):
            old.apply(2, 1, raised)
        command = c.put("k", b"2", version=2)
        assert new.apply(3, 1, command).status == Status.OK
        with pytest.raises(NodeFailed, match="install the version"):
            old.apply(2, 1, command)
        assert old.applied_index == 1  # as it was
        assert old.reader.value("k") == b"1"
        assert new.reader.value("k") == b"2"

    def test_a_batch_stops_before_the_command_of_a_newer_version(self) -> None:
        old = Store(known_version=1)
        with pytest.raises(NodeFailed):
            old.apply_batch(1, 1, [c.put("a", b""), c.put("b", b"", version=2), c.put("c", b"")])
        assert old.applied_index == 1

    def test_before_the_cluster_version_is_raised_every_node_refuses_alike(self) -> None:
        stores = [Store(known_version=version) for version in (2, 3)]
        for store in stores:
            refused = store.apply(1, 1, c.put("k", b"1", version=2))
            assert (refused.status, refused.number) == (Status.VERSION_NOT_ENABLED, 1)
            assert store.reader.get("k") is None

    def test_the_cluster_version_never_falls(self) -> None:
        log = Driver(Store(known_version=3))
        log.ok(c.set_version(3))
        refused = log.do(c.set_version(2))
        assert (refused.status, refused.number) == (Status.INVALID, 3)
        assert log.store.cluster_version == 3

    def test_a_snapshot_of_a_newer_version_is_refused(self) -> None:
        log = Driver(Store(known_version=2))
        log.ok(c.set_version(2))
        with pytest.raises(NodeFailed, match="install"):
            Store.restore([log.saved()], known_version=1)
        assert Store.restore([log.saved()], known_version=2).cluster_version == 2


class TestEntries:
    @pytest.mark.parametrize("data", [b"", b"\x01", b"\x00" * 30, b"\x01\x63" + bytes(40), c.put("k", b"v") + b"!"])
    def test_a_malformed_one_gives_the_same_result_everywhere_and_changes_nothing(self, data: bytes) -> None:
        stores = [Store(), Store(known_version=9)]
        results = [store.apply(1, 1, data) for store in stores]
        assert results[0] == results[1]
        assert results[0].status == Status.MALFORMED
        assert results[0].body
        assert [store.reader.count() for store in stores] == [0, 0]
        assert stores[0].applied_index == 1

    def test_out_of_order_is_a_broken_invariant(self, log: Driver) -> None:
        log.ok(c.put("a", b""))
        for index in (0, 1, 3):
            with pytest.raises(InvariantBroken):
                log.store.apply(index, 1, c.put("a", b""))
        assert log.store.applied_index == 1

    def test_membership_is_kept_as_it_is(self, log: Driver) -> None:
        log.store.configure(1, 7, b"\x00opaque")
        assert (log.store.membership, log.store.applied_term) == (b"\x00opaque", 7)
        assert Store.restore([log.saved()]).membership == b"\x00opaque"

    def test_a_batch_is_the_same_as_one_by_one(self) -> None:
        one, batch = Driver(), Store()
        commands = [c.session_open(b"s" * 16, 10_000)]
        commands += [c.increment(f"k{number % 7}", number, session=1, number=number) for number in range(1, 300)]
        results = [one.do(command) for command in commands]
        assert batch.apply_batch(1, 1, commands) == results
        assert batch.reader.revision == 300
        with batch.snapshot() as snapshot:
            assert b"".join(snapshot) == one.saved()


class TestReference:
    """The page says what the code does."""

    def rows(self) -> dict[str, list[int]]:
        page = Path(__file__).parents[2] / "docs" / "reference" / "store.md"
        found = re.findall(
            r"^\| `([A-Z_]+)`[^|]*\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", page.read_text("utf-8"), re.M
        )
        return {name: [int(number.replace(",", "")) for number in numbers] for name, *numbers in found}

    def test_defaults_and_bounds_of_the_limits(self, log: Driver) -> None:
        rows = self.rows()
        assert set(rows) == {limit.name for limit in Limit}
        assert {limit.name: value for limit, value in log.store.limits.items()} == {
            name: default for name, (default, _, _) in rows.items()
        }
        for limit in Limit:
            _, least, most = rows[limit.name]
            # The two times are held against each other, too.
            others = {Limit.SESSION_TTL_MIN_MS: 1, Limit.SESSION_TTL_MAX_MS: 86_400_000} if "TTL" in limit.name else {}
            for value, allowed in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
                if value < 0:
                    continue
                status = log.do(c.set_limits({**others, limit: value})).status
                assert (status == Status.OK) == allowed, (limit, value)
