"""Lets python-memcached pick its servers by our ``HashRing``, as ``uhashring.monkey`` does by its own."""

from __future__ import annotations

import importlib
from typing import Any

from .ring import HashRing

__all__ = ["patch_memcache"]


def patch_memcache() -> None:
    """Patch ``memcache.Client``: its servers make a ring, and each key goes to the first live server from its place on.

    Raises ``ImportError`` if python-memcached is not installed. Patching twice does nothing more.
    """
    memcache: Any = importlib.import_module("memcache")
    client: Any = memcache.Client
    if hasattr(client, "_old_get_server"):
        return
    client._old_get_server = client._get_server
    client._old_init = client.__init__

    def init(self: Any, servers: Any, *args: Any, **kwargs: Any) -> None:
        self._old_init(servers, *args, **kwargs)
        # By address alone and not by port, as uhashring does it: of two servers on one address the last one stays.
        self.uhashring = HashRing(
            {
                server.ip: {
                    "hostname": server.ip,
                    "instance": server,
                    "port": server.port,
                    "weight": server.weight,
                }
                for server in self.servers
            }
        )

    def get_server(self: Any, key: Any) -> Any:
        if isinstance(key, tuple):  # (hash, key): the caller has placed it
            return self._old_get_server(key)
        for _ in range(self._SERVER_RETRIES):
            for node in self.uhashring.range(key):
                if node["instance"].connect():
                    return node["instance"], key
        return None, None

    client.__init__ = init
    client._get_server = get_server
