"""Faults as they are done to a real cluster: each kind is one method, which begins it and returns how it ends.

What is drawn was drawn by the schedule; here it meets the cluster as it is. What could not be done, or did not go as it
has to, is told to the record.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from quorate.errors import NodeFailed, QuorateError, StorageError
from quorate.testing.torture import damage
from quorate.testing.torture.children import Child, ChildFailed
from quorate.testing.torture.cluster import Cluster, Node
from quorate.testing.torture.proxy import CLIENT
from quorate.testing.torture.record import Record
from quorate.testing.torture.schedule import ALONE, Planned
from quorate.testing.torture.workloads.locks import Locks

__all__ = ["Torment"]

SETTLE_SECONDS: Final = 60.0
CHANGE_SECONDS: Final = 60.0
"""For a change of members, under load."""
ASK_SECONDS: Final = 30.0
"""For a node to do what it is told; on a machine that has much else to do."""
TEAR_SECONDS: Final = 0.4
"""For writes to come that are then lost."""
End = Callable[[], None]


def _nothing() -> None:
    """The end of a fault that is over with its begin."""


class Torment:
    """Does to the cluster what the schedule says. All of it in one thread, which also started the processes.

    ``client`` is one for the changes of members; ``tools`` says what this machine has for which kind.
    """

    def __init__(self, cluster: Cluster, client: Any, record: Record, tools: Mapping[str, Any]) -> None:
        self.cluster = cluster
        self.client = client
        self.record = record
        self.tools = tools
        self._ends: dict[int, tuple[Planned, End]] = {}
        self._children: list[Child] = []

    # One fault

    def begin(self, planned: Planned) -> None:
        """Begins a fault, and writes it down. What it raises is written down as something that must not be."""
        if planned.kind in ALONE:
            self._settle()
        victim = self._victim(planned)
        if victim is None:
            self.record.say("skipped", number=planned.number, kind=planned.kind, reason="no node runs that it could be")
            return
        self.record.say(
            "fault", number=planned.number, kind=planned.kind, node=victim.name, planned=planned.seconds,
            details=planned.details,
        )  # fmt: skip
        try:
            end: End = getattr(self, planned.kind)(planned, victim)
        except (QuorateError, OSError) as error:
            self._odd(planned.kind, victim, error)
            end = functools.partial(self._back, victim)
        self._ends[planned.number] = (planned, end)

    def end(self, planned: Planned) -> None:
        """Ends it."""
        if planned.number not in self._ends:
            return
        try:
            self._ends.pop(planned.number)[1]()
        except (QuorateError, OSError) as error:
            self._odd(planned.kind, None, error)
        self.record.say("healed", number=planned.number, kind=planned.kind)

    def heal(self) -> None:
        """Ends all that is left, and waits until the cluster is whole. Raises NoQuorum if it does not become so."""
        for planned, _ in list(self._ends.values()):
            self.end(planned)
        self.cluster.network.mend()
        for node in list(self.cluster.nodes.values()):
            if node.child.paused:
                node.child.resume()
            with contextlib.suppress(QuorateError):
                node.child.ask({"what": "clear"}, ASK_SECONDS)
            self._back(node)
        self.cluster.settle(SETTLE_SECONDS)

    def close(self) -> None:
        """Ends the processes that it started itself."""
        for child in self._children:
            child.end(kill=True)

    def _odd(self, kind: str, node: Node | None, error: BaseException) -> None:
        words = self.cluster.words(node) if node is not None else ""
        self.record.say(
            "odd", what=kind, node=node.name if node else None, error=f"{type(error).__name__}: {error}", log=words
        )

    def _victim(self, planned: Planned) -> Node | None:
        running = self.cluster.running
        if not running:
            return None
        leader = self.cluster.leader()
        if planned.victim == "leader" and leader is not None:
            return leader
        if planned.victim == "follower":
            running = [each for each in running if each is not leader] or running
        return running[int(planned.draw * len(running))]

    def _settle(self) -> None:
        with contextlib.suppress(QuorateError):
            self.cluster.settle(SETTLE_SECONDS)

    def _back(self, node: Node) -> None:
        """Starts a member again that does not run, or whose node has failed in a process that runs."""
        if self.cluster.nodes.get(node.name) is not node:
            return
        if node.running:
            try:
                self.cluster.status(node)
            except NodeFailed:
                node.child.end(kill=True)
        try:
            self.cluster.bring_back(node)
        except QuorateError as error:
            self._odd("start", node, error)

    # Processes

    def kill(self, planned: Planned, victim: Node) -> End:
        """kill -9, then a start on the same data."""
        victim.child.end(kill=True)
        return lambda: self._back(victim)

    def power(self, planned: Planned, victim: Node) -> End:
        """All at once; in half of the cases their disks lose what was not synced."""
        nodes = list(self.cluster.nodes.values())
        written: dict[str, Any] = {}
        if planned.details["tears"]:
            # Nothing of what is written from now on is acknowledged by anybody.
            for each in nodes:
                each.child.ask({"what": "hang", "seconds": 30.0}, ASK_SECONDS)
            time.sleep(TEAR_SECONDS)
            for each in nodes:
                written[each.name] = each.child.ask({"what": "written"}, ASK_SECONDS)["written"]
        for each in nodes:
            if each.child.process is not None:
                each.child.process.kill()
        for each in nodes:
            each.child.end(kill=True)
        for each in nodes:
            if each.name in written:
                self._tear(planned, each, written[each.name])

        def end() -> None:
            for each in nodes:
                self.cluster.begin(each)
            for each in nodes:
                try:
                    each.child.answer(SETTLE_SECONDS)
                except QuorateError as error:  # noqa: PERF203
                    self._odd("start", each, error)

        return end

    def restart(self, planned: Planned, victim: Node) -> End:
        """In order: the input of the process ends, and it stops its node."""
        victim.child.end()
        return lambda: self._back(victim)

    def rolling(self, planned: Planned, victim: Node) -> End:
        """One after the other, each once the one before is back and up to date."""
        for node in list(self.cluster.nodes.values()):
            node.child.end()
            self._back(node)
            self._settle()
        return _nothing

    def pause(self, planned: Planned, victim: Node) -> End:
        """SIGSTOP."""
        process = victim.child.process
        victim.child.pause()

        def end() -> None:
            if victim.child.process is process:
                victim.child.resume()

        return end

    def gil(self, planned: Planned, victim: Node) -> End:
        """The process holds its GIL by itself; nobody waits for its answer."""
        victim.child.tell({"what": "hold", "seconds": planned.seconds})
        return _nothing

    def holder(self, planned: Planned, victim: Node) -> End:
        """A process of a client takes a lock of the workload of locks. Killed: the next one in the queue gets it.
        Stopped for longer than its lease: what it writes afterwards, believing to hold, has to be refused."""
        name, lease = Locks.NAMES[0], Locks.LEASE
        child = Child("holder", "quorate.testing.torture.holder")
        self._children.append(child)
        child.begin({"url": self.cluster.url})
        token = self._asked(child, name, "acquire", None, lease=lease, seconds=10.0)
        if token is None:
            child.end(kill=True)
            return _nothing
        if planned.details["kills"]:
            child.end(kill=True)
            return _nothing
        child.pause()

        def end() -> None:
            child.resume()
            self._asked(child, name, "guarded", token, token=token, key=f"{name}/guarded", value=str(token))
            child.end(kill=True)

        return end

    def _asked(self, child: Child, name: str, kind: str, argument: Any, **order: Any) -> Any:
        """An operation of that client, in the record with all others."""
        number = self.record.invoke("holder", Locks.name, name, kind, argument)
        try:
            found = child.ask({"what": "acquire" if kind == "acquire" else "put", "name": name, **order}, 60.0)
        except ChildFailed as error:
            self.record.reply(number, error.said["outcome"], error=error.said["error"])
            return None
        self.record.reply(number, "ok", found["result"])
        return found["result"]

    def transfer(self, planned: Planned, victim: Node) -> End:
        """To the best of the others."""
        with contextlib.suppress(QuorateError):  # under load and other faults it may not come about
            self.client.transfer_leadership(timeout=5.0)
        return _nothing

    # Network

    def _set(self, pairs: list[tuple[str, str]], *, breaks: bool = False, **fate: Any) -> End:
        self.cluster.network.set(pairs, breaks=breaks, **fate)
        return lambda: self.cluster.network.mend(pairs, *fate)

    def _cut(self, planned: Planned, sides: list[tuple[Node, Node]], *, both: bool = True) -> End:
        pairs = [(one.name, other.name) for one, other in sides]
        if both:
            pairs += [(other, one) for one, other in pairs]
        return self._set(pairs, breaks=planned.details["breaks"], cut=True)

    def _shuffled(self, planned: Planned, victim: Node) -> list[Node]:
        """All members in an order of the fault's own, the victim first."""
        others = [each for each in self.cluster.nodes.values() if each is not victim]
        random.Random(planned.details["seed"]).shuffle(others)
        return [victim, *others]

    def partition(self, planned: Planned, victim: Node) -> End:
        """The victim is on the side of the few."""
        nodes = self._shuffled(planned, victim)
        few = max((len(nodes) - 1) // 2, 1)
        return self._cut(planned, [(one, other) for one in nodes[:few] for other in nodes[few:]])

    def isolate(self, planned: Planned, victim: Node) -> End:
        """The victim alone."""
        return self._cut(planned, [(victim, each) for each in self._shuffled(planned, victim)[1:]])

    def one_way(self, planned: Planned, victim: Node) -> End:
        """The victim hears nobody, or nobody hears it."""
        others = self._shuffled(planned, victim)[1:]
        inward = planned.details["inward"]
        return self._cut(planned, [(each, victim) if inward else (victim, each) for each in others], both=False)

    def bridge(self, planned: Planned, victim: Node) -> End:
        """The victim sees both halves, which do not see each other."""
        others = self._shuffled(planned, victim)[1:]
        half = len(others) // 2
        return self._cut(planned, [(one, other) for one in others[:half] for other in others[half:]])

    def ring(self, planned: Planned, victim: Node) -> End:
        """In a circle, each sees its nearest neighbours, so many that they are a majority with it."""
        nodes = self._shuffled(planned, victim)
        count = len(nodes)
        reach = (count // 2 + 1) // 2  # to each side
        cut = [
            (nodes[i], nodes[j])
            for i in range(count)
            for j in range(i + 1, count)
            if min(j - i, count - (j - i)) > reach
        ]
        if not cut:  # of three, everybody is everybody's neighbour: a chain, then
            cut = [(nodes[-1], nodes[0])]
        return self._cut(planned, cut)

    def _ways(self, clients: bool) -> list[tuple[str, str]]:
        names = [*self.cluster.nodes, *([CLIENT] if clients else [])]
        return [(one, other) for one in names for other in names if one != other]

    def delay(self, planned: Planned, victim: Node) -> End:
        """All ways."""
        return self._set(self._ways(planned.details["clients"]), delay_ms=planned.details["delay_ms"])

    def loss(self, planned: Planned, victim: Node) -> End:
        """All ways, those of clients too."""
        return self._set(self._ways(True), loss=planned.details["loss"], resets=planned.details["resets"])

    # Disks

    def _spoil(self, victim: Node, **order: Any) -> End:
        victim.child.ask(order, ASK_SECONDS)
        process = victim.child.process

        def end() -> None:
            if victim.child.process is process and victim.running:
                with contextlib.suppress(NodeFailed):
                    victim.child.ask({"what": "clear"}, ASK_SECONDS)
            self._back(victim)

        return end

    def slow_sync(self, planned: Planned, victim: Node) -> End:
        """By the hook of the storage."""
        return self._spoil(victim, what="slow", operation="sync", seconds=planned.details["sync_seconds"])

    def failing_sync(self, planned: Planned, victim: Node) -> End:
        """EIO, after which the node must have stopped: an fsync that failed is never tried again."""
        return self._spoil(victim, what="fail", operation="sync", error=errno.EIO)

    def full_disk(self, planned: Planned, victim: Node) -> End:
        """A small file system is filled up; on another node, no new segment can be had."""
        small = next((each for each in self.cluster.running if each.small_disk), None)
        if small is None:
            return self._spoil(victim, what="fail", operation="allocate", error=errno.ENOSPC)
        ballast = small.home / "ballast"
        self.record.say("note", node=small.name, text=f"filled {damage.fill(ballast)} bytes")

        def end() -> None:
            ballast.unlink(missing_ok=True)
            self._back(small)

        return end

    def torn(self, planned: Planned, victim: Node) -> End:
        """What a node wrote and had not synced when it was killed is lost in part, as by a power loss."""
        victim.child.ask({"what": "hang", "seconds": 30.0}, ASK_SECONDS)
        time.sleep(TEAR_SECONDS)
        written = victim.child.ask({"what": "written"}, ASK_SECONDS)["written"]
        victim.child.end(kill=True)
        self._tear(planned, victim, written)
        return lambda: self._back(victim)

    def _tear(self, planned: Planned, node: Node, written: list[tuple[int, str]]) -> None:
        pieces = [(offset, bytes.fromhex(data)) for offset, data in written]
        lost = damage.tear(node.data, pieces, random.Random(planned.details["seed"]))
        self.record.say("note", node=node.name, text=lost or "nothing unsynced was there")

    def flip(self, planned: Planned, victim: Node) -> End:
        """The node must refuse to start, and say where; then it is wiped, and another member takes its place."""
        victim.child.end(kill=True)
        where = damage.flip(victim.data, random.Random(planned.details["seed"]))
        self.record.say("note", node=victim.name, text=f"a bit flipped: {where}")

        def end() -> None:
            self.cluster.begin(victim)
            try:
                victim.child.answer(SETTLE_SECONDS)
            except ChildFailed as error:
                said = error.said
                refused = StorageError.__name__ in said["error"] and said.get("file") and said.get("offset") is not None
                self.record.say("refused" if refused else "odd", what="flip", node=victim.name, error=said["error"])
            else:
                self.record.say("odd", what="flip", node=victim.name, error="started on a damaged log: " + where)
            victim.child.end(kill=True)
            made = self.cluster.replace(self.client, victim, CHANGE_SECONDS)
            self.record.say("note", node=victim.name, text=f"replaced by {made.name}")

        return end

    # Clocks and members

    def clock(self, planned: Planned, victim: Node) -> End:
        """The wall clock alone: by libfaketime, which reads the offset from a file."""
        file = victim.home / "clock"
        file.write_text(f"{planned.details['jump_seconds']:+d}\n", encoding="ascii")

        def end() -> None:
            file.write_text("+0\n", encoding="ascii")

        return end

    def membership(self, planned: Planned, victim: Node) -> End:
        """First one more, then one less: never fewer votes than before."""
        made = self.cluster.add(self.client, CHANGE_SECONDS)
        self.record.say("note", node=made.name, text="added")
        self.cluster.remove(self.client, victim, CHANGE_SECONDS)
        self.record.say("note", node=victim.name, text="removed")
        return _nothing
