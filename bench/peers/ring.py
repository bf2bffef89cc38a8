"""Quorate's ring beside those of its peers, in one run on one machine.

    pip install '.[bench]' && python bench/peers/ring.py

Measures look-ups, preference lists, building and changing, and writes a Markdown table, a JSON file and an SVG plot
into ``bench/results``. A peer that is not installed is named and left out; nothing is installed here.

How: each figure is the median over several rounds; in a round every contender has its turn before the next round
begins, so that a noisy neighbour hits all alike. A turn runs a plain ``for key in keys: ...`` with the collector off,
and the time of the same loop with nothing in it is taken off. Keys are 16 characters, and enough of them that no turn
profits from one key's being in every cache.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
KEYS = 20_000
TURN_SECONDS = 0.05
"""A turn is about that long: shorter ones measure the clock, longer ones the neighbours."""
BUILD_LIMIT_SECONDS = 8.0
"""A build that has taken longer is not repeated, and of a size that would take longer nothing is measured."""

Timer = Callable[[Any, list[Any]], float]


def timer_of(expression: str) -> Timer:
    """A function that runs an expression on ``ring`` for each ``key`` and returns the seconds it took."""
    names: dict[str, Any] = {"clock": time.perf_counter}
    exec(
        f"def run(ring, keys):\n begin = clock()\n for key in keys:\n  {expression}\n return clock() - begin\n",
        names,
    )
    run: Timer = names["run"]
    return run


EMPTY = timer_of("pass")


@dataclass
class Contender:
    """One library, in one of its ways to place keys."""

    name: str
    package: str
    build: Callable[[list[str]], Any]
    lookup: str
    """A look-up of ``key`` on ``ring``, as its users write it."""
    prefer: str | None = None
    """A list of three nodes for ``key``."""
    batch: Callable[[Any, list[Any]], Any] | None = None
    add: Callable[[Any], Any] | None = None
    """Adds a node to a ring of 100; gets a fresh ring each time if ``add_changes``."""
    add_changes: bool = True
    bytes_keys: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured, in nanoseconds."""


def contenders() -> Iterator[Contender]:
    """Those that can be imported; of the others, says so."""

    def missing(package: str) -> None:
        print(f"{package} is not installed: left out", file=sys.stderr)

    try:
        from quorate.ring import Ring
    except ImportError as error:
        raise SystemExit(f"Quorate itself cannot be imported: {error}") from error
    yield Contender(
        "Quorate",
        "quorate",
        Ring,
        "ring[key]",
        prefer="ring.nodes(key, 3)",
        batch=lambda ring, keys: ring.node_many(keys),
        add=lambda ring: ring.add("10.1.0.1:11211"),
        add_changes=False,
    )

    try:
        import xxhash
        from uhashring import HashRing
    except ImportError:
        missing("uhashring")
    else:
        yield Contender(
            "uhashring",
            "uhashring",
            lambda names: HashRing(nodes=names),
            "ring.get_node(key)",
            prefer="list(ring.range(key, 3))",
            add=lambda ring: ring.add_node("10.1.0.1:11211"),
        )
        yield Contender(
            "uhashring, hash_fn=xxh3",
            "uhashring",
            lambda names: HashRing(nodes=names, hash_fn=lambda key: xxhash.xxh3_64_intdigest(key.encode())),
            "ring.get_node(key)",
        )
        yield Contender(
            "uhashring, ketama",
            "uhashring",
            lambda names: HashRing(nodes=names, hash_fn="ketama"),
            "ring.get_node(key)",
        )

    try:
        from tooz.hashring import HashRing as ToozRing
    except ImportError:
        missing("tooz")
    else:
        yield Contender(
            "tooz",
            "tooz",
            ToozRing,
            "ring[key]",
            prefer="ring.get_nodes(key, replicas=3)",
            add=lambda ring: ring.add_node("10.1.0.1:11211"),
            bytes_keys=True,
        )

    try:
        from pymemcache.client.rendezvous import RendezvousHash
    except ImportError:
        missing("pymemcache")
    else:
        yield Contender(
            "pymemcache rendezvous",
            "pymemcache",
            lambda names: RendezvousHash(nodes=names),
            "ring.get_node(key)",
            add=lambda ring: ring.add_node("10.1.0.1:11211"),
        )

    try:
        import pylibmc
    except ImportError:
        missing("pylibmc")
    else:
        yield Contender(
            "pylibmc ketama_weighted",
            "pylibmc",
            lambda names: pylibmc.Client(names, behaviors={"ketama_weighted": True, "hash": "md5"}),
            "ring.hash(key)",
        )


