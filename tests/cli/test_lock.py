"""`quorate lock` and `quorate elect`: commands that run while something is held and end when it is not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import quorate
from cli.running import PATIENCE, QUORATE, Command, is_alive, until
from quorate.cli import main
from quorate.testing import ProcessCluster

pytestmark = pytest.mark.timeout(180)
SLEEP = ("sh", "-c", "sleep 1000 & echo $! $$; wait; sleep 1000")
"""Two processes that tell their numbers, and that one TERM to the group ends."""
STUBBORN = ("sh", "-c", "trap '' TERM; sleep 1000 & echo $! $$; wait")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(1, directory=tmp_path_factory.mktemp("cluster") / "quorate") as made:
        made.wait_ready(30.0)
        yield made


@pytest.fixture(scope="module")
def client(cluster: ProcessCluster) -> Iterator[quorate.Client]:
    with quorate.connect(cluster.url, timeout=PATIENCE) as made:
        yield made


def run(url: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUORATE_")}
    done = subprocess.run(
        [*QUORATE, *arguments],
        env={**environment, "QUORATE_URL": url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def looked(url: str, what: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(url, what, name, "--json").stdout)
    return found


def processes(command: Command) -> list[int]:
    """Those that COMMAND told of."""
    for line in command.lines():
        if not line.startswith("{"):
            return [int(each) for each in line.split()]
    raise AssertionError(command.seen)


def are_gone(numbers: list[int]) -> bool:
    return not any(map(is_alive, numbers))


def test_a_command_runs_with_a_token_and_gives_its_exit_code(cluster: ProcessCluster, client: quorate.Client) -> None:
    script = "echo $QUORATE_LOCK_NAME $QUORATE_LOCK_TOKEN $QUORATE_URL; exit 3"
    tokens = []
    for _ in range(2):
        name, token, url = run(cluster.url, "lock", "job", "--", "sh", "-c", script, code=3).stdout.split()
        assert (name, url) == ("job", cluster.url)
        tokens.append(int(token))
    assert 0 < tokens[0] < tokens[1]
    assert client.lock("job").holders() == []


def test_what_cannot_be_run_is_told_as_shells_do(tmp_path: Path) -> None:
    """The keeper alone, without a cluster."""
    script = """
import sys
from quorate.cli._holding import Bell, run_held
from quorate.cli._keeper import Keeper
for command in (["no-such-program"], [sys.argv[1]], ["sh", "-c", "kill -9 $$"], ["sh", "-c", "exit 75"]):
    with Keeper() as keeper, Bell() as bell:
        settings = {"environment": {}, "remaining": lambda: 60.0, "lease": 60.0, "grace": 1.0}
        print(run_held(keeper, bell, command, tell=lambda *event, **fields: None, **settings))
