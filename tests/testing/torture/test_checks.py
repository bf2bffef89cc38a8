"""The judges are judged: each rule passes what is right, and names what is wrong."""

from __future__ import annotations

import pytest

from quorate.testing.torture.checks import RECOVERY_SECONDS, judge
from quorate.testing.torture.workloads import WORKLOADS, Workload
from quorate.testing.torture.workloads.counters import Counters
from quorate.testing.torture.workloads.elections import Elections
from quorate.testing.torture.workloads.inserts import Inserts
from quorate.testing.torture.workloads.locks import Locks
from quorate.testing.torture.workloads.queues import Queues
from quorate.testing.torture.workloads.registers import Registers
from testing.torture.histories import Story


def rules(work: type[Workload], story: Story) -> set[str]:
    return {each.rule for each in work.check(story.done())}


def test_every_workload_says_what_it_shows() -> None:
    assert all(name == each.name and each.claim and each.hands > 0 for name, each in WORKLOADS.items())


def test_registers_judge_reads_writes_and_swaps() -> None:
    story = Story("registers")
    story.does("a", "k", "write", 1)
    story.does("b", "k", "read", None, 1)
    story.does("b", "k", "cas", (1, 2), True)
    lost = story.call("a", "k", "write", 3)
    story.ends(lost, "unknown")
    refused = story.call("a", "k", "write", 4)
    story.ends(refused, "fail")
    story.does("b", "k", "read", None, 3)
    assert rules(Registers, story) == set()
    story.does("b", "k", "read", None, 2)  # seen, and then unseen
    assert rules(Registers, story) == {"linearizable"}
    story = Story("registers")
    refused = story.call("a", "k", "write", 4)
    story.ends(refused, "fail")
    story.does("b", "k", "read", None, 4)  # it was said to have not happened
    assert rules(Registers, story) == {"linearizable"}


def test_counters_know_lost_doubled_and_early_sums() -> None:
    story = Story("counters")
    for number in range(1, 4):
        story.does("a", "k", "increment", 1, number)
    unknown = story.call("b", "k", "increment", 1)
    story.ends(unknown, "unknown")
    story.does("a", "k", "read", None, 4)
    assert rules(Counters, story) == set()
    story.does("a", "k", "read", None, 5)
    assert rules(Counters, story) == {"exactly once"}

    doubled = Story("counters")
    doubled.does("a", "k", "increment", 1, 2)  # it was carried out twice
    doubled.does("a", "k", "read", None, 2)
    assert rules(Counters, doubled) == {"exactly once"}

    same = Story("counters")
    one, two = same.call("a", "k", "increment", 1), same.call("b", "k", "increment", 1)
    same.ends(one, "ok", 1)
    same.ends(two, "ok", 1)
    assert "exactly once" in rules(Counters, same)

    early = Story("counters")
    early.does("a", "k", "increment", 1, 1)
    early.does("a", "k", "increment", 1, 2)
    early.does("b", "k", "read", None, 1)  # stale
    assert rules(Counters, early) == {"linearizable"}


def test_inserts_know_what_is_lost_and_what_was_never_written() -> None:
    def story(there: dict[str, str]) -> Story:
        made = Story("inserts")
        made.does("a", "i/1", "insert", "i/1")
        made.ends(made.call("a", "i/2", "insert", "i/2"), "unknown")
        made.ends(made.call("a", "i/3", "insert", "i/3"), "fail")
        made.does("a", "i/", "list", None, [list(each) for each in there.items()])
        return made

    assert rules(Inserts, story({"i/1": "i/1"})) == set()
    assert rules(Inserts, story({"i/1": "i/1", "i/2": "i/2"})) == set()
    assert rules(Inserts, story({"i/2": "i/2"})) == {"no lost acknowledged write"}
    assert rules(Inserts, story({"i/1": "i/1", "i/3": "i/3"})) == {"nothing happened"}
    assert rules(Inserts, story({"i/1": "else"})) == {"no write out of nothing"}
    assert rules(Inserts, story({"i/1": "i/1", "i/9": "i/9"})) == {"no write out of nothing"}
    unread = Story("inserts")
    unread.does("a", "i/1", "insert", "i/1")
    assert rules(Inserts, unread) == {"no lost acknowledged write"}


