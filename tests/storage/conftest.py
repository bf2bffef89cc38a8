"""A directory whose log is opened again and again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_support import SMALL, OpenLog

from quorate.storage import DataDirectory, Log


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[OpenLog]:
    """Opens the log of one directory again and again; the one before is closed first."""
    held: list[Any] = []

    def close() -> None:
        while held:
            held.pop().close()

    def opened(*, node: int = 1, **options: Any) -> Log:
        close()
        directory = DataDirectory(tmp_path / "data", node=node, faults=options.get("faults"))
        held.append(directory)
        log = Log(directory, **{"segment_bytes": SMALL, **options})
        held.append(log)
        return log

    yield opened
    close()
