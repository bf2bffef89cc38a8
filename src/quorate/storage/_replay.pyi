from collections.abc import Callable
from typing import final

from quorate.storage._io import Faults

ADVICE: str

@final
class Replayed:
    segments: list[tuple[str, int, int, bool, int]]
    cut: tuple[str, int, int, str] | None
    orphan: str | None
    cluster: bytes | None
    node: int | None
    incarnation: int | None
    segment_bytes: int | None
    def __init__(self) -> None: ...
    @property
    def hard_state(self) -> tuple[int, int, int]: ...
    @property
    def base(self) -> tuple[int, int]: ...
    @property
    def last(self) -> tuple[int, int]: ...
    @property
    def records(self) -> int: ...
    def term_of(self, index: int) -> int: ...
    def entries(self) -> list[tuple[int, int, int, bytes]]: ...

def segment_files(directory: str) -> dict[int, str]: ...
def replay(
    directory: str, faults: Faults | None = None, *, progress: Callable[[int, int], object] | None = None
) -> Replayed: ...
