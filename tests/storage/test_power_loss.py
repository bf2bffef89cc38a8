"""A power loss at any moment: writes that were not synced are lost in any subset, sector by sector, in any order.

The writes of a real run are recorded by the fault table; the test then builds the files that a crash could leave, and
opens them. What was acknowledged must be there; nothing may be there that was not written.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from storage_support import SMALL, Content, content, wait_until

from quorate.errors import StorageError
from quorate.storage import DataDirectory, Faults, Log, Snapshots, Storage

SECTOR = 512
Event = tuple[str, str, str, int, bytes]


@dataclass
class Inode:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def now(self) -> bytearray:
        made = bytearray(self.durable)
        for offset, data in self.pending:
            grow(made, offset + len(data))
            made[offset : offset + len(data)] = data
        return made

    def crashed(self, chance: random.Random) -> bytes:
        """Each sector as some of the writes left it."""
        made = bytearray(self.durable)
        for offset, data in self.pending:
            at = offset
            while at < offset + len(data):
                end = min(offset + len(data), at - at % SECTOR + SECTOR)
                if chance.random() < 0.5:
                    grow(made, end)
                    made[at:end] = data[at - offset : end - offset]
                at = end
        return bytes(made)


def grow(it: bytearray, size: int) -> None:
    if len(it) < size:
        it.extend(bytes(size - len(it)))


class Disk:
    """Names and contents, durable and not, as the events of a run change them."""

    def __init__(self) -> None:
        self.durable: dict[str, Inode] = {}
        self.names: dict[str, Inode] = {}
        self.changes: list[tuple[str, str, Inode | None]] = []  # not yet durable: (name gone, name come, inode)

    def play(self, event: Event) -> None:
        operation, path, other, offset, data = event
        if operation == "open":
            if path not in self.names:
                self.names[path] = Inode()
                self.changes.append(("", path, self.names[path]))
            elif path.endswith(".new") and path.rpartition("/")[2] == "IDENTITY.new":
                self.names[path] = Inode()
        elif operation == "write":
            self.names[path].pending.append((offset, data))
        elif operation == "truncate":
            inode = self.names[path]
            grow(inode.durable, offset)
            del inode.durable[offset:]
            inode.pending = [(at, part[: max(0, offset - at)]) for at, part in inode.pending]
        elif operation in ("sync", "fsync"):
            inode = self.names[path]
            inode.durable, inode.pending = inode.now(), []
        elif operation == "rename":
            self.names[other] = self.names.pop(path)
            self.changes.append((path, other, self.names[other]))
        elif operation == "unlink":
            del self.names[path]
            self.changes.append((path, "", None))
        elif operation == "sync_directory":
            kept = []
            for change in self.changes:
                if (change[1] or change[0]).rpartition("/")[0] == path.rstrip("/"):
                    apply(self.durable, change)
                else:
                    kept.append(change)
            self.changes = kept

    def crash(self, chance: random.Random, source: str, target: Path) -> None:
        """Writes what a crash may leave. A file system keeps the order of changes to names, and loses the last ones."""
        names = dict(self.durable)
        for change in self.changes[: chance.randint(0, len(self.changes))]:
            apply(names, change)
        for name, inode in names.items():
            path = target / Path(name).relative_to(source)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(inode.crashed(chance))
        for folder in ("log", "snapshots"):
            (target / folder).mkdir(parents=True, exist_ok=True)


def apply(names: dict[str, Inode], change: tuple[str, str, Inode | None]) -> None:
    gone, come, inode = change
    names.pop(gone, None)
    if come and inode is not None:
        names[come] = inode


class Run:
    """A workload that notes, beside the events, what was promised when."""

    def __init__(self, path: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.faults = Faults()
        self.faults.record()
        self.path = path
        self.promises: list[tuple[int, Content]] = []
        self.attempts: list[Content] = []
        with DataDirectory(path, node=1, faults=self.faults) as directory:
            self.snapshots = Snapshots(directory, faults=self.faults)
            for _ in range(3):
                with Log(directory, segment_bytes=SMALL, faults=self.faults) as log:
                    self.promise(log)
                    for _ in range(12):
                        self.step(log)
        self.events: list[Event] = self.faults.events()

    def promise(self, log: Log) -> None:
        log.wait()
        found = content(log.read())
        # Everything durable by now stands in front of this event.
        self.promises.append((len(self.faults.events()), found))

    def step(self, log: Log) -> None:
        term, last = log.last
        choice = self.chance.random()
        term = max(term, 1) + (choice < 0.1)
        base = log.read().base[1]
        if choice < 0.75:
            for _ in range(self.chance.randint(1, 3)):
                sizes = [self.chance.choice([0, 3, 64, 400, 760]) for _ in range(self.chance.randint(1, 4))]
                log.append([(term, self.chance.choice([bytes(n), self.chance.randbytes(n)])) for n in sizes])
        elif choice < 0.85 and last > base + 2:
            log.append([(term + 1, b"replaces")], first_index=last - 1)
        elif last > base:
            index = self.chance.randint(base + 1, last)
            at = log.read().term_of(index)
            writer = self.snapshots.create(term=at, index=index, configuration=b"c", configuration_index=1)
            writer.write(self.chance.randbytes(3000))
            writer.finish()
            log.append(base=(at, index))
        self.promise(log)


def entries_of(found: Content) -> dict[int, tuple[int, int, int, bytes]]:
    return {entry[0]: entry for entry in found[3]}


@pytest.mark.parametrize("seed", range(4))
def test_what_was_promised_is_there(tmp_path: Path, seed: int) -> None:
    survive_crashes(tmp_path, seed, crashes=60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_what_was_promised_is_there_more_often(tmp_path: Path, seed: int) -> None:
    survive_crashes(tmp_path, seed, crashes=300)


def survive_crashes(tmp_path: Path, seed: int, *, crashes: int) -> None:
    run = Run(tmp_path / "run", seed)
    chance = random.Random(seed)
    for crash in range(crashes):
        at = chance.randint(0, len(run.events))
        disk = Disk()
        for event in run.events[:at]:
            disk.play(event)
        target = tmp_path / f"crash-{crash}"
        disk.crash(chance, str(run.path), target)
        kept = [content_ for when, content_ in run.promises if when <= at]
        where = f"seed {seed}, crash {crash} at event {at} of {len(run.events)}"
        with Storage(target, node=1, segment_bytes=SMALL) as storage:
            assert storage.log.recovered is not None
            found = content(storage.log.recovered)
            if kept:
                promised = kept[-1]
                # What came later may be there in part: a replaced suffix, a higher base.
                later = [content_ for when, content_ in run.promises if when > at][:1]
                known = {(*e,) for state in (*kept, *later) for e in state[3]}
                assert found[0] >= promised[0], where
                assert found[1] >= promised[1], where
                assert set(found[3]) <= known, where
                # From the first index on that the next step replaces, the old entries may be gone.
                gone = [
                    index
                    for state in later
                    for index, entry in entries_of(promised).items()
                    if index > state[1][1] and entries_of(state).get(index) != entry
                ]
                for index, entry in entries_of(promised).items():
                    if found[1][1] < index < min(gone, default=1 << 64):
                        assert entries_of(found).get(index) == entry, where
            if found[1][1]:
                assert storage.restart.snapshot is not None, where
            # And it is a working log again, which survives the next start.
            storage.log.wait(storage.log.append([(found[2][0] + 9, b"after the crash")]))
        with Storage(target, node=1) as storage:
            assert storage.restart.last == (found[2][0] + 9, found[2][1] + 1), where
        shutil.rmtree(target)


@pytest.mark.parametrize("seed", range(4))
def test_a_power_loss_after_a_killed_process_keeps_what_the_next_one_read(tmp_path: Path, seed: int) -> None:
    killed_then_crashed(tmp_path, seed, kills=25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_power_loss_after_a_killed_process_more_often(tmp_path: Path, seed: int) -> None:
    killed_then_crashed(tmp_path, seed, kills=150)


def killed_then_crashed(tmp_path: Path, seed: int, *, kills: int) -> None:
    """A killed process leaves writes that only the kernel holds. The next one reads them, counts them as durable and
    goes on behind them: so they must be durable before it says anything."""
    run = Run(tmp_path / "run", seed)
    chance = random.Random(seed)
    identity = max(n for n, event in enumerate(run.events) if event[1].endswith("IDENTITY.new"))
    # Kills right behind a write or rename are the ones that leave something to lose.
    moments = [n + 1 for n, event in enumerate(run.events) if event[0] in ("write", "rename") and n >= identity]
    for kill in range(kills):
        disk = Disk()
        at = chance.choice(moments)
        for event in run.events[:at]:
            disk.play(event)
        shutil.rmtree(run.path)
        for folder in ("log", "snapshots"):
            (run.path / folder).mkdir(parents=True)
        for name, inode in disk.names.items():
            Path(name).write_bytes(inode.now())
        faults = Faults()
        faults.record()
        with Storage(run.path, node=1, segment_bytes=SMALL, faults=faults) as storage:
            opened = len(faults.events())
            read, snapshot = storage.restart, storage.restart.snapshot
            entries = storage.entries()
            events: list[Event] = faults.events()
        until = chance.randint(0, len(events))
        for event in events[:until]:
            disk.play(event)
        target = tmp_path / f"kill-{kill}"
        disk.crash(chance, str(run.path), target)
        where = f"seed {seed}, kill {kill} at event {at}, power loss {until} of {len(events)} events later"
        try:
            with Storage(target, node=1, segment_bytes=SMALL) as storage:
                if until >= opened:
                    assert storage.restart.last == read.last, where
                    assert storage.restart.hard_state == read.hard_state, where
                    assert storage.entries() == entries, where
                    assert snapshot is None or storage.restart.snapshot is not None, where
        except StorageError as error:
            raise AssertionError(f"{where}: {error}") from error
        shutil.rmtree(target)


def test_the_model_itself_loses_what_was_not_synced(tmp_path: Path) -> None:
    """Without fdatasync the promise must break: else the model proves nothing."""
    faults = Faults()
    faults.record()
    with DataDirectory(tmp_path / "run", node=1, faults=faults) as directory:
        log = Log(directory, segment_bytes=SMALL, faults=faults, sync=False)
        for i in range(6):
            log.wait(log.append([(1, bytes([i + 1]) * 600)]))
        wait_until(lambda: (tmp_path / "run" / "log" / "reserve").exists())
        events = faults.events()
        log.close()
    chance = random.Random(1)
    lost = 0
    for crash in range(20):
        disk = Disk()
        for event in events:
            disk.play(event)
        target = tmp_path / f"crash-{crash}"
        disk.crash(chance, str(tmp_path / "run"), target)
        try:
            with Storage(target, node=1) as storage:
                lost += storage.restart.last[1] < 6
        except Exception:
            lost += 1
    assert lost > 10
