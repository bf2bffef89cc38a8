from typing import final

from quorate.runtime._completions import Asked

@final
class Pending(Asked):
    timeout: float
    def wait(self, timeout: float | None = None) -> tuple[int, bytes | None]: ...
