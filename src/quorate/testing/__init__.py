"""Test your own system as Quorate is tested: simulated clusters, seeded faults, histories, a linearizability checker.

- :class:`SimCluster`: production cores in simulated time, driven by one seed, with your state machine or registers.
- :class:`FlowRig`: flows of recipes over a real store, one step at a time, with cancellation thrown in at any wait.
- :class:`History` and :func:`check`: record what clients saw, and judge it.
- :class:`ProcessCluster`: real nodes, one process each, to be killed, paused and started again.
- the pytest fixtures ``sim_cluster`` and ``quorate_cluster`` (see :mod:`quorate.testing.fixtures`).

Names are imported when they are used, because pytest imports this package in every run of its users, for the fixture.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quorate.testing.cluster import SimCluster
    from quorate.testing.failure import SimulationFailed
    from quorate.testing.flows import FlowClient, FlowRig, FlowTask
    from quorate.testing.history import NEVER, History, Operation
    from quorate.testing.linearizability import MUTEX, REGISTER, Model, Verdict, check
    from quorate.testing.machine import Registers, StateMachine
    from quorate.testing.processes import ProcessCluster
    from quorate.testing.profiles import PROFILES, Profile
    from quorate.testing.runner import Outcome, find_violation, run_many, run_seed

__all__ = [
    "MUTEX",
    "NEVER",
    "PROFILES",
    "REGISTER",
    "FlowClient",
    "FlowRig",
    "FlowTask",
    "History",
    "Model",
    "Operation",
    "Outcome",
    "ProcessCluster",
    "Profile",
    "Registers",
    "SimCluster",
    "SimulationFailed",
    "StateMachine",
    "Verdict",
    "check",
    "find_violation",
    "run_many",
    "run_seed",
]

_PARTS = ("cluster", "failure", "flows", "history", "linearizability", "machine", "processes", "profiles", "runner")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for part in _PARTS:
            module = importlib.import_module(f"{__name__}.{part}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
