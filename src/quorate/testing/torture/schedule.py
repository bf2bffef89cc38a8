"""What goes wrong when: the whole schedule of faults, drawn from the seed before anything begins.

A pure function. A fault names its victim as a draw or as an office ("leader"), because who leads is known only then.
Knows nothing of processes; :mod:`quorate.testing.torture.faults` carries it out.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quorate.errors import InvalidArgument

__all__ = ["ALONE", "FAULTS", "GROUPS", "Planned", "chosen", "plan"]

FAULTS: Final[dict[str, str]] = {
    "kill": "kill -9 of one node, and its start on the same data",
    "power": "kill -9 of all nodes at once, with or without the loss of unsynced writes",
    "restart": "an orderly stop and start of one node",
    "rolling": "a rolling restart of all nodes, one after the other",
    "pause": "SIGSTOP of one node for a random time",
    "gil": "a C call in a node's process that does not let go of the GIL",
    "holder": "a client that holds a lock is killed, or stopped until after its lease and let go on",
    "transfer": "leadership is handed over by request",
    "partition": "a minority on one side, a majority on the other",
    "isolate": "the leader cut off from everybody",
    "one_way": "messages pass in one direction only",
    "bridge": "two halves that only one node sees both of",
    "ring": "every node sees a majority, and no two the same one",
    "delay": "messages take long, and not equally long",
    "loss": "packets are lost and sent again, connections break",
    "slow_sync": "fdatasync takes up to seconds on one node",
    "failing_sync": "fdatasync fails on one node, which then has to stop",
    "full_disk": "one node's disk is full for a while",
    "torn": "the unsynced last write of a killed node is lost in part",
    "flip": "a bit flips in a stopped node's log: it must refuse, and is replaced by another member",
    "clock": "a node's wall clock jumps by hours, both ways",
    "membership": "a member is added, and another one removed",
}
"""Every kind, with what it is in words."""

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "processes": ("kill", "power", "restart", "rolling", "pause", "gil", "holder", "transfer"),
    "network": ("partition", "isolate", "one_way", "bridge", "ring", "delay", "loss"),
    "disks": ("slow_sync", "failing_sync", "full_disk", "torn", "flip"),
    "clocks": ("clock",),
    "members": ("membership", "flip"),
}
"""Words for several at once; ``all`` and ``none`` are two more."""

ALONE: Final = frozenset({"power", "rolling", "flip", "membership", "torn"})
"""These need the others of the cluster whole for what they do."""

REST_SECONDS: Final = (0.6, 2.0)
"""Between the end of one fault and the next one, so that each begins in a cluster that works, or nearly."""
COMPANY: Final = (0.35, 0.35, 0.35)
"""How often a fault has another one in its company, that one a third, and so on."""


@dataclass(frozen=True)
class Planned:
    """One fault: it begins ``at`` seconds after the load, and lasts ``seconds``."""

    number: int
    at: float
    seconds: float
    kind: str
    victim: str
    """``leader``, ``follower``, ``any``, or what the kind makes of it."""
    draw: float
    """From 0 to below 1: chooses among the nodes that ``victim`` allows."""
    details: dict[str, Any]


def chosen(faults: str | Iterable[str]) -> tuple[str, ...]:
    """The kinds that a list of kinds and groups means, in the order of :data:`FAULTS`.

    Raises InvalidArgument for a word that is neither.

    >>> chosen("kill,clocks")
    ('kill', 'clock')
    """
    words = [each.strip() for each in (faults.split(",") if isinstance(faults, str) else faults)]
    found: set[str] = set()
    for word in words:
        if word == "all":
            found |= set(FAULTS)
        elif word in GROUPS:
            found |= set(GROUPS[word])
        elif word in FAULTS:
            found.add(word)
        elif word not in ("none", ""):
            raise InvalidArgument(
                f"there is no fault {word!r}; the groups are all, none, {', '.join(GROUPS)}; the faults "
                f"{', '.join(FAULTS)}"
            )
    return tuple(each for each in FAULTS if each in found)


def plan(seed: int, seconds: float, kinds: Sequence[str], nodes: int) -> tuple[Planned, ...]:
    """The faults of ``seconds`` of torture of a cluster of ``nodes``. The same arguments give the same schedule.

    Every kind comes once before any comes twice. Some come in company, unless they need a whole cluster.

    >>> plan(7, 20.0, ["kill", "pause"], 3) == plan(7, 20.0, ["kill", "pause"], 3)
    True
    """
    random_ = random.Random(f"{seed}/schedule/{nodes}")
    found: list[Planned] = []
    deck: list[str] = []
    at = random_.uniform(*REST_SECONDS)
    while kinds and at < seconds:
        kind = _next(random_, deck, kinds)
        first = _drawn(random_, len(found), at, kind)
        found.append(first)
        end = at + first.seconds
        others = [each for each in kinds if each not in ALONE and each != kind]
        for chance in COMPANY:
            if kind in ALONE or not others or random_.random() >= chance:
                break
            begin = at + random_.uniform(0.0, first.seconds)
            second = _drawn(random_, len(found), begin, random_.choice(others))
            found.append(second)
            end = max(end, begin + second.seconds)
        at = end + random_.uniform(*REST_SECONDS)
    return tuple(each for each in found if each.at + each.seconds <= seconds or each is found[0])


def _next(random_: random.Random, deck: list[str], kinds: Sequence[str]) -> str:
    if not deck:
        deck.extend(kinds)
        random_.shuffle(deck)
    return deck.pop()


def _drawn(random_: random.Random, number: int, at: float, kind: str) -> Planned:
    """The details of each kind. All of them draw equally often, so that one does not change what another one gets."""
    draw, choice, length = random_.random(), random_.random(), random_.random()
    victim = "leader" if choice < 0.5 else "any"
    details: dict[str, Any] = {"seed": random_.getrandbits(32)}
    seconds = 0.5 + 3.0 * length
    if kind in ("kill", "restart"):
        seconds = 0.05 if choice < 0.25 else 0.2 + 2.5 * length
    elif kind == "power":
        details |= {"tears": choice < 0.5}
        victim, seconds = "all", 0.1 + length
    elif kind in ("rolling", "membership", "transfer"):
        victim, seconds = "all" if kind == "rolling" else victim, 0.0
    elif kind == "pause":
        seconds = 0.05 + 5.0 * length * length
    elif kind == "holder":
        details |= {"kills": choice < 0.5}
        seconds = 1.0 + 4.0 * length
    elif kind == "gil":
        seconds = 0.5 + 4.0 * length
    elif kind in ("partition", "isolate", "one_way", "bridge", "ring"):
        victim = "leader" if kind == "isolate" else victim
        # Some connections break, on others the bytes only wait: then what was said before comes after the healing.
        details |= {"breaks": choice < 0.4, "inward": draw < 0.5}
        seconds = 0.3 + 5.0 * length
    elif kind == "delay":
        details |= {"delay_ms": (5.0, 30.0, 120.0)[int(draw * 3)], "clients": choice < 0.5}
    elif kind == "loss":
        details |= {"loss": (0.005, 0.02, 0.1)[int(draw * 3)], "resets": (0.0, 0.002, 0.02)[int(choice * 3)]}
    elif kind == "slow_sync":
        details |= {"sync_seconds": (0.02, 0.2, 2.5)[int(draw * 3)]}
    elif kind == "failing_sync":
        seconds = 0.3 + 1.5 * length
    elif kind == "torn":
        victim, seconds = "follower" if choice < 0.5 else "leader", 0.1 + length
    elif kind == "flip":
        victim, seconds = "any", 0.2
    elif kind == "full_disk":
        seconds = 3.0 + 5.0 * length  # so long that the log needs another segment
    elif kind == "clock":
        details |= {"jump_seconds": (-86_400, -30, 30, 3_600, 86_400 * 400)[int(draw * 5)]}
    return Planned(number, round(at, 3), round(seconds, 3), kind, victim, draw, details)
