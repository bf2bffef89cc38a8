"""What every placement algorithm can do, so that each can stand for another. Knows none of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias, runtime_checkable

__all__ = ["Key", "Placement"]

Key: TypeAlias = str | bytes | bytearray | memoryview
"""A str (its UTF-8 form counts) or anything bytes-like; both have the same owner for the same bytes."""


@runtime_checkable
class Placement(Protocol):
    """Maps keys to nodes, which have names.

    The same for all: a key that is neither str nor bytes-like is a TypeError; looking up a key where no node is raises
    :class:`quorate.errors.EmptyRing`; a number of nodes outside of what there is raises
    :class:`quorate.errors.InvalidArgument`. A placement is an immutable value: what changes it returns a new one, and
    any thread may read it at any time.

    >>> from quorate.ring import Ring
    >>> isinstance(Ring(["a", "b"]), Placement)
    True
    """

    def __getitem__(self, key: Key, /) -> str:
        """The node that owns the key."""

    def node(self, key: Key, /) -> str:
        """The same as ``self[key]``."""

    def nodes(self, key: Key, n: int, *, zones: bool = False) -> tuple[str, ...]:
        """The first ``n`` distinct nodes for the key, in order of preference; the first is the owner. With ``zones``,
        zones take turns."""

    def node_many(self, keys: Iterable[Key]) -> list[str]:
        """The owner of each key, in order."""

    def __len__(self) -> int:
        """How many nodes there are."""

    def __iter__(self) -> Iterator[str]:
        """The names of the nodes."""

    def __contains__(self, name: object, /) -> bool:
        """Whether a node of this name takes part."""
