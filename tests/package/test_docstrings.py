"""The examples in docstrings run, in Python modules and in compiled ones alike, as they are installed."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import quorate

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = ["quorate", *sorted(module.name for module in pkgutil.walk_packages(quorate.__path__, "quorate."))]


def docstrings(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Every docstring with examples of what the module itself defines.

    Not doctest.DocTestFinder, because that one passes over the functions and methods of compiled modules.
    """
    seen: set[int] = set()

    def walk(name: str, thing: object) -> Iterator[tuple[str, str]]:
        if id(thing) in seen:
            return
        seen.add(id(thing))
        text = getattr(thing, "__doc__", None)
        if isinstance(text, str) and ">>>" in text:
            yield name, text
        if isinstance(thing, type):
            for member, value in vars(thing).items():
                if not isinstance(value, (str, bytes, int, float, tuple, type(None))):
                    yield from walk(f"{name}.{member}", getattr(value, "__func__", value))

    yield module.__name__, module.__doc__ or ""
    for member, value in vars(module).items():
        # A function of a compiled module may have no __module__: it is taken for the module's own.
        if callable(value) and getattr(value, "__module__", None) in (module.__name__, None):
            yield from walk(f"{module.__name__}.{member}", value)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    parser = doctest.DocTestParser()
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    for place, text in docstrings(module):
        example = parser.get_doctest(text, {**vars(module), "__name__": "__main__"}, place, module.__file__, 0)
        runner.run(example, out=report.append)
    assert not report, "\n".join(report)


def test_the_walk_reaches_methods() -> None:
    example = type("Example", (), {"__module__": "example", "__doc__": ">>> 1", "method": lambda self: None})
    example.method.__doc__ = ">>> 2"  # type: ignore[attr-defined]
    module = ModuleType("example", "top")
    module.Example = example  # type: ignore[attr-defined]
    assert [name for name, _ in docstrings(module)] == ["example", "example.Example", "example.Example.method"]
