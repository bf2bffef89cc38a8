"""A client as a process of its own, which takes a lock and then is killed, or stopped until long after its lease.

Obeys lines of JSON; ends with its parent.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from quorate.errors import NotHappened, QuorateError
from quorate.testing.torture.children import follow_parent
from quorate.testing.torture.workloads.base import outcome_of

__all__: list[str] = []


def obey(client: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Carries out one line: ``acquire`` gives the token, ``put`` the revision of a write that is fenced by it."""
    name = order["name"]
    if order["what"] == "acquire":
        lock = client.lock(name, lease=order["lease"])
        if not lock.acquire(timeout=order["seconds"]):
            raise NotHappened("it was not granted in time")
        return {"result": lock.token}
    return {"result": client.put(order["key"], order["value"].encode(), if_fence=(name, order["token"]))}


def main() -> None:
    """Runs until standard input ends."""
    follow_parent()
    from quorate.api.connect import connect

    with connect(json.loads(sys.stdin.readline())["url"]) as client:
        for line in sys.stdin:
            try:
                answer = obey(client, json.loads(line))
            except QuorateError as error:
                answer = {"error": f"{type(error).__name__}: {error}", "outcome": outcome_of(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
