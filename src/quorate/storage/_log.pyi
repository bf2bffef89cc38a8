from collections.abc import Callable, Iterable
from types import TracebackType
from typing import final

from quorate.errors import StorageError
from quorate.storage._io import Faults
from quorate.storage._replay import Replayed
from quorate.storage.directory import DataDirectory, Identity

SEGMENT_BYTES: int
SEGMENT_BYTES_MIN: int
FAILED_ADVICE: str

@final
class Log:
    recovered: Replayed | None
    report: list[str]
    directory: DataDirectory | None
    identity: Identity
    def __new__(
        cls,
        directory: DataDirectory | None,
        *,
        identity: Identity | None = None,
        segment_bytes: int | None = None,
        sync: bool = True,
        notify_fd: int = -1,
        progress: Callable[[int, int], object] | None = None,
        faults: Faults | None = None,
    ) -> Log: ...
    def close(self) -> None: ...
    def __enter__(self) -> Log: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def append(
        self,
        entries: Iterable[tuple[int, bytes] | tuple[int, bytes, int]] = (),
        *,
        first_index: int | None = None,
        hard_state: tuple[int, int | None, int] | None = None,
        base: tuple[int, int] | None = None,
        reset: tuple[int, int] | None = None,
        essential: bool = False,
        timeout: float = 30.0,
    ) -> int: ...
    def wait(self, ticket: int | None = None, timeout: float = 30.0) -> tuple[int, int]: ...
    def sync(self, ticket: int | None = None, timeout: float = 30.0) -> tuple[int, int]: ...
    @property
    def completed(self) -> tuple[int, int, int]: ...
    @property
    def full(self) -> bool: ...
    @property
    def failed(self) -> StorageError | None: ...
    @property
    def last(self) -> tuple[int, int]: ...
    @property
    def segments(self) -> list[int]: ...
    @property
    def deleting(self) -> bool: ...
    @property
    def statistics(self) -> dict[str, int]: ...
    @property
    def durable(self) -> bool: ...
    def read(self) -> Replayed: ...
