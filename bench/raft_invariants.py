"""What the invariants of the Raft core cost: the same steps with them and without, interleaved in one run.

They have no switch: they are always on. So this builds a copy of the tree in which the check after each step is left
out, and runs the step benchmarks on both in turn.

python bench/raft_invariants.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECK = "    if broken_invariant(core) != NULL or (QUORATE_DEEP_CHECKS and broken_deeply(core) != NULL):\n"
STEPS = "test_step_propose or test_step_acknowledgement or test_step_heartbeat or test_step_tick"
OPTIONS = ["-p", "no:cacheprovider", "--benchmark-only", "--benchmark-json"]
ROUNDS = 10


def without_invariants(place: Path) -> Path:
    """A built copy of the tree that does not check."""
    copy = place / "tree"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".hypothesis", "docs", "tests"))
    step = copy / "src" / "quorate" / "raft" / "_step.pyx"
    text = step.read_text(encoding="utf-8")
    assert text.count(CHECK) == 1, "the check is not where this program looks for it"
    step.write_text(text.replace(CHECK, "    if 0:\n"), encoding="utf-8")
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=copy, check=True)
    return copy


def measure(tree: Path, place: Path) -> dict[str, float]:
    """Best nanoseconds of each step."""
    results = place / "results.json"
    subprocess.run(
        [sys.executable, "-m", "pytest", str(ROOT / "bench" / "test_raft.py"), "-q", "-k", STEPS, *OPTIONS, results],
        env=os.environ | {"PYTHONPATH": str(tree / "src")},
        cwd=place,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    benchmarks = json.loads(results.read_text(encoding="utf-8"))["benchmarks"]
    return {each["name"]: each["extra_info"]["nanoseconds_each_best"] for each in benchmarks}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bare = without_invariants(place)
        checked: dict[str, float] = {}
        unchecked: dict[str, float] = {}
        for _ in range(ROUNDS):
            for tree, best in ((ROOT, checked), (bare, unchecked)):
                for name, nanoseconds in measure(tree, place).items():
                    best[name] = min(nanoseconds, best.get(name, nanoseconds))
    # The best of all rounds: what else runs on the machine only ever adds.
    for name, with_checks in checked.items():
        bare_step = unchecked[name]
        print(f"{name:36} {with_checks:6.1f} ns, without {bare_step:6.1f}: {with_checks / bare_step - 1:+.1%}")
    print(f"{'all':36} {sum(checked.values()) / sum(unchecked.values()) - 1:+.1%}")


if __name__ == "__main__":
    main()
