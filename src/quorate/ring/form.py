"""The canonical byte form of a ring: equal rings of one epoch have equal bytes. Knows the layout, not the hashing.

All numbers are little-endian::

    4  magic b"QRNG"        4  vnodes               then for each node, in ascending order of its name's bytes:
    2  version, 1           8  seed                     1  length of the name, the name in UTF-8
    2  flags, 0             8  epoch                    8  weight, IEEE 754 double
                            4  number of nodes          1  length of the zone (0: none), the zone in UTF-8
    at the end: 4  CRC32C of all bytes before

The bytes may come from outside, so that every length is checked against what is there before anything is made of it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

from quorate.errors import InvalidArgument
from quorate.limits import RING_NODES_MAX, RING_VNODES_MAX, RING_WEIGHT_MAX
from quorate.ring._hash import crc32c, hash64

__all__ = ["Node", "decode", "encode", "fingerprint"]

MAGIC = b"QRNG"
VERSION = 1
HEAD = struct.Struct("<4sHHIQQI")
WEIGHT = struct.Struct("<d")
CHECK = struct.Struct("<I")

Node = tuple[str, float, "str | None"]


def content(vnodes: int, seed: int, epoch: int, nodes: Iterable[Node], count: int) -> bytes:
    parts = [HEAD.pack(MAGIC, VERSION, 0, vnodes, seed, epoch, count)]
    for name, weight, zone in nodes:
        name_bytes = name.encode()
        zone_bytes = b"" if zone is None else zone.encode()
        parts += (bytes((len(name_bytes),)), name_bytes, WEIGHT.pack(weight), bytes((len(zone_bytes),)), zone_bytes)
    return b"".join(parts)


def encode(vnodes: int, seed: int, epoch: int, nodes: Iterable[Node], count: int) -> bytes:
    """The byte form; ``nodes`` are in ascending order of their names."""
    form = content(vnodes, seed, epoch, nodes, count)
    return form + CHECK.pack(crc32c(form))


def fingerprint(vnodes: int, seed: int, nodes: Iterable[Node], count: int) -> int:
    """64 bits of the content: the hash of the byte form with an epoch of 0 and without its check."""
    return hash64(content(vnodes, seed, 0, nodes, count))


def wrong(what: str) -> InvalidArgument:
    return InvalidArgument(f"not the byte form of a ring: {what}")


def decode(form: bytes) -> tuple[int, int, int, list[Node]]:
    """Vnodes, seed, epoch and nodes of a byte form; InvalidArgument says what is wrong with it."""
    if len(form) < HEAD.size + CHECK.size:
        raise wrong(f"{len(form)} bytes are fewer than the {HEAD.size + CHECK.size} of an empty ring")
    magic, version, flags, vnodes, seed, epoch, count = HEAD.unpack_from(form)
    if magic != MAGIC:
        raise wrong(f"it begins with {magic!r} and not with {MAGIC!r}")
    if version != VERSION:
        # Asked before the check, because another version may be checked in another way.
        raise wrong(f"it has version {version}, and this release reads version {VERSION}; upgrade the reader first")
    (check,) = CHECK.unpack_from(form, len(form) - CHECK.size)
    if check != crc32c(form[: -CHECK.size]):
        raise wrong("its CRC32C does not agree: bytes were altered or lost")
    if flags:
        raise wrong(f"its flags are {flags:#x}, and version {VERSION} has none")
    if not 1 <= vnodes <= RING_VNODES_MAX:
        raise wrong(f"vnodes must be from 1 to {RING_VNODES_MAX}, not {vnodes}")
    if count > RING_NODES_MAX:
        raise wrong(f"a ring has at most {RING_NODES_MAX} nodes, not {count}")
    return vnodes, seed, epoch, decode_nodes(form, count)


def decode_nodes(form: bytes, count: int) -> list[Node]:
    nodes: list[Node] = []
    at, end = HEAD.size, len(form) - CHECK.size
    before = b""

    def take(size: int) -> bytes:
        nonlocal at
        if end - at < size:
            raise wrong(f"it ends inside node {len(nodes)} of {count}")
        at += size
        return form[at - size : at]

    for _ in range(count):
        name = take(take(1)[0])
        (weight,) = WEIGHT.unpack(take(WEIGHT.size))
        zone = take(take(1)[0])
        if name <= before:
            raise wrong("its nodes are not in ascending order of distinct, non-empty names")
        if not (0 < weight <= RING_WEIGHT_MAX and math.isfinite(weight)):
            raise wrong(f"a weight must be above 0 and at most {RING_WEIGHT_MAX:g}, not {weight}")
        before = name
        try:
            nodes.append((name.decode(), weight, zone.decode() if zone else None))
        except UnicodeDecodeError:
            raise wrong(f"a name or zone of node {len(nodes)} is not UTF-8") from None
    if at != end:
        raise wrong(f"{end - at} bytes follow its last node")
    return nodes
