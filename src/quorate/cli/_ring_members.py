"""How members of a ring are written on a command line: ``n1``, ``n3:2``, ``n3:2@eu``.

Knows the notation only; whether a name or a weight is allowed is for the ring to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from quorate.errors import InvalidArgument
from quorate.ring import Member

__all__ = ["NOTATION", "parse_member", "parse_members"]

NOTATION: Final = "NAME, NAME:WEIGHT or NAME:WEIGHT@ZONE"
PORT_LIKE: Final = 1000
"""From here on a number after a colon is more likely a port than a weight."""


def parse_member(text: str) -> Member:
    """One member from its notation.

    A number after the last colon is the weight. A name that ends in a port therefore needs its weight written out, and
    is refused without it, because a weight of 7401 is hardly what was meant. So is ``n3@eu:2``: its weight is late.

    >>> parse_member("n3:2@eu")
    Member('n3', weight=2.0, zone='eu')
    """
    name, at, zone = text.partition("@")
    if at and not zone:
        raise InvalidArgument(f"{text!r} ends in an @ without a zone; write {NOTATION}")
    head, colon, tail = name.rpartition(":")
    if not colon:
        if ":" in zone:
            raise InvalidArgument(
                f"{text!r} has a colon in its zone; the weight stands before the zone: {name}:1@{zone}"
            )
        return Member(name, zone=zone or None)
    if not tail:
        raise InvalidArgument(f"{text!r} has a colon without a weight; write {NOTATION}")
    try:
        weight = float(tail)
    except ValueError:
        return Member(name, zone=zone or None)  # a colon inside the name
    if weight >= PORT_LIKE:
        raise InvalidArgument(
            f"{text!r} would be {head!r} with a weight of {tail}; if {tail} is a port, write the weight too: {name}:1"
        )
    return Member(head, weight=weight, zone=zone or None)


def parse_members(texts: Iterable[str]) -> list[Member]:
    """Members from several texts, each of which may hold more than one, divided by spaces or commas."""
    return [parse_member(part) for text in texts for part in re.split(r"[\s,]+", text) if part]
