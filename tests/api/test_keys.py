"""Keys and values through a client: the same in threads and in asyncio, near and far."""

from __future__ import annotations

from typing import Any

import pytest

from quorate import InvalidArgument, LimitExceeded, Rejected, op


def test_put_get_delete(client: Any) -> None:
    assert client.get("k") is None
    revision = client.put("k", b"v")
    found = client.get(b"k")
    assert (found.key, found.value, found.mod_revision, found.create_revision) == (b"k", b"v", revision, revision)
    assert (found.version, found.session) == (1, 0)
    assert client.put("k", bytearray(b"w")) > revision
    assert client.get("k").version == 2
    assert client.delete("k") is True
    assert client.delete("k") is False
    assert client.get("k") is None


def test_local_reads_see_the_own_writes(client: Any) -> None:
    for number in range(50):
        client.put("k", str(number).encode())
        assert client.get("k", consistency="local").value == str(number).encode()
        assert client.count(consistency="local") == 1


def test_ranges(client: Any) -> None:
    for key in ("a", "b", "b1", "b2", "c"):
        client.put(key, key.encode())

    def keys(**asked: Any) -> list[bytes]:
        return [each.key for each in client.range(**asked)]

    assert keys() == [b"a", b"b", b"b1", b"b2", b"c"]
    assert keys(start="b", end="c") == [b"b", b"b1", b"b2"]
    assert keys(prefix="b") == [b"b", b"b1", b"b2"]
    assert keys(start="b2") == [b"b2", b"c"]
    assert keys(prefix="x") == []
    cut = client.range(limit=2)
    assert ([each.key for each in cut], cut.more) == ([b"a", b"b"], True)
    whole = client.range(limit=5, consistency="local")
    assert (len(whole), whole.more) == (5, False)
    assert whole.revision >= whole[-1].mod_revision
    assert client.count(prefix="b") == 3
    assert client.delete_range(prefix="b") == 3
    assert keys() == [b"a", b"c"]
    assert client.delete_range() == 2
    assert client.count() == 0


def test_a_namespace_ends_where_it_ends(client: Any) -> None:
    inner, beside = client.namespace("in/"), client.namespace("in0")
    inner.put("k", b"inner")
    beside.put("k", b"beside")
    assert [(each.key, each.value) for each in inner.range()] == [(b"k", b"inner")]
    assert client.get("in/k").value == b"inner"
    assert [each.key for each in client.range(prefix="in")] == [b"in/k", b"in0k"]
    deeper = inner.namespace("er/")
    deeper.put("k", b"deeper")
    assert inner.get("er/k").value == b"deeper"
    assert inner.delete_range() == 2
    assert client.count() == 1


def test_compare_and_set(client: Any) -> None:
    made = client.compare_and_set("k", b"1", 0)
    assert made
    assert client.get("k").mod_revision == made.revision
    refused = client.compare_and_set("k", b"2", 0)
    assert not refused
    assert refused.revision == made.revision
    assert client.compare_and_set("k", b"2", refused.revision)
    assert client.get("k").value == b"2"


def test_increment(client: Any) -> None:
    assert client.increment("n") == 1
    assert client.increment("n", -5) == -4
    assert client.get("n").value == b"-4"
    client.put("n", str(2**63 - 1).encode())
    with pytest.raises(Rejected, match="64 bits"):
        client.increment("n")
    client.put("n", b"many")
    with pytest.raises(Rejected, match="no decimal integer"):
        client.increment("n")


def test_transactions(client: Any) -> None:
    def buy(most: bytes) -> Any:
        transaction = client.transaction()
        transaction.when(op.exists("stock"), op.value("stock") > most)
        transaction.then(op.increment("sold", 2), op.put("last", b"x"), op.get("stock"), op.delete("reserved"))
        transaction.otherwise(op.range(prefix="s"), op.get("sold"), op.delete_range(prefix="x"))
        return transaction.commit()

    refused = buy(b"1")
    assert not refused
    assert refused.results == ([], None, 0)
    client.put("stock", b"5")
    done = buy(b"1")
    assert done.succeeded
    count, nothing, stock, reserved = done.results
    assert (count, nothing, stock.key, stock.value, reserved) == (2, None, b"stock", b"5", False)
    assert client.get("sold").mod_revision == client.get("last").mod_revision == done.revision
    refused = buy(b"5")
    assert [each.key for each in refused.results[0]] == [b"sold", b"stock"]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (op.value("k") == b"v", True),
        (op.value("k") != b"v", False),
        (op.value("none") == b"", False),
        (op.version("k") == 2, True),
        (op.version("k") < 2, False),
        (op.version("k") > 1, True),
        (op.session("k") == 0, True),
        (op.mod_revision("none") == 0, True),
        (op.create_revision("k") == 0, False),
        (op.exists("k"), True),
        (op.missing("k"), False),
    ],
    ids=repr,
)
def test_conditions(client: Any, condition: Any, holds: bool) -> None:
    client.put("k", b"u")
    client.put("k", b"v")
    assert client.transaction().when(condition).commit().succeeded is holds