def per_key(run: Timer, ring: Any, keys: list[Any]) -> Iterator[float]:
    """One turn after another, in nanoseconds a key; the number of keys is such that a turn has a sensible length."""
    few = keys[:20]
    once = run(ring, few) / len(few)
    count = max(20, min(len(keys), int(TURN_SECONDS / max(once, 1e-9))))
    chosen, passes = keys[:count], max(1, round(TURN_SECONDS / max(once, 1e-9) / count))
    while True:
        spent = sum(run(ring, chosen) for _ in range(passes)) - sum(EMPTY(ring, chosen) for _ in range(passes))
        yield max(spent, 0.0) / (count * passes) * 1e9


def interleave(turns: dict[str, Iterator[float]], rounds: int) -> dict[str, float]:
    """The median of each, every one taking its turn in every round."""
    seen: dict[str, list[float]] = {name: [] for name in turns}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, turn in turns.items():
                seen[name].append(next(turn))
    finally:
        gc.enable()
    return {name: statistics.median(values) for name, values in seen.items()}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    made = work()
    return time.perf_counter() - begin, made


def measure(everyone: list[Contender], sizes: list[int], rounds: int) -> None:
    text_keys = [f"user:{number * 2654435761 % 10**11:011d}" for number in range(KEYS)]
    assert {len(key) for key in text_keys} == {16}
    byte_keys = [key.encode() for key in text_keys]
    by_name = {one.name: one for one in everyone}

    def note(row: str, found: dict[str, float]) -> None:
        for name, value in found.items():
            by_name[name].figures[row] = value
        print(f"  {row}: " + ", ".join(f"{name} {show(value)}" for name, value in found.items()), file=sys.stderr)

    rings: dict[tuple[str, int], Any] = {}
    last_build: dict[str, tuple[float, int]] = {}
    for size in sizes:
        names = [f"10.0.{number // 250}.{number % 250}:11211" for number in range(size)]
        builds: dict[str, list[float]] = {}
        for one in everyone:
            seconds, before = last_build.get(one.name, (0.0, 1))
            # Some builds grow with the square of the nodes; what would take too long is not begun.
            if seconds * (size / before) ** 2 > BUILD_LIMIT_SECONDS:
                print(f"  {one.name}: a ring of {size} would take too long to build; left out", file=sys.stderr)
                continue
            seconds, rings[one.name, size] = timed(lambda one=one, names=names: one.build(list(names)))  # type: ignore[misc]
            last_build[one.name] = (seconds, size)
            builds[one.name] = [seconds * 1e9]
        for _ in range(rounds - 1):
            for one in everyone:
                if one.name in builds and sum(builds[one.name]) < BUILD_LIMIT_SECONDS / 4 * 1e9:
                    seconds, _ring = timed(lambda one=one, names=names: one.build(list(names)))  # type: ignore[misc]
                    builds[one.name].append(seconds * 1e9)
        note(f"build {size}", {name: statistics.median(values) for name, values in builds.items()})
        here = [one for one in everyone if (one.name, size) in rings]
        turns = {
            one.name: per_key(timer_of(one.lookup), rings[one.name, size], byte_keys if one.bytes_keys else text_keys)
            for one in here
        }
        note(f"lookup {size}", interleave(turns, rounds))

    here = [one for one in everyone if (one.name, 100) in rings]
    turns = {
        one.name: per_key(timer_of(one.prefer), rings[one.name, 100], byte_keys if one.bytes_keys else text_keys)
        for one in here
        if one.prefer
    }
    note("prefer 3 of 100", interleave(turns, rounds))

    def batch_turns(one: Contender) -> Iterator[float]:
        assert one.batch
        while True:
            yield timed(lambda: one.batch(rings[one.name, 100], text_keys))[0] / len(text_keys) * 1e9  # type: ignore[misc]

    note("batch 100", interleave({one.name: batch_turns(one) for one in here if one.batch}, rounds))

    def add_turns(one: Contender) -> Iterator[float]:
        assert one.add
        names = [f"10.0.0.{number}:11211" for number in range(100)]
        ring = one.build(names)
        while True:
            if one.add_changes:
                ring = one.build(list(names))
            yield timed(lambda ring=ring: one.add(ring))[0] * 1e9  # type: ignore[misc]

    note("add to 100", interleave({one.name: add_turns(one) for one in here if one.add}, rounds))


