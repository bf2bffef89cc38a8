from typing import final

@final
class Pending:
    timeout: float
    def wait(self, timeout: float | None = None) -> tuple[int, bytes | None]: ...
    @property
    def done(self) -> bool: ...
