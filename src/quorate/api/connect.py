"""The way to a cluster by its address. Knows which backend an address means, and nothing of how it works."""

from __future__ import annotations

from quorate.api.client import Client
from quorate.api.core import TIMEOUT, Core
from quorate.client.flow import seconds
from quorate.client.keys import key_of
from quorate.client.urls import parse_url

__all__ = ["connect", "core_of"]


def core_of(url: str | None, timeout: float | None) -> Core:
    """What a client of an address stands on. Raises ConfigError that says what to do."""
    target = parse_url(url)
    if timeout is None:
        timeout = TIMEOUT if target.timeout is None else target.timeout
    limit = seconds(timeout)
    prefix = key_of(target.namespace) if target.namespace else b""
    from quorate.client.remote import Remote
    from quorate.client.remote_backend import RemoteBackend

    remote = Remote(
        target.addresses, cluster=target.cluster, label=target.label, near=target.near, follow=target.follow
    )
    return Core(RemoteBackend(remote), prefix, limit)


def connect(url: str | None = None, *, timeout: float | None = None) -> Client:
    """A client of a cluster, by the addresses of some of its nodes: ``quorate://host:port,host:port``, or
    ``unix:/path``; without ``url`` by those in the environment variable QUORATE_URL.

    ``timeout``: seconds that each call waits unless it says otherwise; 5 if the URL does not say either. Further parts
    of the URL: ``quorate://host:port/namespace/?timeout=2&label=billing``.

    Returns at once, and connects by itself, also again and to other members: whether somebody answers is known from the
    first call, or by ``client.wait_ready()``. Raises ConfigError for a URL that cannot be, or if there is none.

    >>> import quorate
    >>> quorate.connect("http://127.0.0.1")
    Traceback (most recent call last):
    quorate.errors.ConfigError: the URL 'http://127.0.0.1' has the scheme 'http'; write quorate://host:7400,...
    """
    return Client(core_of(url, timeout))
