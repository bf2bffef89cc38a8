"""The floors of the house: nothing imports upward, and `ring` and `raft` do not see each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2] / "src" / "quorate"

FLOORS = [
    {"errors", "limits", "version", "config"},
    {"ring", "raft"},
    {"storage"},
    {"store"},
    {"runtime"},
    {"client"},
    {"recipes"},
    {"api", "aio", "compat", "__init__"},
    {"cli", "__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
RAFT_NEVER_SEES = {"storage", "runtime", "client", "store"}

CYTHON_IMPORT = re.compile(
    r"^(\s*)(?:from\s+(quorate[\w.]*|\.[\w.]*)\s+c?import\s+(\(?[\w ,*]*)|c?import\s+(quorate[\w.]*))", re.M
)


def room_of(module: str) -> str:
    """The room of a dotted name below ``quorate``; ``__init__`` for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def absolute(package: str, name: str) -> str:
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name
    base = package.split(".")[: len(package.split(".")) - dots + 1]
    return ".".join([*base, name.lstrip(".")]).rstrip(".")


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Each imported module of ours, and whether it is imported at the top of the file (not inside a function)."""
    package = ".".join(("quorate", *path.relative_to(HOUSE).parts[:-1]))
    text = path.read_text(encoding="utf-8")
    found: list[tuple[str, bool]] = []

    def add(module: str, names: list[str], top: bool) -> None:
        module = absolute(package, module)
        if module == "quorate":
            for name in names:
                is_room = (HOUSE / name).is_dir() or (HOUSE / f"{name}.py").exists()
                found.append((f"quorate.{name}" if name and is_room else module, top))
        elif module.startswith("quorate."):
            found.append((module, top))

    if path.suffix == ".py":
        tree = ast.parse(text)
        at_top = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                add("." * node.level + (node.module or ""), [alias.name for alias in node.names], id(node) in at_top)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    add(alias.name, [""], id(node) in at_top)
    else:
        for indent, module, names, plain in CYTHON_IMPORT.findall(text):
            add(plain or module, [name.split(" as ")[0].strip(" (") for name in names.split(",")], not indent)
    return found


FILES = sorted(path for path in HOUSE.rglob("*.py*") if path.suffix in {".py", ".pyx", ".pxd"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_nothing_imports_upward(path: Path) -> None:
    relative = path.relative_to(HOUSE)
    room = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    if room == "testing":
        return
    assert room in FLOOR, f"{relative} lies in a room that has no floor; DESIGN §3 names them"
    for module, at_top in imports_of(path):
        other = room_of(module)
        if other == "testing":
            assert room == "cli", f"{relative} imports {module}; of production only cli may import testing"
            assert not at_top, f"{relative} imports {module} at the top; cli imports testing lazily"
            continue
        assert FLOOR[other] <= FLOOR[room], f"{relative} imports upward: {module}"
        if FLOOR[other] == FLOOR[room] and {room, other} == {"ring", "raft"}:
            pytest.fail(f"{relative} imports {module}: ring and raft stand alone")
        if room == "raft":
            assert other not in RAFT_NEVER_SEES, f"{relative} imports {module}"


def test_the_check_itself_sees_an_upward_import(tmp_path: Path) -> None:
    assert absolute("quorate.ring", "..raft") == "quorate.raft"
    assert absolute("quorate.ring", "._ring") == "quorate.ring._ring"
    assert CYTHON_IMPORT.findall("from quorate.raft._log cimport Log\ncimport quorate.store._tree\n") == [
        ("", "quorate.raft._log", "Log", ""),
        ("", "", "", "quorate.store._tree"),
    ]


def test_errors_imports_nothing_of_ours() -> None:
    assert imports_of(HOUSE / "errors.py") == []


def test_csrc_knows_nothing_of_python() -> None:
    for path in (HOUSE.parents[1] / "csrc").rglob("*.[ch]"):
        assert "Python.h" not in path.read_text(encoding="utf-8").replace("no Python.h", ""), path.name
