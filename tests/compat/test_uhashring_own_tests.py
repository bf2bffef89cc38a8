"""uhashring's own tests, fetched and run with its name pointing at the drop-in. They are not part of this repository.

The sdist of 2.5, whose behaviour the drop-in has, holds no tests any more; 2.1 is the last one that does, and uhashring
2.5 itself passes those. Without a package index this is skipped.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import quorate

LAST_WITH_TESTS = "uhashring==2.1"


@pytest.fixture(scope="module")
def own_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uhashring")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries", "0"]
    command += ["--timeout", "10", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), LAST_WITH_TESTS]
    try:
        fetched = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{LAST_WITH_TESTS} could not be fetched in time")
    archives = list(folder.glob("*.tar.gz"))
    if fetched.returncode or not archives:
        reason = (fetched.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"{LAST_WITH_TESTS} could not be fetched: {reason}")
    with tarfile.open(archives[0]) as archive:
        for member in archive.getmembers():
            parts = Path(member.name).parts
            if member.isfile() and len(parts) == 3 and re.fullmatch(r"test_\w+\.py", parts[2]) and parts[1] == "tests":
                content = archive.extractfile(member)
                assert content is not None
                (folder / parts[2]).write_bytes(content.read())
    alias = folder / "alias" / "uhashring"
    alias.mkdir(parents=True)
    (alias / "__init__.py").write_text("from quorate.compat.uhashring import HashRing, monkey\n")
    return folder


def test_its_own_tests_pass_against_the_drop_in(own_tests: Path) -> None:
    files = sorted(own_tests.glob("test_*.py"))
    assert "test_implementation.py" in [file.name for file in files]
    if importlib.util.find_spec("memcache") is None:
        files = [file for file in files if file.name != "test_monkey.py"]  # it needs python-memcached
    house = Path(quorate.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(own_tests / "alias"), str(house)])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--rootdir", str(own_tests), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=own_tests, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= 19
