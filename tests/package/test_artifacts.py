"""What lies in the wheel and in the sdist. .ci/run builds them and says where: QUORATE_DIST."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

from quorate.version import __version__

TREE = Path(__file__).parents[2]
DIST = os.environ.get("QUORATE_DIST")
pytestmark = pytest.mark.skipif(DIST is None, reason="QUORATE_DIST names no folder with a built wheel and sdist")

NOT_SHIPPED = {".gitattributes", ".github"}
"""What belongs to the repository and not to a release."""


def only(pattern: str) -> Path:
    [found] = Path(DIST or "").glob(pattern)
    return found


@pytest.fixture(scope="module")
def wheel() -> dict[str, bytes]:
    with zipfile.ZipFile(only("quorate-*.whl")) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist() -> set[str]:
    with tarfile.open(only("quorate-*.tar.gz")) as archive:
        return {str(PurePosixPath(*PurePosixPath(member.name).parts[1:])) for member in archive if member.isfile()}


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    return Parser().parsestr(wheel[f"quorate-{__version__}.dist-info/METADATA"].decode())


def test_every_compiled_module_is_in_the_wheel_with_its_stub(wheel: dict[str, bytes]) -> None:
    for source in (TREE / "src").rglob("*.pyx"):
        stem = source.relative_to(TREE / "src").with_suffix("").as_posix()
        assert [name for name in wheel if name.startswith(f"{stem}.") and name.endswith(".so")], stem
        assert f"{stem}.pyi" in wheel


def test_every_python_module_is_in_the_wheel(wheel: dict[str, bytes]) -> None:
    modules = {path.relative_to(TREE / "src").as_posix() for path in (TREE / "src" / "quorate").rglob("*.py")}
    assert modules == {name for name in wheel if name.endswith(".py")}
    assert "quorate/py.typed" in wheel


def test_no_source_of_compiled_code_is_in_the_wheel(wheel: dict[str, bytes]) -> None:
    allowed = {".py", ".pyi", ".so", ".typed"}
    strange = [name for name in wheel if ".dist-info/" not in name and PurePosixPath(name).suffix not in allowed]
    assert strange == []
    assert {name.split("/")[0] for name in wheel} == {"quorate", f"quorate-{__version__}.dist-info"}


def test_licence(wheel: dict[str, bytes], metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    text = wheel[f"quorate-{__version__}.dist-info/licenses/LICENSE"]
    assert text == (TREE / "LICENSE").read_bytes()
    assert b"Apache License" in text


def test_metadata(wheel: dict[str, bytes], metadata: Message) -> None:
    assert metadata["Name"] == "quorate"
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# Quorate")
    required = {need.split(";")[0] for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need}
    assert {need.rstrip("0123456789.").rstrip("<>=!~") for need in required} == {
        "click",
        "rich",
        "sortedcontainers",
        "tomli",  # only where Python has no tomllib
        "xxhash",
    }
    assert {"test", "bench", "docs"} <= set(metadata.get_all("Provides-Extra", []))
    entry_points = wheel[f"quorate-{__version__}.dist-info/entry_points.txt"].decode()
    assert "quorate = quorate.cli:main" in entry_points


def test_the_wheel_is_for_this_platform_only(wheel: dict[str, bytes]) -> None:
    assert "Root-Is-Purelib: false" in wheel[f"quorate-{__version__}.dist-info/WHEEL"].decode()


def test_the_sdist_is_complete(sdist: set[str]) -> None:
    listing = subprocess.run(["git", "ls-files"], cwd=TREE, capture_output=True, text=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        expected = set(listing.stdout.splitlines())
    else:
        made = {"build", "dist", "__pycache__", ".venv", ".git", "quorate.egg-info"}
        expected = {
            path.relative_to(TREE).as_posix()
            for path in TREE.rglob("*")
            if path.is_file() and not made & set(path.parts) and path.suffix not in {".so", ".pyc"}
        }
        expected = {name for name in expected if not name.startswith(".") or name in sdist}
    missing = {name for name in expected - sdist if name.split("/")[0] not in NOT_SHIPPED}
    assert missing == set()


def test_the_sdist_has_nothing_that_was_made(sdist: set[str]) -> None:
    made = [name for name in sdist if name.endswith((".so", ".o", ".pyc")) or name.startswith(("build/", "dist/"))]
    assert made == []
    assert not [name for name in sdist if name.startswith("src/quorate/") and name.endswith((".c", ".cpp"))]
