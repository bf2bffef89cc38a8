"""Settings that all tests share."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("short", settings.get_profile("ci"), max_examples=20)
# QUORATE_HYPOTHESIS=short is for builds under sanitizers, where each example costs several times as much.
settings.load_profile(os.environ.get("QUORATE_HYPOTHESIS") or ("ci" if os.environ.get("CI") else "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", default="0:60", help="first:end of the seeds of random Raft histories")
    parser.addoption("--rewrite", action="store_true", help="write the outcomes of the Raft transcripts anew")


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all that tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out of a plain run; ``-m`` of the caller decides otherwise."""
    if config.option.markexpr:
        return
    kept, slow = [], []
    for item in items:
        (slow if item.get_closest_marker("slow") else kept).append(item)
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = kept
