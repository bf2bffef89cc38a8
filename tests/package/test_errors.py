"""The exception tree is contract: who is under whom, and what each carries."""

from __future__ import annotations

import pytest

import quorate

TREE = {
    "NotHappened": "QuorateError",
    "NotLeader": "NotHappened",
    "NoQuorum": "NotHappened",
    "Overloaded": "NotHappened",
    "Rejected": "NotHappened",
    "Indeterminate": "QuorateError",
    "RequestTimeout": "Indeterminate",
    "ConnectionLost": "Indeterminate",
    "SessionLost": "QuorateError",
    "LockLost": "SessionLost",
    "Compacted": "QuorateError",
    "InvalidArgument": "QuorateError",
    "LimitExceeded": "QuorateError",
    "ConfigError": "QuorateError",
    "EmptyRing": "QuorateError",
    "NodeFailed": "QuorateError",
    "StorageError": "NodeFailed",
    "InvariantBroken": "NodeFailed",
}


@pytest.mark.parametrize(("name", "parent"), TREE.items())
def test_tree(name: str, parent: str) -> None:
    assert getattr(quorate, name).__bases__[0] is getattr(quorate, parent)


def test_kinship_with_builtin_errors() -> None:
    assert issubclass(quorate.InvalidArgument, ValueError)
    assert issubclass(quorate.EmptyRing, LookupError)


def test_what_errors_carry() -> None:
    assert quorate.NotLeader(leader="b").leader == "b"
    assert "b" in str(quorate.NotLeader(leader="b"))
    error = quorate.StorageError("bad checksum", file="0001.log", offset=512, advice="restore a snapshot")
    assert str(error) == "0001.log, offset 512: bad checksum. restore a snapshot"
    assert (error.file, error.offset) == ("0001.log", 512)
    pending = quorate.RequestTimeout()
    assert quorate.SessionLost(outcome=pending).outcome is pending
