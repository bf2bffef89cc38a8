"""What is asked about members, and what is made of the answers: bytes of the questions, and the way of a new member in.

Works over any engine that has ``ask(kind, body, timeout)``: a node in this process, or a client. Knows neither.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from quorate.errors import ConnectionLost, InvalidArgument, NoQuorum, NotLeader, Rejected, RequestTimeout
from quorate.limits import NODE_NAME_MAX

__all__ = ["Manager", "Member", "Membership", "encode_place", "member_id"]

REQUEST_MEMBERS: Final = 8
REQUEST_CHANGE: Final = 9
REQUEST_TRANSFER: Final = 10
"""Kinds of questions, as `runtime/structs.hpp` numbers them."""

ADD, PROMOTE, REMOVE, MOVE, DEMOTE = 1, 2, 3, 4, 5
FORCE: Final = 1
VOTER, LEAVING, CONNECTED, SELF, KNOWN, REFUSED = 1, 2, 4, 8, 16, 32

POLL_SECONDS: Final = 0.05
"""How often it is looked whether a learner has caught up."""
ASK_SECONDS: Final = 5.0
"""One question; a longer wait asks several times, so that a leader that fell silent is not waited for."""

Ask = Callable[[int, bytes, float], tuple[int, bytes | None]]
"""(kind, body, timeout in seconds) → (index, result). Raises what became of the question."""


def member_id(name: str) -> int:
    """The id of a member that is added by its name: drawn from it, so that the node and the cluster agree unasked.

    >>> member_id("d") == member_id("d") != member_id("e")
    True
    """
    # Behind small ids, which the first members have, and where every JSON parser counts exactly.
    found = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, person=b"quorate member").digest(), "big")
    return (1 << 32) + found % (1 << 52)


def encode_place(name: str, address: str) -> bytes:
    """What a configuration says of a member: u8 + name, u8 + address.

    Raises InvalidArgument if one is longer than 255 bytes, or the name empty.
    """
    called, found = name.encode(), address.encode()
    if not 0 < len(called) <= NODE_NAME_MAX:
        raise InvalidArgument(f"a member's name has 1 to {NODE_NAME_MAX} bytes, not {len(called)}")
    if len(found) > 255:
        raise InvalidArgument(f"an address has at most 255 bytes, not {len(found)}")
    return bytes([len(called)]) + called + bytes([len(found)]) + found


def encode_change(*changes: tuple[int, int, str, str], force: bool = False) -> bytes:
    """The body of REQUEST_CHANGE: (what, id, name, address) each."""
    parts = [struct.pack("<BH", FORCE if force else 0, len(changes))]
    for what, id, name, address in changes:
        if not 0 < id < 1 << 64:
            raise InvalidArgument(f"an id is from 1 to 2**64 - 1, not {id}")
        place = encode_place(name or "-", address)
        parts.append(struct.pack("<BQ", what, id) + (place if name else b"\0" + place[2:]))
    return b"".join(parts)


@dataclass(frozen=True)
class Member:
    """One member, as a node sees it.

    ``match``, ``lag`` (entries) and ``silent`` (seconds) are known to the leader alone; else None. ``connected``:
    whether the node that was asked has a connection to it. ``trouble`` says in words what an operator has to do.
    """

    id: int
    name: str
    address: str
    role: Literal["voter", "learner", "leaving"]
    leader: bool
    connected: bool
    incarnation: int | None
    match: int | None
    lag: int | None
    silent: float | None
    trouble: str | None = None


@dataclass(frozen=True)
class Membership:
    """The members as of the configuration at ``index``; ``joint`` while a larger change is under way."""

    index: int
    leader: int | None
    last_index: int
    joint: bool
    members: tuple[Member, ...]

    @classmethod
    def decode(cls, data: bytes) -> Membership:
        """Reads the answer to REQUEST_MEMBERS. Raises InvalidArgument if the bytes are none."""
        try:
            return cls._decode(data)
        except (struct.error, IndexError, UnicodeDecodeError):
            raise InvalidArgument("these bytes are no list of members") from None

    @classmethod
    def _decode(cls, data: bytes) -> Membership:
        index, leader, last, joint, count = struct.unpack_from("<QQQBH", data)
        at = 27
        members = []

        def text() -> str:
            nonlocal at
            length = data[at]
            at += 1 + length
            return data[at - length : at].decode()

        for _ in range(count):
            (id,) = struct.unpack_from("<Q", data, at)
            at += 8
            name, address = text(), text()
            flags, incarnation, match, silent = struct.unpack_from("<BQQQ", data, at)
            at += 25
            known = bool(flags & KNOWN)
            trouble = None
            if flags & REFUSED:
                trouble = (
                    "its data are not those that its id is bound to (a wiped or another directory, or a lost memory): "
                    "remove this member, and add it again with an empty directory"
                )
            members.append(
                Member(
                    id=id,
                    name=name or str(id),
                    address=address,
                    role="voter" if flags & VOTER else "leaving" if flags & LEAVING else "learner",
                    leader=id == leader,
                    connected=bool(flags & CONNECTED),
                    incarnation=incarnation or None,
                    match=match if known else None,
                    lag=max(last - match, 0) if known else None,
                    silent=silent / 1e6 if known else None,
                    trouble=trouble,
                )
            )
        return cls(index, leader or None, last, bool(joint), tuple(members))

    def find(self, who: int | str) -> Member | None:
        """By id or by name."""
        for each in self.members:
            if who in (each.id, each.name):
                return each
        return None


class Manager:
    """Changes the members of a cluster through an engine that asks. All times are seconds.

    Each method returns when the change is committed and applied, and may be called again after an error: what is done
    already is not done twice. Raises Rejected (the message says why), InvalidArgument, NoQuorum, NotLeader,
    RequestTimeout and ConnectionLost (it may have happened).
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def members(self, *, timeout: float = 5.0, local: bool = False) -> Membership:
        """The members as the leader sees them; ``local``: as this node does, also without a leader."""
        found = self._ask(REQUEST_MEMBERS, b"\1" if local else b"", timeout)[1]
        return Membership.decode(found or b"")

    def add(
        self, name: str, address: str, *, id: int | None = None, promote: bool = True, timeout: float = 60.0
    ) -> Member:
        """Adds a member that starts with nothing: as a learner, until it has caught up, then as a voter.

        ``promote=False`` leaves it a learner. A node that was replaced comes back under another name, or the old one is
        removed first. After RequestTimeout it is a learner, and the call can be made again.
        """
        deadline = time.monotonic() + timeout
        chosen = member_id(name) if id is None else id

        def there(now: Membership) -> bool:
            found = now.find(chosen)
            return found is not None and (found.name, found.address) == (name, address)

        if not there(self._members(deadline)):
            self._change(encode_change((ADD, chosen, name, address)), there, deadline)
        if promote:
            return self.promote(chosen, timeout=max(deadline - time.monotonic(), 0.0))
        return self._member(chosen, deadline)

    def promote(self, who: int | str, *, timeout: float = 60.0) -> Member:
        """Makes a learner a voter, once it has caught up. Does nothing to a voter."""
        deadline = time.monotonic() + timeout
        found = self._caught_up(who, deadline)
        if found.role != "voter":
            self._change(
                encode_change((PROMOTE, found.id, "", "")), lambda now: _role(now, found.id) == "voter", deadline
            )
        return self._member(found.id, deadline)

    def remove(self, who: int | str, *, force: bool = False, timeout: float = 10.0) -> None:
        """Takes a member out, whether it runs or not. ``force``: also if too few of the others answer now."""
        deadline = time.monotonic() + timeout
        found = self._member(who, deadline)
        self._change(
            encode_change((REMOVE, found.id, "", ""), force=force), lambda now: now.find(found.id) is None, deadline
        )

    def demote(self, who: int | str, *, timeout: float = 10.0) -> Member:
        """Makes a voter a learner, which gets the log and does not decide."""
        deadline = time.monotonic() + timeout
        found = self._member(who, deadline)
        if found.role != "learner":
            self._change(
                encode_change((DEMOTE, found.id, "", "")), lambda now: _role(now, found.id) == "learner", deadline
            )
        return self._member(found.id, deadline)

    def replace(
        self, old: int | str, name: str, address: str, *, id: int | None = None, timeout: float = 60.0
    ) -> Member:
        """Puts a new member in the place of another, dead or alive, in one step: never one vote less or more.

        The new one catches up as a learner first. It joins with an empty directory, under a name of its own.
        """
        deadline = time.monotonic() + timeout
        leaving = self._members(deadline).find(old)
        made = self.add(name, address, id=id, promote=False, timeout=timeout)
        if leaving is None:
            return self.promote(made.id, timeout=max(deadline - time.monotonic(), 0.0))
        made = self._caught_up(made.id, deadline)
        self._change(
            encode_change((PROMOTE, made.id, "", ""), (REMOVE, leaving.id, "", "")),
            lambda now: _role(now, made.id) == "voter" and now.find(leaving.id) is None,
            deadline,
        )
        return self._member(made.id, deadline)

    def change_address(self, who: int | str, address: str, *, timeout: float = 10.0) -> Member:
        """Says that a member is found somewhere else. The member itself is started there, before or after."""
        deadline = time.monotonic() + timeout
        found = self._member(who, deadline)

        def moved(now: Membership) -> bool:
            there = now.find(found.id)
            return there is not None and there.address == address

        if found.address != address:
            self._change(encode_change((MOVE, found.id, found.name, address)), moved, deadline)
        return self._member(found.id, deadline)

    def transfer(self, to: int | str | None = None, *, timeout: float = 5.0) -> Member:
        """Hands leadership over, to the best of the others or to one by name; returns who leads then."""
        deadline = time.monotonic() + timeout
        before = self._members(deadline)
        target = 0
        if to is not None:
            found = before.find(to)
            if found is None:
                raise Rejected(f"there is no member {to!r}")
            target = found.id
        while True:
            try:
                self._ask(REQUEST_TRANSFER, struct.pack("<Q", target), max(deadline - time.monotonic(), 0.0))
            except (ConnectionLost, NotLeader, NoQuorum):
                # The office went over in between, which is what was wanted, or nobody took it.
                if time.monotonic() + POLL_SECONDS >= deadline:
                    raise
            now = self._members(deadline)
            leader = next((each for each in now.members if each.leader), None)
            if leader is not None and (leader.id == target or (target == 0 and leader.id != before.leader)):
                return leader
            if time.monotonic() >= deadline:
                raise RequestTimeout("leadership was not taken over in time")
            time.sleep(POLL_SECONDS)

    def _members(self, deadline: float) -> Membership:
        return self.members(timeout=min(max(deadline - time.monotonic(), 0.1), ASK_SECONDS))

    def _member(self, who: int | str, deadline: float) -> Member:
        found = self._members(deadline).find(who)
        if found is None:
            raise Rejected(f"there is no member {who!r}")
        return found

    def _change(self, body: bytes, reached: Callable[[Membership], bool], deadline: float) -> None:
        """Asks for a change until it is there: an answer may be lost along with the leader that gave it."""
        while True:
            left = deadline - time.monotonic()
            try:
                self._ask(REQUEST_CHANGE, body, max(min(left, ASK_SECONDS), 0.0))
                return
            except (ConnectionLost, RequestTimeout, NotLeader) as error:
                if deadline - time.monotonic() <= POLL_SECONDS:
                    raise
                if not isinstance(error, NotLeader) and reached(self._members(deadline)):
                    return
            time.sleep(POLL_SECONDS)

    def _caught_up(self, who: int | str, deadline: float) -> Member:
        """Waits until a learner has what the leader had a moment ago (dissertation §4.2.1: rounds)."""
        goal: int | None = None
        while True:
            now = self._members(deadline)
            found = now.find(who)
            if found is None:
                raise Rejected(f"there is no member {who!r}")
            if found.role == "voter" or (goal is not None and found.match is not None and found.match >= goal):
                return found
            if time.monotonic() >= deadline:
                why = found.trouble or ("" if found.connected else "there is no connection to it")
                raise RequestTimeout(
                    f"{found.name!r} has not caught up{': ' if why else ''}{why}; it stays a learner, and the call can "
                    "be made again"
                )
            goal = now.last_index
            time.sleep(POLL_SECONDS)


def _role(now: Membership, id: int) -> str | None:
    found = now.find(id)
    return None if found is None or now.joint else found.role