def show(nanoseconds: float) -> str:
    for limit, unit, scale in ((1e4, "ns", 1.0), (1e7, "µs", 1e3), (1e10, "ms", 1e6)):
        if nanoseconds < limit:
            value = nanoseconds / scale
            return f"{value:.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"
    return f"{nanoseconds / 1e9:.1f} s"


def machine() -> dict[str, str]:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "cpu": f"{model}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "build": "release" if not os.environ.get("QUORATE_BUILD") else os.environ["QUORATE_BUILD"],
        "load": f"{os.getloadavg()[0]:.1f} at the start",
    }


def markdown(everyone: list[Contender], sizes: list[int], about: dict[str, str], command: str) -> str:
    rows = [
        *((f"lookup {size}", f"look-up, {size:,} nodes") for size in sizes),
        ("batch 100", "look-up in a batch, 100 nodes, a key"),
        ("prefer 3 of 100", "list of 3 nodes, 100 nodes"),
        *((f"build {size}", f"build, {size:,} nodes") for size in sizes),
        ("add to 100", "add one node to 100"),
    ]
    head = ["", *(titled(one) for one in everyone)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * len(everyone) + "|"]
    ours = everyone[0]
    for row, title in rows:
        cells = []
        for one in everyone:
            value = one.figures.get(row)
            if value is None:
                cells.append("–")
            elif one is ours or row not in ours.figures:
                cells.append(f"**{show(value)}**")
            else:
                ratio = value / ours.figures[row]
                cells.append(f"{show(value)} ({ratio:.2g}×)" if ratio < 10 else f"{show(value)} ({ratio:,.0f}×)")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"`{command}` on {about['cpu']}, {about['system']}, {about['python']}, {about['build']} build, load"
        f" {about['load']}. Keys of 16 characters; medians of interleaved rounds; in brackets, how many times Quorate's"
        " time. Vnodes and partitions are each library's default. A dash: the library has no such call, or would take"
        " too long.",
    ]
    return "\n".join(lines) + "\n"


def titled(one: Contender) -> str:
    """The contender's name with the version behind the name of the package."""
    library, rest = one.name[: len(one.package)], one.name[len(one.package) :]
    return f"{library} {version(one.package)}{rest}"


def plot(everyone: list[Contender], sizes: list[int], file: Path) -> None:
    try:
        import matplotlib

        matplotlib.use("svg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("matplotlib is not installed: no plot", file=sys.stderr)
        return
    matplotlib.rcParams.update({"svg.hashsalt": "quorate", "svg.fonttype": "none", "font.size": 10})
    figure, axes = plt.subplots(figsize=(8, 0.62 * len(everyone) + 1.2))
    shades = ["#a9c4e0", "#4e79a7", "#27496d"]
    height = 0.8 / len(sizes)
    for number, size in enumerate(sizes):
        places = [index + number * height for index in range(len(everyone))]
        values = [one.figures.get(f"lookup {size}", 0.0) for one in everyone]
        axes.barh(places, values, height * 0.92, label=f"{size:,} nodes", color=shades[number % 3])
        for place, value in zip(places, values, strict=True):
            if value:
                axes.text(value * 1.06, place, show(value), va="center", fontsize=8)
    axes.set_yticks([index + 0.4 - height / 2 for index in range(len(everyone))], [one.name for one in everyone])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 3)
    axes.set_xlabel("nanoseconds a look-up (logarithmic; shorter is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        if package != "quorate":
            return "?"
        from quorate import __version__

        return __version__


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="rings of how many nodes")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    if 100 not in options.sizes:
        parser.error("--sizes needs 100: lists, batches and changes are measured at that size")
    about = machine()
    everyone = list(contenders())
    measure(everyone, options.sizes, options.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    command = "python bench/peers/ring.py"
    table = markdown(everyone, options.sizes, about, command)
    (options.out / "ring-peers.md").write_text(table, encoding="utf-8")
    document = {
        "command": command,
        "machine": about,
        "versions": {one.package: version(one.package) for one in everyone},
        "nanoseconds": {one.name: {row: round(value, 2) for row, value in one.figures.items()} for one in everyone},
    }
    (options.out / "ring-peers.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    plot(everyone, options.sizes, options.out / "ring-peers.svg")
    print(table)


if __name__ == "__main__":
    main()
