"""The history on disk is the history that was seen."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from quorate.errors import InvalidArgument
from quorate.testing.history import NEVER
from quorate.testing.torture.record import Record, operations, read_history


def test_a_file_gives_the_same_operations(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Record(path, {"seed": 3}) as record:
        first = record.invoke("c1", "registers", "k", "cas", (1, 2))
        second = record.invoke("c2", "registers", "k", "read")
        record.say("fault", number=0, kind="kill", node="a")
        record.reply(second, "ok", 7)
        record.reply(first, "unknown", error="RequestTimeout: late")
        third = record.invoke("c1", "registers", "k", "write", 9)
        record.reply(third, "fail", error="NoQuorum: nobody")
        record.invoke("c2", "registers", "k", "write", 10)
        assert record.acknowledged == 1
    found = read_history(path)
    assert list(operations(found)) == list(operations(record.events))
    done = list(operations(found))
    assert [(each.kind, each.outcome) for each in done] == [
        ("cas", "unknown"), ("read", "ok"), ("write", "fail"), ("write", "unknown"),
    ]  # fmt: skip
    assert done[0].argument == (1, 2)
    assert done[0].reply == done[3].reply == NEVER
    assert done[0].call < done[1].call < done[1].reply < done[2].call
    assert 0 <= done[0].began <= done[1].began <= done[1].ended


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Record(path, {}) as record:
        record.invoke("c", "registers", "k", "read")
    path.write_bytes(path.read_bytes()[:-20])
    assert [each["event"] for each in read_history(path)] == ["begin"]


@pytest.mark.parametrize(
    "text",
    ["", "hello\n", '{"a": 1}\n', '{"t": 0, "event": "ok"}\n', '{"t": 0, "event": "begin", "format": 99}\n', "[]\n"],
)
def test_what_is_no_history_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(InvalidArgument, match=r"history|format"):
        read_history(tmp_path / "x")


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with Record(path, {}) as record:

        def use(name: str) -> None:
            for number in range(200):
                record.reply(record.invoke(name, "counters", "k", "increment", number), "ok", number)

        threads = [threading.Thread(target=use, args=(f"c{each}",)) for each in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 1 + 2 * 8 * 200
    done = list(operations(lines))
    assert len(done) == 1600
    assert all(each.outcome == "ok" and each.result == each.argument for each in done)
