"""What a machine has for the faults that need more than processes: a small file system, libfaketime.

What is missing is said in words, and its fault is left out, or done in another way.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["look", "mount", "private_mounts", "unmount"]

FAKETIME: Final = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/lib*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)
SMALL_BYTES: Final = 32 << 20
SMALL_BYTES_A_MINUTE: Final = 8 << 20
"""The store grows; a disk that has no room for its snapshots is full for good."""
CLONE_NEWNS: Final = 0x00020000

_private = False


def look(kinds: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """(what there is, what is missing: kind of fault → why it is left out)."""
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    if "clock" in kinds:
        library = next((each for pattern in FAKETIME for each in sorted(glob.glob(pattern))), None)
        if library is None:
            missing["clock"] = "libfaketime is not installed (Debian: apt install libfaketime)"
        else:
            found["environment"] = {
                "LD_PRELOAD": library,
                "FAKETIME_TIMESTAMP_FILE": "{home}/clock",
                "FAKETIME_NO_CACHE": "1",
                # Wall clocks jump; a monotonic one that does would be a broken kernel.
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                # Else it takes the deadlines of condition variables for those of the wall clock.
                "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            }
    return found, missing


def private_mounts() -> bool:
    """Gives this process, and those that it starts, a view of mounts of their own, which goes with them however they
    end. To be called before any thread is started. False where that is not permitted."""
    global _private
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) == 0:
            _private = _mount("--make-rprivate", "/")
    return _private


def mount(at: Path, minutes: float) -> bool:
    """A small file system at this empty directory, for a run of so long; False if there can be none (see
    :func:`private_mounts`)."""
    size = SMALL_BYTES + int(minutes * SMALL_BYTES_A_MINUTE)
    return _private and _mount("-t", "tmpfs", "-o", f"size={size}", "quorate-torture", str(at))


def unmount(at: Path) -> None:
    """Takes it away again."""
    with contextlib.suppress(OSError):
        subprocess.run(["umount", "-l", str(at)], check=False, stderr=subprocess.DEVNULL)


def _mount(*arguments: str) -> bool:
    try:
        return subprocess.run(["mount", *arguments], check=False, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False
