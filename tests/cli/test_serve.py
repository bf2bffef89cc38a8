"""`quorate serve`: settings and where they come from, what it logs and answers, how it ends, and what it refuses."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.running import PATIENCE, Command, fetch, until
from quorate.cli import main
from quorate.cli._logs import begin
from quorate.cli._systemd import Notifier
from quorate.config import RaftConfig
from quorate.errors import ConfigError, NodeFailed

serving = importlib.import_module("quorate.cli.serve")  # its name is also that of the command in it


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative, since those of Unix sockets must be short."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("QUORATE_"):
            monkeypatch.delenv(name)


# A node as a process


def test_it_runs_answers_and_ends(tmp_path: Path) -> None:
    arguments = ("serve", "--name", "a", "--listen", "unix:a", "--data-dir", "data", "--http", "unix:http")
    with Command(*arguments, cwd=tmp_path) as node:
        node.line("INFO leader node=a leader=a")
        assert fetch("http", "/live") == (200, b'{"live": true}\n')
        assert fetch("http", "/ready") == (200, b'{"ready": true}\n')
        code, text = fetch("http", "/metrics")
        assert code == 200
        found = dict(re.findall(r'^(\w+)\{node="a"\} (\S+)$', text.decode(), re.M))
        assert float(found["quorate_term"]) >= 1
        assert float(found["quorate_disk_sync_seconds_count"]) >= 1
        assert float(found["quorate_memory_resident_bytes"]) > 1 << 20
        assert b'quorate_role{node="a",role="leader"} 1.0' in text
        assert fetch("http", "/") == (404, b'{"error": "there are /live, /ready and /metrics"}\n')
        assert fetch("http", "/live", "HEAD") == (200, b"")
        assert node.end(signal.SIGINT) == 0
        assert [line.split(" ", 2)[1] for line in [*node.seen, *node.lines()]] == ["INFO"] * 3  # quiet in between
    with Command(*arguments, cwd=tmp_path) as again:
        assert "data_dir=data" in again.line("started")
        assert again.end(signal.SIGTERM) == 0


def test_without_a_quorum_it_lives_and_is_not_ready(tmp_path: Path) -> None:
    members = "a=unix:a,b=unix:b,c=unix:c"
    with Command(
        "serve", "--name", "b", "--members", members, "--durability", "memory", "--http", "unix:h", cwd=tmp_path
    ) as node:
        node.line("started")
        until(lambda: os.path.exists("h"))
        assert fetch("h", "/live")[0] == 200
        code, text = fetch("h", "/ready")
        assert code == 503
        assert "majority" in json.loads(text)["reason"]
        assert "needed=2" in node.line("WARNING no leader for 5 s")
        assert node.end() == 0


def test_members_that_disagree_are_told_of(tmp_path: Path) -> None:
    common = ("--durability", "memory", "--log-format", "json")
    with (
        Command("serve", "--name", "a", "--members", "a=unix:a,b=unix:b", *common, cwd=tmp_path) as one,
        Command("serve", "--name", "b", "--members", "a=unix:a,b=unix:b,c=unix:c", *common, cwd=tmp_path) as other,
    ):
        for node in (one, other):
            told = json.loads(node.line("refused connections"))
            assert told["kind"] == "wrong_cluster"
            assert told["level"] == "WARNING"
            assert "compare --members on all nodes" in told["message"]


def test_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("manager")
        manager.settimeout(PATIENCE)
        with Command(
            "serve", "--name", "a", "--listen", "unix:a", "--durability", "memory",
            cwd=tmp_path, NOTIFY_SOCKET="manager", WATCHDOG_USEC="1000000",
        ) as node:  # fmt: skip
            assert manager.recv(1000).startswith(b"READY=1\n")
            while manager.recv(1000) != b"WATCHDOG=1":
                pass
            assert node.end() == 0
            while manager.recv(1000) != b"STOPPING=1":
                pass


def test_a_manager_that_is_not_there_is_no_trouble() -> None:
    assert Notifier({}).watchdog == 0
    Notifier({}).tell(READY="1")
    Notifier({"NOTIFY_SOCKET": "nobody"}).tell(READY="1")
    assert Notifier({"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "4000000"}).watchdog == 2.0
    assert Notifier({"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}).watchdog == 0


# Settings


ORDER = ("listen", "data_dir", "durability", "insecure", "config")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of the node that would have been started."""
    calls: list[Any] = []

    def make(name: str, members: Any, join: str | None, **other: Any) -> Any:
        calls.append((name, members, *(other[each] for each in ORDER), join, other["max_clients"]))
        raise ConfigError("enough")

    monkeypatch.setattr(serving, "make_node", make)
    return calls


def serve(*arguments: str, code: int = 2, **environment: str) -> Result:
    result = CliRunner().invoke(main, ["serve", *arguments], env=environment)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


