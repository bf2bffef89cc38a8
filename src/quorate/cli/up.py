"""``quorate up``: a cluster on this machine, in the foreground, to look at and to kill nodes of."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from quorate.cli._settings import RaftOption
from quorate.cli._show import console, table
from quorate.cli._up_home import NAMES, Home
from quorate.cli._up_nodes import Nodes
from quorate.errors import ConfigError

__all__ = ["up"]

DIRECTORY: Final = "quorate-data"


@click.command()
@click.option(
    "--nodes", type=click.IntRange(1, len(NAMES)), help="How many.  [default: 3, or what DIR has]", metavar="N"
)
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path),
    help=f"Where their data lies; a second start goes on with it.  [default: {DIRECTORY}; temporary for a COMMAND]",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="PORT",
    help="Of the first node; the others follow. 0: any.  [default: 7400, or what DIR has; for a COMMAND any]",
)  # fmt: skip
@click.option("--raft", type=RaftOption(), multiple=True, help="A setting of the protocol, as heartbeat_ms=100.")
@click.option("--json", "as_json", is_flag=True, help="Print what happens as JSON, one object a line.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def up(
    nodes: int | None,
    directory: Path | None,
    port: int | None,
    raft: tuple[tuple[str, Any], ...],
    as_json: bool,
    command: tuple[str, ...],
) -> None:
    """Run a cluster on this machine, until Ctrl-C; or, with a COMMAND behind --, until that ends.

    Each node is a process of its own (`quorate serve`). Kill one, any way you like: the others go on, and it is started
    again. The nodes never outlive this command; what they have acknowledged stays in DIR.

    COMMAND finds the cluster by QUORATE_URL: `quorate up -- python examples/import_lines.py FILE`.

    Exit codes: 0 ended by Ctrl-C or SIGTERM; 1 a node does not stay, and its last words are shown; 2 port, directory or
    options cannot work. With a COMMAND: its exit code, or 128 and the signal that ended it.
    """
    with contextlib.ExitStack() as own:
        if command and directory is None:
            directory = Path(own.enter_context(tempfile.TemporaryDirectory(prefix="quorate-")))
            port = port or 0
        code = _up(command, Home(directory or Path(DIRECTORY), nodes=nodes, port=port), raft, as_json)
    raise SystemExit(code)


def _up(command: tuple[str, ...], home: Home, raft: tuple[tuple[str, Any], ...], as_json: bool) -> int:
    code = 128 + signal.SIGINT if command else 0
    with home, _stopping():
        show: Json | Lines | Picture
        if as_json:
            show = Json(home)
        elif command:
            show = Lines(home, Console(stderr=True, highlight=False, soft_wrap=True), hinted=True)
        else:
            show = Picture(home) if console().is_terminal else Lines(home)
        with (
            contextlib.suppress(KeyboardInterrupt),
            Nodes(home, show.tell, _settings(raft)) as running,
            show.over(running),
        ):
            if command:
                code = _run(command, home, running)
            else:
                while True:
                    running.turn()
                    show.refresh()
        show.tell("stopped")
    return code


def _run(command: tuple[str, ...], home: Home, running: Nodes) -> int:
    """Runs the command once there is a leader, and gives its exit code."""
    while running.leader is None:
        running.turn()
    process = None
    try:
        with _held_back():  # else a signal could come between the start of the process and our knowing of it
            try:
                process = subprocess.Popen(command, env={**os.environ, "QUORATE_URL": home.url})
            except OSError as error:
                raise ConfigError(f"{command[0]} cannot be run: {error.strerror}") from None
        while (code := process.poll()) is None:
            running.turn()
    except BaseException:
        if process is not None:
            process.terminate()
            process.wait()
        raise
    return code if code >= 0 else 128 - code


def _settings(raft: tuple[tuple[str, Any], ...]) -> list[str]:
    return [part for name, value in raft for part in ("--raft", f"{name}={value}")]


SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    before = [signal.signal(each, handler) for each in SIGNALS]
    try:
        yield
    finally:
        for each, old in zip(SIGNALS, before, strict=True):
            signal.signal(each, old)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _stopping() -> contextlib.AbstractContextManager[None]:
    """SIGTERM and a closed terminal end the command as Ctrl-C does."""
    return _handled(_interrupt)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """A signal that comes meanwhile is heard at the end."""
    came: list[int] = []
    with _handled(lambda number, frame: came.append(number)):
        yield
    if came:
        raise KeyboardInterrupt


def hints(home: Home) -> list[str]:
    """What to paste where."""
    return [
        f'Python:  import quorate; client = quorate.connect("{home.url}")',
        f"shell:   export QUORATE_URL={home.url}",
        "kill:    kill -9 PROCESS   (any node, the leader too; it comes back)",
    ]


class Json:
    """Each event as an object; nothing while nothing happens."""

    def __init__(self, home: Home) -> None:
        self.tell("up", directory=str(home.path), url=home.url, is_new=home.is_new)

    def tell(self, event: str, **fields: Any) -> None:
        click.echo(json.dumps({"event": event, **fields}, ensure_ascii=False))

    @contextlib.contextmanager
    def over(self, running: Nodes) -> Iterator[None]:
        yield

    def refresh(self) -> None:
        pass


class Lines:
    """Each event as a line for people, where there is no terminal to paint on."""

    def __init__(self, home: Home, to: Console | None = None, *, hinted: bool = False) -> None:
        self.out = to or console()
        self.home = home
        self.hinted = hinted

    def tell(self, event: str, **fields: Any) -> None:
        line = sentence(event, fields)
        if line:
            self.out.print(line, markup=False)
        if event == "leader" and not self.hinted:
            self.hinted = True
            for each in hints(self.home):
                self.out.print(each, markup=False)

    @contextlib.contextmanager
    def over(self, running: Nodes) -> Iterator[None]:
        yield

    def refresh(self) -> None:
        pass


def sentence(event: str, fields: dict[str, Any]) -> str:
    """An event in words."""
    node, process = fields.get("node"), fields.get("process")
    return {
        "started": f"node {node} started: process {process}, {fields.get('address')}",
        "leader": f"node {node} leads, term {fields.get('term')}",
        "ended": f"node {node} is gone: process {process} was {fields.get('reason')}".replace("was ended", "ended"),
        "restarted": f"node {node} restarted: process {process}",
        "stopped": "all nodes are stopped; the data stays",
    }.get(event, "")


class Picture:
    """A table that is painted over and over, and the events above it."""

    def __init__(self, home: Home) -> None:
        self.out = console()
        self.home = home
        self.lines = Lines(home, self.out, hinted=True)  # they stand below the table
        self.tell = self.lines.tell
        self.live: Live | None = None
        self.running: Nodes | None = None

    @contextlib.contextmanager
    def over(self, running: Nodes) -> Iterator[None]:
        self.running = running
        with Live(self.picture(), console=self.out, refresh_per_second=4, transient=True) as self.live:
            yield

    def refresh(self) -> None:
        assert self.live is not None
        self.live.update(self.picture())

    def picture(self) -> Group:
        """The table, and what to paste below it."""
        assert self.running is not None
        rows = table(
            self.out,
            "node",
            "process",
            "address",
            "role",
            "term",
            "commit",
            "lag",
            "round ms",
            "fdatasync p99 ms",
            left=4,
        )
        known = [child.status for child in self.running.children if "commit" in child.status]
        newest = max((status["commit"] for status in known), default=0)
        for child in self.running.children:
            rows.add_row(child.place.name, str(child.process.pid), child.place.address, *figures(child.status, newest))
        return Group(rows, *(Text(each, style="dim") for each in hints(self.home)), Text("Ctrl-C stops all nodes"))


def figures(status: dict[str, Any], newest: int) -> list[str]:
    """What one row shows of a node: role, term, commit, lag, latencies in milliseconds."""
    if "commit" not in status:
        return ["starting", "", "", "", "", ""]
    took = status["round_seconds"]
    return [
        status["role"],
        str(status["term"]),
        str(status["commit"]),
        str(max(newest - status["applied"], 0)),
        "no quorum" if took is None else f"{took * 1000:.2f}",
        f"{status['disk']['sync_p99_us'] / 1000:.2f}",
    ]
