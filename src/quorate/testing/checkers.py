"""What must hold of a cluster as a whole, checked from outside of the nodes after every step that could break it.

Sees everything that the nodes see and their disks besides; changes nothing, and uses nothing of the protocol's own code
to judge it. Names and numbers are those of the Raft paper, Figure 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from quorate.testing.node import SimNode

__all__ = ["Checkers", "Violation"]


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
    # -------------------------------------------------------------------------------------------

    def became_leader(self, node: SimNode, term: int) -> None:
        """Election Safety: at most one leader in a term. Leader Completeness: it has all that was committed before."""
        known = self.leaders.setdefault(term, (node.id, node.life))
        if known != (node.id, node.life):
            raise Violation("election safety", f"nodes {known[0]} and {node.id} both lead term {term}")
        self.complete(node, term)

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
            self.durable_quorum(node, new, log.term(new))

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
    # -------------------------------------------------------------------------------

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

    # -- bounds, sampled
    # ------------------------------------------------------------------------------------------------

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
            kept = state.applied - state.first_index
            if kept > node.cluster.log_bound:
                raise Violation("bounded log", f"node {node.id} keeps {kept} applied entries in its log")