FILE = """
name = "file"
data_dir = "file-data"
insecure = true
log_format = "json"
[members]
file = "127.0.0.1:1"
b = "127.0.0.1:2"
[raft]
heartbeat_ms = 20
pre_vote = false
lease_margin = 0.25
"""


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path, made: list[Any]) -> None:
    (tmp_path / "q.toml").write_text(FILE, encoding="utf-8")
    serve("--config", "q.toml")
    name, members, listen, data_dir, durability, insecure, raft, *_ = made.pop()
    assert (name, listen, str(data_dir), durability, insecure) == ("file", None, "file-data", "fsync", True)
    assert members == {"file": "127.0.0.1:1", "b": "127.0.0.1:2"}
    assert (raft.heartbeat_ms, raft.pre_vote, raft.lease_margin) == (20, False, 0.25)

    said = {
        "QUORATE_CONFIG": "q.toml",
        "QUORATE_NAME": "env",
        "QUORATE_MEMBERS": "env=unix:x",
        "QUORATE_DATA_DIR": "env-data",
    }
    serve(**said)
    assert made[-1][:2] == ("env", {"env": "unix:x"})
    assert str(made.pop()[3]) == "env-data"

    serve("--name", "flag", "--data-dir", "flag-data", "--raft", "heartbeat_ms=30", **said)
    assert (made[-1][0], str(made[-1][3]), made[-1][6].heartbeat_ms) == ("flag", "flag-data", 30)
    assert made[-1][1] == {"env": "unix:x"}


def test_the_file_for_real_machines_can_be_read(made: list[Any]) -> None:
    serve("--config", str(Path(__file__).parents[2] / "examples" / "deploy" / "quorate.toml"), "--name", "b")
    name, members, listen, data_dir, durability, insecure, raft, *_ = made.pop()
    assert listen is None
    assert (name, sorted(members), str(data_dir), durability, insecure) == (
        "b", ["a", "b", "c"], "/var/lib/quorate", "fsync", True,
    )  # fmt: skip
    assert raft == RaftConfig()


def test_the_environment_alone_is_enough(made: list[Any]) -> None:
    serve(
        QUORATE_NAME="a",
        QUORATE_MEMBERS="a=h:1, b=h:2 c=[::1]:3",
        QUORATE_INSECURE="true",
        QUORATE_DURABILITY="memory",
        QUORATE_RAFT="heartbeat_ms=20 disk_stall_ms=5000",
        QUORATE_LISTEN="0.0.0.0:7",
    )
    name, members, listen, data_dir, durability, insecure, raft, *_ = made.pop()
    assert (name, listen, data_dir, durability, insecure) == ("a", "0.0.0.0:7", None, "memory", True)
    assert members == {"a": "h:1", "b": "h:2", "c": "[::1]:3"}
    assert (raft.heartbeat_ms, raft.disk_stall_ms) == (20, 5000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nam = 1", "there is no setting 'nam'; there are: data_dir"),
        ("name = 1", "name is a text, not 1"),
        ("insecure = 'yes'", "insecure is true or false, not 'yes'"),
        ("members = 'a'", "members is a table, not 'a'"),
        ("name = ", "q.toml is no TOML"),
        ("name = 'a'\n[members]\na = 1", "the address of a is a text like 'host:port', not 1"),
        ("name = 'a'\n[raft]\nheartbeat = 1", "'heartbeat=1' is no setting; there are: heartbeat_ms"),
        ("name = 'a'\n[raft]\nheartbeat_ms = 'x'", "heartbeat_ms is an integer, not 'x'"),
        ("name = 'a'\n[raft]\nheartbeat_ms = 1000", "must be at least twice heartbeat_ms"),
    ],
)
def test_a_file_that_cannot_work(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "q.toml").write_text(text, encoding="utf-8")
    assert said in " ".join(serve("--config", "q.toml", "--listen", "unix:a", "--durability", "memory").output.split())


HERE = ("--name", "a", "--durability", "memory")
KEEPS = ("--name", "a", "--listen", "unix:a")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "'--name'"),
        (("--name", "a"), "say --members NAME=HOST:PORT"),
        ((*HERE, "--nosuch"), "No such option"),
        ((*HERE, "--members", "a"), "'a' is no member; write NAME=HOST:PORT"),
        ((*HERE, "--members", "a=h:1,a=h:2"), "a is named twice"),
        ((*HERE, "--members", ","), "there is no member in it"),
        ((*HERE, "--members", "b=h:1,c=h:2"), "node 'a' is not among the members b, c: say one of"),
        ((*HERE, "--members", "a=h"), "'h' is no address; write host:port"),
        ((*HERE, "--listen", "127.0.0.1:99999"), "is no address; write host:port"),
        ((*HERE, "--listen", "no.such.host.invalid:1"), "cannot be found"),
        ((*HERE, "--listen", "0.0.0.0:1"), "can be reached from other hosts"),
        ((*HERE, "--listen", "unix:a", "--http", "nowhere"), "is no address"),
        ((*HERE, "--listen", "unix:a", "--http", "0.0.0.0:1"), "can be reached from other hosts"),
        ((*HERE, "--listen", "unix:a", "--data-dir", "d"), "keeps nothing: leave --data-dir out"),
        ((*HERE, "--join", "h:1"), "a node that joins needs --listen"),
        ((*HERE, "--join", "h:1", "--members", "a=h:1"), "not both"),
        ((*HERE, "--join", "h", "--listen", "unix:a"), "'h' is no address"),
        ((*HERE, "--raft", "heartbeat_ms"), "is no setting; there are"),
        ((*HERE, "--raft", "pre_vote=maybe"), "pre_vote is true or false"),
        (KEEPS, "say --data-dir DIR"),
        ((*KEEPS, "--data-dir", "foreign"), "holds no data of Quorate (it has 'thesis.tex'). Choose another"),
        ((*KEEPS, "--data-dir", "foreign/thesis.tex"), "a file is in the way; choose another --data-dir"),
        (("--config", "missing.toml"), "does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_advice(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").touch()
    assert said in " ".join(serve(*arguments).output.split())
    assert {each.name for each in (tmp_path / "foreign").iterdir()} == {"thesis.tex"}


