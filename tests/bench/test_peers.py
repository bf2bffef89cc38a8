"""The runner of the peers (`bench/peers/run.py`): says what is missing, measures Quorate, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "bench" / "peers" / "run.py"
pytestmark = [
    pytest.mark.skipif(not RUN.exists(), reason="bench/ is not here"),
    pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc"),
]


def settings(path: Path) -> dict[str, str]:
    """Programs only where ``path`` is, and packages where they were found from here."""
    found = [os.path.abspath(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(found), "PATH": str(path)}


def parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0


def children(process: int) -> set[int]:
    return {int(each.name) for each in Path("/proc").glob("[0-9]*") if parent(each) == process}


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_missing_is_said_with_the_way_to_get_it(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['kazoo'] = None; import runpy; sys.argv[1:] = ['--list'];"
         f"runpy.run_path({str(RUN)!r}, run_name='__main__')"],
        env=settings(tmp_path), capture_output=True, text=True, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    lines = said.stderr.splitlines()
    assert "etcd: left out, because there is missing:" in lines
    assert any("the program etcd on PATH; to get it: apt install etcd-server" in line for line in lines)
    assert any("the program java on PATH; to get it: apt install" in line for line in lines)
    assert "    the Python package kazoo; to get it: pip install kazoo" in lines
    assert any(line.startswith("consul: left out") for line in lines)
    assert any(line.startswith("quorate: ") and "left out" not in line for line in lines)


def test_an_unknown_peer_or_row_is_said(tmp_path: Path) -> None:
    for option, word in (("--peers", "peer"), ("--rows", "row")):
        said = subprocess.run(
            [sys.executable, RUN, option, "nonsense"],
            env=settings(tmp_path), capture_output=True, text=True, cwd=tmp_path, timeout=60,
        )  # fmt: skip
        assert said.returncode == 1
        assert f"there is no {word} 'nonsense'; there are " in said.stderr


def test_a_quick_run_measures_quorate(tmp_path: Path) -> None:
    rows = ["put", "put-64", "read", "lock", "killed"]
    out = tmp_path / "out"
    said = subprocess.run(
        [sys.executable, RUN, "--quick", "--no-floor", "--peers", "quorate", "--rows", *rows, "--out", out],
        env=settings(Path("/nowhere")), capture_output=True, text=True, cwd=tmp_path, timeout=100,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    (found,) = json.loads((out / "peers.json").read_text())["rounds"]
    assert set(found["peers"]["quorate"]) == set(rows), said.stderr
    assert all(found["peers"]["quorate"][row]["p50"] > 0 for row in rows)
    assert "| Quorate, over sockets |" in (out / "peers.md").read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["out"], "data was left behind"


def test_a_table_says_who_is_better_what_is_missing_and_what_was_missed(tmp_path: Path) -> None:
    def peer(title: str, **without: str) -> dict[str, object]:
        return {"title": title, "version": "1", "fsync": "fsync", "via": "calls", "without": without}

    def times(p50: float) -> dict[str, float]:
        return {"count": 9, "p50": p50, "p99": 2 * p50, "rate": 1 / p50}

    rounds = [
        {
            "loads": [0.5],
            "floor": {"put": times(2e-4)},
            "peers": {
                "quorate-embedded": {"put": times(ours), "killed": times(0.2)},
                "etcd": {"put": times(9e-4), "killed": times(0.1)},
                "redis": {"put": times(1e-4)},
            },
        }
        for ours in (9.0, 3e-4, 3e-4)
    ]
    result = {
        "command": "run", "commit": "abc", "machine": "m", "seconds": {"turn": 1, "all": 1},
        "peers": {
            "etcd": peer("etcd"), "redis": peer("Redis", killed="one server"), "quorate-embedded": peer("Quorate")
        },
        "rows": ["put", "read", "killed"], "rounds": rounds,
    }  # fmt: skip
    file = tmp_path / "peers.json"
    file.write_text(json.dumps(result))
    command = [sys.executable, RUN, "--from", file]
    said = subprocess.run(command, env=settings(tmp_path), capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert "| Quorate | 300 µs / 600 µs |" in lines, "the median of the rounds"
    assert "| etcd | 900 µs / 1.80 ms (3×) |" in lines
    assert "| Redis | 100 µs / 200 µs (0.33×) |" in lines, "that somebody is quicker is said"
    assert "| floor | 200 µs / 400 µs |" in lines
    assert "| etcd | 100 ms (0.5×) |" in lines
    assert any("Redis: one server" in line and "read failed" in line for line in lines)
    assert "| put, embedded, over the floor | 1.50 × | at most 1.4 × | **no** |" in lines
    assert "| leader killed → next put, embedded | 200 ms | at most 100 ms | **no** |" in lines
    assert (tmp_path / "peers.md").read_text().strip() == said.stdout.strip()


def test_ctrl_c_ends_every_process_of_a_run(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, RUN, "--quick", "--no-floor", "--peers", "quorate-embedded", "--rows", "rest"],
        env=settings(Path("/nowhere")), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as run:  # fmt: skip
        started: set[int] = set()
        try:

            def all_there() -> bool:
                started.update(children(run.pid))
                assert run.poll() is None, "it ended before anything was to be seen"
                return len(started) >= 3

            until(all_there)
            run.send_signal(signal.SIGINT)
            run.communicate(timeout=60)
        finally:
            run.kill()
    until(lambda: not any(Path(f"/proc/{each}").exists() for each in started))
