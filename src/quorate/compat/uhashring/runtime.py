"""What lies behind a drop-in ring: its node configurations, and the continuum that readers see.

A change is worked out aside and put in place by one assignment, so that a reader in another thread sees the ring
before or after it and never in between. Knows nothing of the parsing of configurations, which is ``ring.py``'s.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

from ._continuum import NarrowContinuum, WideContinuum, ketama_words, md5_number

__all__ = ["KetamaRing", "MetaRing", "Runtime"]

Configuration = dict[str, Any]


class Continuum(Protocol):
    """Points in order, and who owns each."""

    def __len__(self) -> int: ...
    def find(self, key: Any) -> int: ...
    def node(self, key: Any) -> Hashable: ...
    def name_at(self, place: int) -> Hashable: ...
    def hash_at(self, place: int) -> Any: ...
    def hashes(self) -> list[Any]: ...


class OrderedContinuum:
    """Points of a caller's own hash function, which may be anything that can be ordered: plain Python, and slow."""

    def __init__(
        self,
        hash_fn: Callable[[Any], Any],
        owners: dict[Any, Hashable] | None = None,
        points: dict[Hashable, list[Any]] | None = None,
    ) -> None:
        self._hash_fn = hash_fn
        self._owners = owners or {}
        self._points = points or {}  # what each node wrote, whoever owns it now
        self._keys = sorted(self._owners)

    def __len__(self) -> int:
        return len(self._keys)

    def changed(self, drop: Iterable[Hashable], shares: list[tuple[Hashable, int]]) -> OrderedContinuum:
        owners, points = dict(self._owners), dict(self._points)
        for name in drop:
            for point in points.pop(name, ()):
                if owners.get(point) == name:
                    del owners[point]
        for name, count in shares:
            points[name] = [self._hash_fn(f"{name}-{number}") for number in range(count)]
            for point in points[name]:
                owners[point] = name
        return OrderedContinuum(self._hash_fn, owners, points)

    def find(self, key: Any) -> int:
        place = bisect_right(self._keys, self._hash_fn(key))
        return 0 if place == len(self._keys) else place

    def node(self, key: Any) -> Hashable:
        return self._owners[self._keys[self.find(key)]]

    def name_at(self, place: int) -> Hashable:
        return self._owners[self._keys[place]]

    def hash_at(self, place: int) -> Any:
        return self._keys[place]

    def hashes(self) -> list[Any]:
        return list(self._keys)


class Runtime:
    """Node configurations and the continuum made of them."""

    _continuum: Continuum

    def __init__(self) -> None:
        self._nodes: dict[Hashable, Configuration] = {}  # live: callers change the configurations in place
        self._distribution: Counter[Hashable] = Counter()
        self._listed: tuple[Continuum, list[Any], dict[Any, Hashable]] | None = None

    def hashi(self, key: Any) -> Any:
        """The place of a key on the continuum."""
        raise NotImplementedError

    def _lists(self) -> tuple[Continuum, list[Any], dict[Any, Hashable]]:
        """The continuum with its points as a list and as a dict, made when first asked for."""
        continuum, listed = self._continuum, self._listed
        if listed is None or listed[0] is not continuum:
            keys = continuum.hashes()
            listed = continuum, keys, {key: continuum.name_at(place) for place, key in enumerate(keys)}
            self._listed = listed
        return listed

    @property
    def _keys(self) -> list[Any]:
        return self._lists()[1]

    @property
    def _ring(self) -> dict[Any, Hashable]:
        return self._lists()[2]

    def _publish(self, nodes: dict[Hashable, Configuration], changed: Iterable[Hashable]) -> None:
        """Takes over ``nodes``; the ring is made anew where ``changed`` names nodes."""
        raise NotImplementedError

    def _remove_node(self, name: Hashable) -> None:
        raise NotImplementedError

    def _check_present(self, name: Hashable) -> None:
        if name not in self._nodes:
            raise KeyError(f"node {name!r} not found, available nodes: {list(self._nodes)}")


class KetamaRing(Runtime):
    """uhashring's ketama mode: all is made anew at each change, because every node's share depends on the others."""

    def __init__(self, replicas: int = 4) -> None:
        super().__init__()
        self._replicas = replicas
        self._continuum = NarrowContinuum([], 0)

    def hashi(self, key: Any, replica: int = 0) -> int:
        """The 32-bit place of a key; ``replica`` picks another word of the digest.

        >>> KetamaRing().hashi("test")
        3446378249
        """
        return ketama_words(key)[replica]

    def _rebuilt(self, nodes: dict[Hashable, Configuration]) -> tuple[NarrowContinuum, Counter[Hashable]]:
        total = sum(conf["weight"] for conf in nodes.values())
        shares = []
        for name, conf in nodes.items():
            # In this order of operations, and rounded down: it decides the number of points.
            digests = (conf["vnodes"] * len(nodes) * conf["weight"]) // total
            shares.append((name, len(range(digests))))
        replicas = len(range(self._replicas))
        distribution = Counter({name: count * replicas for name, count in shares if count * replicas})
        return NarrowContinuum(shares, replicas), distribution

    def _publish(self, nodes: dict[Hashable, Configuration], changed: Iterable[Hashable]) -> None:
        made = self._rebuilt(nodes) if list(changed) else None
        self._nodes.update(nodes)
        if made:
            self._continuum, self._distribution = made

    def _remove_node(self, name: Hashable) -> None:
        self._check_present(name)
        self._continuum, self._distribution = self._rebuilt({n: conf for n, conf in self._nodes.items() if n != name})
        # Readers that still hold the old continuum ask again when they miss the name, so the order matters.
        del self._nodes[name]


class MetaRing(Runtime):
    """uhashring's default mode and that of a caller's hash function: a change touches the points of one node."""

    _continuum: WideContinuum | OrderedContinuum

    def __init__(self, hash_fn: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        if hash_fn and not callable(hash_fn):
            raise TypeError(f"hash_fn should be a callable function, got {type(hash_fn).__name__}")
        self._hash_fn = hash_fn or md5_number
        self._continuum = OrderedContinuum(hash_fn) if hash_fn else WideContinuum()

    def hashi(self, key: Any) -> Any:
        """The place of a key: its MD5 as an integer, or what the caller's function says.

        >>> MetaRing().hashi("test")
        12707736894140473154801792860916528374
        """
        return self._hash_fn(key)

    def _publish(self, nodes: dict[Hashable, Configuration], changed: Iterable[Hashable]) -> None:
        shares = [(name, len(range(nodes[name]["vnodes"] * nodes[name]["weight"]))) for name in changed]
        if shares:
            made = self._continuum.changed({name for name, _ in shares}, shares)
            distribution = Counter(self._distribution)
            for name, count in shares:
                distribution.pop(name, None)
                if count:
                    distribution[name] = count
            self._nodes.update(nodes)
            self._continuum, self._distribution = made, distribution
        else:
            self._nodes.update(nodes)

    def _remove_node(self, name: Hashable) -> None:
        self._check_present(name)
        distribution = Counter(self._distribution)
        distribution.pop(name, None)
        self._continuum, self._distribution = self._continuum.changed({name}, []), distribution
        # Readers that still hold the old continuum ask again when they miss the name, so the order matters.
        del self._nodes[name]
