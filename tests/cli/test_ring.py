"""``quorate ring``: what it prints is what the ring computes, in a pipe, on a terminal and as JSON."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from quorate.cli import _ring_demo, _ring_picture, _show, main
from quorate.cli._ring_members import parse_member, parse_members
from quorate.errors import InvalidArgument
from quorate.ring import Member, Ring

QUORATE = [sys.executable, "-m", "quorate"]


def run(*arguments: str, code: int = 0, stdin: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(main, ["ring", *arguments], input=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def run_json(*arguments: str, stdin: str | bytes | None = None) -> Any:
    return json.loads(run(*arguments, "--json", stdin=stdin).stdout)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal with colours, in place of the pipe that the runner is."""
    screen = io.StringIO()

    def console() -> Console:
        return Console(file=screen, force_terminal=True, color_system="truecolor", width=100, highlight=False)

    from quorate.cli import ring

    for module in (_show, ring, _ring_demo):
        monkeypatch.setattr(module, "console", console)
    return screen


# Notation


@pytest.mark.parametrize(
    ("text", "member"),
    [
        ("n1", Member("n1")),
        ("n3:2", Member("n3", 2.0)),
        ("n3:0.5@eu", Member("n3", 0.5, "eu")),
        ("n3@eu", Member("n3", 1.0, "eu")),
        ("n3:1@rack:7", Member("n3", 1.0, "rack:7")),
        ("10.0.0.7:11211:1", Member("10.0.0.7:11211")),
        ("host:http", Member("host:http")),
    ],
)
def test_notation(text: str, member: Member) -> None:
    assert parse_member(text) == member


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.7:11211", "10.0.0.7:11211:1"),
        ("n1:", "without a weight"),
        ("n1@", "without a zone"),
        ("n1@eu:2", "the weight stands before the zone"),
    ],
)
def test_notation_that_is_likely_a_mistake_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        parse_member(text)


def test_many_members_in_one_text() -> None:
    assert [member.name for member in parse_members(["a, b", "c\nd,"])] == ["a", "b", "c", "d"]


# share


def test_share_shows_the_shares_of_the_ring() -> None:
    shown = run_json("share", "n1", "n2", "n3:2")
    expected = Ring({"n1": 1, "n2": 1, "n3": 2}).share()
    assert {row["node"]: row["share"] for row in shown["nodes"]} == pytest.approx(expected)
    assert [row["ideal"] for row in shown["nodes"]] == [0.25, 0.25, 0.5]
    assert shown["peak_over_ideal"] == pytest.approx(max(row["load"] for row in shown["nodes"]))
    assert sum(row["share"] for row in shown["nodes"]) == pytest.approx(1)


def test_share_in_a_pipe_is_plain_and_on_a_terminal_has_bars(terminal: io.StringIO) -> None:
    run("share", "n1", "n2")
    assert "█" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_share_in_a_pipe_is_plain() -> None:
    shown = run("share", "n1", "n2", "n" * 200).stdout
    assert "\x1b" not in shown
    assert "█" not in shown
    lines = shown.splitlines()
    assert lines[0].split() == ["node", "weight", "share", "ideal", "load"]
    assert lines[3].split()[0] == "n" * 200  # never cut


def test_a_name_is_never_markup(terminal: io.StringIO) -> None:
    """Brackets are what rich would take for a style, and swallow."""
    for arguments in (
        ["share", "a[b]", "[red]n2[/red]"],
        ["where", "-n", "[red]n2[/red]", "a[b]"],
        ["diff", "--before", "a[b]", "--after", "[red]n2[/red]", "--ranges"],
        ["draw", "[red]n2[/red]", "--key", "a[b]"],
    ):
        terminal.truncate(0)
        run(*arguments)
        assert "[red]n2[/red]" in terminal.getvalue(), arguments
        assert "a[b]" in terminal.getvalue(), arguments
    terminal.truncate(0)
    run("where", "-n", "[red]n2[/red]", "--tally", "k")
    assert "[red]n2[/red]" in terminal.getvalue()


