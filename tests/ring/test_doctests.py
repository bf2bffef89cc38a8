"""The examples in the docstrings of the compiled modules run; pytest collects only those of Python files."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import quorate.ring

FOLDER = Path(quorate.ring.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.pyx") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"quorate.ring.{name}")
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
