"""Health over HTTP: what it answers, with whom it has patience, what it says where a library is missing."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quorate.errors import ConfigError, NodeFailed, NoQuorum
from quorate.runtime.health import THREADS_MAX, Health
from quorate.runtime.metrics import metrics_available, metrics_text

PATIENCE = 20.0


class Node:
    """What the server asks, with answers to choose."""

    live = True
    trouble: Exception | None = None

    def is_live(self) -> bool:
        return self.live

    def ready(self, timeout: float) -> None:
        if self.trouble is not None:
            raise self.trouble

    def status(self) -> dict[str, Any]:
        if self.trouble is not None:
            raise self.trouble
        return {"name": "a", "term": 5}


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def port(node: Node) -> Iterator[int]:
    with socket.socket() as kept:  # bound and not listening: free for the server, and for nobody else
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        number: int = kept.getsockname()[1]
        health = Health(f"127.0.0.1:{number}", live=node.is_live, ready=node.ready, status=node.status)
        assert "live" in repr(health)
        with health:
            yield number


def fetch(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_node_in_health_and_in_trouble(node: Node, port: int) -> None:
    assert fetch(port, "/live")[0] == 200
    assert fetch(port, "/ready?verbose")[0] == 200
    code, text = fetch(port, "/metrics")
    assert code == 200
    assert b'quorate_term{node="a"} 5.0' in text
    node.trouble = NoQuorum("nobody answers")
    assert fetch(port, "/live")[0] == 200
    code, text = fetch(port, "/ready")
    assert (code, json.loads(text)) == (503, {"ready": False, "reason": "nobody answers"})
    node.live, node.trouble = False, NodeFailed("the disk is gone")
    assert fetch(port, "/live") == (503, b'{"live": false}\n')
    assert fetch(port, "/metrics")[0] == 503


def test_without_the_library_metrics_say_what_to_install(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    code, text = fetch(port, "/metrics")
    assert code == 501
    assert "pip install 'quorate[metrics]'" in json.loads(text)["error"]
    with pytest.raises(ConfigError, match="prometheus-client"):
        metrics_text([])
    assert fetch(port, "/live")[0] == 200


def test_that_the_library_is_there_is_known() -> None:
    assert metrics_available()


def test_silent_callers_take_no_more_than_their_share(port: int) -> None:
    """Each holds a thread for as long as it is silent; who comes when all are held is told off at once."""
    with contextlib.ExitStack() as open_ones:
        for _ in range(THREADS_MAX):
            silent = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
            silent.sendall(b"GET /live")
        late = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
        assert late.recv(100) == b""
        assert silent.recv(100) == b""  # its time is over before the test's is
    assert fetch(port, "/live")[0] == 200


def test_a_bug_is_told_and_a_caller_that_left_is_not(node: Node, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    # The logger itself is listened to: whether it hands on to others is the business of whoever set it up last.
    monkeypatch.setattr(logging.getLogger("quorate"), "handlers", [Listener()])
    failed = "answering over HTTP failed"
    node.trouble = OSError("the caller left")
    with contextlib.suppress(http.client.HTTPException, OSError):
        fetch(port, "/ready")
    assert failed not in told
    node.trouble = ZeroDivisionError()
    with contextlib.suppress(http.client.HTTPException, OSError):
        fetch(port, "/ready")
    assert fetch(port, "/live")[0] == 200
    assert told.count(failed) == 1


def test_an_address_that_cannot_be_served_is_refused(node: Node, tmp_path: Path) -> None:
    for address, said in (("0.0.0.0:1", "reached from other hosts"), ("x", "is no address")):
        with pytest.raises(ConfigError, match=said):
            Health(address, live=node.is_live, ready=node.ready, status=node.status)
