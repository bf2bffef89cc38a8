"""What a snapshot says of itself. A plain value, so that the compiled reader and the Python around it can share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CHUNK_BYTES", "SnapshotMeta"]

CHUNK_BYTES: Final = 256 * 1024
"""Bytes of content in one chunk unless one asks for another."""


@dataclass(frozen=True, kw_only=True)
class SnapshotMeta:
    """A snapshot covers the log up to and with (``term``, ``index``).

    ``configuration`` is the cluster configuration in force there, in the bytes of its owner, from the entry
    ``configuration_index``. ``id`` is drawn where the content was made, and kept by copies. ``cluster``, ``node`` and
    ``incarnation`` are of the directory that holds the file; ``content_format`` is the store's.
    """

    term: int
    index: int
    configuration: bytes
    configuration_index: int
    id: int
    cluster: bytes
    node: int
    incarnation: int
    content_format: int = 0
    chunk_bytes: int = CHUNK_BYTES

    def __repr__(self) -> str:
        return f"SnapshotMeta(term={self.term}, index={self.index}, id={self.id:016x})"
