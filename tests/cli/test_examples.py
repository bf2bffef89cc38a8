"""The examples of the README run against `quorate up`, and live through the kill of its leader."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import quorate
from cli.running import PATIENCE, Command, until
from cli.test_up import UP, start

EXAMPLES = Path(__file__).parents[2] / "examples"
EVERY = "every line is there, once, and the content is the same"


def example(name: str, *arguments: str, url: str, folder: Path) -> subprocess.Popen[str]:
    """An example as a person runs it, beside a cluster that is there."""
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        env={**os.environ, "QUORATE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_file_is_loaded_and_every_node_has_it(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"".join(b"line %d \xff\n" % number for number in range(3000)) + b"the last one has no end")
    with Command(*UP, "--", sys.executable, str(EXAMPLES / "import_lines.py"), str(file), cwd=tmp_path) as command:
        lines = [line for line in command.lines() if not line.startswith("{")]
        assert command.process.wait(PATIENCE) == 0, command.seen
    assert lines[0].startswith("3,001 lines in ")
    assert len([line for line in lines if EVERY in line]) == 3


def test_settings_are_followed(tmp_path: Path) -> None:
    with Command(*UP, "--nodes", "1", cwd=tmp_path) as command:
        url = command.event("up")["url"]
        start(command)
        with quorate.connect(url) as client:
            client.put("config/rate", b"100", timeout=PATIENCE)
            watcher = example("config_watch.py", "--count", "2", url=url, folder=tmp_path)
            with watcher:
                assert watcher.stdout is not None
                assert watcher.stdout.readline() == "config/rate = 100\n"
                assert watcher.stdout.readline().startswith("1 settings at revision ")
                client.put("config/rate", b"200", timeout=PATIENCE)
                client.delete("config/rate", timeout=PATIENCE)
                assert watcher.stdout.readline().startswith("config/rate = 200  (revision ")
                assert watcher.stdout.readline().startswith("config/rate is gone")
                assert watcher.wait(PATIENCE) == 0


def last_line_of(name: str, *arguments: str, folder: Path) -> str:
    """What an example says at the end, beside a cluster of one."""
    command = (*UP, "--nodes", "1", "--", sys.executable, str(EXAMPLES / name), *arguments)
    with Command(*command, cwd=folder) as running:
        said = [line for line in running.lines() if not line.startswith("{")]
        assert running.process.wait(PATIENCE) == 0, running.seen
    return said[-1]


@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
def test_the_token_keeps_out_who_slept_through_its_lease(tmp_path: Path, check: bool) -> None:
    arguments = [] if check else ["--without-check"]
    said = last_line_of(
        "fenced_writer.py", "--pauses", "1", "--kills", "1", "--lease", "0.5", *arguments, folder=tmp_path
    )
    found = re.search(r"a newer token had written: (\d+); stale rows in the table: (\d+)", said)
    assert found, said
    refused, stale = map(int, found.groups())
    assert (refused > 0, stale > 0) == (check, not check), said


def test_a_job_runs_on_one_replica_at_a_time(tmp_path: Path) -> None:
    said = last_line_of("cron_leader.py", "--runs", "2", "--every", "0.05", folder=tmp_path)
    assert said.endswith("each number once, none left out"), said
    assert said.count(" on replica-") == 3, said


def test_only_the_keys_of_a_killed_worker_move(tmp_path: Path) -> None:
    said = last_line_of("sharded_cache.py", "--workers", "3", "--keys", "300", folder=tmp_path)
    assert said == "only what had to move was loaded again"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_leader_killed_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    total = 300_000
    file = tmp_path / "lines"
    file.write_bytes(b"".join(b"line %d of a file that takes a while\n" % number for number in range(total)))
    with Command(*UP, cwd=tmp_path) as command:
        url = command.event("up")["url"]
        processes, leader = start(command)
        with quorate.connect(url) as client:
            loader = example("import_lines.py", str(file), url=url, folder=tmp_path)
            with loader:
                try:
                    until(lambda: client.count(prefix="lines/", timeout=PATIENCE) > total // 10)
                    os.kill(processes[leader], signal.SIGKILL)
                    assert client.count(prefix="lines/", timeout=PATIENCE) < total, "it was not in the middle"
                    said, _ = loader.communicate(timeout=200)
                finally:
                    loader.kill()
        assert loader.returncode == 0, said
        assert said.count(EVERY) == 3, said
        assert command.event("restarted", node=leader)
