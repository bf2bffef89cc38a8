"""What the sessions of a process are called if it says nothing: people ask who holds a lock."""

from __future__ import annotations

import os

import pytest

import quorate
from quorate.client.engine import own_label
from quorate.client.flow import run


@pytest.mark.parametrize(
    ("argument", "program"),
    [("/usr/bin/billing.py", "billing.py"), ("/x/quorate/__main__.py", "quorate"), ("-c", "python"), ("", "python")],
)
def test_a_session_is_called_after_its_process(monkeypatch: pytest.MonkeyPatch, argument: str, program: str) -> None:
    monkeypatch.setattr("sys.argv", [argument])
    assert own_label() == f"{os.uname().nodename} {os.getpid()} {program}"


def test_it_fits_and_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/x/" + "ü" * 300])
    with quorate.local() as client:
        backend = client._core.backend
        lane = backend.pooled(5.0)
        session, _ = lane.opening.wait(30.0)
        view = run(backend.session_view(session, 30.0))
    assert view is not None
    assert len(view.label) <= 255
    assert view.label.decode().startswith(f"{os.uname().nodename} {os.getpid()} üü")
