"""What sessions cost while nothing happens, and how soon their end is seen: `python bench/sessions.py`.

Three nodes are processes of their own; this one is the clients. Each client renews its sessions in one question every
third of their time to live, as the library does. Prints Markdown, or with --json one object: the processor time of each
node, without and with the sessions, in per cent of a core, and how late sessions end that nobody renews.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from cluster import free_ports
from quorate.client._remote import Remote
from quorate.raft import BUILD
from quorate.runtime.node import NativeNode
from quorate.runtime.questions import Kind, decode_key, key_question
from quorate.store import commands


def serve(id: int, members: dict[int, tuple[str, str]], folder: str) -> None:
    """A node, until its standard input ends; each line is answered with what it knows of sessions."""
    with NativeNode(members[id][0], id, members, data_dir=f"{folder}/{id}") as node:
        for _ in sys.stdin:
            seen = node.status()
            print(json.dumps({"role": seen["role"], "sessions": seen["sessions"], **seen["renewals"]}), flush=True)


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def renew_for(remotes: list[Remote], clients: list[list[int]], ttl: float, seconds: float) -> int:
    """Renews every client's sessions in turn, evenly over a third of their time; how many renewals were refused."""
    bodies = [struct.pack(f"<H{len(each)}Q", len(each), *each) for each in clients]
    begin = time.monotonic()
    pending: list[Any] = []
    refused = number = 0
    while time.monotonic() - begin < seconds:
        due = int((time.monotonic() - begin) / (ttl / 3) * len(bodies))
        while number < due:
            pending.append(remotes[number % len(remotes)].ask(Kind.RENEW, bodies[number % len(bodies)], 5.0))
            number += 1
        while pending and pending[0].done:
            refused += sum(map(bool, pending.pop(0).wait()[1]))
        time.sleep(0.002)
    return refused + sum(sum(map(bool, each.wait()[1])) for each in pending)


def measure(sessions: int, ttl: float, clients: list[int], seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {"sessions": sessions, "ttl": ttl, "runs": []}
    with tempfile.TemporaryDirectory() as folder:
        ports = free_ports(3)
        members = {id: ("abc"[id - 1], f"127.0.0.1:{port}") for id, port in enumerate(ports, 1)}
        command = [sys.executable, __file__, "--node"]
        nodes = [
            subprocess.Popen(
                [*command, str(id), json.dumps(members), folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for id in members
        ]
        addresses = [address for _, address in members.values()]
        try:
            with Remote(addresses) as first, Remote(addresses[0], follow=False) as second:
                first.wait_connected(10)
                second.wait_connected(10)

                def cost(run: Any) -> dict[str, float]:
                    before, begin = [processor_seconds(node.pid) for node in nodes], time.monotonic()
                    run()
                    wall = time.monotonic() - begin
                    shares = [
                        100 * (processor_seconds(each.pid) - was) / wall
                        for each, was in zip(nodes, before, strict=True)
                    ]
                    return dict(zip(roles(nodes), shares, strict=True))

                time.sleep(1)
                found["at rest"] = cost(lambda: time.sleep(seconds))
                opening = commands.session_open
                asked = [first.propose(opening(os.urandom(16), int(ttl * 1000)), 60.0) for _ in range(sessions)]
                numbers = [each.wait()[0] for each in asked]
                for count in clients:
                    shared = [numbers[number::count] for number in range(count)]
                    refused = 0

                    def run(shared: list[list[int]] = shared) -> None:
                        nonlocal refused
                        refused = renew_for([first, second], shared, ttl, seconds)

                    found["runs"].append({"clients": count, "cost": cost(run), "refused": refused})
                found["late"] = lateness(first)
        finally:
            for node in nodes:
                node.stdin.close()  # type: ignore[union-attr]
            for node in nodes:
                node.wait()
    return found


def roles(nodes: list[subprocess.Popen[str]]) -> list[str]:
    names = []
    for number, node in enumerate(nodes):
        assert node.stdin
        assert node.stdout
        node.stdin.write("\n")
        node.stdin.flush()
        names.append(f"{json.loads(node.stdout.readline())['role']} {'abc'[number]}")
    return names


def lateness(remote: Remote) -> float:
    """How much longer than its time to live a session of a second is held, at most of ten."""
    worst = 0.0
    for _ in range(10):
        key = f"late/{os.urandom(4).hex()}"
        session = remote.propose(commands.session_open(os.urandom(16), 1000), 5.0).wait()[0]
        opened = time.monotonic()
        remote.propose(commands.put(key, "x", session=session, owned=True), 5.0).wait()
        query = key_question(key.encode())
        while decode_key(remote.ask(Kind.QUERY, query, 5.0).wait()[1])[1] is not None:
            time.sleep(0.001)
        worst = max(worst, time.monotonic() - opened - 1.0)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--ttl", type=float, default=10.0, help="seconds")
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 1000], help="how many share the sessions")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--node", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.node:
        members = {int(id): tuple(each) for id, each in json.loads(given.node[1]).items()}
        serve(int(given.node[0]), members, given.node[2])
        return
    found = measure(given.sessions, given.ttl, given.clients, given.seconds)
    found["build"], found["machine"] = BUILD, f"{platform.machine()}, {os.cpu_count()} cores"
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.sessions} sessions of {given.ttl:g} s, three nodes, per cent of a core; {found['machine']}\n")
    names = list(found["at rest"])
    print("| | " + " | ".join(names) + " | refused |\n|---|" + "---|" * (len(names) + 1))
    print("| at rest | " + " | ".join(f"{found['at rest'][each]:.1f}" for each in names) + " | |")
    for run in found["runs"]:
        shares = list(run["cost"].values())
        print(
            f"| {run['clients']} clients | " + " | ".join(f"{each:.1f}" for each in shares) + f" | {run['refused']} |"
        )
    print(f"\nA session of one second that nobody renews is held at most {found['late'] * 1e3:.0f} ms longer (of ten).")


if __name__ == "__main__":
    main()
