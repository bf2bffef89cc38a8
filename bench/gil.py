"""Whether Python in the leader's process holds up what it commits, and a node what Python does: `python bench/gil.py`.

Three members are processes of their own, and so is the client, which puts one at a time and times each. It does so
while 0, 1, 2 and 4 threads of Python spin in the leader's process, and while the same threads spin in a process that
has nothing to do with it: both cost the machine the same, so the ratio of the two is what the GIL costs. Then a C call
holds the GIL of the leader for 0.5, 2 and 10 seconds. PySyncObj, where it is installed, goes through the same in turns
with Quorate. At last the other way round (`host_loop.py`): what a node does to the event loop of the process that
embeds it. Prints Markdown, or with --json one object; --out also writes both and a plot.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import host_loop
from beside import Floor, answer, child, machine, order, said_of, table
from cluster import EAGER, free_ports
from quorate import RaftConfig
from quorate.client.remote import Remote
from quorate.runtime.node import NativeNode
from quorate.store import commands

PATIENCE = 60.0
SESSION_SECONDS = 3.0
"""Sessions live shorter than the GIL is held at the longest."""
USUAL = RaftConfig()
VALUE = bytes(90)
NOTHING, HERE, THERE = "nothing", "in the leader's process", "in another process"


# What runs in processes of their own: each takes lines of JSON with one order, and answers each by one line


def obey(orders: dict[str, Callable[[Any], Any]]) -> None:
    for line in sys.stdin:
        ((what, argument),) = json.loads(line).items()
        print(json.dumps(orders[what](argument)), flush=True)


class Host:
    """Python beside a member, in its process: threads that always want the GIL, calls that do not give it back."""

    def __init__(self) -> None:
        self.ending = False
        self.threads: list[threading.Thread] = []

    def spin(self, threads: int) -> None:
        """So many threads from now on; 0 ends them."""
        self.ending = True
        for each in self.threads:
            each.join()
        self.ending = False
        self.threads = [threading.Thread(target=self._spin, daemon=True) for _ in range(threads)]
        for each in self.threads:
            each.start()

    def _spin(self) -> None:
        while not self.ending:
            pass

    @staticmethod
    def hold(seconds: float) -> float:
        begin = time.monotonic()
        # PyDLL keeps the GIL over the call, as a badly written extension does.
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        return time.monotonic() - begin


def timed_puts(put: Callable[[str], None], seconds: float) -> dict[str, Any]:
    """One at a time. What is refused is tried again and counts as one put, which took long."""
    times: list[float] = []
    failures = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        while True:
            try:
                put(f"key-{len(times) % 1000}")
                break
            except Exception:
                failures += 1
                if time.monotonic() > end + PATIENCE:
                    raise
                time.sleep(0.001)
        times.append(time.perf_counter() - begin)
    times.sort()
    return {
        "puts": len(times),
        "p50": statistics.median(times),
        "p99": times[int((len(times) - 1) * 0.99)],
        "max": times[-1],
        "failures": failures,
    }


def quorate_member(id: int, members: dict[int, tuple[str, str]], folder: str) -> None:
    """The first one wants to lead; the others have the usual times, so that a leader that falls silent is replaced."""
    host = Host()
    config = EAGER if id == 1 else USUAL
    with NativeNode(members[id][0], id, members, data_dir=f"{folder}/{id}", config=config) as node:
        node.wait_ready(timeout=PATIENCE)
        lane = node.lane(SESSION_SECONDS, timeout=PATIENCE)
        lane.opening.wait(PATIENCE)

        def figures(_: Any) -> dict[str, Any]:
            seen = node.status()
            leads = seen["role"] == "leader"
            return {"term": seen["term"], "elections": seen["elections"], "leads": leads, "held": lane.held()}

        obey(
            {
                "figures": figures,
                "spin": host.spin,
                "hold": host.hold,
                "lead": lambda _: node.transfer_leadership(members[id][0], timeout=PATIENCE) and None,
            }
        )


def quorate_client(addresses: str) -> None:
    with Remote(addresses.split(",")) as remote:
        remote.wait_connected(PATIENCE)
        lane = remote.lane(SESSION_SECONDS, timeout=PATIENCE)
        lane.opening.wait(PATIENCE)

        def puts(seconds: float) -> dict[str, Any]:
            found = timed_puts(lambda key: remote.propose(commands.put(key, VALUE), PATIENCE).wait(), seconds)
            return {**found, "held": lane.held()}

        obey({"puts": puts})


def pysyncobj_member(mine: str, others: str) -> None:
    """With entries sent at once: as documented they wait for a tenth of a second, and nothing would be seen."""
    from pysyncobj import SyncObj, SyncObjConf
    from pysyncobj.batteries import ReplDict

    logging.disable(logging.CRITICAL)  # with these settings it reports many times that it takes applied entries back
    host, keys = Host(), ReplDict()
    node = SyncObj(mine, others.split(","), consumers=[keys], conf=SyncObjConf(appendEntriesUseBatch=False))

    def figures(_: Any) -> dict[str, Any]:
        seen = node.getStatus()
        leader = seen["leader"]
        return {"term": seen["raft_term"], "leads": leader is not None and leader.address == mine, "held": True}

    obey(
        {
            "figures": figures,
            "spin": host.spin,
            "hold": host.hold,
            "puts": lambda seconds: timed_puts(lambda key: keys.set(key, VALUE, sync=True, timeout=PATIENCE), seconds),
        }
    )


# What the benchmark does with them


Process = subprocess.Popen[str]


def told(process: Process, what: str, argument: Any = None) -> Any:
    order(process, {what: argument})
    return answer(process)


class System:
    """Three members and who asks them. ``sessions``: those that could be lost."""

    title = ""
    sessions = 0

    def __init__(self) -> None:
        self.members: list[Process] = []

    def figures(self) -> list[dict[str, Any]]:
        return [told(each, "figures") for each in self.members]

    def settled(self) -> tuple[Process, Process]:
        """Waits for one leader that was one a second ago; gives its process, and the client's."""
        deadline = time.monotonic() + PATIENCE
        before: list[Any] = []
        while time.monotonic() < deadline:
            seen = self.figures()
            now = [(each["term"], each["leads"]) for each in seen]
            if now == before and sum(each["leads"] for each in seen) == 1 and len({each["term"] for each in seen}) == 1:
                leader = self.members[next(place for place, each in enumerate(seen) if each["leads"])]
                return leader, self.client(leader)
            before = now
            time.sleep(0.3)
        raise RuntimeError(f"{self.title}: no lasting leader")

    def client(self, leader: Process) -> Process:
        raise NotImplementedError

    def term(self) -> int:
        return max(each["term"] for each in self.figures())

    def lost(self, puts: dict[str, Any]) -> int:
        return 0