def test_no_name_or_key_commands_the_terminal(terminal: io.StringIO) -> None:
    hostile, shown = "a\x1b]0;b\x07", "a\\x1b]0;b\\x07"
    for arguments in (
        ["share", hostile],
        ["where", "-n", hostile, hostile],
        ["where", "-n", hostile, "--tally", "k"],
        ["diff", "--before", hostile, "--after", "n2", "--ranges"],
        ["draw", hostile, "--key", hostile],
    ):
        terminal.truncate(0)
        run(*arguments)
        assert shown in terminal.getvalue(), arguments
        assert "\x1b]" not in terminal.getvalue(), arguments
        assert "\x07" not in terminal.getvalue(), arguments
    picture = ElementTree.fromstring(run("draw", hostile, "--key", hostile, "--svg", "-").stdout)
    assert any((text.text or "").startswith(shown) for text in picture.iter("{http://www.w3.org/2000/svg}text"))


def test_seed_and_vnodes_reach_the_ring() -> None:
    shown = run_json("share", "n1", "n2", "--vnodes", "7", "--seed", "9")
    assert shown["points"] == 14
    expected = Ring(["n1", "n2"], vnodes=7, seed=9).share()
    assert {row["node"]: row["share"] for row in shown["nodes"]} == pytest.approx(expected)


# where


def test_where_answers_like_the_ring() -> None:
    ring = Ring({"n1": 1, "n2": 1, "n3": 2})
    lines = run("where", "-n", "n1 n2 n3:2", "alice", "bob", "Zoë").stdout.splitlines()
    assert lines == [f"{key}\t{ring[key]}" for key in ("alice", "bob", "Zoë")]


def test_where_reads_keys_from_standard_input() -> None:
    ring = Ring(["n1", "n2"])
    shown = run("where", "--nodes", "n1,n2", stdin=b"alice\r\nbob\n\xff\xfe\n").stdout.splitlines()
    assert shown == [f"alice\t{ring['alice']}", f"bob\t{ring['bob']}", f"\\xff\\xfe\t{ring[bytes([255, 254])]}"]
    mixed = run("where", "-n", "n1,n2", "first", "-", stdin="second\n").stdout.splitlines()
    assert [line.split("\t")[0] for line in mixed] == ["first", "second"]


def test_where_gives_preference_lists_and_json_lines() -> None:
    ring = Ring([Member("a", 1, "x"), Member("b", 1, "x"), Member("c", 1, "y")])
    shown = run("where", "-n", "a@x b@x c@y", "-c", "2", "--zones", "--json", "k1", "k2").stdout.splitlines()
    assert [json.loads(line) for line in shown] == [
        {"key": key, "nodes": list(ring.nodes(key, 2, zones=True))} for key in ("k1", "k2")
    ]


def test_where_counts_more_keys_than_one_batch() -> None:
    keys = [f"key-{number}" for number in range(20_000)]
    shown = run_json("where", "-n", "n1 n2 n3", "--tally", stdin="\n".join(keys))
    assert shown["keys"] == len(keys)
    owners = Ring(["n1", "n2", "n3"]).node_many(keys)
    assert shown["nodes"] == {name: owners.count(name) for name in ("n1", "n2", "n3")}


def test_where_takes_its_nodes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_RING_NODES", "n1 n2")
    assert run("where", "alice").stdout.split()[1] in {"n1", "n2"}


# diff


def test_diff_sums_up_what_moves() -> None:
    before, after = Ring(["n1", "n2", "n3"]), Ring(["n1", "n2", "n3", "n4"])
    shown = run_json("diff", "--before", "n1 n2 n3", "--after", "n1 n2 n3 n4", "--ranges")
    assert {flow["target"] for flow in shown["flows"]} == {"n4"}
    assert shown["moved"] == pytest.approx(after.share()["n4"])
    assert shown["moved"] == pytest.approx(shown["least_possible"])
    assert shown["modulo_would_move"] == pytest.approx(3 / 4)
    assert len(shown["ranges"]) == len(before.diff(after)) == sum(flow["ranges"] for flow in shown["flows"])


def test_diff_for_people() -> None:
    shown = run("diff", "--before", "n1 n2", "--after", "n1 n2:2", "--ranges").stdout
    assert "of all keys move" in shown
    assert "0x" in shown
    same = run("diff", "--before", "n1 n2", "--after", "n2,n1").stdout
    assert same.lstrip().startswith("0.00 % of all keys move")


def test_diff_of_everything() -> None:
    shown = run_json("diff", "--before", "n1", "--after", "n2")
    assert shown["moved"] == pytest.approx(1)


# draw


