"""The bounds that compiled code shares are the same on both sides."""

from __future__ import annotations

import re
from pathlib import Path

from quorate import limits

BASE = Path(__file__).parents[2] / "csrc" / "base.h"


def test_base_h_and_limits_py_agree() -> None:
    text = BASE.read_text(encoding="utf-8")
    body = re.search(r"enum \{(.*?)\};", text, re.S)
    assert body
    stated = {name: int(value) for name, value in re.findall(r"(\w+) = (\d+)", body.group(1))}
    assert len(stated) >= 9
    for name, value in stated.items():
        assert getattr(limits, name) == value, name
