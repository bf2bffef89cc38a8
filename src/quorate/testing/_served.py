"""A node as a process of a `ProcessCluster`: lines of JSON tell it what to do, and it answers by such.

Ends with its parent: when nobody can write to its standard input any more, it stops.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from quorate.config import RaftConfig
from quorate.errors import QuorateError
from quorate.runtime.node import NativeNode

__all__: list[str] = []


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what, default=str), flush=True)


def _answer(node: NativeNode, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["what"] == "status":
        return node.status()
    node.wait_ready(asked["timeout"])
    return {}


def main() -> None:
    """Runs until standard input ends."""
    settings = json.loads(sys.stdin.readline())
    members = {int(id): (name, address) for id, (name, address) in settings["members"].items()}
    node = NativeNode(
        settings["name"],
        settings["id"],
        members,
        data_dir=settings["data_dir"],
        durability=settings["durability"],
        config=RaftConfig(**settings["config"]),
    )
    try:
        node.start()
    except (QuorateError, OSError) as error:
        _say({"error": f"{type(error).__name__}: {error}"})
        return
    _say({"running": True})
    with node:
        for line in sys.stdin:
            try:
                answer = _answer(node, json.loads(line))
            except QuorateError as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            _say(answer)


if __name__ == "__main__":
    main()
