"""`quorate up`: a cluster that comes up, survives kills of any node, leaves nothing behind, and what it refuses."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.running import Command, is_alive, until
from quorate.cli import _up_nodes, main
from quorate.cli._up_home import Home
from quorate.errors import ConfigError

UP = ("up", "--port", "0", "--json", "--raft", "election_timeout_min_ms=500", "--raft", "election_timeout_max_ms=1000")
"""Free ports, and patience for machines that have more to do than this."""


def start(command: Command) -> tuple[dict[str, int], str]:
    """(process of each node, leader), once there is one."""
    processes = {}
    for line in command.lines():
        seen = json.loads(line)
        if seen["event"] == "started":
            processes[seen["node"]] = seen["process"]
        if seen["event"] == "leader":
            return processes, seen["node"]
    raise AssertionError(command.seen)


@contextlib.contextmanager
def kept_ports(folder: Path, count: int) -> Iterator[None]:
    """A directory whose cluster has ports that nobody else is given until the end, also between two starts."""
    with contextlib.ExitStack() as sockets:
        ports = []
        for _ in range(count):
            kept = sockets.enter_context(socket.socket())  # bound and not listening, as `up` itself keeps them
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kept.bind(("127.0.0.1", 0))
            ports.append(kept.getsockname()[1])
        (folder / "quorate-data").mkdir()
        note = {"format": 1, "version": "0", "ports": ports}
        (folder / "quorate-data" / "quorate-up.json").write_text(json.dumps(note), encoding="utf-8")
        yield


@pytest.fixture
def three_ports(tmp_path: Path) -> Iterator[None]:
    with kept_ports(tmp_path, 3):
        yield


@pytest.fixture
def one_port(tmp_path: Path) -> Iterator[None]:
    with kept_ports(tmp_path, 1):
        yield


@pytest.mark.usefixtures("three_ports")
def test_a_killed_leader_is_replaced_and_comes_back(tmp_path: Path) -> None:
    with Command(*UP, cwd=tmp_path) as command:
        processes, leader = start(command)
        assert sorted(processes) == ["a", "b", "c"]
        os.kill(processes[leader], signal.SIGKILL)
        gone = command.event("ended", node=leader)
        assert (gone["process"], gone["reason"]) == (processes[leader], "killed by SIGKILL")
        processes[leader] = command.event("restarted", node=leader)["process"]
        assert command.event("leader")["term"] > 1

        other = min(set(processes) - {leader})
        os.kill(processes[other], signal.SIGTERM)
        assert command.event("ended", node=other)["reason"] == "ended with exit code 0"
        processes[other] = command.event("restarted", node=other)["process"]

        os.kill(processes[leader], signal.SIGSTOP)  # it cannot end by itself, and must not stay
        assert command.end(signal.SIGINT) == 0
        command.event("stopped")
        assert not [each for each in processes.values() if is_alive(each)]

    with Command("up", "--json", cwd=tmp_path) as again:
        assert json.loads(again.line("up"))["is_new"] is False
        assert sorted(start(again)[0]) == ["a", "b", "c"]
        assert again.end(signal.SIGTERM) == 0


def test_nodes_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    with Command(*UP, "--nodes", "2", cwd=tmp_path) as command:
        processes, leader = start(command)
        os.kill(processes[leader], signal.SIGSTOP)
        command.end(signal.SIGKILL)
        until(lambda: not [each for each in processes.values() if is_alive(each)])


def test_people_get_lines_to_read_and_to_paste(tmp_path: Path) -> None:
    with Command("up", "--nodes", "1", "--port", "0", cwd=tmp_path) as command:
        assert "127.0.0.1:" in command.line("node a started: process ")
        command.line("node a leads, term 1")
        url = command.line("quorate.connect(").partition('"')[2].partition('"')[0]
        assert url.startswith("quorate://127.0.0.1:")
        command.line(f"export QUORATE_URL={url}")
        assert command.end(signal.SIGINT) == 0
        command.line("all nodes are stopped; the data stays")


@pytest.mark.usefixtures("one_port")
def test_a_node_that_does_not_stay_ends_the_command(tmp_path: Path) -> None:
    with Command("up", "--json", cwd=tmp_path) as command:
        start(command)
        assert command.end() == 0
    identity = tmp_path / "quorate-data" / "a" / "IDENTITY"
    identity.write_bytes(identity.read_bytes().replace(b"format 1", b"format 9"))
    with Command("up", cwd=tmp_path) as command:
        assert "Start the newer version" in command.line("node a does not stay: ")
        assert command.process.wait() == 1


def test_a_command_finds_the_cluster_and_its_exit_code_is_ours(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['QUORATE_URL']); sys.exit(7)"
    with Command("up", "--nodes", "1", "--", sys.executable, "-c", code, cwd=tmp_path) as command:
        command.line("node a leads")
        assert command.line("quorate://127.0.0.1:").startswith("quorate://")
        command.line("all nodes are stopped")
        assert command.process.wait() == 7
    code = "import os; os.kill(os.getpid(), 9)"
    with Command("up", "--nodes", "1", "--", sys.executable, "-c", code, cwd=tmp_path) as command:
        assert command.process.wait() == 128 + 9
    with Command("up", "--nodes", "1", "--", "./no-such-command", cwd=tmp_path) as command:
        command.line("./no-such-command cannot be run: No such file or directory")
        assert command.process.wait() == 2
    with Command("up", "--nodes", "1", "--", "sleep", "1000", cwd=tmp_path) as command:
        command.line("node a leads")
        assert command.end(signal.SIGINT) == 130
    assert list(tmp_path.iterdir()) == []  # the directories were temporary


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["up", *arguments])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_what_cannot_work_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").touch()
    assert "was not made by quorate up (it has 'thesis.tex'). Say another --dir" in refused("--dir", "foreign")
    assert "foreign/thesis.tex is a file; say another --dir" in refused("--dir", "foreign/thesis.tex")
    assert "cannot be written: Not a directory; say another --dir" in refused("--dir", "foreign/thesis.tex/x")
    assert "say a lower --port" in refused("--port", "65534")
    assert "is not in the range 1<=x<=9" in refused("--nodes", "10")
    assert "is no setting" in refused("--raft", "x=1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} is taken by another program: stop it, or" in refused("--nodes", "1", "--port", str(port))
    assert not (tmp_path / "quorate-data" / "quorate-up.json").exists()


def test_a_cluster_that_is_there_is_not_taken_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Home(Path("quorate-data"), nodes=2, port=0) as home:
        assert home.is_new
        addresses = [each.address for each in home.places]
        assert f"quorate up already runs in quorate-data (process {os.getpid()})" in refused()
    assert "holds a cluster of 2 nodes, not 3: leave --nodes out" in refused("--nodes", "3")
    assert "leave --port out" in refused("--port", "1")
    with Home(Path("quorate-data"), nodes=None, port=None) as home:
        assert [each.address for each in home.places] == addresses
        assert home.url == f"quorate://{','.join(addresses)}"

    note = tmp_path / "quorate-data" / "quorate-up.json"
    for made, said in ((0, "an older"), (2, "a newer")):
        note.write_text(json.dumps({"format": made, "version": "0.0.1", "nodes": 2}), encoding="utf-8")
        assert f"was made by {said} version of Quorate (0.0.1; this is" in refused()
    note.write_text("{", encoding="utf-8")
    assert "is damaged: say another --dir" in refused()


def test_a_reserved_port_is_free_for_the_node_alone(tmp_path: Path) -> None:
    with Home(tmp_path / "x", nodes=1, port=0) as home, socket.socket() as node:
        node.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = int(home.places[0].address.rpartition(":")[2])
        node.bind(("127.0.0.1", port))
        node.listen()
        with pytest.raises(ConfigError, match="taken"):
            Home(tmp_path / "y", nodes=1, port=port)


def test_the_picture_shows_every_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("quorate.cli.up")
    screen = io.StringIO()
    monkeypatch.setattr(
        module, "console", lambda: Console(file=screen, force_terminal=True, width=120, highlight=False)
    )

    class Process:
        pid = 4711

    class Child:
        def __init__(self, place: Any, status: dict[str, Any]) -> None:
            self.place, self.status, self.process = place, status, Process

    seen = {"role": "leader", "term": 7, "commit": 1234, "applied": 1230, "round_seconds": 0.00042}
    with Home(tmp_path / "x", nodes=3, port=0) as home:
        running = type("Running", (), {})()
        running.children = [
            Child(home.places[0], {**seen, "disk": {"sync_p99_us": 1500}}),
            Child(home.places[1], {**seen, "role": "follower", "round_seconds": None, "disk": {"sync_p99_us": 0}}),
            Child(home.places[2], {}),
        ]
        picture = module.Picture(home)
        with picture.over(running):
            picture.tell("ended", node="a", process=1, reason="killed by SIGKILL")
            picture.tell("restarted", node="a", process=2)
            picture.refresh()
        shown = screen.getvalue()
    for each in ("leader", "1234", "0.42", "1.50", "no quorum", "starting", "4711", home.places[2].address, home.url):
        assert each in shown
    assert "node a is gone: process 1 was killed by SIGKILL" in shown


def test_last_words_are_those_of_this_run(tmp_path: Path) -> None:
    child = _up_nodes.Child.__new__(_up_nodes.Child)
    with Home(tmp_path / "x", nodes=1, port=0) as home:
        object.__setattr__(child, "place", home.places[0])
        child.log_begins = 0
        assert child.last_words() == ""
        home.places[0].log.write_text("before\nnow\n\n", encoding="utf-8")
        assert child.last_words() == "now"
        child.log_begins = 20
        assert child.last_words() == ""
