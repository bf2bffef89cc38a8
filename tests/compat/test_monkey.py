"""The patch of python-memcached, on a stand-in for it: keys go to the first live server of the ring."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from quorate.compat.uhashring import HashRing, monkey


class Server:
    def __init__(self, ip: str) -> None:
        self.ip, self.port, self.weight, self.alive = ip, 11211, 1, True

    def connect(self) -> bool:
        return self.alive


def stand_in() -> Any:
    module: Any = types.ModuleType("memcache")

    class Client:
        _SERVER_RETRIES = 2

        def __init__(self, servers: list[str]) -> None:
            self.servers = [Server(ip) for ip in servers]

        def _get_server(self, key: object) -> tuple[str, object]:
            return "placed by the caller", key

    module.Client = Client
    return module


def test_servers_come_from_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    memcache = stand_in()
    monkeypatch.setitem(sys.modules, "memcache", memcache)
    monkey.patch_memcache()
    monkey.patch_memcache()  # nothing more
    names = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    client = memcache.Client(names)
    assert isinstance(client.uhashring, HashRing)
    ring = HashRing(names)
    for number in range(50):
        key = f"key-{number}"
        server, got = client._get_server(key)
        assert (server.ip, got) == (ring.get_node(key), key)
        server.alive = False
        order = [conf["nodename"] for conf in ring.range(key)]
        assert client._get_server(key)[0].ip == order[1]
        server.alive = True
    for server in client.servers:
        server.alive = False
    assert client._get_server("key") == (None, None)
    assert client._get_server((0, "key")) == ("placed by the caller", (0, "key"))


def test_without_python_memcached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "memcache", None)
    with pytest.raises(ImportError):
        monkey.patch_memcache()