def held(story: Story, client: str, token: int, *, check: bool = True) -> None:
    story.does(client, "l", "acquire", None, token)
    story.does(client, "l", "check", token, check)


@pytest.mark.parametrize("work", [Locks, Elections])
def test_locks_and_elections_know_two_holders(work: type[Workload]) -> None:
    story = Story(work.name)
    held(story, "a", 3)
    story.does("a", "l", "release", 3)
    held(story, "b", 7, check=False)  # lost, and it knows
    held(story, "c", 9)
    assert rules(work, story) == set()
    story.does("b", "l", "check", 7, True)  # it never was
    assert rules(work, story) == {"mutual exclusion"}

    doubled = Story(work.name)
    held(doubled, "a", 3)
    held(doubled, "b", 3)
    assert "tokens differ" in rules(work, doubled)

    back = Story(work.name)
    held(back, "a", 5)
    held(back, "b", 4)
    assert rules(work, back) == {"tokens grow"}
    # At the same time they may come in either order.
    beside = Story(work.name)
    one, two = beside.call("a", "l", "acquire"), beside.call("b", "l", "acquire")
    beside.ends(one, "ok", 5)
    beside.ends(two, "ok", 4)
    assert rules(work, beside) == set()


def test_a_fence_that_lets_an_old_holder_through_is_seen() -> None:
    story = Story("locks")
    held(story, "a", 3)
    story.does("a", "l", "guarded", 3, 11)
    held(story, "b", 7)
    story.ends(story.call("a", "l", "guarded", 3), "fail")
    assert rules(Locks, story) == set()
    story.does("a", "l", "guarded", 3, 12)
    assert rules(Locks, story) == {"fencing"}
    swapped = Story("locks")
    held(swapped, "a", 3)
    early = swapped.call("a", "l", "guarded", 3)
    held(swapped, "b", 7)
    swapped.does("b", "l", "guarded", 7, 11)
    swapped.ends(early, "ok", 12)  # sent in time, and carried out behind the next holder's
    assert rules(Locks, swapped) == {"fencing"}


def test_an_election_tells_no_earlier_leader() -> None:
    story = Story("elections")
    held(story, "a", 3)
    story.does("c", "l", "leader", None, 3)
    story.does("c", "l", "leader", None, None)
    held(story, "b", 7)
    assert rules(Elections, story) == set()
    story.does("c", "l", "leader", None, 3)
    assert rules(Elections, story) == {"stale leader"}


def emptied(story: Story) -> Story:
    story.does("z", "q", "size", None, 0)
    return story


def test_queues_know_what_is_lost_doubled_or_out_of_order() -> None:
    story = Story("queues")
    for value in (1, 2, 3):
        story.does("p", "q", "put", value, f"id{value}")
    story.ends(story.call("p", "q", "put", 4), "unknown")
    story.does("c", "q", "get", None, (1, 1))
    story.does("c", "q", "reject", 1)
    story.does("d", "q", "get", None, (1, 2))
    story.does("d", "q", "ack", 1)
    story.does("c", "q", "get", None, (2, 1))
    story.ends(story.call("c", "q", "ack", 2), "unknown")
    story.does("c", "q", "get", None, (3, 1))
    story.does("c", "q", "ack", 3)
    assert rules(Queues, story) == {"no item is lost"}  # nobody looked at the end
    assert rules(Queues, emptied(story)) == set()

    lost = Story("queues")
    lost.does("p", "q", "put", 1, "id1")
    assert rules(Queues, emptied(lost)) == {"no item is lost"}

    doubled = Story("queues")
    doubled.does("p", "q", "put", 1, "id1")
    for client in "cd":
        doubled.does(client, "q", "get", None, (1, 1))
        doubled.does(client, "q", "ack", 1)
    assert rules(Queues, emptied(doubled)) == {"leaves once"}

    nothing = Story("queues")
    nothing.ends(nothing.call("p", "q", "put", 1), "fail")
    nothing.does("c", "q", "get", None, (1, 1))
    nothing.does("c", "q", "ack", 1)
    assert rules(Queues, emptied(nothing)) == {"nothing out of nothing"}

    def two(*, waits: bool, together: bool = False) -> Story:
        made = Story("queues")
        one = made.call("p", "q", "put", 1)
        if not together:
            made.ends(one, "ok", "id1")
        made.does("r", "q", "put", 2, "id2")
        if together:
            made.ends(one, "ok", "id1")
        waiting = made.call("d", "q", "get")
        if not waits:
            made.ends(waiting, "ok", None)
        made.does("c", "q", "get", None, (2, 1))
        if waits:
            made.ends(waiting, "ok", None)
        made.does("c", "q", "get", None, (1, 1))
        for value in (1, 2):
            made.does("c", "q", "ack", value)
        return emptied(made)

    assert rules(Queues, two(waits=False)) == {"first in, first out"}
    assert rules(Queues, two(waits=True)) == set()  # it was the turn of one who went away
    assert rules(Queues, two(waits=False, together=True)) == set()  # put at the same time


