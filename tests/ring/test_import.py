"""A missing extension is an error that says what to do, never a slower ring."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["_ring", "_hash", "_member"])
def test_a_missing_extension(module: str) -> None:
    # None in sys.modules makes an import fail as a file that is not there does.
    program = f"import sys; sys.modules['quorate.ring.{module}'] = None; import quorate.ring"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: the compiled module quorate.ring.{module} is missing: install a wheel"), last
    assert "python setup.py build_ext --inplace" in last


def test_another_missing_module_is_not_blamed_on_the_build() -> None:
    program = "import sys; sys.modules['quorate.limits'] = None; import quorate.ring"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "the compiled module" not in done.stderr
    assert "quorate.limits" in done.stderr.strip().splitlines()[-1]
