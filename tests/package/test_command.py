"""The command answers by name and by module."""

from __future__ import annotations

import subprocess
import sys

import quorate


def test_version_by_module() -> None:
    done = subprocess.run([sys.executable, "-m", "quorate", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"quorate {quorate.__version__}"
