"""What looking a key up in a live ring costs above the ring itself: python bench/live_ring.py"""

from __future__ import annotations

import time
import timeit

import quorate

MEMBERS = 100
KEYS = ("user:1234567890a",)


def nanoseconds(ring: object) -> float:
    """Of one look-up, the best of several rounds."""
    count = 500_000
    rounds = timeit.repeat("ring[key]", globals={"ring": ring, "key": KEYS[0]}, number=count, repeat=9)
    return min(rounds) / count * 1e9


def main() -> None:
    with quorate.local() as client:
        group = client.group("cache")
        members = [group.join(f"cache-{number}") for number in range(MEMBERS)]
        with client.ring("cache") as live:
            while len(live) < len(members):
                time.sleep(0.01)
            bare, whole = nanoseconds(live.ring), nanoseconds(live)
    print(f"{MEMBERS} members: ring[key] {bare:.1f} ns, live[key] {whole:.1f} ns, {whole - bare:.1f} ns more")


if __name__ == "__main__":
    main()