class Quorate(System):
    title = "Quorate"
    sessions = 4

    def __init__(self, folder: str, stack: ExitStack) -> None:
        super().__init__()
        members = {id: ("abc"[id - 1], f"127.0.0.1:{port}") for id, port in enumerate(free_ports(3), 1)}
        rows = json.dumps([[id, *members[id]] for id in members])
        self.members = [stack.enter_context(child([__file__, "--quorate", id, rows, folder])) for id in members]
        self.figures()
        self.asks = stack.enter_context(child([__file__, "--client", ",".join(each for _, each in members.values())]))

    def client(self, leader: Process) -> Process:
        return self.asks

    def lost(self, puts: dict[str, Any]) -> int:
        return sum(not each["held"] for each in [*self.figures(), puts])


class PySyncObj(System):
    title = "PySyncObj"

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        all_of_them = [f"127.0.0.1:{port}" for port in free_ports(3)]
        for mine in all_of_them:
            others = ",".join(each for each in all_of_them if each != mine)
            self.members.append(stack.enter_context(child([__file__, "--pysyncobj", mine, others])))

    def client(self, leader: Process) -> Process:
        """It can be asked only in a member: in one that follows, as Quorate's client is not in the leader's process."""
        return next(each for each in self.members if each is not leader)


@contextmanager
def spinning(place: str, threads: int, leader: Process) -> Iterator[None]:
    """Threads of Python in the leader's process, or in one that has nothing to do with it."""
    with ExitStack() as stack:
        where = leader if place == HERE else stack.enter_context(child([__file__, "--spin"]))
        told(where, "spin", threads)
        try:
            yield
        finally:
            told(where, "spin", 0)


def turn(system: System, place: str, threads: int, seconds: float) -> dict[str, Any]:
    leader, client = system.settled()
    before = system.term()
    with spinning(place, threads, leader) if threads else ExitStack():
        found: dict[str, Any] = told(client, "puts", seconds)
    return {**found, "terms": system.term() - before, "lost": system.lost(found)}


