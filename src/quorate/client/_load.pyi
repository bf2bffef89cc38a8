from typing import Any, Protocol

from quorate.runtime._requests import Door

class _Engine(Protocol):
    def door(self) -> Door: ...

WINDOW_MAX: int
COUNT_MAX: int

def load(
    engine: _Engine, commands: list[bytes], *, count: int, window: int, timeout: float = 5.0
) -> dict[str, Any]: ...
