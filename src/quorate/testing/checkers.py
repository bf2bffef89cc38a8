"""What must hold of a cluster as a whole, checked from outside of the nodes after every step that could break it.

Sees everything that the nodes see and their disks besides; changes nothing, and uses nothing of the protocol's own code
to judge it. Names and numbers are those of the Raft paper, Figure 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from quorate.testing.node import SimNode

__all__ = ["Checkers", "Violation"]

DESERTED_SAMPLES_MAX: Final = 4
"""For how many seconds a leader may not notice that most voters went on; its clock runs at half the rate at worst."""


class Violation(AssertionError):
    """A property of the cluster does not hold. ``rule`` names it."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


@final
class Checkers:
    """The properties, each in one method that is called where it could be broken.

    ``leaders``: term → node, by process: a restarted node is another process.
    ``entries``: (index, term) → (kind, data, term of the entry before), of every entry that any node ever wrote.
    ``committed``: terms of the committed entries, by index from 1; ``applied``: what state machines saw there.
    """

    __slots__ = ("_wiped", "applied", "committed", "committed_in", "entries", "leaders", "results", "settings")

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.leaders: dict[int, tuple[int, int]] = {}
        self.entries: dict[tuple[int, int], tuple[int, bytes, int]] = {}
        self.committed: list[int] = [0]
        self.committed_in: list[int] = [0]
        """The least term in which the entry was known to be committed: leaders of later terms must have it."""
        self.applied: dict[int, tuple[int, int, bytes]] = {}
        self.results: dict[int, Any] = {}
        self._wiped: set[tuple[int, int]] = set()

    # -- Figure 3, one by one

    def became_leader(self, node: SimNode, term: int) -> None:
        """Election Safety: at most one leader in a term. Leader Completeness: it has all that was committed before."""
        known = self.leaders.setdefault(term, (node.id, node.life))
        if known != (node.id, node.life):
            if known[0] != node.id or node.disk.term >= term:
                raise Violation("election safety", f"nodes {known[0]} and {node.id} both lead term {term}")
            # A sole voter leads at once. If it crashes before that term is on disk, nobody has seen anything of it, and
            # its next process leads the term anew, with other entries.
            self.leaders[term] = (node.id, node.life)
            for place in [place for place in self.entries if place[1] == term]:
                del self.entries[place]
        self.elected(node, term)
        self.complete(node, term)

    def elected(self, node: SimNode, term: int) -> None:
        """A leader has durable votes of a majority of each half of its configuration (Raft §5.2, §6)."""
        configuration = node.configuration
        nodes = node.cluster.nodes
        for half in (configuration.incoming, configuration.outgoing):
            votes = 0
            for voter in half:
                other = nodes.get(voter)
                if other is None or voter == node.id or (voter, other.incarnation) in self._wiped:
                    votes += 1
                    continue
                disk = other.disk
                votes += disk.term > term or (disk.term == term and disk.vote == node.id)
            if half and votes <= len(half) // 2:
                raise Violation("elected by a majority", f"node {node.id} leads term {term} by {votes} votes of {half}")

    def complete(self, node: SimNode, term: int) -> None:
        """Leader Completeness, for the newest entry committed in an earlier term (Log Matching does the rest)."""
        index = len(self.committed) - 1
        while index and self.committed_in[index] >= term:
            index -= 1
        log = node.raft.log
        if index < log.first_index - 1 or index == 0:
            return
        if index > log.last_index:
            raise Violation(
                "leader completeness",
                f"node {node.id} leads term {term} with a log that ends at {log.last_index},"
                f" but {index}@{self.committed[index]} was committed in term {self.committed_in[index]}",
            )
        if log.term(index) != self.committed[index]:
            raise Violation(
                "leader completeness",
                f"node {node.id} leads term {term} with {index}@{log.term(index)},"
                f" but {index}@{self.committed[index]} is committed",
            )

    def wrote(self, node: SimNode, first_index: int, entries: list[Any]) -> None:
        """Log Matching: an index and a term name one entry, and one log before it."""
        log = node.raft.log
        before = log.term(first_index - 1) if first_index >= log.first_index else -1
        seen = self.entries
        index = first_index
        for entry in entries:
            term = entry.term
            value = (entry.kind, entry.data, before)
            known = seen.setdefault((index, term), value)
            if known != value and (known[:2] != value[:2] or (before >= 0 and known[2] >= 0)):
                raise Violation(
                    "log matching",
                    f"node {node.id} wrote {index}@{term} as {value[:2]} after a term {before};"
                    f" elsewhere it is {known[:2]} after a term {known[2]}",
                )
            if term < before:
                raise Violation("log matching", f"node {node.id} wrote {index}@{term} after an entry of term {before}")
            before = term
            index += 1

    def changed(self, node: SimNode, index: int, commit: int) -> None:
        """A leader appended a configuration: one at a time, none before a commit in its term (dissertation §4.1)."""
        term = node.term
        if node.configuration.index > commit:
            raise Violation(
                "one change at a time",
                f"leader {node.id} appends a configuration at {index} while that at {node.configuration.index} is not"
                f" committed (commit {commit})",
            )
        if commit == 0 or self.committed[commit] != term:
            raise Violation(
                "no change before a commit in the term",
                f"leader {node.id} appends a configuration at {index} in term {term}, having committed {commit}",
            )

    def installed(self, node: SimNode, snapshot: Any) -> None:
        """A core took a snapshot into its log: what it keeps behind it follows from it; its configuration is there."""
        log = node.raft.log
        index, term = snapshot.index, snapshot.term
        if log.last_index > index >= log.first_index - 1:
            next_term = log.term(index + 1)
            before = self.entries[(index + 1, next_term)][2]
            if before not in (-1, term):
                raise Violation(
                    "log matching",
                    f"node {node.id} keeps {index + 1}@{next_term}, which follows a term {before},"
                    f" behind a snapshot that ends with {index}@{term}",
                )
        elif log.last_index == index and node.configuration != snapshot.configuration:
            raise Violation(
                "snapshot with its configuration",
                f"node {node.id} is in {node.configuration}, its snapshot in {snapshot.configuration}",
            )

    def persisted(self, node: SimNode) -> None:
        """What a core counts as durable is on its disk, entry by entry (no ABA)."""
        log = node.raft.log
        index = node.raft.state().persisted_index
        if index >= log.first_index and not node.disk.holds(index, log.term(index)):
            raise Violation(
                "counted as durable",
                f"node {node.id} counts {index}@{log.term(index)} as durable; its disk does not hold it",
            )

    def advanced(self, node: SimNode, old: int, new: int, term: int, *, leads: bool) -> None:
        """The commit index of a node moved. Commitment is by a quorum of durable logs, and agrees everywhere."""
        log = node.raft.log
        committed, committed_in = self.committed, self.committed_in
        for index in range(max(old + 1, log.first_index), new + 1):
            entry_term = log.term(index)
            if index < len(committed):
                if committed[index] != entry_term:
                    raise Violation(
                        "state machine safety",
                        f"node {node.id} committed {index}@{entry_term};"
                        f" elsewhere {index}@{committed[index]} is committed",
                    )
                if term < committed_in[index]:
                    committed_in[index] = term
            elif index == len(committed):
                committed.append(entry_term)
                committed_in.append(term)
                for other in node.cluster.nodes.values():
                    if other.role == "leader" and other.term > term and other.raft is not None:
                        self.complete(other, other.term)
            else:
                raise Violation("state machine safety", f"node {node.id} committed {index} before {len(committed)}")
        if leads and new > 0:
            entry_term = log.term(new)
            if entry_term != term:
                raise Violation(
                    "commit by counting", f"leader {node.id} of term {term} committed {new}@{entry_term} (Raft §5.4.2)"
                )
            self.durable_quorum(node, new, entry_term)

    def durable_quorum(self, node: SimNode, index: int, term: int) -> None:
        """What a leader counts as committed is durable on a majority of each half of its configuration."""
        configuration = node.configuration
        nodes = node.cluster.nodes
        for half in (configuration.incoming, configuration.outgoing):
            have = 0
            for voter in half:
                other = nodes.get(voter)
                # A wiped voter had it before, or it would not have been counted; it does not count as a voter any more.
                if other is None or (voter, other.incarnation) in self._wiped or other.disk.holds(index, term):
                    have += 1
            if half and have <= len(half) // 2:
                raise Violation(
                    "durable quorum",
                    f"leader {node.id} committed {index}@{term}, which only {have} of the voters {half} hold durably",
                )

    def wiped(self, voter: int, incarnation: int) -> None:
        """A disk was lost: ``incarnation`` is the new, empty one's."""
        self._wiped.add((voter, incarnation))

    def apply(self, node: SimNode, index: int, term: int, kind: int, data: bytes) -> None:
        """State Machine Safety: no two nodes apply different entries at one index; in order, without gaps."""
        if index != node.applied + 1:
            raise Violation("state machine safety", f"node {node.id} applies {index} after {node.applied}")
        value = (term, kind, data)
        known = self.applied.setdefault(index, value)
        if known != value:
            raise Violation(
                "state machine safety", f"node {node.id} applies {value} at {index}; elsewhere it was {known}"
            )
        if index >= len(self.committed) or self.committed[index] != term:
            raise Violation("state machine safety", f"node {node.id} applies {index}@{term}, which nobody committed")

    def restored(self, node: SimNode, index: int, term: int) -> None:
        """A received snapshot is durable: it must be of committed entries."""
        if index >= len(self.committed) or self.committed[index] != term:
            raise Violation(
                "state machine safety", f"node {node.id} loads snapshot {index}@{term}, which nobody committed"
            )

    def answered(self, node: SimNode, index: int, result: Any) -> None:
        """The state machine is deterministic: one command at one index has one result, also after a snapshot."""
        known = self.results.setdefault(index, result)
        if known != result:
            raise Violation(
                "deterministic state machine",
                f"node {node.id} answers {result!r} at {index}; elsewhere it was {known!r}",
            )

    # -- durable before visible (DESIGN §2)

    def released(self, node: SimNode, message: Any) -> None:
        """A vote or an acknowledgement leaves: what it promises is on disk."""
        kind = message.type
        disk = node.disk
        # A disk that has gone on to a later term keeps the promises of this one by refusing it.
        if disk.term > message.term:
            return
        if kind == "RequestVoteResponse":
            if message.granted and not message.pre_vote and (disk.term, disk.vote) != (message.term, message.receiver):
                raise Violation(
                    "durable before visible",
                    f"node {node.id} grants {message.receiver} its vote in term {message.term};"
                    f" its disk says {disk.vote} in term {disk.term}",
                )
        elif message.success and (message.match_index > disk.last or message.term > disk.term):
            raise Violation(
                "durable before visible",
                f"node {node.id} acknowledges {message.match_index} in term {message.term};"
                f" its disk ends at {disk.last} and says term {disk.term}",
            )

    def _office(self, node: SimNode, state: Any) -> None:
        """A leader that was removed goes; one that lost its majority to a later term notices by check-quorum."""
        configuration = state.configuration
        voters = {*configuration.incoming, *configuration.outgoing}
        if configuration.index <= state.commit and self.committed[state.commit] == state.term and node.id not in voters:
            raise Violation(
                "a removed leader goes", f"node {node.id} leads term {state.term}, removed by {configuration}"
            )
        nodes = node.cluster.nodes
        gone = [id for id in configuration.incoming if id in nodes and nodes[id].disk.term > state.term]
        if node.paused or not self.settings.get("check_quorum", True) or 2 * len(gone) <= len(configuration.incoming):
            node.deserted = 0
            return
        node.deserted += 1
        if node.deserted > DESERTED_SAMPLES_MAX:
            raise Violation(
                "check quorum",
                f"node {node.id} leads term {state.term} since seconds, while {gone} went on to later terms",
            )

    # -- bounds, sampled

    def sample(self, nodes: Iterable[SimNode]) -> None:
        """Bounds that need the whole state of a node: looked at about once a simulated second."""
        for node in nodes:
            if node.raft is None:
                continue
            state = node.raft.state()
            if not state.applied <= state.commit <= state.last_index:
                raise Violation(
                    "order of indexes",
                    f"node {node.id}: applied {state.applied}, commit {state.commit}, last {state.last_index}",
                )
            for peer, progress in state.progress.items():
                if peer == node.id:
                    continue
                if progress.inflight > self.settings["max_inflight_messages"]:
                    raise Violation(
                        "bounded inflight", f"node {node.id} has {progress.inflight} messages out to {peer}"
                    )
                if progress.match >= progress.next or progress.match > state.last_index:
                    raise Violation("order of indexes", f"node {node.id}, progress of {peer}: {progress}")
            if state.role == "leader":
                self._office(node, state)
            kept = state.applied - state.first_index
            if kept > node.cluster.log_bound:
                raise Violation("bounded log", f"node {node.id} keeps {kept} applied entries in its log")
