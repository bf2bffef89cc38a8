"""Uses the installed package where nothing but it and its dependencies is: no compiler, no sources.

Called by .ci/run as ``python -I .ci/use_wheel.py`` from an environment that has only the wheel.
"""

import importlib
import importlib.machinery
import pkgutil
import shutil
import sys
from pathlib import Path

import quorate
from quorate.ring import Ring

for compiler in ("cc", "c++", "gcc", "g++", "clang", "ccache", "cython"):
    assert shutil.which(compiler) is None, f"{compiler} is on PATH: this would prove nothing"
assert Path(quorate.__file__).is_relative_to(sys.prefix), f"not the installed package: {quorate.__file__}"

# The pytest fixtures are for those who have pytest, which this environment has not.
modules = {module.name for module in pkgutil.walk_packages(quorate.__path__, "quorate.")} - {"quorate.testing.fixtures"}
compiled = [
    name
    for name in sorted(modules)
    if str(importlib.import_module(name).__file__).endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
]
assert "quorate.ring._ring" in compiled, compiled

ring = Ring(["n1", "n2", "n3"])
owner = ring["user:42"]
assert owner in ring
assert ring.remove(owner)["user:42"] != owner
assert Ring.from_bytes(ring.to_bytes()) == ring
print(f"{len(modules)} modules, {len(compiled)} of them compiled; user:42 is on {owner}")
