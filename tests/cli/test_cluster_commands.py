"""`quorate status`, `members`, `transfer` and the key commands against real nodes: whole, without a quorum, gone."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.running import Command
from quorate.cli import main
from quorate.cli.status import _age
from quorate.testing import ProcessCluster

pytestmark = pytest.mark.timeout(180)
PATIENT = ("--timeout", "40")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(directory=tmp_path_factory.mktemp("cluster") / "quorate") as made:
        made.wait_ready(30.0)
        yield made


def run(url: str, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [*arguments, *PATIENT], env={"QUORATE_URL": url})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def run_json(url: str, *arguments: str, code: int = 0) -> Any:
    return json.loads(run(url, *arguments, "--json", code=code).stdout)


def test_keys_go_round(cluster: ProcessCluster) -> None:
    revision = int(run(cluster.url, "put", "greeting", "hello").stdout)
    assert run(cluster.url, "get", "greeting").stdout == "hello"
    assert run_json(cluster.url, "range", "--prefix", "greet")["keys"][0]["mod_revision"] == revision
    lines = run(cluster.url, "watch", "greeting", "--revision", str(revision - 1), "--count", "1").stdout
    assert lines == f"{revision} put greeting = hello\n"
    assert run(cluster.url, "delete", "greeting").stdout == "1\n"


def test_status_shows_every_member(cluster: ProcessCluster) -> None:
    found = run_json(cluster.url, "status")["members"]
    assert sorted(each["name"] for each in found) == ["a", "b", "c"]
    assert {each["address"] for each in found} == set(cluster.members.values())
    leader = next(each for each in found if each["role"] == "leader")
    assert {each["leader"] for each in found} == {leader["name"]}
    assert set(leader["followers"]) == {"a", "b", "c"} - {leader["name"]}
    assert all(each["uptime"] > 0 and each["memory"]["resident"] > 1 << 20 for each in found)
    # One address is enough to see all.
    shown = run(f"quorate://{found[0]['address']}", "status").stdout
    assert sorted(line.split()[0] for line in shown.splitlines()[1:]) == ["a", "b", "c"]


def test_status_as_prometheus_wants_it(cluster: ProcessCluster) -> None:
    text = run(cluster.url, "status", "--prometheus").stdout
    for node in "abc":
        assert f'quorate_term{{node="{node}"}} ' in text
        assert f'quorate_disk_sync_seconds_count{{node="{node}"}} ' in text
    assert text.count('role="leader"} 1.0') == 1
    assert text.count("# TYPE quorate_term gauge") == 1
    assert text.count("quorate_follower_lag_entries{") == 2


def test_members_and_transfer(cluster: ProcessCluster) -> None:
    found = run_json(cluster.url, "members", "list")["members"]
    assert {each["name"]: each["address"] for each in found} == dict(cluster.members)
    assert sum(each["leader"] for each in found) == 1
    assert all(each["voter"] for each in found)
    shown = run(cluster.url, "members", "list").stdout
    assert shown.split()[:4] == ["id", "name", "address", "part"]
    follower = next(each["name"] for each in found if not each["leader"])
    assert run_json(cluster.url, "transfer", follower)["leader"] == follower
    assert "'z'" in run(cluster.url, "transfer", "z", code=1).output
    for command in (("promote", "z"), ("remove", "z"), ("address", "z", "127.0.0.1:1")):
        assert "'z'" in run(cluster.url, "members", *command, code=1).output, "not a member, and the message names it"


def test_a_node_joins_and_takes_the_place_of_another(broken: ProcessCluster, tmp_path: Path) -> None:
    with socket.socket() as kept:  # bound and not listening: free for the node, and for nobody else
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{kept.getsockname()[1]}"
        gone = broken.leader()
        broken.kill(gone)
        join = ",".join(broken.members[name] for name in broken.running)
        with Command(
            "serve", "--name", "d", "--join", join, "--listen", address, "--data-dir", "d", cwd=tmp_path
        ) as node:
            node.line("INFO started node=d")
            assert "votes in the place of" in run(broken.url, "members", "replace", gone, "d", address).stdout
            node.line("INFO leader node=d leader=")
            found = run_json(broken.url, "members", "list")["members"]
            assert {each["name"] for each in found} == {"a", "b", "c", "d"} - {gone}
            assert all(each["voter"] for each in found)
            assert node.end() == 0


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[ProcessCluster]:
    """A cluster to break."""
    with ProcessCluster(directory=tmp_path / "quorate") as made:
        made.wait_ready(30.0)
        yield made


def test_a_member_that_is_gone_is_shown(broken: ProcessCluster) -> None:
    broken.kill("b")
    gone = broken.members["b"]
    result = CliRunner().invoke(main, ["status", "--url", broken.url, "--timeout", "3"])
    assert result.exit_code == 1
    assert f"{gone}: " in result.output
    assert "no answer" in result.output
    broken.kill("c")
    for command in (("put", "k", "v"), ("get", "k"), ("delete", "k"), ("range",), ("transfer", "c")):
        result = CliRunner().invoke(main, [*command, "--url", broken.url, "--timeout", "1"])
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        assert result.output.startswith("Error: "), result.output
    # What one node has can be read all the same.
    result = CliRunner().invoke(main, ["range", "--local", "--count", "--url", broken.url])
    assert (result.exit_code, result.stdout) == (0, "0\n")


@pytest.mark.parametrize("command", [("get", "k"), ("put", "k", "v"), ("watch", "k"), ("status",), ("members", "list")])
def test_nobody_there_is_told_in_time(command: tuple[str, ...], tmp_path: Path) -> None:
    with socket.socket() as kept:  # bound and not listening: nobody answers, and nobody else gets it
        kept.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{kept.getsockname()[1]}"
        result = CliRunner().invoke(main, [*command, "--url", f"quorate://{address}", "--timeout", "0.5"])
    assert result.exit_code == 1
    assert address in result.output
    assert "Traceback" not in result.output


def test_ages() -> None:
    assert [_age(each) for each in (0.5, 99.9, 3600, 200_000)] == ["0 s", "99 s", "60 min", "55 h"]
