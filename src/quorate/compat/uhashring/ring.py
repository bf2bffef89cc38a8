"""``HashRing`` with the names, the placements and the edge cases of uhashring 2.5, over a compiled continuum.

Where uhashring serves a reader badly and the placements do not depend on it, this ring does better: a reader in
another thread never sees half a change, a failed change leaves the ring as it was, and every ring can be pickled.
What placements do depend on is kept as it is: keys are taken by ``str(key)``, so bytes and str of the same text
differ, and of two nodes that share a point the one added last has it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, KeysView
from typing import Any

from quorate.errors import InvalidArgument

from .runtime import Configuration, Continuum, KetamaRing, MetaRing, Runtime

__all__ = ["HashRing"]

_DEFAULT_CONFIGURATION: Configuration = {"weight": 1}


class HashRing:
    """A consistent hashing ring, with the interface of uhashring 2.5.

    ``nodes`` is a name, a list of names, or a dict of name → weight or name → configuration; a configuration is a dict
    with any of ``hostname``, ``instance``, ``port``, ``vnodes``, ``weight``. ``hash_fn`` is ``"ketama"`` or a function
    of a key, ``vnodes`` the points of a node (160; 40 in ketama mode), ``weight_fn`` a function that gets a node's
    configuration as keyword arguments and returns its weight, ``replicas`` the points of a digest in ketama mode (4).

    Raises :class:`~quorate.errors.InvalidArgument` (a ``ValueError``) for nodes of another form, ``TypeError`` for a
    function that cannot be called, :class:`~quorate.errors.LimitExceeded` for more points than a ring may have.

    >>> ring = HashRing(["node1", "node2", "node3"])
    >>> ring.get_node("coconut")
    'node2'
    >>> HashRing({"node1": 2, "node2": 1}, hash_fn="ketama").distribution["node1"]
    212
    """

    runtime: Runtime

    def __init__(
        self,
        nodes: str | list[Any] | dict[Any, Any] = [],  # noqa: B006 - never written to; uhashring's signature
        **kwargs: Any,
    ) -> None:
        hash_fn = kwargs.get("hash_fn")
        vnodes = kwargs.get("vnodes")
        weight_fn = kwargs.get("weight_fn")
        if hash_fn == "ketama":
            self.runtime = KetamaRing(kwargs.get("replicas", 4))
            self._default_vnodes = 40 if vnodes is None else vnodes
        else:
            self.runtime = MetaRing(hash_fn)
            self._default_vnodes = 160 if vnodes is None else vnodes
        self.hashi: Callable[..., Any] = self.runtime.hashi
        if weight_fn and not callable(weight_fn):
            raise TypeError(f"weight_fn should be a callable function, got {type(weight_fn).__name__}")
        self._weight_fn: Callable[..., Any] | None = weight_fn
        self._changing = threading.RLock()  # writers only; readers take whole continuums
        configured, changed = self._configured(nodes)
        self.runtime._publish(configured, configured if changed else ())

    # Writers

    def _configured(self, nodes: Any) -> tuple[dict[Hashable, Configuration], bool]:
        """The configurations after ``nodes`` is merged in, and whether that asks for a new ring."""
        if isinstance(nodes, str):
            nodes = [nodes]
        elif not isinstance(nodes, (dict, list)):
            raise InvalidArgument(f"nodes configuration should be a list or a dict, got {type(nodes).__name__}")
        merged = dict(self.runtime._nodes)
        changed = False
        for name in nodes:
            current = merged.get(name, {})
            conf: Configuration = {
                "hostname": name,
                "instance": None,
                "nodename": name,
                "port": None,
                "vnodes": self._default_vnodes,
                "weight": 1,
            }
            given = nodes[name] if isinstance(nodes, dict) else {}
            if isinstance(given, int):
                given = {"weight": given}
            elif not isinstance(given, dict):
                raise InvalidArgument(f"node configuration should be a dict or an int, got {type(given).__name__}")
            known = {key: value for key, value in given.items() if key in conf}
            conf.update(known)
            # Only what is given counts as a change here, not what falls back to its default: uhashring's rule, and it
            # decides whether the points move.
            changed = changed or not current
            changed = changed or any(
                current.get(key) != known[key] for key in ("nodename", "vnodes", "weight") if key in known
            )
            if self._weight_fn:
                conf["weight"] = self._weight_fn(**conf)
            changed = changed or current.get("weight") != conf["weight"]
            merged[name] = conf
        return merged, changed

    def __setitem__(self, nodename: Hashable, conf: Any = _DEFAULT_CONFIGURATION) -> None:
        """Add the node, or change its configuration (a dict, or an int that is its weight)."""
        with self._changing:
            configured, changed = self._configured({nodename: conf})
            self.runtime._publish(configured, [nodename] if changed else ())

    add_node = __setitem__

    def __delitem__(self, nodename: Hashable) -> None:
        """Remove the node; ``KeyError`` if it is not there."""
        with self._changing:
            self.runtime._remove_node(nodename)

    remove_node = __delitem__

    def regenerate(self) -> None:
        """Make the ring anew from the nodes' configurations, and ask ``weight_fn`` again for each."""
        with self._changing:
            configured, _ = self._configured(dict(self.runtime._nodes))
            self.runtime._publish(configured, configured)

    # Readers

    def _owner(self, continuum: Continuum, nodename: Hashable) -> Configuration | None:
        """The node's configuration; None if ``continuum`` is no longer the ring's, and one must look again."""
        try:
            return self.runtime._nodes[nodename]
        except KeyError:
            if self.runtime._continuum is continuum:
                raise
            return None

    def _get_pos(self, key: Any) -> int:
        return self.runtime._continuum.find(key)

    def get(self, key: Any) -> Configuration | None:
        """The configuration of the node that owns ``key``; None if the ring has no points."""
        while True:
            continuum = self.runtime._continuum
            if not len(continuum):
                return None
            conf = self._owner(continuum, continuum.node(key))
            if conf is not None:
                return conf

    def get_node(self, key: Any) -> Any:
        """The name of the node that owns ``key``; None if the ring has no points."""
        continuum = self.runtime._continuum
        return continuum.node(key) if len(continuum) else None

    def __getitem__(self, key: Any) -> Any:
        """The ``instance`` of the node that owns ``key``."""
        conf = self.get(key)
        return None if conf is None else conf["instance"]

    get_node_instance = __getitem__

    def get_node_hostname(self, key: Any) -> Any:
        """The ``hostname`` of the node that owns ``key``."""
        conf = self.get(key)
        return None if conf is None else conf["hostname"]

    def get_node_port(self, key: Any) -> Any:
        """The ``port`` of the node that owns ``key``."""
        conf = self.get(key)
        return None if conf is None else conf["port"]

    def get_node_weight(self, key: Any) -> Any:
        """The ``weight`` of the node that owns ``key``."""
        conf = self.get(key)
        return None if conf is None else conf["weight"]

    def get_node_pos(self, key: Any) -> int | None:
        """The place, in the order of points, of the one that owns ``key``."""
        continuum = self.runtime._continuum
        return continuum.find(key) if len(continuum) else None

    def get_server(self, key: Any) -> tuple[Any, Any] | None:
        """The point that owns ``key`` and the name of its node."""
        continuum = self.runtime._continuum
        if not len(continuum):
            return None
        place = continuum.find(key)
        return continuum.hash_at(place), continuum.name_at(place)

    def _get(self, key: Any, what: str) -> Any:
        """uhashring's generic getter, for those who call it."""
        getters: dict[str, Callable[[Any], Any]] = {
            "dict": self.get,
            "hostname": self.get_node_hostname,
            "instance": self.get_node_instance,
            "nodename": self.get_node,
            "port": self.get_node_port,
            "pos": self.get_node_pos,
            "tuple": self.get_server,
            "weight": self.get_node_weight,
        }
        getter = getters.get(what)
        return None if getter is None else getter(key)

    def get_key(self, key: Any) -> Any:
        """The place of ``key`` on the ring: the same as ``hashi``."""
        return self.hashi(key)

    def get_instances(self) -> list[Any]:
        """The instances of all nodes that have one."""
        return [conf["instance"] for conf in list(self.runtime._nodes.values()) if conf.get("instance")]

    def get_nodes(self) -> KeysView[Any]:
        """The names of all nodes."""
        return self.runtime._nodes.keys()

    def get_points(self) -> list[tuple[Any, Any]]:
        """All (point, name) pairs in order."""
        _, keys, ring = self.runtime._lists()
        return [(key, ring[key]) for key in keys]

    def _names_from(self, continuum: Continuum, key: Any) -> Iterator[Hashable]:
        """The owner of each point, once round the ring from ``key``."""
        count = len(continuum)
        start = continuum.find(key)
        for place in range(start, count):
            yield continuum.name_at(place)
        for place in range(start):
            yield continuum.name_at(place)

    def range(self, key: Any, size: int | None = None, unique: bool = True) -> Iterator[Configuration]:
        """The configurations of the nodes on the way round the ring from ``key``.

        At most ``size`` of them; each node once if ``unique``, else once for each point.
        The generator goes over the ring as it was when first asked; a node that has been removed meanwhile is left out.
        """
        continuum = self.runtime._continuum
        if unique:
            size = size or len(self.runtime._nodes)
        seen: set[Hashable] = set()
        found = 0
        for name in self._names_from(continuum, key):
            if unique:
                if name in seen:
                    continue
                seen.add(name)
            found += 1
            conf = self.runtime._nodes.get(name)
            if conf is not None:
                yield conf
            if found == size:
                return

    def iterate_nodes(self, key: Any, distinct: bool = True) -> Iterator[Any]:
        """The names of the nodes on the way round the ring from ``key``; a single None if the ring has no points."""
        if not len(self.runtime._continuum):
            yield None
            return
        for conf in self.range(key, unique=distinct):
            yield conf["nodename"]

    def print_continuum(self) -> None:
        """Print all points and their nodes."""
        points = self.get_points()
        print(f"Numpoints in continuum: {len(points)}" if points else "Continuum empty")
        for point, name in points:
            print(f"{name} ({point})")

    @property
    def conf(self) -> dict[Hashable, Configuration]:
        """All nodes and their configurations. Live: what is changed here in place is seen by lookups."""
        return self.runtime._nodes

    nodes = conf

    @property
    def distribution(self) -> Counter[Hashable]:
        """How many points each node has put on the ring."""
        return self.runtime._distribution

    @property
    def ring(self) -> dict[Any, Hashable]:
        """Point → node name. A copy: changing it does not change the ring."""
        return self.runtime._ring

    continuum = ring

    @property
    def size(self) -> int:
        """How many different points the ring has."""
        return len(self.runtime._ring)

    @property
    def _ring(self) -> dict[Any, Hashable]:
        return self.runtime._ring

    @property
    def _nodes(self) -> dict[Hashable, Configuration]:
        return self.runtime._nodes

    @property
    def _keys(self) -> list[Any]:
        return self.runtime._keys

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_changing"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._changing = threading.RLock()

    def __repr__(self) -> str:
        names: Iterable[Hashable] = self.runtime._nodes
        mode = "ketama" if isinstance(self.runtime, KetamaRing) else "default"
        return f"<HashRing {mode} nodes={list(names)!r} points={len(self.runtime._continuum)}>"
