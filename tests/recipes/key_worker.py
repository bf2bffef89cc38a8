"""A process that uses recipes and is killed by tests: ``python key_worker.py URL ROLE NAME ARGUMENT``. It says what it
does, a line each, at once."""

from __future__ import annotations

import sys
import time

import quorate


def say(*words: object) -> None:
    print(*words, flush=True)


def consume(client: quorate.Client, name: str, seconds: str) -> None:
    """Takes items, works on each for so long, and acknowledges it; "slow" ones take for ever."""
    for item in client.queue(name):
        say("took", item.value.decode(), item.deliveries)
        if item.value == b"stop":
            item.ack()
            return
        time.sleep(float(seconds))
        item.ack()
        say("did", item.value.decode())


def join(client: quorate.Client, name: str, member: str) -> None:
    """Is a member until it is killed."""
    with client.group(name).join(member, member.encode()):
        say("joined")
        time.sleep(600)


def wait(client: quorate.Client, name: str, parties: str) -> None:
    """Waits in a barrier."""
    say("passed", client.barrier(name, int(parties)).wait(600))


def main() -> None:
    url, role, name, argument = sys.argv[1:]
    with quorate.connect(url, timeout=60) as client:
        say("ready")
        {"consume": consume, "join": join, "wait": wait}[role](client, name, argument)


if __name__ == "__main__":
    main()