def test_svg_is_well_formed_and_covers_the_circle(tmp_path: Path) -> None:
    file = tmp_path / "ring.svg"
    run("draw", "n1", "n2", "<n3>", "--vnodes", "4", "--key", "alice & bob", "--svg", str(file))
    root = ElementTree.parse(file).getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert 3 <= len(root.findall(f"{space}path")) <= 13
    texts = [text.text or "" for text in root.findall(f"{space}text")]
    assert any("<n3>" in text for text in texts)
    assert any(text.startswith("alice & bob → ") for text in texts)


def test_long_names_and_keys_stay_within_the_picture() -> None:
    name, keys = "n" * 200, [f"{number} {'key ' * 20}" for number in range(9)]
    root = ElementTree.fromstring(
        run("draw", name, "n2", "--vnodes", "9", *(f"-k{key}" for key in keys), "--svg", "-").stdout
    )
    width = float(root.attrib["viewBox"].split()[2])
    texts = root.findall("{http://www.w3.org/2000/svg}text")
    assert len(texts) == 4 + 9 + 2
    for text in texts:
        at, room = float(text.attrib["x"]), 7.5 * len(text.text or "")  # 14 px type is that wide on average
        assert at - room >= 0 if text.attrib.get("text-anchor") == "end" else at + room <= width
    assert any("…" in (text.text or "") and (text.text or "").endswith(" %") for text in texts)


def test_svg_of_one_node_and_of_very_many_points() -> None:
    whole = run("draw", "n1", "--svg", "-").stdout
    assert 'stroke-width="72.20"' in whole
    many = run("draw", *[f"n{number}" for number in range(100)], "--svg", "-").stdout
    assert len(many) < 1_000_000
    ElementTree.fromstring(many)


def test_arcs_meet_and_end_where_they_began() -> None:
    points = [(1 << 62, "a"), (1 << 63, "b"), (3 << 62, "b")]
    arcs = _ring_picture.Circle(points, ["a", "b"]).arcs()
    assert arcs == [(0.0, 0.25, 0), (0.25, 0.75, 1), (0.75, 1.0, 0)]


def test_picture_in_letters_shows_each_quarter_where_it_is() -> None:
    points = [(1 << 62, "east"), (1 << 63, "south"), (3 << 62, "west"), ((1 << 64) - 1, "north")]
    lines = _ring_picture.picture(points, ["east", "south", "west", "north"], rows=16, color=False)
    text = [line.plain for line in lines]
    assert text[3][-8:].strip() == "A" * len(text[3][-8:].strip())  # the first quarter ends with the point at its end
    assert set(text[12][20:].strip()) == {"B"}
    assert set(text[12][:12].strip()) == {"C"}
    assert set(text[3][:12].strip()) == {"D"}
    assert len(text) == 16
    assert max(len(line) for line in text) == 32


def test_draw_in_a_pipe_uses_letters_and_names_keys() -> None:
    shown = run("draw", "n1", "n2", "--key", "alice", "--vnodes", "3").stdout
    assert "A  n1" in shown
    assert f"1  alice → {Ring(['n1', 'n2'], vnodes=3)['alice']}" in shown
    assert "\x1b" not in shown


def test_draw_on_a_terminal_is_in_colour(terminal: io.StringIO) -> None:
    run("draw", "n1", "n2", "--vnodes", "3")
    assert "▀" in terminal.getvalue()
    assert "38;2;78;121;167" in terminal.getvalue()


