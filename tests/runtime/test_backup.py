"""What an operator does with a stopped node's directory: check, save, restore, recover; and the node runs again."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from quorate.cli import main
from quorate.storage.offline import INDEX_GAP
from quorate.store import commands
from runtime.clusters import Cluster, until


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def serve(path: Path, key: str, *, above: int) -> int:
    """Starts the node on its directory, writes a key, and stops it; the revision of the write."""
    with Cluster(1, path) as cluster:
        leader = cluster.leader()
        revision = leader.execute(commands.put(key, b"value")).revision
        assert revision > above
        assert leader.reader.get("first") is not None
        # The node's own entries too: its identity goes into the log behind the first one, before or after the write.
        until(lambda: (seen := leader.status())["commit"] == seen["last_index"])
    return revision


def test_a_node_goes_on_from_its_backup_and_from_a_recovered_directory(tmp_path: Path) -> None:
    last = serve(tmp_path / "old", "first", above=0)
    run("check", tmp_path / "old" / "a")
    assert "not in the file" not in run("snapshot", "save", tmp_path / "old" / "a", tmp_path / "backup")
    went_on = serve(tmp_path / "old", "second", above=last)
    made = json.loads(
        run("snapshot", "restore", tmp_path / "backup", tmp_path / "new" / "a", "--node", 1, "--name", "a", "--json")
    )
    # A slow disk may cost the node its office, and then the entry of another term follows the write.
    assert last <= made["from_index"] < went_on
    assert made["index"] == made["from_index"] + INDEX_GAP
    serve(tmp_path / "new", "third", above=went_on + INDEX_GAP // 2)
    run("recover", "--force-new-cluster", "--yes", tmp_path / "old" / "a")
    serve(tmp_path / "old", "third", above=went_on + INDEX_GAP)
    run("check", tmp_path / "old" / "a")
    run("check", tmp_path / "new" / "a")
