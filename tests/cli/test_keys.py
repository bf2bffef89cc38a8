"""`quorate get | put | delete | range | watch`: bytes in and out as they are, lists for people and for programs."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

import quorate
from quorate.api.client import Client
from quorate.cli import _client, main
from quorate.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A cluster of one in this process, which every command reaches."""
    with quorate.local() as made:
        monkeypatch.setattr(_client, "connect", lambda url: contextlib.nullcontext(made))
        yield made


def run(*arguments: str, code: int = 0, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, arguments, input=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def run_json(*arguments: str, **options: Any) -> Any:
    return json.loads(run(*arguments, "--json", **options).stdout)


def test_a_value_comes_out_as_it_went_in(client: Client) -> None:
    revision = int(run("put", "greeting", "hello").stdout)
    assert run("get", "greeting").stdout_bytes == b"hello"
    assert run("get", "greeting", "--local").stdout_bytes == b"hello"
    data = bytes(range(256)) * 3
    assert run_json("put", "binary", stdin=data)["revision"] > revision
    assert run("get", "binary").stdout_bytes == data
    found = run_json("get", "binary")
    assert base64.b64decode(found["value_base64"]) == data
    assert (found["key"], found["version"]) == ("binary", 1)
    assert "there is no key 'nothing'" in run("get", "nothing", code=1).output


def test_a_condition_that_does_not_hold_is_a_failure(client: Client) -> None:
    first = run_json("put", "k", "1", "--if-revision", "0")["revision"]
    assert (
        f"not done: 'k' is at revision {first}, not missing"
        in run("put", "k", "2", "--if-revision", "0", code=1).output
    )
    assert run_json("put", "k", "2", "--if-revision", str(first))["revision"] > first
    assert "not done: 'other' is not there, not 9" in run("put", "other", "2", "--if-revision", "9", code=1).output
    assert client.get("k").value == b"2"  # type: ignore[union-attr]


def test_lists(client: Client) -> None:
    client.put_many({"a/1": b"one", "a/2": b"\x1b[2J", "b/1": b"x" * 300})
    shown = run("range").stdout
    assert "\\x1b[2J" in shown
    assert "\x1b" not in shown
    assert "(300 bytes)" in shown
    assert [line.split()[0] for line in shown.splitlines()] == ["key", "a/1", "a/2", "b/1"]
    assert [each["key"] for each in run_json("range", "a/2")["keys"]] == ["a/2", "b/1"]
    assert [each["key"] for each in run_json("range", "a", "b")["keys"]] == ["a/1", "a/2"]
    found = run_json("range", "--prefix", "a/", "--limit", "1", "--keys-only")
    assert found["more"] is True
    assert [set(each) & {"key", "value"} for each in found["keys"]] == [{"key"}]
    assert "more keys follow; these are the first 1" in run("range", "--limit", "1").stdout
    assert run("range", "--count", "--prefix", "a/").stdout == "2\n"
    assert run_json("range", "--count", "--local") == {"count": 3}
    assert "not both" in run("range", "a", "--prefix", "b", code=2).output
    assert run("delete", "a/1").stdout == "1\n"
    assert run_json("delete", "a/1") == {"deleted": 0}
    assert run("delete", "a/", "--prefix").stdout == "1\n"
    assert run("range", "--count").stdout == "1\n"


def test_changes(client: Client) -> None:
    before = client.put("start", b"")
    revisions = [client.put("w/1", b"one"), client.put("other", b""), client.put("w/2", b"\xff")]
    client.delete("w/1")
    lines = run("watch", "w/", "--prefix", "--revision", str(before), "--count", "3").stdout.splitlines()
    assert lines[:2] == [f"{revisions[0]} put w/1 = one", f"{revisions[2]} put w/2 = \\xff"]
    assert lines[2].endswith("delete w/1")
    shown = run("watch", "w/2", "--revision", str(before), "--count", "1", "--json").stdout
    assert json.loads(shown)["value_base64"] == "/w=="


def test_limits_are_named(client: Client) -> None:
    assert str(KEY_BYTES_MAX) in run("put", "k" * (KEY_BYTES_MAX + 1), "v", code=2).output
    assert str(VALUE_BYTES_MAX) in run("put", "k", code=2, stdin=bytes(VALUE_BYTES_MAX + 1)).output
    assert "at least one byte" in run("put", "", "v", code=2).output
    assert "--timeout" in run("get", "k", "--timeout", "0", code=2).output


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "quorate up"),
        ("127.0.0.1:7400", "quorate://"),
        ("http://127.0.0.1:7400", "quorate://"),
        ("zookeeper://h", "quorate://"),
    ],
)
@pytest.mark.parametrize("command", [("get", "k"), ("status",), ("members", "list")])
def test_a_wrong_address_is_refused_with_advice(
    command: tuple[str, ...], url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUORATE_URL", raising=False)
    assert said in run(*command, *(("--url", url) if url else ()), code=2).output
