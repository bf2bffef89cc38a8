_Str = str | bytes
_Fence = tuple[_Str, int]

def validate(data: bytes, *, known_version: int = 1) -> str | None: ...
def put(
    key: _Str,
    value: _Str,
    *,
    session: int = 0,
    number: int | None = None,
    mark: int = 0,
    owned: bool = False,
    fence: _Fence | None = None,
    version: int = 1,
) -> bytes: ...
def delete(
    key: _Str, *, session: int = 0, number: int | None = None, mark: int = 0, fence: _Fence | None = None
) -> bytes: ...
def delete_range(
    start: _Str,
    end: _Str = b"",
    *,
    limit: int = 0,
    session: int = 0,
    number: int | None = None,
    mark: int = 0,
    fence: _Fence | None = None,
) -> bytes: ...
def compare_and_set(
    key: _Str,
    value: _Str,
    mod_revision: int,
    *,
    session: int = 0,
    number: int | None = None,
    mark: int = 0,
    owned: bool = False,
    fence: _Fence | None = None,
) -> bytes: ...
def increment(
    key: _Str,
    by: int = 1,
    *,
    session: int = 0,
    number: int | None = None,
    mark: int = 0,
    owned: bool = False,
    fence: _Fence | None = None,
) -> bytes: ...
def compare(key: _Str, target: str, relation: str, operand: int | _Str) -> bytes: ...
def do_put(key: _Str, value: _Str, *, owned: bool = False) -> bytes: ...
def do_delete(key: _Str) -> bytes: ...
def do_delete_range(start: _Str, end: _Str = b"", limit: int = 0) -> bytes: ...
def do_increment(key: _Str, by: int = 1, *, owned: bool = False) -> bytes: ...
def do_get(key: _Str) -> bytes: ...
def do_range(start: _Str, end: _Str = b"", limit: int = 0) -> bytes: ...
def transaction(
    compares: list[bytes],
    then: list[bytes],
    otherwise: list[bytes] = [],
    *,
    session: int = 0,
    number: int | None = None,
    mark: int = 0,
    fence: _Fence | None = None,
) -> bytes: ...
def session_open(nonce: bytes, ttl_ms: int, *, label: _Str = b"", now_ms: int = 0) -> bytes: ...
def session_end(session: int, reason: int) -> bytes: ...
def acquire(
    name: _Str,
    *,
    session: int,
    acquisition: int,
    kind: int = 1,
    capacity: int = 1,
    units: int = 1,
    wait: bool = True,
    value: _Str = b"",
    now_ms: int = 0,
    number: int | None = None,
    mark: int = 0,
) -> bytes: ...
def release(*, session: int, acquisition: int, number: int | None = None, mark: int = 0) -> bytes: ...
def cancel(*, session: int, acquisition: int, number: int | None = None, mark: int = 0) -> bytes: ...
def holder_value(value: _Str, *, session: int, acquisition: int, number: int | None = None, mark: int = 0) -> bytes: ...
def force_release(
    name: _Str,
    reason: _Str,
    *,
    token: int = 0,
    now_ms: int = 0,
    session: int = 0,
    number: int | None = None,
    mark: int = 0,
) -> bytes: ...
def set_limits(limits: dict[int, int], *, session: int = 0, number: int | None = None, mark: int = 0) -> bytes: ...
def set_version(version: int) -> bytes: ...
def compact_history(revision: int) -> bytes: ...
