"""Each compiled module is there, is typed, and does not switch the GIL back on."""

from __future__ import annotations

import importlib
import importlib.machinery
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import quorate

TREE = Path(__file__).parents[2]
SOURCES = sorted((TREE / "src" / "quorate").rglob("*.pyx"))
NAMES = [".".join(path.relative_to(TREE / "src").with_suffix("").parts) for path in SOURCES]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_compiled(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file
    assert file.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_it_has_a_stub(source: Path) -> None:
    assert source.with_suffix(".pyi").exists(), f"{source.name} needs a .pyi beside it"
    installed = Path(quorate.__file__).parent / source.relative_to(TREE / "src" / "quorate")
    assert installed.with_suffix(".pyi").exists(), "the stub is not installed"


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has a GIL")
def test_importing_everything_leaves_the_gil_off() -> None:
    code = (
        f"import sys, importlib; [importlib.import_module(name) for name in {NAMES}]; sys.exit(sys._is_gil_enabled())"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