def test_put_many(client: Any) -> None:
    pairs = [(f"k{number:03}", str(number).encode()) for number in range(300)]
    revisions = client.put_many(pairs)
    assert revisions == sorted(set(revisions))
    assert len(revisions) == 300
    assert [(each.key.decode(), each.value) for each in client.range()] == pairs
    assert client.put_many({}) == []
    with pytest.raises(InvalidArgument):
        client.put_many([("good", b""), ("", b"")])
    assert client.get("good") is None


def test_put_many_says_what_was_written(client: Any) -> None:
    with pytest.raises(LimitExceeded, match=r"VALUE_BYTES.*2 of 3 pairs.*pair 1") as caught:
        client.put_many([("a", b"1"), ("b", bytes(2 << 20)), ("c", b"3")])
    outcomes = caught.value.outcomes
    assert outcomes is not None
    assert isinstance(outcomes[1], LimitExceeded)
    assert [client.get("a").mod_revision, client.get("c").mod_revision] == [outcomes[0], outcomes[2]]
    assert client.get("b") is None


def test_many_on_their_way(client: Any) -> None:
    sums = [client.submit(op.increment("n")) for _ in range(100)]
    assert [each.result() for each in sums] == list(range(1, 101))
    assert client.submit(op.compare_and_set("n", b"", 1)).result().done is False
    with pytest.raises(Rejected):
        client.submit(op.put("k", b""), if_fence=("lock", 1)).result()


def test_a_fence_that_does_not_hold(client: Any) -> None:
    for write in (
        lambda fence: client.put("k", b"v", if_fence=fence),
        lambda fence: client.delete("k", if_fence=fence),
        lambda fence: client.delete_range(prefix="k", if_fence=fence),
        lambda fence: client.increment("n", if_fence=fence),
        lambda fence: client.compare_and_set("k", b"v", 0, if_fence=fence),
        lambda fence: client.put_many({"k": b"v"}, if_fence=fence),
        lambda fence: client.transaction().then(op.put("k", b"v")).commit(if_fence=fence),
    ):
        with pytest.raises(Rejected, match="does not hold the lock"):
            write(("lock", 7))
    assert client.count() == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda c: c.put("", b""), "at least one byte"),
        (lambda c: c.put(7, b""), "str or bytes, not int"),
        (lambda c: c.put("\ud800", b""), "UTF-8"),
        (lambda c: c.put("k" * 5000, b""), "at most 4096"),
        (lambda c: c.put("k", "text"), "encode"),
        (lambda c: c.put("k", 7), "bytes, not int"),
        (lambda c: c.put("k", bytes((8 << 20) + 1)), "at most 8388608"),
        (lambda c: c.put("k", b"", timeout=-1), "timeout"),
        (lambda c: c.put("k", b"", timeout=float("nan")), "timeout"),
        (lambda c: c.put("k", b"", timeout="1"), "timeout"),
        (lambda c: c.put("k", b"", if_fence="lock"), "if_fence"),
        (lambda c: c.put("k", b"", if_fence=("lock", 0)), "token"),
        (lambda c: c.put("k", b"", if_fence=("", 1)), "name of a lock"),
        (lambda c: c.get("k", consistency="maybe"), "'linearizable' or 'local'"),
        (lambda c: c.range("a", prefix="b"), "not by both"),
        (lambda c: c.range(limit=-1), "limit"),
        (lambda c: c.increment("k", 1 << 63), "64 bits"),
        (lambda c: c.increment("k", 1.5), "64 bits"),
        (lambda c: c.compare_and_set("k", b"", -1), "mod_revision"),
        (lambda c: c.submit("put"), "no operation"),
        (lambda c: c.transaction().when(True), "no condition"),
        (lambda c: c.transaction().then(op.missing("k")), "no operation"),
        (lambda c: c.transaction().then(op.compare_and_set("k", b"", 0)).commit(), "stands alone"),
        (lambda c: c.transaction().then(op.put("k", b""), op.delete("k")).commit(), "twice|more than once"),
        (lambda c: c.submit(op.get("k")), "part of a transaction"),
        (lambda c: c.put_many([("k", "text")]), "encode"),
        (lambda c: c.namespace(""), "at least one byte"),
        (lambda c: c.add_member("", "127.0.0.1:1"), "named by a str"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(client: Any, wrong: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        wrong(client)
    with pytest.raises(ValueError, match=says):
        wrong(client)
    assert client.count() == 0


def test_a_condition_is_not_a_truth() -> None:
    with pytest.raises(InvalidArgument, match="when"):
        bool(op.value("k") == b"v")


def test_what_it_looks_like(client: Any, whole_client: Any) -> None:
    assert "alone" in repr(whole_client)
    assert "leader" in repr(whole_client)
    assert "namespace b'test-" in repr(client)
    assert repr(op.put("k", b"v" * 100)) == f"put('k', b'{'v' * 48}…)"
    shown = repr(client.transaction().when(op.version("k") == 0).then(op.put("k", b"v")))
    assert shown == "Transaction(when=[version('k') == 0], then=[put('k', b'v')], otherwise=[])"


def test_status_and_members(whole_client: Any) -> None:
    status = whole_client.status()
    assert (status["name"], status["role"], status["leader"]) == ("alone", "leader", "alone")
    (member,) = whole_client.members()
    assert (member.id, member.name, member.voter, member.leader) == (1, "alone", True, True)
