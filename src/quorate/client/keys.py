"""Keys, values and names as users write them, checked before anything is sent. Knows nothing of operations."""

from __future__ import annotations

from typing import Final, TypeAlias

from quorate.errors import InvalidArgument
from quorate.limits import KEY_BYTES_MAX, PERMIT_NAME_MAX, VALUE_BYTES_MAX

__all__ = ["Fence", "Key", "Value", "fence_of", "key_of", "name_of", "prefix_end", "range_of", "value_of"]

Key: TypeAlias = "str | bytes"
Value: TypeAlias = "bytes | bytearray | memoryview"
Fence: TypeAlias = "tuple[str | bytes, int]"
"""(name of a lock, token): the write is done only while that token holds the lock."""

_LAST_TOKEN: Final = (1 << 64) - 1


def _raw(key: Key, what: str) -> bytes:
    if isinstance(key, bytes):
        return key
    if isinstance(key, str):
        try:
            return key.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"the {what} {key!r} cannot be written as UTF-8: {error.reason}") from None
    raise InvalidArgument(f"a {what} is str or bytes, not {type(key).__name__}")


def key_of(key: Key, prefix: bytes = b"") -> bytes:
    """The bytes of a key inside a namespace.

    >>> key_of("rate", b"app/")
    b'app/rate'
    """
    raw = _raw(key, "key")
    if not raw:
        raise InvalidArgument("a key has at least one byte")
    if prefix:
        raw = prefix + raw
    if len(raw) > KEY_BYTES_MAX:
        raise InvalidArgument(f"a key has at most {KEY_BYTES_MAX} bytes, with its namespace, not {len(raw)}")
    return raw


def value_of(value: Value) -> bytes:
    """The bytes of a value. Raises InvalidArgument for text: whoever reads it has to know its encoding."""
    if not isinstance(value, bytes):
        if isinstance(value, str):
            raise InvalidArgument("values are bytes; encode text first: value.encode()")
        try:
            value = bytes(memoryview(value))
        except TypeError:
            raise InvalidArgument(f"a value is bytes, not {type(value).__name__}") from None
    if len(value) > VALUE_BYTES_MAX:
        raise InvalidArgument(f"a value has at most {VALUE_BYTES_MAX} bytes, not {len(value)}")
    return value


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that begin with a prefix; empty if there is none.

    >>> prefix_end(b"app/"), prefix_end(b"a\\xff"), prefix_end(b"")
    (b'app0', b'b', b'')
    """
    body = prefix.rstrip(b"\xff")
    return body[:-1] + bytes([body[-1] + 1]) if body else b""


def range_of(start: Key, end: Key, prefix: Key | None, namespace: bytes) -> tuple[bytes, bytes]:
    """(start, end) in full length of what is asked for by start and end, or by a prefix.

    >>> range_of("", "", None, b"app/"), range_of("", "", "x", b"")
    ((b'app/', b'app0'), (b'x', b'y'))
    """
    if prefix is not None:
        if start or end:
            raise InvalidArgument("a range is given by start and end, or by prefix=, not by both")
        whole = namespace + _raw(prefix, "prefix")
        first, last = whole, prefix_end(whole)
    else:
        first = namespace + _raw(start, "key")
        last = namespace + _raw(end, "key") if end else prefix_end(namespace)
    if max(len(first), len(last)) > KEY_BYTES_MAX:
        raise InvalidArgument(f"the ends of a range have at most {KEY_BYTES_MAX} bytes, with their namespace")
    return first, last


def name_of(name: Key, prefix: bytes, of: str = "lock") -> bytes:
    """The bytes of the name of a lock, or of another recipe, inside a namespace."""
    raw = _raw(name, f"name of a {of}")
    if not raw or len(prefix) + len(raw) > PERMIT_NAME_MAX:
        raise InvalidArgument(f"a name of a {of} has 1 to {PERMIT_NAME_MAX} bytes, with its namespace, not {len(raw)}")
    return prefix + raw


def fence_of(fence: Fence | None, prefix: bytes) -> tuple[bytes, int] | None:
    """(name in full length, token)."""
    if fence is None:
        return None
    try:
        lock, token = fence
    except (TypeError, ValueError):
        raise InvalidArgument(f"if_fence is (name of the lock, token), not {fence!r}") from None
    name = name_of(lock, prefix)
    if isinstance(token, bool) or not isinstance(token, int) or not 0 < token <= _LAST_TOKEN:
        raise InvalidArgument(f"a token is the positive integer that came with the lock, not {token!r}")
    return name, token
