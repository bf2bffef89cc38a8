"""The way to a cluster by its address. Knows which backend an address means, and nothing of how it works."""

from __future__ import annotations

import os

from quorate.api.client import Client
from quorate.client.backend import Backend
from quorate.errors import ConfigError

__all__ = ["backend_of", "connect"]

VARIABLE = "QUORATE_URL"


def backend_of(url: str | None) -> Backend:
    """The backend of an address, or of the one in QUORATE_URL. Raises ConfigError that says what to do."""
    if url is None:
        url = os.environ.get(VARIABLE) or None
    if url is None:
        raise ConfigError(
            f"no address: give connect() one, as quorate://127.0.0.1:7401,127.0.0.1:7402, or set {VARIABLE}. "
            "'quorate up' starts a cluster on this machine; quorate.local() is one inside this process, for tests"
        )
    scheme, separator, _ = url.partition("://")
    if separator and scheme in ("zookeeper", "consul", "etcd"):
        raise ConfigError(f"{scheme}:// is not supported; clusters of Quorate are reached by quorate://host:port,…")
    if not separator or scheme != "quorate":
        raise ConfigError(f"{url!r} is no address of a cluster; write quorate://host:port,host:port")
    raise ConfigError("this version has no remote client; use Node(...).client()")


def connect(url: str | None = None) -> Client:
    """A client of the cluster at an address, ``quorate://host:port,host:port``, or of the one in QUORATE_URL.

    >>> import quorate
    >>> quorate.connect("http://127.0.0.1")
    Traceback (most recent call last):
    quorate.errors.ConfigError: 'http://127.0.0.1' is no address of a cluster; write quorate://host:port,host:port
    """
    return Client(backend_of(url))
