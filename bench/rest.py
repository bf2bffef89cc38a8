"""What a cluster costs that does nothing: `python bench/rest.py`.

Three nodes as people run them (`quorate serve`), each with the usual settings, and nobody who asks. Tells per cent of a
core and resident memory of each node; with --keys the same again with so many keys of 16 B, values of 100 B, and
how long a killed node takes to be there again. Prints Markdown, or with --json one object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any

import quorate
from beside import machine, processor_seconds, resident_bytes, table
from cluster import free_ports

PATIENCE = 60.0
VALUE = bytes(100)


def served(members: dict[str, str], name: str, folder: str) -> subprocess.Popen[bytes]:
    all_of_them = ",".join(f"{each}={address}" for each, address in members.items())
    command = ["serve", "--name", name, "--members", all_of_them, "--data-dir", f"{folder}/{name}"]
    # Warnings would be seen; that a node starts and stops need not.
    return subprocess.Popen([sys.executable, "-m", "quorate", *command, "--log-level", "warning"])


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def rest(nodes: dict[str, subprocess.Popen[bytes]], seconds: float) -> dict[str, dict[str, float]]:
    """Per cent of a core and bytes of memory, by node."""
    before, begin = {name: processor_seconds(each.pid) for name, each in nodes.items()}, time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begin
    return {
        name: {
            "percent": 100 * (processor_seconds(each.pid) - before[name]) / took,
            "resident_bytes": resident_bytes(each.pid),
        }
        for name, each in nodes.items()
    }


def restart(nodes: dict[str, subprocess.Popen[bytes]], members: dict[str, str], leader: str, folder: str) -> float:
    """From the start of the process of a follower that was killed until it has everything and answers."""
    name = next(each for each in members if each != leader)
    with quorate.connect(f"quorate://{members[leader]}/?follow=no", timeout=PATIENCE) as client:
        commit = client.status()["commit"]
    nodes[name].kill()
    nodes[name].wait()
    begin = time.perf_counter()
    nodes[name] = served(members, name, folder)
    with quorate.connect(f"quorate://{members[name]}/?follow=no", timeout=PATIENCE) as client:
        client.wait_ready(PATIENCE)
        took = time.perf_counter() - begin
        seen = client.status()
    assert seen["name"] == name
    assert seen["applied"] >= commit, "it answers, and has not applied everything"
    return took


def measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": machine(), "seconds": options.seconds, "rows": {}}
    with tempfile.TemporaryDirectory(prefix="bench-rest-", dir=options.dir or ".") as folder, ExitStack() as stack:
        members = {name: f"127.0.0.1:{port}" for name, port in zip("abc", free_ports(3), strict=True)}
        nodes = {}
        for name in members:
            nodes[name] = served(members, name, folder)
            stack.callback(lambda name=name: ended(nodes[name]))
        url = f"quorate://{','.join(members.values())}"
        with quorate.connect(url, timeout=PATIENCE) as client:
            client.wait_ready(PATIENCE)
            found["leader"] = next(each.name for each in client.members() if each.leader)
        time.sleep(options.settle)
        found["rows"]["nothing stored"] = rest(nodes, options.seconds)
        if options.keys:
            with quorate.connect(url, timeout=PATIENCE) as client:
                for first in range(0, options.keys, 10_000):
                    last = min(first + 10_000, options.keys)
                    client.put_many([(f"key/{number:012}", VALUE) for number in range(first, last)])
            time.sleep(options.settle)
            found["rows"][f"{options.keys:,} keys"] = rest(nodes, options.seconds)
            found["restart_seconds"] = restart(nodes, members, found["leader"], folder)
    return found


def shown(result: dict[str, Any]) -> str:
    names = list(next(iter(result["rows"].values())))
    head = [f"at rest for {result['seconds']:g} s"]
    head += [f"{name}{', leader' if name == result['leader'] else ''}: % of a core, MiB" for name in names]
    rows = [
        [what, *(f"{row[name]['percent']:.2f}, {row[name]['resident_bytes'] / 2**20:.1f}" for name in names)]
        for what, row in result["rows"].items()
    ]
    lines = [result["machine"], "", table(head, rows)]
    if "restart_seconds" in result:
        lines += ["", f"a follower that was killed: ready again {result['restart_seconds']:.2f} s after its start"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds of rest before it")
    parser.add_argument("--keys", type=int, default=0, help="how many to store, and to measure again")
    parser.add_argument("--dir", default=None, help="where the nodes keep their data (default: a new folder here)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options)
    print(json.dumps(result) if options.json else shown(result))


if __name__ == "__main__":
    main()