def held(system: System, seconds: float) -> dict[str, Any]:
    """The GIL of the leader is held, half a second after the client began, and the client goes on for a second."""
    leader, client = system.settled()
    before = system.term()
    order(client, {"puts": seconds + 1.5})
    time.sleep(0.5)
    order(leader, {"hold": seconds})
    found: dict[str, Any] = answer(client)
    took = answer(leader)
    leader, client = system.settled()
    return {**found, "seconds": took, "terms": system.term() - before, "lost": system.lost(found)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": machine(), "seconds": options.seconds, "rounds": options.rounds}
    ways = [(NOTHING, 0), *((place, threads) for threads in options.threads for place in (HERE, THERE))]
    with (
        tempfile.TemporaryDirectory(prefix="bench-gil-", dir=options.dir or ".") as folder,
        ExitStack() as stack,
    ):
        found["floor"] = Floor(folder).run(1, 500)
        systems: list[System] = [Quorate(folder, stack)]
        if find_spec("pysyncobj") is None:
            print("pysyncobj is not installed: left out; to get it: pip install pysyncobj", file=sys.stderr)
        else:
            systems.append(PySyncObj(stack))
        seen: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
        for system in systems:
            turn(system, NOTHING, 0, options.seconds)
        for _ in range(options.rounds):
            for place, threads in ways:
                for system in systems:
                    made = turn(system, place, threads, options.seconds)
                    seen.setdefault((system.title, place, threads), []).append(made)
        found["spinning"] = [
            {"system": title, "place": place, "threads": threads, **middle(runs)}
            for (title, place, threads), runs in seen.items()
        ]
        found["holding"] = [
            {"system": system.title, "asked": seconds, "sessions": system.sessions, **held(system, seconds)}
            for seconds in options.hold
            for system in systems
        ]
    found["loop"] = host_loop.measure(options.rounds, options.seconds, options.dir)
    return found


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of times, sums of what should not be."""
    return {
        **{name: statistics.median(run[name] for run in runs) for name in ("puts", "p50", "p99", "max")},
        **{name: sum(run[name] for run in runs) for name in ("terms", "lost", "failures")},
    }


# What is shown


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}" if seconds < 0.1 else f"{seconds * 1e3:,.0f}"


def shown(result: dict[str, Any]) -> str:
    by = {(row["system"], row["place"], row["threads"]): row for row in result["spinning"]}
    systems = list(dict.fromkeys(row["system"] for row in result["spinning"]))
    rows = []
    for threads in dict.fromkeys(row["threads"] for row in result["spinning"]):
        for system in systems:
            if not threads:
                row = by[system, NOTHING, 0]
                cells = [f"{milliseconds(row['p50'])} / {milliseconds(row['p99'])}", "", "", "", str(row["terms"])]
            else:
                here, there = by[system, HERE, threads], by[system, THERE, threads]
                both = (f"{milliseconds(row['p50'])} / {milliseconds(row['p99'])}" for row in (here, there))
                ratios = (f"{here[name] / there[name]:.2f}×" for name in ("p50", "p99"))
                cells = [*both, *ratios, f"{here['terms']}, {there['terms']}"]
            rows.append([str(threads), system, *cells])
    head = [
        "threads",
        "",
        f"{HERE}: p50 / p99, ms",
        f"{THERE}: p50 / p99, ms",
        "ratio of p50",
        "ratio of p99",
        "elections",
    ]
    holds = []
    for row in result["holding"]:
        lost = f"{row['lost']} of {row['sessions']}" if row["sessions"] else "has none"
        both = f"{milliseconds(row['p50'])} / {milliseconds(row['p99'])}"
        figures = [f"{row['puts']:,}", both, milliseconds(row["max"]), str(row["terms"]), lost]
        holds.append([f"{row['seconds']:.1f}", row["system"], *figures])
    lines = [
        f"{result['machine']}; medians of {result['rounds']} rounds of {result['seconds']:g} s in turns, and sums of"
        " elections; PySyncObj with `appendEntriesUseBatch=False`, and without anything on disk.",
        "",
        "Puts of a client, one at a time, while threads of Python spin:",
        "",
        table(head, rows),
        "",
        "Puts of a client, while a C call holds the GIL of the leader's process, and a second before and after:",
        "",
        table(["held for, s", "", "puts", "p50 / p99, ms", "slowest, ms", "elections", "sessions lost"], holds),
        "",
        host_loop.shown(result["loop"]),
        "",
        table(["what the design wants of Quorate", "this run", "wanted", "reached"], judged(result)),
        "",
        said_of(result["floor"]) + ".",
    ]
    return "\n".join(lines)


def judged(result: dict[str, Any]) -> list[list[str]]:
    """What the design wants, held against this run; only what was measured."""
    by = {(row["place"], row["threads"]): row for row in result["spinning"] if row["system"] == "Quorate"}
    holds = [row for row in result["holding"] if row["system"] == "Quorate"]
    loop = {row["way"]: row for row in result["loop"]}
    found: list[tuple[str, float, float, str]] = []
    if (HERE, 4) in by:
        ratio = by[HERE, 4]["p99"] / by[THERE, 4]["p99"]
        found.append(("p99 of puts, four threads in the leader's process over elsewhere", ratio, 1.3, "×"))
    if holds:
        longest = max(holds, key=lambda row: float(row["asked"]))
        for name, what in (("terms", "elections"), ("lost", "sessions lost")):
            found.append((f"{what} while the GIL is held for {longest['asked']:g} s", longest[name], 0, ""))
    added = (loop[host_loop.EMBEDDED]["p99"] - loop[host_loop.ELSEWHERE]["p99"]) * 1e3
    found.append(("p99 that embedding adds to the host's event loop at 10,000 puts/s", added, 0.3, " ms"))
    return [
        [what, f"{figure:.3g}{unit}", f"at most {limit:g}{unit}", "yes" if figure <= limit else "**no**"]
        for what, figure, limit, unit in found
    ]


def plot(result: dict[str, Any], file: Path) -> None:
    try:
        import matplotlib

        matplotlib.use("svg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("matplotlib is not installed: no plot (pip install matplotlib)", file=sys.stderr)
        return
    matplotlib.rcParams.update({"svg.hashsalt": "quorate", "svg.fonttype": "none", "font.size": 9})
    systems = list(dict.fromkeys(row["system"] for row in result["spinning"]))
    figure, grid = plt.subplots(1, len(systems), figsize=(4.5 * len(systems), 3.2), squeeze=False, sharey=True)
    for axes, system in zip(grid.flat, systems, strict=True):
        rows = [row for row in result["spinning"] if row["system"] == system]
        counts = list(dict.fromkeys(row["threads"] for row in rows))
        for place, colour, shift in ((HERE, "#27496d", -0.2), (THERE, "#a9c4e0", 0.2)):
            values = [
                next(row["p99"] for row in rows if row["threads"] == count and row["place"] in (place, NOTHING))
                for count in counts
            ]
            where = [index + shift for index in range(len(counts))]
            axes.bar(where, [1e3 * value for value in values], 0.38, color=colour, label=f"spinning {place}")
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.set_xlabel("threads of Python that spin")
        axes.set_yscale("log")
        axes.set_title(system, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    grid[0][0].set_ylabel("p99 of a put, ms (logarithmic)")
    grid[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.5, help="of puts of each kind in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--hold", type=float, nargs="*", default=[0.5, 2.0, 10.0], help="seconds that the GIL is held")
    parser.add_argument("--quick", action="store_true", help="looks whether all works; the figures count for nothing")
    parser.add_argument("--dir", default=None, help="where the nodes and the floor write (default: a new folder here)")
    parser.add_argument("--out", type=Path, default=None, help="folder for gil.md, gil.json and gil.svg")
    parser.add_argument("--json", action="store_true")
    for hidden, count in (("--quorate", 3), ("--client", 1), ("--pysyncobj", 2)):
        parser.add_argument(hidden, nargs=count, help=argparse.SUPPRESS)
    parser.add_argument("--spin", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quorate:
        id, members, folder = options.quorate
        quorate_member(int(id), {each[0]: (each[1], each[2]) for each in json.loads(members)}, folder)
    elif options.client:
        quorate_client(options.client[0])
    elif options.pysyncobj:
        pysyncobj_member(*options.pysyncobj)
        os._exit(0)  # its threads would keep the process
    elif options.spin:
        obey({"spin": Host().spin})
    else:
        if options.quick:
            options.seconds, options.rounds, options.threads, options.hold = 0.3, 1, [4], [0.5]
        result = measure(options)
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / "gil.md").write_text(shown(result) + "\n", encoding="utf-8")
            (options.out / "gil.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            plot(result, options.out / "gil.svg")
        print(json.dumps(result) if options.json else shown(result))


if __name__ == "__main__":
    main()