def test_a_taken_address_is_refused_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = f"{address} is taken by another program; stop it, or choose another port"
        assert said in serve(*HERE, "--listen", address).output
        assert said in serve(*HERE, "--listen", "unix:a", "--http", address).output


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_unwritable_directory_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    said = " ".join(serve(*KEEPS, "--data-dir", "closed/data").output.split())
    assert "give the directory to the user that runs quorate, or choose another --data-dir" in said


def test_errors_of_the_system_come_with_advice(tmp_path: Path) -> None:
    for number, advice in ((13, "give the directory"), (30, "read-only"), (28, "make room")):
        with pytest.raises(ConfigError, match=f"data: .*{advice}"), serving.explained(Path("data")):
            raise OSError(number, os.strerror(number))
    with pytest.raises(OSError, match="too many"), serving.explained(None):
        raise OSError(24, "too many open files")


def test_a_directory_of_another_node_is_refused(tmp_path: Path) -> None:
    arguments = ("serve", "--members", "a=unix:a,b=unix:b", "--data-dir", "data")
    with Command(*arguments, "--name", "a", cwd=tmp_path) as node:
        node.line("started")
        assert "is open in another process" in serve(*arguments[1:], "--name", "b").output
        assert node.end() == 0
    assert "belongs to node 1, not 2" in serve(*arguments[1:], "--name", "b", code=1).output


# What it says while it runs


class Node:
    """What the watch looks at, as far as it looks."""

    name, data_dir, durability = "a", None, "memory"

    def __init__(self) -> None:
        self.first_members = {1: ("a", "h:1"), 2: ("b", "h:2"), 3: ("c", "h:3")}
        self.join = ()
        self.seen = {
            "role": "follower", "term": 1, "leader": None, "disk": {"full": False},
            "connections": {"members": 1, "wrong_cluster": 0, "slow": 0},
        }  # fmt: skip


def test_the_watch_tells_of_changes_and_of_nothing_else() -> None:
    stream = io.StringIO()
    node = Node()
    watch = serving.Watch(node, begin(stream, level="info", form="text"), Notifier({}))  # type: ignore[arg-type]
    watch.leaderless_since = 0.0

    def look(now: float, **changed: Any) -> list[str]:
        node.seen.update(changed)
        stream.seek(0)
        stream.truncate()
        watch.look(node.seen, now)
        return [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]

    assert look(0.0) == []
    assert look(4.0) == []
    assert [line[:22] for line in look(6.0)] == ["WARNING no leader for "]
    assert look(60.0) == []
    assert look(61.0, leader="b", term=2) == [
        "INFO leader node=a leader=b term=2 role=follower",
        "INFO there is a leader again node=a leader=b term=2",
    ]
    assert look(62.0, disk={"full": True})[0].startswith("WARNING no room on the disk")
    assert look(63.0) == []
    assert look(64.0, disk={"full": False}) == ["INFO there is room on the disk again node=a"]
    assert look(77.0, leader=None) == ["INFO no leader node=a term=2 role=follower"]


def test_a_node_that_fails_ends_the_command_with_its_reason() -> None:
    class Failed(Node):
        def status(self) -> dict[str, Any]:
            raise NodeFailed("the disk is gone")

    class Never:
        def wait(self, seconds: float) -> bool:
            return False

    stream = io.StringIO()
    watch = serving.Watch(Failed(), begin(stream, level="info", form="text"), Notifier({}))  # type: ignore[arg-type]
    assert watch.run(Never()) == 1  # type: ignore[arg-type]
    assert stream.getvalue().splitlines()[-1].endswith('ERROR the node failed node=a error="the disk is gone"')


def test_lines_of_the_log_stay_lines() -> None:
    stream = io.StringIO()
    log = begin(stream, level="debug", form="text")
    log.debug("two\nlines", extra={"fields": {"text": 'a "b"\nc', "empty": "", "plain": "x"}})
    assert stream.getvalue().split(" ", 1)[1] == 'DEBUG two lines text="a \\"b\\"\\nc" empty="" plain=x\n'
    stream.truncate(0)
    stream.seek(0)
    begin(stream, level="info", form="json").debug("not this")
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("quorate.part").exception("broken")
    document = json.loads(stream.getvalue())
    assert (document["level"], document["message"]) == ("ERROR", "broken")
    assert "KeyError" in document["trace"]
