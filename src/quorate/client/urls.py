"""Where a cluster is, as one line of text: ``quorate://h1:7400,h2:7400/namespace?timeout=5``.

Reads and checks; resolves nothing and connects to nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

from quorate.errors import ConfigError
from quorate.limits import KEY_BYTES_MAX, LABEL_BYTES_MAX, MEMBERS_MAX
from quorate.runtime.addresses import parse_address

__all__ = ["DEFAULT_PORT", "VARIABLE", "Target", "parse_url"]

DEFAULT_PORT: Final = 7400
"""The port of an address that names none."""
VARIABLE: Final = "QUORATE_URL"
"""The environment variable that is read where no address is given."""

FORM: Final = "quorate://host:7400,host:7400/namespace?timeout=5, or unix:/path/to/socket"
OPTIONS: Final = ("cluster", "follow", "label", "namespace", "near", "timeout")
LATER: Final = {"zookeeper": "ZooKeeper", "consul": "Consul", "etcd": "etcd"}
WORDS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Target:
    """A cluster and how to use it. ``None`` where the URL says nothing.

    ``addresses`` as :func:`~quorate.runtime.addresses.parse_address` reads them; ``namespace`` is put before every key
    and name; ``timeout`` is in seconds, ``cluster`` 16 bytes; ``near``: whether local reads have their own connection;
    ``follow``: whether other members than those named may be asked, which a look at one node does not want.
    """

    addresses: tuple[str, ...]
    namespace: str = ""
    timeout: float | None = None
    cluster: bytes | None = None
    label: str = ""
    near: bool = True
    follow: bool = True


def parse_url(url: str | None = None, *, environ: Mapping[str, str] | None = None) -> Target:
    """Reads a URL; without one, that of the environment variable QUORATE_URL.

    Raises ConfigError, which says what to write instead.

    >>> parse_url("quorate://db1,db2:7500/billing/?near=no").addresses
    ('db1:7400', 'db2:7500')
    >>> parse_url("unix:/run/a.sock,unix:/run/b.sock?timeout=2").addresses
    ('unix:/run/a.sock', 'unix:/run/b.sock')
    """
    source = "the URL"
    if url is None:
        url = (os.environ if environ is None else environ).get(VARIABLE, "").strip()
        source = VARIABLE
        if not url:
            raise ConfigError(
                f"no cluster is named: give a URL ({FORM}) or set {VARIABLE}. `quorate up` starts a cluster on this "
                "machine; quorate.local() is a node in this process alone, for development and tests"
            )
    if not isinstance(url, str):
        raise ConfigError(f"a URL is text such as {FORM}, not {type(url).__name__}")
    if url.startswith("unix:"):
        hosts, _, query = url.partition("?")
        return _target(hosts.split(","), "", query, f"{source} {url!r}")
    scheme, separator, rest = url.partition("://")
    where = f"{source} {url!r}"
    if not separator:
        raise ConfigError(f"{where} has no scheme; write quorate://{url.strip() or 'host:7400'}")
    if scheme in LATER:
        raise ConfigError(f"{where} names {LATER[scheme]}, which is not spoken yet; use a cluster of Quorate: {FORM}")
    if scheme != "quorate":
        raise ConfigError(f"{where} has the scheme {scheme!r}; write {FORM}")
    rest, hash_mark, _ = rest.partition("#")
    if hash_mark:
        raise ConfigError(f"{where} has a part behind '#', which means nothing here; write %23 if it is part of a name")
    rest, _, query = rest.partition("?")
    hosts, _, path = rest.partition("/")
    if "@" in hosts:
        raise ConfigError(f"{where} names a user, but nothing authenticates clients yet; leave out what is before '@'")
    return _target([unquote(each) for each in hosts.split(",")], unquote(path), query, where)


def _target(hosts: list[str], path: str, query: str, where: str) -> Target:
    addresses = tuple(dict.fromkeys(_address(each.strip(), where) for each in hosts))
    if len(addresses) > MEMBERS_MAX:
        raise ConfigError(f"{where} has more than {MEMBERS_MAX} addresses; a few are enough, the others are learned")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ConfigError(f"{where} has options that cannot be read; write ?name=value&name=value") from None
    options = dict(pairs)
    if len(options) != len(pairs):
        raise ConfigError(f"{where} gives an option twice")
    for name in options:
        if name not in OPTIONS:
            raise ConfigError(f"{where} has the unknown option {name!r}; there are {', '.join(OPTIONS)}")
    if path and options.get("namespace"):
        raise ConfigError(f"{where} gives the namespace twice: behind the addresses and as an option")
    namespace = path or options.get("namespace", "")
    if len(namespace.encode()) >= KEY_BYTES_MAX:
        raise ConfigError(f"{where}: a namespace is part of each key, which has at most {KEY_BYTES_MAX} bytes")
    label = options.get("label", "")
    if len(label.encode()) > LABEL_BYTES_MAX:
        raise ConfigError(f"{where}: a label has at most {LABEL_BYTES_MAX} bytes")
    return Target(
        addresses,
        namespace,
        _timeout(options["timeout"], where) if "timeout" in options else None,
        _cluster(options["cluster"], where) if "cluster" in options else None,
        label,
        _switch("near", options.get("near", "yes"), where),
        _switch("follow", options.get("follow", "yes"), where),
    )


def _address(text: str, where: str) -> str:
    if not text:
        raise ConfigError(f"{where} has an empty address; write {FORM}")
    if not text.startswith("unix:") and not re.search(r":\d*$", text.rpartition("]")[2]):
        text = f"{text}:{DEFAULT_PORT}"
    try:
        return str(parse_address(text))
    except ConfigError as error:
        raise ConfigError(f"in {where}: {error}") from None


def _timeout(text: str, where: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 < found < 1e9:
        raise ConfigError(f"{where}: timeout is a number of seconds above 0, not {text!r}")
    return found


def _cluster(text: str, where: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{32}", text.replace("-", "")):
        raise ConfigError(f"{where}: cluster is an id of 32 hexadecimal digits, not {text!r}")
    return bytes.fromhex(text.replace("-", ""))


def _switch(name: str, text: str, where: str) -> bool:
    if text.lower() not in WORDS:
        raise ConfigError(f"{where}: {name} is yes or no, not {text!r}")
    return WORDS[text.lower()]
