"""`quorate bench` measures what it says, cleans up, and shows disk and loopback beside it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import quorate
from quorate.cli import _client, main


def test_it_measures_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with quorate.local() as client:
        monkeypatch.setattr(_client, "connect", lambda url: contextlib.nullcontext(client))
        client.put("mine", b"")
        arguments = ["bench", "--count", "20", "--window", "8", "--dir", str(tmp_path)]
        result = CliRunner().invoke(main, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        rows = {row["what"]: row for row in json.loads(result.stdout)["rows"]}
        assert set(rows) == {
            "fdatasync of this disk", "loopback round trip", "put", "put, 8 on their way", "put_many, 1,000 each",
            "native, 1 on their way", "native, 8 on their way",
            "get", "get, local", "fdatasync of this disk, again",
        }  # fmt: skip
        assert (rows["put"]["count"], rows["put, 8 on their way"]["count"]) == (20, 200)
        for window, asked in ((1, 20), (8, 160)):
            native = rows[f"native, {window} on their way"]
            assert (native["asked"], native["count"], native["failed"]) == (asked, asked, {})
        assert all(row["rate"] > 0 and row["p50_us"] <= row["p99_us"] for row in rows.values())
        assert [each.key for each in client.range()] == [b"mine"]

        shown = CliRunner().invoke(main, arguments)
        assert shown.exit_code == 0, shown.output
        assert "one fdatasync and one round trip:" in shown.stdout
        assert "puts failed" not in shown.stdout
    assert list(tmp_path.iterdir()) == []
