"""Readers go on undisturbed while rings are replaced under them: a ring is a value, and nothing in it needs a lock."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Callable

import pytest

from quorate.ring import Ring

KEYS = [f"key-{number}" for number in range(200)]


@pytest.fixture(autouse=True)
def _quick_switches() -> object:
    """Threads take turns as often as they can, so that a GIL hides as little as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run_all(*jobs: Callable[[], None]) -> None:
    """Runs each job in a thread, lets them begin together, and raises the first error of any."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(jobs))

    def guarded(job: Callable[[], None]) -> None:
        try:
            barrier.wait()
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_readers_while_rings_are_replaced() -> None:
    """Each answer is that of one ring, whole; which one, the reader knows by the ring that it holds."""
    first = Ring(f"n{number}" for number in range(20))
    joined = first.add("joins")
    weighed = joined.with_weight("n3", 2.5)
    numbers = array("Q", range(500))

    def answers(ring: Ring) -> object:
        return (
            [ring.nodes(key, 3) for key in KEYS],
            ring.node_many(KEYS),
            ring.index_many(numbers),
            [ring[it] for it in KEYS],
        )

    expected = {ring: answers(ring) for ring in (first, joined, weighed)}
    current = [first]
    ended = threading.Event()

    def replace() -> None:
        try:
            for _ in range(300):
                current[0] = current[0].add("joins")
                current[0] = current[0].with_weight("n3", 2.5)
                current[0] = current[0].with_weight("n3", 1)
                current[0] = current[0].remove("joins")
        finally:
            ended.set()

    def read() -> None:
        while not ended.is_set():
            ring = current[0]
            assert answers(ring) == expected[ring]

    run_all(replace, read, read, read)


def test_one_ring_read_and_changed_by_all() -> None:
    ring = Ring(f"n{number}" for number in range(30))
    expected = (ring.fingerprint, ring.points(), ring.share(), ring.node_many(KEYS))

    def job(name: str) -> Callable[[], None]:
        def run() -> None:
            for _ in range(30):
                changed = ring.add(name)
                assert changed.remove(name) == ring
                assert (ring.fingerprint, ring.points(), ring.share(), ring.node_many(KEYS)) == expected

        return run

    run_all(*(job(f"m{number}") for number in range(4)))


def test_a_list_of_keys_that_another_thread_changes() -> None:
    """Its answer is unspecified; what is not allowed is a crash or a name that is no node's."""
    ring = Ring(["a", "b", "c"])
    keys: list[str] = list(KEYS)
    ended = threading.Event()

    def change() -> None:
        try:
            for _ in range(3000):
                del keys[50:]
                keys.extend(f"{number}" for number in range(150))
        finally:
            ended.set()

    def read() -> None:
        while not ended.is_set():
            try:
                found = ring.node_many(keys)
            except IndexError:
                continue
            assert set(found) <= set(ring)

    run_all(change, read)
