"""A cluster as one line of text: every right form, and every wrong one with what to write instead."""

from __future__ import annotations

import pytest

from quorate.client.urls import Target, parse_url
from quorate.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("quorate://h1:7400,h2:7401", Target(("h1:7400", "h2:7401"))),
        ("quorate://h1", Target(("h1:7400",))),
        ("quorate://h1/", Target(("h1:7400",))),
        ("quorate://[::1]:7400,[fe80::1]", Target(("[::1]:7400", "[fe80::1]:7400"))),
        ("quorate://h1,h1:7400", Target(("h1:7400",))),
        ("quorate://h1/app/", Target(("h1:7400",), "app/")),
        ("quorate://h1/a%20b/%23", Target(("h1:7400",), "a b/#")),
        ("quorate://h1?namespace=app/", Target(("h1:7400",), "app/")),
        ("quorate://h1?timeout=2.5&label=me", Target(("h1:7400",), timeout=2.5, label="me")),
        ("quorate://h1?near=no", Target(("h1:7400",), near=False)),
        ("quorate://h1?follow=no", Target(("h1:7400",), follow=False)),
        (f"quorate://h1?cluster={'0f' * 16}", Target(("h1:7400",), cluster=b"\x0f" * 16)),
        ("unix:/run/q.sock", Target(("unix:/run/q.sock",))),
        ("unix:///run/q.sock?namespace=x", Target(("unix:/run/q.sock",), "x")),
        ("quorate://unix:%2Frun%2Fq.sock,h1", Target(("unix:/run/q.sock", "h1:7400"))),
    ],
)
def test_it_is_read(url: str, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("h1:7400", "write quorate://h1:7400"),
        ("", "write quorate://host:7400"),
        ("http://h1:7400", "scheme 'http'; write quorate://"),
        ("etcd://h1:2379", "names etcd, which is not spoken yet"),
        ("quorate://", "empty address"),
        ("quorate://h1,,h2", "empty address"),
        ("quorate://h1:port", "host:port"),
        ("quorate://h1:99999", "host:port"),
        ("quorate://h1:0", "host:port"),
        ("quorate://h1:", "host:port"),
        ("quorate://::1:7400", "[IPv6]:port"),
        ("quorate://me:secret@h1", "leave out what is before '@'"),
        ("quorate://h1#x", "'#'"),
        ("quorate://h1?timeout=soon", "number of seconds"),
        ("quorate://h1?timeout=nan", "number of seconds"),
        ("quorate://h1?timeout=0", "above 0"),
        ("quorate://h1?cluster=12", "32 hexadecimal digits"),
        ("quorate://h1?near=perhaps", "yes or no"),
        ("quorate://h1?colour=red", "unknown option 'colour'; there are cluster"),
        ("quorate://h1?timeout=1&timeout=2", "twice"),
        ("quorate://h1/a?namespace=b", "namespace twice"),
        ("quorate://h1?timeout", "?name=value"),
        ("quorate://h1/" + "x" * 4096, "at most 4096 bytes"),
        ("quorate://h1?label=" + "x" * 256, "at most 255 bytes"),
        ("quorate://" + ",".join(f"h{i}" for i in range(65)), "more than 64 addresses"),
        ("unix:", "names no path"),
    ],
)
def test_what_cannot_work_says_what_to_write(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert says in str(caught.value)


def test_without_a_url_the_environment_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_URL", "quorate://h1:7400")
    assert parse_url().addresses == ("h1:7400",)
    assert parse_url(environ={"QUORATE_URL": " unix:/x "}).addresses == ("unix:/x",)
    with pytest.raises(ConfigError, match="QUORATE_URL 'h1'"):
        parse_url(environ={"QUORATE_URL": "h1"})
    monkeypatch.delenv("QUORATE_URL")
    with pytest.raises(ConfigError, match=r"quorate up.*quorate\.local\(\)"):
        parse_url()
    with pytest.raises(ConfigError, match="not int"):
        parse_url(7400)  # type: ignore[arg-type]
