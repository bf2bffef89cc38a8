"""`quorate.aio` has the same names with the same parameters; what blocks in one is awaited in the other."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import quorate
import quorate.aio

NAMES = (
    "Barrier", "Client", "Counter", "DistributedLock", "DoubleBarrier", "Election", "Group", "GroupWatch", "Item",
    "LiveRing", "Lock", "Membership", "MultiLock", "Node", "Observation", "Permits", "Queue", "RWLock",
    "Semaphore", "Session", "StickyLock", "Takeable", "Term", "Transaction", "Watch",
)  # fmt: skip


def public(thing: Any) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_names_and_parameters(name: str) -> None:
    ours, theirs = public(getattr(quorate, name)), public(getattr(quorate.aio, name))
    assert ours.keys() == theirs.keys()
    for method, found in ours.items():
        if callable(found):
            expected = [(each.name, each.kind, each.default) for each in inspect.signature(found).parameters.values()]
            twin = inspect.signature(theirs[method]).parameters.values()
            assert [(each.name, each.kind, each.default) for each in twin] == expected, method
        else:
            assert inspect.isdatadescriptor(theirs[method]), method


@pytest.mark.parametrize("name", ["connect", "local"])
def test_the_same_functions(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (quorate, quorate.aio))
    assert list(ours) == list(theirs)


def test_all_is_documented() -> None:
    for module in (quorate, quorate.aio):
        for name in NAMES:
            for method, found in public(getattr(module, name)).items():
                assert inspect.getdoc(found), f"{module.__name__}.{name}.{method}"
