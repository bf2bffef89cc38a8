"""What strangers and clients do that they should not is told once in a while."""

from __future__ import annotations

import logging
import socket

import pytest

from quorate.runtime.node import NativeNode
from quorate.runtime.trouble import TROUBLE, Trouble
from runtime.client_wire import WireClient, client_hello
from runtime.clusters import Cluster, until


def test_every_counter_that_has_words_is_one() -> None:
    with NativeNode("a", 1, {1: ("a", "unix:/unused")}, durability="memory", listen=None) as node:
        status = node.status()
    for counter in TROUBLE:
        group, name = counter.split(".")
        assert status[group][name] == 0


def test_what_is_said_once_is_not_said_again() -> None:
    trouble = Trouble()
    assert trouble.look({"connections": {"stranger": 0}}, now=0.0) == []
    assert trouble.look({"connections": {"stranger": 5}, "clients": {"slow": 1}}, now=1.0) == [
        ("connections.stranger", 5), ("clients.slow", 1)
    ]  # fmt: skip
    assert trouble.look({"connections": {"stranger": 500}}, now=10.0) == []
    assert trouble.look({"connections": {"stranger": 501}}, now=11.0) == [("connections.stranger", 496)]
    assert trouble.look({"connections": {"stranger": 501}}, now=100.0) == []


def test_a_node_tells_of_strangers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "quorate"), Cluster(1) as made:
        node = made.leader()
        address = node.first_members[node.id][1]
        for _ in range(20):
            with socket.create_connection((address.host, address.port)) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with WireClient(node, hello=client_hello(b"someone else's..")) as client:
                client.over()
        until(lambda: len(caplog.records) >= 2, 20)
        kinds = {record.__dict__["fields"]["kind"] for record in caplog.records}
        assert {"stranger", "wrong_cluster"} <= kinds
        assert len(caplog.records) < 6
        assert all(record.__dict__["fields"]["node"] == "a" for record in caplog.records)
