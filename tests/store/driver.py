"""A store with its own counter of entries, so that tests read as a list of commands."""

from __future__ import annotations

from quorate.store import Store
from quorate.store import commands as c
from quorate.store.views import Result, Status


class Driver:
    def __init__(self, store: Store | None = None) -> None:
        self.store = store or Store()
        self.index = self.store.applied_index

    def do(self, command: bytes) -> Result:
        self.index += 1
        return self.store.apply(self.index, 1, command)

    def ok(self, command: bytes) -> Result:
        result = self.do(command)
        assert result.status in (Status.OK, Status.QUEUED), result
        return result

    def open(self, nonce: int = 1, ttl_ms: int = 10_000) -> int:
        return self.ok(c.session_open(bytes([nonce]) * 16, ttl_ms)).number

    def value(self, key: bytes | str) -> bytes | None:
        return self.store.reader.value(key)

    def saved(self) -> bytes:
        with self.store.snapshot() as snapshot:
            return b"".join(snapshot)
