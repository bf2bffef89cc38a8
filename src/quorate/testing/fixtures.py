"""The pytest plugin: the fixtures ``sim_cluster`` and ``quorate_cluster``, the option ``--sim-seed``, and transcripts
in reports of failed tests.

Installed with Quorate, so it is loaded by every pytest run of its users: it imports nothing until a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from quorate.testing.cluster import SimCluster
    from quorate.testing.processes import ProcessCluster

__all__ = ["quorate_cluster", "sim_cluster"]

_CLUSTERS: pytest.StashKey[list[Any]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The seed of a failed run comes back by ``--sim-seed``."""
    parser.getgroup("quorate").addoption(
        "--sim-seed", type=int, default=None, metavar="N", help="run each simulated cluster with this seed"
    )


@pytest.fixture
def sim_cluster(request: pytest.FixtureRequest) -> Callable[..., SimCluster]:
    """Makes simulated clusters: ``sim_cluster(MyMachine, seed=7, nodes=3, profile="rough")``.

    Arguments are those of :class:`quorate.testing.SimCluster`; ``seed`` is 1 unless it is given, and ``--sim-seed`` has
    the last word. If the test fails its report tells the seeds and the last steps of each node.
    """
    from quorate.testing.cluster import SimCluster

    made: list[SimCluster] = []
    request.node.stash[_CLUSTERS] = made
    wanted = request.config.getoption("--sim-seed")

    def make(machine: Any = None, *, seed: int = 1, **arguments: Any) -> SimCluster:
        given = () if machine is None else (machine,)
        cluster = SimCluster(*given, seed=seed if wanted is None else wanted, **arguments)
        cluster.replay = f"pytest '{request.node.nodeid}' --sim-seed {cluster.seed}"
        made.append(cluster)
        return cluster

    return make


@pytest.fixture
def quorate_cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    """A running cluster of three real nodes: ``quorate_cluster.client()``, ``.kill(name)``, ``.restart(name)``,
    ``.pause(name)``, ``.resume(name)``, ``.leader()``.

    See :class:`quorate.testing.ProcessCluster`, which also makes other ones, and some that several tests share.
    """
    from quorate.testing.processes import ProcessCluster

    with ProcessCluster(directory=tmp_path / "quorate") as cluster:
        yield cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the story of each cluster into the report of a failed test."""
    report = yield
    if report.failed:
        for cluster in item.stash.get(_CLUSTERS, ()):
            title = f"simulated cluster: {cluster.replay}"
            report.sections.append((title, f"{cluster!r}\n{cluster.transcript(15)}"))
    return report
