"""The examples in the docstrings of the compiled modules run; pytest collects only those of Python files."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import quorate.ring

MODULES = sorted(path.stem for path in Path(quorate.ring.__file__).parent.glob("*.pyx"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"quorate.ring.{name}")
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
