"""Compiles and runs each unit test of csrc, and each fuzzer for a short while, with the compilers at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
TESTS = CSRC / "tests"
CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
KERNELS = sorted(CSRC.glob("*.c"))
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]


def run(*command: str | Path, cwd: Path | None = None) -> None:
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=100, cwd=cwd)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"[-6000:]


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels once, as a static library without sanitizers."""
    folder = tmp_path_factory.mktemp("csrc")
    for source in KERNELS:
        run(COMPILERS[0], *WARNINGS, "-O1", "-g", "-c", source, "-o", folder / f"{source.stem}.o")
    return folder


@pytest.mark.skipif(not COMPILERS, reason="no C compiler on this machine")
@pytest.mark.parametrize("test", sorted(TESTS.glob("test_*.c")), ids=lambda path: path.stem)
def test_unit(test: Path, objects: Path, tmp_path: Path) -> None:
    program = tmp_path / test.stem
    run(COMPILERS[0], *WARNINGS, "-O1", "-g", test, *sorted(objects.glob("*.o")), "-lpthread", "-o", program)
    run(program, cwd=tmp_path)


def still(*command: str | Path) -> list[str | Path]:
    """Without random addresses, to which the map of ThreadSanitizer does not always fit."""
    return ["setarch", os.uname().machine, "-R", *command]


@pytest.fixture(scope="session")
def race_finder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where the compiler has no ThreadSanitizer, or the system does not let it work."""
    source = tmp_path_factory.mktemp("races") / "nothing.c"
    source.write_text("int main(void) { return 0; }\n")
    try:
        run(COMPILERS[0], "-fsanitize=thread", source, "-o", source.with_suffix(""))
        run(*still(source.with_suffix("")))
    except (AssertionError, OSError):
        pytest.skip("ThreadSanitizer does not work here")


@pytest.mark.skipif(not COMPILERS, reason="no C compiler on this machine")
@pytest.mark.parametrize("name", ["mailbox", "poller"])
def test_no_race(name: str, race_finder: None, tmp_path: Path) -> None:
    """What threads share; tests/nightly/threads does it for everything."""
    program = tmp_path / name
    test = TESTS / f"test_{name}.c"
    run(
        COMPILERS[0],
        "-std=gnu11",
        "-O1",
        "-g",
        "-fsanitize=thread",
        test,
        CSRC / f"{name}.c",
        "-lpthread",
        "-o",
        program,
    )
    run(*still(program), cwd=tmp_path)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("source", KERNELS, ids=lambda path: path.name)
def test_compiles_without_a_warning(source: Path, compiler: str) -> None:
    run(compiler, *WARNINGS, "-O2", "-fsyntax-only", source)


@pytest.mark.skipif("clang" not in COMPILERS, reason="libFuzzer needs clang")
@pytest.mark.parametrize("fuzzer", sorted(TESTS.glob("fuzz_*.c")), ids=lambda path: path.stem)
def test_fuzz(fuzzer: Path, tmp_path: Path) -> None:
    """A bounded run; QUORATE_FUZZ_SECONDS makes it longer."""
    program = tmp_path / fuzzer.stem
    inputs = [fuzzer, *KERNELS, "-lpthread"]
    sanitize = "-fsanitize=fuzzer,address,undefined"
    run("clang", *WARNINGS, "-O1", "-g", sanitize, "-fno-sanitize-recover=all", *inputs, "-o", program)
    seconds = os.environ.get("QUORATE_FUZZ_SECONDS", "")
    bound = f"-max_total_time={seconds}" if seconds else "-runs=20000"
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    known = [each for each in [CORPUS / fuzzer.stem] if each.is_dir()]
    run(program, bound, "-max_len=2048", "-timeout=10", "-seed=1", f"-artifact_prefix={tmp_path}/", corpus, *known)