def test_draw_without_colour_uses_letters_on_a_terminal_too(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run("draw", "n1", "n2", "--vnodes", "3")
    assert "A  " in terminal.getvalue()
    assert "▀" not in terminal.getvalue()


def test_draw_json_gives_the_points() -> None:
    shown = run_json("draw", "n1", "n2", "--vnodes", "3", "--key", "alice")
    ring = Ring(["n1", "n2"], vnodes=3)
    assert [(int(point["hash"], 16), point["node"]) for point in shown["points"]] == [tuple(p) for p in ring.points()]
    assert shown["keys"] == [{"key": "alice", "hash": f"{ring.hash('alice'):#018x}", "node": ring["alice"]}]


# demo


def test_demo_counts_what_it_claims(tmp_path: Path) -> None:
    file = tmp_path / "words"
    words = [f"word-{number}" for number in range(5000)]
    file.write_text("\n".join([*words, "", words[0]]))
    shown = run_json("demo", "--keys", str(file), "--nodes", "4")
    ring = Ring([f"node-{number}" for number in range(1, 5)])
    owners = ring.node_many(words)
    assert shown["keys"] == len(words)
    assert shown["nodes"] == {name: owners.count(name) for name in ring}
    leaves, joins = shown["changes"]
    assert leaves["ring"] == pytest.approx(owners.count("node-3") / len(words))
    assert leaves["ring_needless"] == joins["ring_needless"] == 0
    assert leaves["modulo"] == pytest.approx(3 / 4, abs=0.03)
    assert sum(shown["heirs"].values()) == owners.count("node-3")


def test_demo_for_people(tmp_path: Path, terminal: io.StringIO) -> None:
    file = tmp_path / "words"
    file.write_text("\n".join(f"word-{number}" for number in range(500)))
    run("demo", "--keys", str(file))
    assert "500 keys" in terminal.getvalue()
    assert "hash % n" in terminal.getvalue()


def test_demo_finds_keys_on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ring_demo, "DICTIONARIES", ())
    monkeypatch.setattr(_ring_demo, "KEYS_MAX", 500)
    assert run_json("demo")["keys"] == 500


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["share"], "NODES"),
        (["share", "n1", "n1"], "n1"),
        (["share", "n1:-2"], "weight"),
        (["share", "n1:nan"], "weight"),
        (["share", "n1:0"], "weight"),
        (["share", "n1", "--vnodes", "0"], "vnodes"),
        (["share", "x" * 300], "255"),
        (["share", "h:7401"], "h:7401:1"),
        (["share", ","], "no node"),
        (["where", "k"], "--nodes"),
        (["where", "-n", "", "k"], "no node"),
        (["where", "-n", ",", "k"], "no node"),
        (["where", "-n", "n1", "-c", "2", "k"], "--count"),
        (["diff", "--before", "n1", "--after", ","], "--after"),
        (["draw", "n1", *(f"-k{number}" for number in range(10))], "9"),
        (["draw", ","], "no node"),
        (["demo", "--keys", "/nonexistent"], "/nonexistent"),
        (["demo", "--keys", os.devnull], "no keys"),
        (["nothing"], "nothing"),
    ],
)
def test_a_mistake_gives_a_message_and_exit_code_2(arguments: list[str], said: str) -> None:
    assert said in run(*arguments, code=2).stderr


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "ring.svg"
    assert str(file) in run("draw", "n1", "--svg", str(file), code=1).stderr


# As a process


@pytest.mark.parametrize(
    "line", ["share é", "draw é", "diff --before é --after n1", "where -n é k", "demo --keys {keys}"]
)
def test_a_terminal_without_the_characters(line: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("one\ntwo\n")
    done = subprocess.run(
        [*QUORATE, "ring", *line.format(keys=keys).split()],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_standard_streams_that_are_closed_or_full() -> None:
    """Each as a shell would leave them: ``<&-``, ``>&-``, ``>/dev/full``."""

    def shell(line: str) -> tuple[int, str]:
        command = ["sh", "-c", f'exec "$0" -m quorate ring {line}', sys.executable]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, line
        assert "Exception ignored" not in done.stderr, line
        return done.returncode, done.stderr

    status, said = shell("where -n n1 <&-")
    assert status == 2
    assert "standard input is closed" in said
    assert shell("where -n n1 k >&-") == (0, "")
    assert shell("draw n1 --svg - >&-") == (0, "")
    if Path("/dev/full").exists():
        for command in ("where -n n1 k", "share n1", "share n1 --json", "draw n1 --svg -"):
            status, said = shell(f"{command} >/dev/full")
            assert status == 1, command
            assert "No space left" in said, command


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = [*QUORATE, "ring", "where", "-n", "n1 n2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        try:
            process.stdin.write(b"key\n" * 200_000)
            process.stdin.close()
        except BrokenPipeError:
            pass
        errors = process.stderr.read()
        process.wait()
    assert b"Traceback" not in errors
    assert b"Exception ignored" not in errors


def test_an_interrupt_is_no_traceback() -> None:
    command = [*QUORATE, "ring", "where", "-n", "n1 n2"]
    # A shell's background job ignores interrupts, and its children inherit that: here the command is to feel them.
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"key\n" * 20_000)
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"key\t")  # it runs, and now waits for more keys
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 30
        while process.poll() is None:
            assert time.monotonic() < deadline
            process.stdout.read1(65536)
        errors = process.stderr.read()
    assert process.returncode == 1
    assert errors.strip() == b"Aborted!"
