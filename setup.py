"""The extension modules and their flags; everything else is in pyproject.toml.

Each ``.pyx`` under ``src/quorate`` is one extension module. It names the csrc kernels that it uses in its first lines
(``# distutils: sources = csrc/xxh3.c``), so that this file needs no list.

The variable QUORATE_BUILD picks the flags:

    release    what users get (the default)
    debug      assertions of the C++ library, heavy invariants, the switch for protocol mutations; waits by poll(2)
    sanitize   debug, under AddressSanitizer and UndefinedBehaviorSanitizer
    thread     debug, under ThreadSanitizer
    coverage   line tracing of the Cython code; the generated C++ stays beside the .pyx
    gcov       counts of lines by the compiler, which sees threads that Python does not know (tests/nightly/coverage)
"""

import copy
import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SANITIZE = ["-fsanitize=address,undefined"]
THREAD = ["-fsanitize=thread"]
BUILDS = {
    "release": (["-O3", "-g1"], []),
    "debug": (["-O1", "-g"], []),
    "sanitize": (["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined", *SANITIZE], SANITIZE),
    "thread": (["-O1", "-g", "-fno-omit-frame-pointer", *THREAD], THREAD),
    "coverage": (["-O0", "-g"], []),
    "gcov": (["-O0", "-g", "--coverage", "-fprofile-update=atomic"], ["--coverage"]),
}

build = os.environ.get("QUORATE_BUILD", "release")
if build not in BUILDS:
    raise SystemExit(f"QUORATE_BUILD={build!r} is not known; choose one of {', '.join(BUILDS)}")
compile_flags, link_flags = BUILDS[build]

macros = [("QUORATE_BUILD_NAME", f'"{build}"')]
if build != "release":
    macros.append(("QUORATE_DEBUG", "1"))
    macros.append(("_GLIBCXX_ASSERTIONS", "1"))
if build == "debug":
    macros.append(("POLLER_USE_POLL", "1"))  # as on systems without epoll, so that the tests run that too
if build == "coverage":
    macros.append(("CYTHON_TRACE_NOGIL", "1"))
    macros.append(("CYTHON_USE_SYS_MONITORING", "0"))

root = Path(__file__).parent
headers = [str(path.relative_to(root)) for path in sorted([*root.glob("csrc/*.h"), *root.glob("src/**/*.hpp")])]

extensions = cythonize(
    [Extension("*", ["src/quorate/**/*.pyx"])] if list(root.glob("src/quorate/**/*.pyx")) else [],
    build_dir=None if build == "coverage" else f"build/cython-{build}",
    include_path=["src"],
    compiler_directives={
        "language_level": 3,
        "binding": False,
        "always_allow_keywords": True,
        "boundscheck": False,
        "wraparound": False,
        "initializedcheck": False,
        "cdivision": True,
        "embedsignature": True,
        "freethreading_compatible": True,
        "linetrace": build
        in ("coverage", "gcov"),  # traced only if CYTHON_TRACE_NOGIL is set; else it marks statements
    },
    emit_linenums=build in ("sanitize", "thread", "gcov"),
    nthreads=0,
    # Builds of one tree with several flags share what Cython makes, if CYTHON_CACHE_DIR names a folder for it.
    cache="CYTHON_CACHE_DIR" in os.environ,
)
for extension in extensions:
    extension.include_dirs += ["csrc", "src"]
    extension.define_macros += macros
    extension.extra_compile_args += [*compile_flags, "-fvisibility=hidden", "-Wno-unused-function"]
    extension.extra_link_args += link_flags
    extension.depends += headers


class BuildExtensions(build_ext):
    """Each extension has a folder of its own for objects: extensions are built at once, and those that share a kernel
    would write the same object while another links it."""

    def build_extension(self, ext: Extension) -> None:
        own = copy.copy(self)
        own.build_temp = os.path.join(self.build_temp, ext.name)
        build_ext.build_extension(own, ext)


setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildExtensions},
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
