"""What the offline commands need of the store and of Raft: content carried to a new index, a first configuration.

Loaded when such a command runs. Shared by ``snapshot save``, ``snapshot restore`` and ``recover``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quorate.raft import COMMAND
from quorate.raft.types import Configuration
from quorate.store import Store

__all__ = ["first_configuration", "fold"]


def fold(content: Iterator[bytes], entries: Iterable[tuple[int, int, int, bytes]], index: int) -> Iterator[bytes]:
    """The store's content with the entries applied, as of the new index."""
    first = next(content, None)
    if first is None:
        store = Store()
    else:

        def all_of_it() -> Iterator[bytes]:
            yield first
            yield from content

        store = Store.restore(all_of_it())
    for at, term, kind, data in entries:
        # Configurations of the old cluster mean nothing in the new one.
        if kind == COMMAND:
            store.apply(at, term, data)
        else:
            store.skip(at, term)
    if index > store.applied_index:
        store.rebase(index)
    snapshot = store.snapshot()
    while part := snapshot.read():
        yield part


def first_configuration(
    members: Iterable[int], *, index: int = 0, incarnations: Iterable[tuple[int, int]] = ()
) -> bytes:
    """The bytes of a configuration of these voters."""
    from quorate.raft._configuration import encode_configuration

    return encode_configuration(
        Configuration(index=index, incoming=tuple(sorted(members)), incarnations=tuple(sorted(incarnations)))
    )
