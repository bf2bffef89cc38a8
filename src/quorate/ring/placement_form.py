"""The canonical byte form of the placements other than the ring. Knows the layout and no algorithm.

All numbers are little-endian::

    4  magic b"QPLC"       8  seed                   then for each node, in the placement's own order:
    2  version, 1          8  epoch                      1  length of the name, the name in UTF-8
    1  kind                8  parameter of the kind      8  weight, IEEE 754 double
    1  flags, 0            4  number of nodes            1  length of the zone (0: none), the zone in UTF-8
                           4  length of the payload  then the payload, and at the end 8: XXH3-64 of all bytes before

The bytes may come from outside, so every length is checked against what is there before anything is made of it, and a
placement made from them must have these very bytes again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from quorate.errors import InvalidArgument
from quorate.limits import RING_NODES_MAX
from quorate.ring._hash import hash64
from quorate.ring._member import Member

__all__ = ["KINDS", "Form", "check_same", "decode", "encode", "fingerprint", "wrong"]

MAGIC = b"QPLC"
VERSION = 1
KINDS = {"Jump": 1, "JumpBack": 2, "Rendezvous": 3, "Maglev": 4, "Ketama": 5, "SlotMap": 6}
HEAD = struct.Struct("<4sHBBQQQII")
WEIGHT = struct.Struct("<d")
CHECK = struct.Struct("<Q")


class Form(NamedTuple):
    """What a byte form says."""

    seed: int
    epoch: int
    parameter: int
    members: list[Member]
    payload: bytes


def encode(kind: str, seed: int, epoch: int, parameter: int, members: Iterable[Member], payload: bytes) -> bytes:
    """The byte form of a placement of this kind."""
    parts = []
    for member in members:
        name, zone = member.name.encode(), (member.zone or "").encode()
        parts += [bytes([len(name)]), name, WEIGHT.pack(member.weight), bytes([len(zone)]), zone]
    head = HEAD.pack(MAGIC, VERSION, KINDS[kind], 0, seed, epoch, parameter, len(parts) // 5, len(payload))
    content = b"".join([head, *parts, payload])
    return content + CHECK.pack(hash64(content))


def fingerprint(form: bytes) -> int:
    """64 bits of a byte form: its own check."""
    (check,) = CHECK.unpack(form[-CHECK.size :])
    return int(check)


def wrong(kind: str, what: str) -> InvalidArgument:
    return InvalidArgument(f"not the byte form of a {kind}: {what}")


def decode(kind: str, data: Any) -> Form:
    """What a byte form says; InvalidArgument tells what is wrong with it, and what is not bytes-like is a TypeError."""
    form = bytes(memoryview(data))
    if len(form) < HEAD.size + CHECK.size:
        raise wrong(kind, f"{len(form)} bytes are fewer than the {HEAD.size + CHECK.size} of an empty one")
    magic, version, number, flags, seed, epoch, parameter, count, payload_length = HEAD.unpack_from(form)
    if magic != MAGIC:
        raise wrong(kind, f"it begins with {magic!r} and not with {MAGIC!r}")
    if version != VERSION:
        # Asked before the check, because another version may be checked in another way.
        raise wrong(
            kind, f"it has version {version}, and this release reads version {VERSION}; upgrade the reader first"
        )
    if CHECK.unpack_from(form, len(form) - CHECK.size)[0] != hash64(form[: -CHECK.size]):
        raise wrong(kind, "its check does not agree: bytes were altered or lost")
    if number != KINDS[kind]:
        found = next((name for name, code in KINDS.items() if code == number), f"kind {number}")
        raise wrong(kind, f"it is one of {found}")
    if flags:
        raise wrong(kind, f"its flags are {flags:#x}, and version {VERSION} has none")
    if count > RING_NODES_MAX:
        raise wrong(kind, f"it claims {count} nodes, and at most {RING_NODES_MAX} are allowed")
    at, end = HEAD.size, len(form) - CHECK.size
    members: list[Member] = []

    def take(size: int) -> bytes:
        nonlocal at
        if end - at < size:
            raise wrong(kind, f"it ends inside node {len(members)} of {count}")
        at += size
        return form[at - size : at]

    for _ in range(count):
        name = take(take(1)[0])
        (weight,) = WEIGHT.unpack(take(WEIGHT.size))
        zone = take(take(1)[0])
        try:
            members.append(Member(name.decode(), weight, zone.decode() if zone else None))
        except UnicodeDecodeError:
            raise wrong(kind, f"a name or zone of node {len(members)} is not UTF-8") from None
    if end - at != payload_length:
        raise wrong(kind, f"{end - at} bytes follow its nodes, and it says {payload_length}")
    return Form(seed, epoch, parameter, members, form[at:end])


def check_same(kind: str, data: Any, placement: Any) -> None:
    """Refuses a form that is sound but not the one that the placement has, for instance one with nodes out of order."""
    if placement.to_bytes() != bytes(data):
        raise wrong(kind, "it is not canonical")
