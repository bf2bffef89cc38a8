"""One run: the cluster is started, used, tormented by the schedule, healed, read back, and left.

The thread that calls :func:`run` starts every process, and carries the schedule out; clients and watchers have threads
of their own. Everything ends with it, also by Ctrl-C. What the run shows is judged by
:mod:`quorate.testing.torture.checks`, from the record alone.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from quorate.errors import QuorateError
from quorate.testing.torture import tools
from quorate.testing.torture.cluster import Cluster, Node
from quorate.testing.torture.convergence import stored_digests
from quorate.testing.torture.faults import Torment
from quorate.testing.torture.proxy import Network
from quorate.testing.torture.record import Record
from quorate.testing.torture.schedule import Planned, chosen, plan
from quorate.testing.torture.workloads import WORKLOADS, Hand, Settings, Workload
from quorate.version import __version__

__all__ = ["Options", "run"]

TIMEOUTS: Final = (3.0, 1.0, 0.25)
"""Of the clients of a workload, in turn: the patient ones see every change through, the others leave it half seen."""
LOOK_SECONDS: Final = 0.1
"""How often each node is asked who leads."""
TURN_SECONDS: Final = 0.05
AFTER_SECONDS: Final = 1.5
"""Load after the last fault is healed."""
FINISH_SECONDS: Final = 60.0
ODD_MAX: Final = 10
"""A workload that raises what it must not is ended after so many."""


@dataclass(frozen=True)
class Options:
    """What to run. ``seconds`` is the time of load; ``faults`` as :func:`~quorate.testing.torture.schedule.chosen`
    reads them; ``workloads`` empty: all of them."""

    seed: int
    seconds: float = 60.0
    nodes: int = 3
    faults: str = "all"
    workloads: tuple[str, ...] = ()
    stale_reads: bool = False
    history: Path | None = None


Tell = Callable[[str, dict[str, Any]], object]


def run(options: Options, tell: Tell = lambda event, fields: None) -> list[dict[str, Any]]:
    """Runs it and returns the events of the record. ``tell(event, fields)`` hears what happens meanwhile.

    Raises NoQuorum or NodeFailed if the cluster cannot even be started.
    """
    kinds = chosen(options.faults)
    found, missing = tools.look(kinds)
    kinds = tuple(each for each in kinds if each not in missing)
    head = {
        "version": __version__, **asdict(options), "history": None, "workloads": _names(options), "kinds": kinds,
        "missing": missing,
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(Record(options.history, head))
        directory = Path(tempfile.mkdtemp(prefix="quorate-torture-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        network = stack.enter_context(
            Network(options.seed, stack.enter_context((directory / "network.log").open("wb")))
        )
        cluster = stack.enter_context(
            Cluster(options.nodes, directory, network, environment=found.get("environment", {}))
        )
        if "full_disk" in kinds:
            small = next(iter(cluster.nodes.values()))
            small.small_disk = tools.mount(small.home, options.seconds / 60)
            if small.small_disk:
                stack.callback(tools.unmount, small.home)
            else:
                record.say(
                    "instead", kind="full_disk", reason="no file system can be mounted here: by the log's own hook"
                )
        cluster.start()
        Run(options, record, cluster, kinds, tell).go(stack, found)
        return record.events


def _names(options: Options) -> list[str]:
    return [each for each in WORKLOADS if not options.workloads or each in options.workloads]


class Run:
    """The threads of a run, and its phases."""

    def __init__(self, options: Options, record: Record, cluster: Cluster, kinds: tuple[str, ...], tell: Tell) -> None:
        self.options = options
        self.record = record
        self.cluster = cluster
        self.plan = plan(options.seed, options.seconds, kinds, options.nodes)
        self.tell = tell
        self.stopping = threading.Event()
        self.ending = threading.Event()
        self.threads: list[threading.Thread] = []
        self.watched: set[str] = set()

    def go(self, stack: contextlib.ExitStack, found: dict[str, Any]) -> None:
        """All phases."""
        from quorate.api.connect import connect

        settings = Settings(self.options.seed, self.options.stale_reads)
        operator = stack.enter_context(connect(self.cluster.url))
        clients = stack.enter_context(contextlib.ExitStack())
        stack.callback(self.stop)
        self.watch()
        works = [WORKLOADS[name](settings) for name in _names(self.options)]
        hands: list[tuple[Workload, Hand]] = []
        for work in works:
            for number in range(work.hands):
                client = clients.enter_context(connect(self.cluster.url, timeout=TIMEOUTS[number % len(TIMEOUTS)]))
                name = f"{work.name} {number + 1}"
                pinned = None
                if settings.stale_reads:
                    # One node each, which is asked whatever becomes of it.
                    node = list(self.cluster.nodes.values())[number % len(self.cluster.nodes)]
                    pinned = clients.enter_context(connect(f"quorate://{node.front}?follow=no", timeout=3.0))
                hands.append((work, Hand(name, client, self.record, self.options.seed, pinned)))
        torment = Torment(self.cluster, operator, self.record, found)
        stack.callback(torment.close)
        self.phase("load")
        for work, hand in hands:
            self.thread(functools.partial(self.use, work, hand), hand.name)
        self.torture(torment)
        self.phase("healing")
        healed = self.heal(torment)
        if healed:
            self.sleep(AFTER_SECONDS)
        self.stopping.set()
        self.join([each for each in self.threads if not each.name.startswith("watch")])
        self.phase("reading back")
        for work in works:
            self.finish(work, next(hand for of, hand in hands if of is work))
        operator.close()
        clients.close()  # their sessions end while there is somebody to end them
        if healed:
            self.converge()
        self.phase("done")

    def phase(self, name: str) -> None:
        self.record.say("phase", name=name)
        self.tell("phase", {"name": name})

    # Faults

    def torture(self, torment: Torment) -> None:
        """Carries the schedule out. What takes longer than planned puts off what follows."""
        begin = self.record.now
        todo: list[tuple[float, int, bool, Planned]] = [(each.at, each.number, False, each) for each in self.plan]
        heapq.heapify(todo)
        late = 0.0
        while todo and todo[0][0] + late <= self.options.seconds:
            at, number, ends, planned = heapq.heappop(todo)
            due = begin + at + late
            self.sleep(due - self.record.now)
            self.watch()
            self.tell("healed" if ends else "fault", {"kind": planned.kind})
            if ends:
                torment.end(planned)
            else:
                torment.begin(planned)
                heapq.heappush(todo, (at + planned.seconds, number, True, planned))
            late += max(self.record.now - due, 0.0)
        self.sleep(begin + self.options.seconds - self.record.now)

    def heal(self, torment: Torment) -> bool:
        try:
            torment.heal()
        except QuorateError as error:
            words = {node.name: self.state(node) for node in self.cluster.nodes.values()}
            self.record.say("odd", what="healing", node=None, error=f"{type(error).__name__}: {error}", log=words)
            return False
        self.record.say("whole")
        return True

    def state(self, node: Node) -> Any:
        """What a node says of itself, or what it said last."""
        try:
            return self.cluster.status(node)
        except QuorateError as error:
            return f"{error}: {self.cluster.words(node)[-500:]}"

    def sleep(self, seconds: float) -> None:
        """Waits, and tells how far it is."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.tell("turn", {"seconds": self.record.now, "operations": self.record.acknowledged})
            time.sleep(min(left, TURN_SECONDS))

    # Clients and watchers

    def thread(self, work: Callable[[], None], name: str) -> None:
        made = threading.Thread(target=work, name=name, daemon=True)
        self.threads.append(made)
        made.start()

    def use(self, work: Workload, hand: Hand) -> None:
        """One client, until it is time to stop."""
        odd = 0
        while not self.stopping.is_set() and odd < ODD_MAX:
            try:
                work.turn(hand)
            except Exception as error:
                odd += 1
                self.record.say(
                    "odd", what=f"a client of {work.name}", node=None, error=f"{type(error).__name__}: {error}",
                    log=traceback.format_exc()[-2000:],
                )  # fmt: skip
            self.stopping.wait(hand.random.expovariate(1 / work.pause))
        with contextlib.suppress(QuorateError):
            work.leave(hand)

    def watch(self) -> None:
        """A watcher for each member that has none."""
        for node in list(self.cluster.nodes.values()):
            if node.name not in self.watched:
                self.watched.add(node.name)
                self.thread(functools.partial(self.look, node), f"watch {node.name}")

    def look(self, node: Node) -> None:
        """Asks a node directly, past the proxy, which office it has, and notes what is new."""
        from quorate.api.connect import connect

        seen: tuple[Any, ...] = ()
        with connect(f"quorate://{node.back}?follow=no&near=no", timeout=0.5) as client:
            while not self.ending.is_set():
                try:
                    found = client.status()
                    office: tuple[Any, ...] = (found["role"], found["term"])
                except QuorateError:
                    office = ("silent", None)
                if office != seen:
                    seen = office
                    self.record.say("office", node=node.name, role=office[0], term=office[1])
                self.ending.wait(LOOK_SECONDS)

    # The end

    def finish(self, work: Workload, hand: Hand) -> None:
        """What a workload reads back; tried again, because a cluster that was just healed may elect once more."""
        try:
            work.finish(hand)
        except Exception as error:
            self.record.say("odd", what=f"the end of {work.name}", node=None, error=f"{type(error).__name__}: {error}")

    def converge(self) -> None:
        """All members have the same content: as they show it, and byte for byte as it lies on their disks."""
        digests: dict[str, Any] = {}
        for _ in range(100):
            digests = {}
            for node in self.cluster.nodes.values():
                try:
                    digests[node.name] = node.child.ask({"what": "digest", "seconds": 10.0}, 60.0)
                except QuorateError as error:  # noqa: PERF203
                    digests[node.name] = {"error": str(error)}
            # Sessions end meanwhile, each at one revision: equal ones have to be compared.
            if len({each.get("revision", name) for name, each in digests.items()}) == 1:
                break
            time.sleep(0.1)
        self.record.say("digests", of="memory", digests=digests)
        self.ending.set()
        for node in self.cluster.nodes.values():
            node.child.end()
        try:
            stored = stored_digests({node.name: node.data for node in self.cluster.nodes.values()})
        except (QuorateError, OSError) as error:
            self.record.say("odd", what="the data at the end", node=None, error=f"{type(error).__name__}: {error}")
        else:
            self.record.say("digests", of="disk", digests=stored)

    def join(self, threads: list[threading.Thread]) -> None:
        deadline = time.monotonic() + FINISH_SECONDS
        for each in threads:
            each.join(max(deadline - time.monotonic(), 0.0))
            if each.is_alive():
                self.record.say("odd", what=f"client {each.name}", node=None, error="does not come back")

    def stop(self) -> None:
        """Ends all threads; also after an error or Ctrl-C."""
        self.stopping.set()
        self.ending.set()
        for each in self.threads:
            each.join(10.0)