def ended(story: Story) -> Story:
    story.record.say("phase", name="done")
    return story


def test_a_good_run_passes_with_its_figures() -> None:
    story = Story("counters", missing={"clock": "no libfaketime"})
    story.record.say("office", node="a", role="leader", term=1)
    story.does("x", "k", "increment", 1, 1)
    story.record.say("fault", number=0, kind="kill", node="a")
    story.record.say("office", node="b", role="leader", term=2)
    story.record.say("healed", number=0, kind="kill")
    story.does("x", "k", "increment", 1, 2)
    story.record.say("instead", kind="full_disk", reason="no mount")
    story.record.say("digests", of="memory", digests={"a": {"sha256": "1"}, "b": {"sha256": "1"}})
    report = judge(ended(story).record.events)
    assert report, report.problems
    assert report.whole
    assert report.converged
    assert (report.leaders, report.terms, report.skipped) == (2, 2, {"clock": "no libfaketime"})
    assert report.instead == {"full_disk": "no mount"}
    [load], [fault] = report.loads, report.faults
    assert (load["operations"], load["ok"]) == (2, 2)
    assert (fault["kind"], fault["times"], fault["elections"]) == ("kill", 1, 1)
    assert fault["recovery_longest"] >= 0
    assert fault["outage_longest"] > 0
    assert report.document()["passed"] is True


@pytest.mark.parametrize(
    ("event", "fields", "rule"),
    [
        ("office", {"node": "b", "role": "leader", "term": 1}, "one leader a term"),
        ("digests", {"of": "disk", "digests": {"a": {"sha256": "1"}, "b": {"sha256": "2"}}}, "convergence"),
        ("digests", {"of": "disk", "digests": {"a": {"sha256": "1"}, "b": {"error": "gone"}}}, "convergence"),
        ("odd", {"what": "flip", "node": "a", "error": "it started"}, "unexpected: flip"),
    ],
)
def test_what_must_not_be_fails_the_run(event: str, fields: dict[str, object], rule: str) -> None:
    story = Story("counters")
    story.record.say("office", node="a", role="leader", term=1)
    story.record.say(event, **fields)
    report = judge(ended(story).record.events)
    assert [each.rule for each in report.problems] == [rule]
    assert report.document()["passed"] is False


def test_a_cluster_that_does_not_recover_fails_the_run() -> None:
    story = Story("counters")
    story.record.say("fault", number=0, kind="pause", node="a")
    story.record.say("healed", number=0, kind="pause")
    for event in story.record.events:
        event["t"] -= RECOVERY_SECONDS + 1  # as if it had been so long ago
    story.does("x", "k", "increment", 1, 1)
    report = judge(ended(story).record.events)
    assert [each.rule for each in report.problems] == ["recovery"]


def test_a_run_that_was_broken_off_is_judged_as_far_as_it_came() -> None:
    story = Story("inserts")
    story.does("a", "i/1", "insert", "i/1")
    report = judge(story.record.events)
    assert report
    assert not report.whole
    assert report.converged is None
