"""Runs a transcript: a story in a text file. Its commands drive a cluster; its indented lines are what came of them.

A line that starts with ``> `` is a command; the lines below it that start with two spaces are its output; everything
else is prose. ``quiet COMMAND`` leaves the output out. The commands are the methods named ``do_…`` here.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from quorate.raft import Entry, HardState
from raft.harness import AddLearner, AddVoter, Cluster, RemoveMember, describe_entry, tell


def rewrite(text: str) -> str:
    """The same story with the outputs that the core gives now."""
    run = Transcript()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("  "):
            continue
        lines.append(line.rstrip())
        if line.startswith("> "):
            lines += [f"  {output}" for output in run.command(line[2:])]
    return "\n".join(lines) + "\n"


def number(word: str) -> Any:
    """A value as the story writes it: a number, on or off, or a word."""
    if word in ("on", "off"):
        return word == "on"
    try:
        return float(word) if "." in word else int(word)
    except ValueError:
        return word


def entries_of(word: str) -> list[Entry]:
    """``5@2:x,6@2`` as entries."""
    found = []
    for part in word.split(",") if word else ():
        place, _, data = part.partition(":")
        index, _, term = place.partition("@")
        found.append(Entry(index=int(index), term=int(term), kind=0, data=data.encode()))
    return found


def changes_of(words: list[str]) -> list[Any]:
    """``+4`` adds a voter, ``~4`` a learner, ``-4`` removes a member; ``+4:77`` binds an incarnation."""
    changes: list[Any] = []
    for word in words:
        id, _, incarnation = word[1:].partition(":")
        if word[0] == "-":
            changes.append(RemoveMember(int(id)))
        else:
            changes.append((AddVoter if word[0] == "+" else AddLearner)(int(id), incarnation=int(incarnation or 0)))
    return changes


def describe_configuration(it: Any) -> str:
    def ids(label: str, group: Any) -> str:
        return f" {label} " + " ".join(map(str, sorted(group))) if group else ""

    halves = ids("voters", it.incoming) + ids("outgoing", it.outgoing)
    others = ids("learners", it.learners) + ids("learners next", it.learners_next)
    return f"configuration {it.index}:{halves}{others}{' auto-leave' if it.auto_leave else ''}"


class Transcript:
    """The commands of a story. Each method gets the words after its name; what it traces is the output."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.presets: dict[str, dict[int, Any]] = {"logs": {}, "hard_states": {}, "incarnations": {}}
        self.cluster: Cluster | None = None

    @property
    def c(self) -> Cluster:
        assert self.cluster is not None, "the story must open with a cluster"
        return self.cluster

    def say(self, line: str) -> None:
        self.lines.append(line)

    def command(self, text: str) -> list[str]:
        words = text.split()
        quiet = words[0] == "quiet"
        words = words[quiet:]
        self.lines = []
        positional = [number(word) for word in words[1:] if "=" not in word]
        named = {name: number(value) for name, _, value in (word.partition("=") for word in words[1:] if "=" in word)}
        action = getattr(self, f"do_{words[0].replace('-', '_')}", None)
        if action is None:
            raise AssertionError(f"no such command: {words[0]}")
        try:
            inspect.signature(action).bind(*positional, **named)
        except TypeError as error:
            raise AssertionError(f"{text}: {error}") from None
        action(*positional, **named)
        return [] if quiet else (self.lines or ["nothing happens"])

    # The cast

    def do_preset(
        self, id: int, log: Any = None, term: int = 0, vote: int = 0, commit: int = 0, incarnation: int = 0
    ) -> None:
        """Give a server a past before ``cluster`` starts it: ``preset 2 log=1,1,2 term=3 vote=1``."""
        if log is not None:
            terms = [int(word) for word in str(log).split(",")]
            self.presets["logs"][id] = terms
            self.presets["hard_states"][id] = HardState(term=term or terms[-1], vote=vote, commit=commit)
            self.say(f"{id}: " + ", ".join(f"{index}@{of}" for index, of in enumerate(terms, 1)))
        if incarnation:
            self.presets["incarnations"][id] = incarnation
            self.say(f"{id}: incarnation {incarnation}")

    def do_cluster(self, *words: Any, **config: Any) -> None:
        voters, learners = list(words), []
        if "learners" in words:
            at = words.index("learners")
            voters, learners = list(words[:at]), list(words[at + 1 :])
        self.cluster = Cluster(*voters, learners=learners, **self.presets, **config)  # type: ignore[arg-type]
        self.cluster.trace = self.say
        self.do_state()

    def do_join(self, id: int) -> None:
        self.c.join(id)
        self.do_state(id)

    def do_crash(self, *ids: int) -> None:
        for id in ids:
            lost = len(self.c[id].writes)
            self.c.crash(id)
            self.say(f"{id}: crashes" + (f", {lost} write{'s' * (lost != 1)} lost" if lost else ""))

    def do_restart(self, *ids: int) -> None:
        for id in ids:
            self.c.start(id)
            self.do_state(id)

    def do_wipe(self, id: int, incarnation: int = 0) -> None:
        self.c.wipe(id)
        if incarnation:
            self.c.incarnations[id] = incarnation
        self.say(f"{id}: loses its disk")

    # Time

    def do_campaign(self, id: int) -> None:
        self.c.campaign(id)

    def do_elect(self, id: int) -> None:
        self.c.elect(id)

    def do_timeout(self, id: int) -> None:
        self.c.timeout(id)

    def do_tick(self, *ids: int) -> None:
        self.c.tick(*ids)

    def do_pass(self, ms: float) -> None:
        self.c.pass_ms(ms)
        self.say(f"{ms:g} ms pass")

    def do_advance(self, ms: float) -> None:
        self.c.advance(ms)

    def do_heartbeat(self, id: int) -> None:
        self.c.heartbeat(id)

    def do_run(self, ms: int) -> None:
        """Let time pass for everybody, and deliver everything meanwhile."""
        self.c.run(ms)

    def do_until(self, type: str, way: str) -> None:
        """Let time pass until such a message flies: ``until InstallSnapshot 1->3``."""
        self.c.until(type, **{name: value for name, value in self.route((way,)).items() if value})

    def do_settle(self) -> None:
        self.c.settle()

    # The network

    def route(self, words: tuple[Any, ...]) -> dict[str, Any]:
        """``1->2``, ``1->``, ``->2`` and a message type, in any order."""
        fit: dict[str, Any] = {}
        for word in words:
            if "->" in str(word):
                sender, _, receiver = word.partition("->")
                fit["sender"] = int(sender) if sender else None
                fit["receiver"] = int(receiver) if receiver else None
            else:
                fit["type"] = word
        return fit

    def do_deliver(self, *words: Any, count: int | None = None, once: bool = False) -> None:
        self.c.deliver(**self.route(words), count=count, once=once)

    def do_drop(self, *words: Any) -> None:
        """Lose what flies now."""
        for message in self.c.take(**self.route(words)):
            self.say(f"lost: {tell(message)}")

    def do_duplicate(self, *words: Any) -> None:
        """Everything that flies and fits arrives twice."""
        fit = {"sender": None, "receiver": None, "type": None} | self.route(words)
        doubled = [message for message in self.c.flying if self.c.fits(message, **fit)]
        self.c.flying += doubled
        for message in doubled:
            self.say(f"twice: {tell(message)}")

    def do_reverse(self, *words: Any) -> None:
        """What flies and fits arrives in the opposite order, after everything else."""
        taken = self.c.take(**self.route(words))[::-1]
        self.c.flying += taken
        for message in taken:
            self.say(f"now flies: {tell(message)}")

    def do_keep(self, *words: Any) -> None:
        """Take what flies and fits aside; ``release`` lets it fly again."""
        self.kept = getattr(self, "kept", [])
        for message in self.c.take(**self.route(words)):
            self.kept.append(message)
            self.say(f"late: {tell(message)}")

    def do_release(self) -> None:
        for message in self.kept:
            self.c.flying.append(message)
            self.say(f"flies again: {tell(message)}")
        self.kept = []

    def do_flying(self) -> None:
        for message in self.c.flying:
            self.say(tell(message))

    def do_cut(self, *words: Any) -> None:
        """``cut 1 2`` separates 1 and 2 from the others; ``cut 1->2`` loses what 1 sends to 2."""
        for word in words:
            if "->" in str(word):
                sender, _, receiver = word.partition("->")
                self.c.blocked.add((int(sender), int(receiver)))
        ids = [word for word in words if isinstance(word, int)]
        if ids:
            self.c.cut(*ids)
        self.say("blocked: " + " ".join(f"{a}->{b}" for a, b in sorted(self.c.blocked)))

    def do_heal(self) -> None:
        self.c.heal()
        self.say("every link works")

    def do_send(self, type: str, sender: int, receiver: int, **fields: Any) -> None:
        """Hand over a forged message."""
        if "entries" in fields:
            fields["entries"] = entries_of(str(fields["entries"]))
        if type == "InstallSnapshot":
            fields["configuration"] = self.c[sender].core.configuration_at(self.c[sender].core.log.first_index)
        self.c.receive(receiver, type, sender=sender, **fields)

    # Disks and state machines

    def do_disk(self, id: int, speed: str) -> None:
        """A slow disk holds its writes until ``persist``."""
        server = self.c[id]
        server.slow_disk = speed == "slow"
        self.say(f"{id}: the disk is {speed}")
        if not server.slow_disk:
            while server.writes:
                self.c.persist(id)

    def do_persist(self, id: int, count: Any = 1) -> None:
        self.c.persist(id, len(self.c[id].writes) if count == "all" else count)

    def do_machine(self, id: int, speed: str) -> None:
        """A slow state machine waits for ``apply``."""
        self.c[id].slow_apply = speed == "slow"
        self.say(f"{id}: the state machine is {speed}")

    def do_apply(self, id: int, count: int | None = None) -> None:
        self.c.apply(id, count)

    def do_compact(self, id: int, index: int | None = None) -> None:
        self.c.compact(id, index)
        log = self.c[id].core.log
        kept = self.c[id].disk.snapshot
        self.say(f"{id}: snapshot at {kept.index if kept else 'none'}, log {log.first_index}..{log.last_index}")

    def do_snapshots(self, mode: str) -> None:
        """With ``hold`` a received snapshot waits for ``install``."""
        self.c.hold_snapshots = mode == "hold"
        self.say("received snapshots " + ("wait" if mode == "hold" else "are installed at once"))

    def do_install(self) -> None:
        held, self.c.held_installs = self.c.held_installs, []
        for id, snapshot in held:
            self.c.install_snapshot(id, snapshot)

    # Requests

    def do_propose(self, id: int, *data: Any, request: int = 0) -> None:
        self.c.propose(id, *(str(word).encode() for word in data), request=request)

    def do_change(self, id: int, *words: Any, joint: str = "auto", request: int = 0) -> None:
        signed = [word if str(word)[0] in "+-~" else f"+{word}" for word in map(str, words)]
        self.c.change(id, *changes_of(signed), joint=joint, request=request)

    def do_leave(self, id: int) -> None:
        self.c.change(id, joint="leave")

    def do_read(self, id: int, request: int) -> None:
        self.c.read(id, request)

    def do_reads(self, id: int) -> None:
        """What became of all reads of a server."""
        for read in self.c[id].reads:
            self.say(f"{id}: read {read.id} " + (f"at {read.index}" if read.index else f"refused: {read.status}"))

    def do_transfer(self, id: int, target: int) -> None:
        self.c.transfer(id, target)

    def do_forget(self, id: int) -> None:
        self.c.forget(id)

    def do_unreachable(self, id: int, peer: int) -> None:
        self.c.unreachable(id, peer)

    def do_snapshot_failed(self, id: int, peer: int, index: int) -> None:
        from quorate.raft import SnapshotFailed

        self.c.step(id, SnapshotFailed(index=index, peer=peer, now=self.c.now))

    def do_closed(self, id: int) -> None:
        self.c.connection_closed(id)

    def do_stall(self, id: int, state: bool = True) -> None:
        self.c.stall(id, state)

    # What one can look at

    def ids(self, ids: tuple[Any, ...]) -> list[int]:
        return list(ids or self.c.servers)

    def do_state(self, *ids: int) -> None:
        for id in self.ids(ids):
            server = self.c[id]
            if server.raft is None:
                self.say(f"{id} down")
                continue
            it, log = server.state, server.core.log
            last = f"{log.last_index}@{log.term(log.last_index)}" if log.last_index else "0"
            vote = f" vote {it.vote}" if it.vote else ""
            leader = f" leader {it.leader}" if it.leader else ""
            self.say(
                f"{id} {it.role} term {it.term}{vote}{leader}, log {log.first_index}..{last},"
                f" commit {it.commit}, applied {it.applied}, durable {it.persisted_index}"
            )

    def do_log(self, *ids: int) -> None:
        for id in self.ids(ids):
            log = self.c[id].core.log
            entries = log.entries(log.first_index, log.last_index + 1)
            before = f"[{log.snapshot_index}@{log.snapshot_term}] " if log.snapshot_index else ""
            self.say(f"{id}: {before}" + ", ".join(describe_entry(entry) for entry in entries))

    def do_machines(self, *ids: int) -> None:
        for id in self.ids(ids):
            self.say(f"{id}: " + " ".join(data.decode("utf-8", "backslashreplace") for data in self.c[id].commands))

    def do_progress(self, id: int) -> None:
        for peer, it in sorted(self.c[id].state.progress.items()):
            self.say(
                f"{peer} {it.state} match {it.match} next {it.next} in flight {it.inflight}"
                f"{' paused' if it.paused else ''}{' active' if it.recent_active else ''}"
            )

    def do_configuration(self, *ids: int) -> None:
        for id in self.ids(ids):
            self.say(f"{id}: {describe_configuration(self.c[id].state.configuration)}")

    def do_rejected(self, *ids: int) -> None:
        for id in self.ids(ids):
            counts = {reason: count for reason, count in self.c[id].state.rejected.items() if count}
            self.say(
                f"{id}: " + (", ".join(f"{reason} {counts[reason]}" for reason in sorted(counts)) or "nothing rejected")
            )


def check(path: Path, write: bool) -> None:
    """Compare a story with what happens now, or rewrite it."""
    text = path.read_text(encoding="utf-8")
    now = rewrite(text)
    if write:
        path.write_text(now, encoding="utf-8")
    else:
        assert now == text, f"{path.name} tells another story now; look at it with --rewrite and git diff"
