"""A node that the tests of this folder share, and a client by each way with a namespace of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

import quorate
from api.faces import FACES, WAYS, client_of
from runtime.clusters import PATIENT, free_sockets

_numbers = itertools.count()


@pytest.fixture(scope="package")
def one_node() -> Iterator[quorate.Node]:
    (listener,) = free_sockets(1)
    members = {"alone": f"127.0.0.1:{listener.getsockname()[1]}"}
    with quorate.Node("alone", members=members, listen=listener, durability="memory", config=PATIENT) as node:
        node.wait_ready(30)
        yield node


@pytest.fixture(scope="package", params=[f"{way}-{face}" for way in WAYS for face in FACES])
def whole_client(request: pytest.FixtureRequest, one_node: quorate.Node) -> Iterator[Any]:
    way, face = request.param.split("-")
    with client_of(one_node, f"quorate://{one_node.address}", way, face) as client:
        yield client


@pytest.fixture
def client(whole_client: Any) -> Any:
    """A client in an empty namespace, by each way and in both faces."""
    return whole_client.namespace(f"test-{next(_numbers)}/")


@pytest.fixture
def threads(one_node: quorate.Node) -> Iterator[quorate.Client]:
    """A client for threads, embedded, in an empty namespace and with sessions of its own."""
    with one_node.client() as client:
        yield client.namespace(f"test-{next(_numbers)}/")
