"""``quorate torture``: options, output, exit codes, and short runs of real clusters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.running import PATIENCE, QUORATE, is_alive, until
from quorate.cli import main
from quorate.testing.torture import tools
from quorate.testing.torture.record import Record
from quorate.testing.torture.schedule import FAULTS


def torture(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["torture", *arguments])


def history(path: Path, *, stale: bool) -> Path:
    with Record(path, {"seed": 5, "nodes": 3, "workloads": ["registers"], "missing": {}}) as record:
        record.reply(record.invoke("a", "registers", "k", "write", 1), "ok")
        record.say("fault", number=0, kind="kill", node="a")
        record.say("healed", number=0, kind="kill")
        record.reply(record.invoke("b", "registers", "k", "read"), "ok", None if stale else 1)
        record.say("phase", name="done")
    return path


def test_a_history_is_judged_again(tmp_path: Path) -> None:
    file = history(tmp_path / "h.jsonl", stale=False)
    done = torture("--check", str(file), "--picture", str(tmp_path / "p.svg"))
    assert done.exit_code == 0, done.output
    assert "passed: seed 5, 3 nodes" in done.output
    assert "registers" in done.output
    assert "kill" in done.output
    ET.parse(tmp_path / "p.svg")


def test_a_bad_history_has_exit_code_one(tmp_path: Path) -> None:
    file = history(tmp_path / "h.jsonl", stale=True)
    done = torture("--check", str(file))
    assert done.exit_code == 1
    assert "broken: registers: linearizable" in done.output
    done = torture("--check", str(file), "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["problems"][0]["rule"] == "registers: linearizable"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--faults", "fire"), "there is no fault 'fire'"),
        (("--workloads", "mining"), "there is no workload 'mining'"),
        (("--nodes", "2"), "2"),
        (("--minutes", "0"), "0"),
        (("--check", "/no/such/file"), "/no/such/file"),
        (("--picture", "/no/such/p.svg"), "no directory for /no/such/p.svg"),
    ],
)
def test_wrong_use_has_exit_code_two(arguments: tuple[str, ...], says: str) -> None:
    done = torture(*arguments)
    assert done.exit_code == 2, done.output
    assert says in done.output


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello\n")
    done = torture("--check", str(tmp_path / "x"))
    assert done.exit_code == 2
    assert "no history" in done.output


def test_the_faults_are_listed() -> None:
    done = torture("--faults", "list")
    assert done.exit_code == 0
    assert all(name in done.output for name in FAULTS)


def test_what_a_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tools, "FAKETIME", (str(tmp_path / "nothing*"),))
    found, missing = tools.look(tuple(FAULTS))
    assert found == {}
    assert set(missing) == {"clock"}
    assert "libfaketime" in missing["clock"]
    assert tools.look(("kill",)) == ({}, {})
    assert not tools.mount(tmp_path, 1.0)  # no view of mounts of its own, so none is made


def run(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """A run as a user has it: its exit code and its report. Its temporary files are looked at too."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [*QUORATE, "torture", "--json", *arguments], cwd=tmp_path, env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE, timeout=3 * PATIENCE, check=False,
    )  # fmt: skip
    assert list(temporary.iterdir()) == []
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_a_short_run_holds(tmp_path: Path) -> None:
    code, report = run(
        tmp_path, "--minutes", "0.13", "--seed", "7", "--faults", "kill,pause,partition,one_way,torn",
        "--history", "h.jsonl", "--picture", "p.svg",
    )  # fmt: skip
    assert code == 0, report["problems"]
    assert report["whole"]
    assert report["converged"]
    assert report["faults"]
    assert all(each["ok"] > 0 for each in report["loads"])
    ET.parse(tmp_path / "p.svg")
    again = torture("--check", str(tmp_path / "h.jsonl"), "--json")
    assert json.loads(again.stdout)["loads"] == report["loads"]


@pytest.mark.slow
def test_stale_reads_are_caught(tmp_path: Path) -> None:
    """A follower that is cut off, asked for its own copy by clients that claim to read what is newest."""
    code, report = run(
        tmp_path, "--minutes", "0.05", "--seed", "3", "--faults", "isolate", "--workloads", "registers", "--stale-reads"
    )
    assert code == 1
    assert {each["rule"] for each in report["problems"]} == {"registers: linearizable"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_it_is_ended(tmp_path: Path, number: int) -> None:
    file = tmp_path / "h.jsonl"
    process = subprocess.Popen(
        [*QUORATE, "torture", "--seed", "1", "--minutes", "5", "--faults", "pause", "--history", str(file)],
        cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: file.exists() and '"event": "fault"' in file.read_text())
        children = [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert len(children) >= 4
        process.send_signal(number)
        process.wait(PATIENCE)
        # Also those that stand still by SIGSTOP.
        until(lambda: not any(is_alive(each) for each in children))
    finally:
        process.kill()
        process.wait()
    if number == signal.SIGINT:
        assert [each.name for each in tmp_path.iterdir()] == ["h.jsonl"]
