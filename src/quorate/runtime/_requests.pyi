from typing import final

from quorate.runtime._completions import Asked

@final
class Pending(Asked):
    timeout: float
    def wait(self, timeout: float | None = None) -> tuple[int, bytes | None]: ...

@final
class Cork:
    def begin(self) -> None: ...
    def end(self) -> bool: ...
    def flush(self) -> None: ...

@final
class Door:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