"""
    said = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True)
    assert said.stdout.split() == ["127", "126", "137", "75"]


def test_one_waits_for_the_other(cluster: ProcessCluster, client: quorate.Client, tmp_path: Path) -> None:
    environment = {"QUORATE_URL": cluster.url}
    with Command("lock", "one", "--", *SLEEP, cwd=tmp_path, **environment) as first, contextlib.ExitStack() as stack:
        numbers = processes(first)
        run(cluster.url, "lock", "one", "--nonblock", "--", "true", code=1)
        waiting = Command("lock", "one", "--json", "-w", str(PATIENCE), "--", "true", cwd=tmp_path, **environment)
        second = stack.enter_context(waiting)
        told = f"{os.uname().nodename} {first.process.pid} quorate since "
        while not (seen := second.event("waiting")["holder"]):
            pass  # nobody could be asked just then
        assert seen.startswith(told)
        until(client.lock("one").waiters)
        found = looked(cluster.url, "lock", "one")
        assert (len(found["holders"]), len(found["waiters"])) == (1, 1)
        assert first.end(signal.SIGTERM) == 128 + signal.SIGTERM
        until(lambda: are_gone(numbers))  # a signal takes a moment
        assert second.event("held")["token"] > found["holders"][0]["token"]
        assert second.process.wait(PATIENCE) == 0


def test_a_wait_that_is_over_has_the_exit_code_that_was_asked_for(
    cluster: ProcessCluster, client: quorate.Client
) -> None:
    with client.election("over").campaign(b"another"):
        run(cluster.url, "elect", "over", "--timeout", "0.1", "-E", "9", "--", "true", code=9)


def test_a_wait_that_is_ended_leaves_the_queue(cluster: ProcessCluster, client: quorate.Client, tmp_path: Path) -> None:
    with client.lock("taken") as lock:
        with Command("lock", "taken", "--json", "--", "true", cwd=tmp_path, QUORATE_URL=cluster.url) as waiting:
            waiting.event("waiting")
            assert waiting.end(signal.SIGTERM) == 128 + signal.SIGTERM
        until(lambda: not lock.waiters())


def test_a_lock_that_is_taken_away_ends_the_command(
    cluster: ProcessCluster, client: quorate.Client, tmp_path: Path
) -> None:
    with Command("lock", "forced", "--json", "--grace", "0.3", "--lease", "10", "--", *STUBBORN, cwd=tmp_path,
                 QUORATE_URL=cluster.url) as holder:  # fmt: skip
        numbers = processes(holder)
        run(cluster.url, "lock", "forced", "--force-release", "maintenance at four")
        assert "maintenance at four" in holder.event("lost")["reason"]
        assert holder.process.wait(PATIENCE) == 75
        until(lambda: are_gone(numbers))  # a signal takes a moment
    assert client.lock("forced").acquire(timeout=0)


def test_a_cluster_that_is_gone_ends_the_command_before_the_lease(cluster: ProcessCluster, tmp_path: Path) -> None:
    with Command(
        "lock", "gone", "--json", "--lease", "3", "--", *STUBBORN, cwd=tmp_path, QUORATE_URL=cluster.url
    ) as holder:
        numbers = processes(holder)
        cluster.pause("a")
        try:
            holder.event("lost")
            assert holder.process.wait(PATIENCE) == 75
            until(lambda: are_gone(numbers))  # a signal takes a moment
        finally:
            cluster.resume("a")


def test_a_command_that_ends_after_the_loss_does_not_count_as_done(
    cluster: ProcessCluster, client: quorate.Client, tmp_path: Path
) -> None:
    wait = ("sh", "-c", "echo ready; while ! [ -e go ]; do sleep 0.02; done")
    with Command("lock", "late", "--json", "--", *wait, cwd=tmp_path, QUORATE_URL=cluster.url) as holder:
        holder.line("ready")
        client.lock("late").force_release("at the last moment")  # what is held for half a second is not watched yet
        (tmp_path / "go").touch()
        assert "at the last moment" in holder.event("lost")["reason"]
        assert holder.process.wait(PATIENCE) == 75


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_command_does_not_outlive_its_holder(
    cluster: ProcessCluster, client: quorate.Client, tmp_path: Path, number: int
) -> None:
    with Command(
        "lock", "holder", "--json", "--lease", "3", "--", *STUBBORN, cwd=tmp_path, QUORATE_URL=cluster.url
    ) as holder:
        numbers = processes(holder)
        holder.process.send_signal(number)
        until(lambda: are_gone(numbers))
        with client.lock("holder"):
            pass
        if number == signal.SIGSTOP:
            holder.process.send_signal(signal.SIGCONT)
            assert holder.process.wait(PATIENCE) == 75


def test_an_elected_command_has_an_office(cluster: ProcessCluster, client: quorate.Client, tmp_path: Path) -> None:
    with Command(
        "elect", "boss", "--json", "--value", "me", "--", *SLEEP, cwd=tmp_path, QUORATE_URL=cluster.url
    ) as leader:
        processes(leader)
        found = client.election("boss").leader()
        assert found is not None
        assert (found.value, found.token > 0) == (b"me", True)
        assert leader.end(signal.SIGTERM) == 143
    assert client.election("boss").leader() is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lock", "", "--", "true"), "1 to 512 bytes"),
        (("lock", "x", "--lease", "0", "--", "true"), "above 0"),
        (("lock", "x", "--grace", "6", "--", "true"), "half of the lease"),
        (("lock", "x", "--timeout", "-1", "--", "true"), "at least 0"),
        (("lock", "x", "--force-release", "why", "--", "true"), "COMMAND"),
    ],
)
def test_a_wrong_call_is_refused_before_anybody_is_asked(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, said in result.output) == (2, True), result.output


def test_refusals_of_the_cluster_and_silence_have_codes_of_their_own(
    cluster: ProcessCluster, client: quorate.Client
) -> None:
    assert "TTL" in run(cluster.url, "lock", "x", "--lease", "0.1", "--", "true", code=2).stderr
    with client.lock("used"):
        pass
    assert "in use as a lock" in run(cluster.url, "elect", "used", "--", "true", code=2).stderr
    # A port that refuses.
    assert "Error: " in run("quorate://127.0.0.1:1?timeout=0.3", "lock", "x", "--", "true", code=69).stderr


def test_on_a_terminal_the_command_has_it(cluster: ProcessCluster, tmp_path: Path) -> None:
    """Ctrl-C goes to the command, which has the foreground."""
    inner = [*QUORATE, "lock", "terminal", "--", "sh", "-c", "stty -a > /dev/null && echo ready; exec sleep 1000"]
    outer = f"import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn({inner!r})))"
    with subprocess.Popen(
        [sys.executable, "-c", outer],
        cwd=tmp_path,
        env={**os.environ, "QUORATE_URL": cluster.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            lines = iter(process.stdout.readline, b"")  # whom it waits for may come first
            assert any(line.strip() == b"ready" for line in lines)
            process.stdin.write(b"\x03")
            process.stdin.flush()
            assert process.wait(PATIENCE) == 128 + signal.SIGINT
        finally:
            process.kill()
