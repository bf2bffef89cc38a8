"""The store's hot paths under pytest-benchmark; `bench/store.py` gives the figures of a million keys.

pytest bench/test_store.py --benchmark-only
"""

from __future__ import annotations

from typing import Any

import pytest

from quorate.store import Store
from quorate.store import commands as c

VALUE = b"v" * 100
KEYS = [b"key/%012d" % number for number in range(10_000)]


@pytest.fixture(scope="module")
def store() -> Store:
    filled = Store()
    filled.apply_batch(1, 1, [c.put(key, VALUE) for key in KEYS], decode=False)
    return filled


def test_encode_a_put(benchmark: Any) -> None:
    benchmark(c.put, b"key/000000000000", VALUE)


def test_local_read(benchmark: Any, store: Store) -> None:
    benchmark(store.reader.get, KEYS[77])


def test_local_read_of_the_value_alone(benchmark: Any, store: Store) -> None:
    benchmark(store.reader.value, KEYS[77])


def test_range_of_1000(benchmark: Any, store: Store) -> None:
    benchmark(store.reader.range, b"", b"", limit=1000)


def test_apply_1024_puts(benchmark: Any, store: Store) -> None:
    commands = [c.put(key, VALUE) for key in KEYS[::10][:1024]]
    benchmark(lambda: store.apply_batch(store.applied_index + 1, 1, commands, decode=False))


def test_acquire_and_release(benchmark: Any) -> None:
    store = Store()
    session = store.apply(1, 1, c.session_open(b"n" * 16, 10_000)).number
    pair = [c.acquire("lock", session=session, acquisition=1), c.release(session=session, acquisition=1)]
    benchmark(lambda: store.apply_batch(store.applied_index + 1, 1, pair, decode=False))
