"""The simulator's disk and the real log keep the same rules: what a simulated node wrote reads the same from both.

So a run of the simulator says something about the storage too: it takes in everything that the core ever hands out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quorate.raft import Propose
from quorate.storage import DataDirectory, Log
from quorate.testing import Profile, SimCluster
from quorate.testing.disk import Disk
from quorate.testing.machine import WRITE, Registers

WITHOUT_CRASHES = Profile(
    "partitions",
    "divergent tails and snapshots, but no process ends, so that nothing is lost between the two",
    partition=2,
    one_way=4,
    isolate_leader=1.5,
    flood=1,
    hint=5,
    transfer=5,
    slow_disk=8,
    snapshot_every=25,
    rate=20.0,
)


@pytest.mark.parametrize("seed", range(1, 3))
def test_what_the_core_hands_out_is_what_the_log_gives_back(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[int, list[tuple[str, tuple[Any, ...]]]] = {}

    def record(name: str) -> None:
        real = getattr(Disk, name)

        def wrapped(self: Disk, *arguments: Any) -> Any:
            written.setdefault(id(self), []).append((name, arguments))
            return real(self, *arguments)

        monkeypatch.setattr(Disk, name, wrapped)

    for name in ("write", "write_beginning", "save_own"):
        record(name)
    cluster = SimCluster(nodes=3, seed=seed, profile=WITHOUT_CRASHES)
    cluster.quiet(1)  # no faults yet
    old = cluster.leader()
    cluster.partition([old], [id for id in cluster.nodes if id != old])
    for number in range(5):  # a tail that others will replace
        command = Registers.command(0xFFFFFFFF, number + 1, WRITE, 0xFFFF, 1)
        cluster.nodes[old].feed(lambda now, command=command: Propose(command, now=now))
    cluster.quiet(2)
    cluster.run(15).heal().check()
    replaced = 0
    for node in cluster.nodes.values():
        path = tmp_path / str(node.id)
        disk = node.disk
        disk.sync()
        with DataDirectory(path, node=node.id) as directory:
            with Log(directory, segment_bytes=65536, sync=False) as log:
                held: dict[int, int] = {}
                for name, arguments in written[id(disk)]:
                    if name == "write":
                        hard_state, first, entries = arguments
                        replaced += bool(entries) and first in held
                        held = {i: t for i, t in held.items() if not entries or i < first}
                        held.update((entry.index, entry.term) for entry in entries)
                        what = {"first_index": first} if entries else {}
                        log.append([(e.term, e.data, e.kind) for e in entries], hard_state=hard_state, **what)
                        continue
                    snapshot = arguments[0]
                    place = (snapshot.term, snapshot.index)
                    if log.read().base[1] >= snapshot.index:
                        continue
                    agrees = held.get(snapshot.index) == snapshot.term
                    replaced += not agrees and bool(held)
                    log.append(**{"base" if agrees else "reset": place})
                log.wait()
            with Log(directory) as log:
                found = log.recovered
                assert found is not None
                assert found.hard_state == tuple(disk.hard_state)
                assert [entry[:2] for entry in found.entries() if entry[0] >= disk.first] == [
                    (entry.index, entry.term) for entry in disk.entries
                ]
    assert replaced > 0, "no tail was replaced, by entries or a snapshot: this run shows nothing"
