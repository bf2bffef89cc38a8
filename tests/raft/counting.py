"""Counts the bytes that malloc has given out, so that tests of memory need no clock and no guess."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import pytest

from quorate.raft import BUILD


class MallInfo(ctypes.Structure):
    """glibc's mallinfo2; ``uordblks`` is what is allocated and not freed, in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def allocated() -> int:
    """Bytes that malloc has given out in this process, those from mmap included."""
    if BUILD in ("sanitize", "thread"):
        pytest.skip("the sanitizer has an allocator of its own")
    try:
        ask: Any = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        pytest.skip("the C library has no mallinfo2")
    ask.restype = MallInfo
    gc.collect()
    info = ask()
    return int(info.uordblks + info.hblkhd)
