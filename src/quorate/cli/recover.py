"""``quorate recover --force-new-cluster DIR``: a working cluster from one surviving directory."""

from __future__ import annotations

from pathlib import Path

import click

from quorate.cli._show import console, print_json
from quorate.storage.directory import Identity
from quorate.storage.offline import recover as recover_directory

__all__ = ["recover"]


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--force-new-cluster", "force", is_flag=True, help="Needed: says that the old cluster is given up.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs; implies --yes.")
def recover(directory: Path, force: bool, yes: bool, as_json: bool) -> None:
    """Make a new cluster of one member from the one data DIRECTORY that survived.

    The last way out, after a majority of the members is lost for good. While a majority lives, remove the lost members
    and add new ones instead: nothing is lost then.

    What the lost members acknowledged and this one never received is lost. What this one received is kept, also where
    it cannot know whether it was committed. The cluster gets a new identity, so that members of the old one cannot
    join by mistake; revisions and lock tokens go on above a gap, so that none is given out twice. The old directory
    is kept under another name.
    """
    from quorate.cli._fold import first_configuration, fold

    if not force:
        raise click.UsageError("this gives the old cluster up: say --force-new-cluster, after reading --help")
    if not (yes or as_json):
        click.confirm(
            "Acknowledged writes that only the lost members had will be lost. Members of the old cluster that still "
            "run must be stopped first. Go on?",
            abort=True,
        )

    def alone(identity: Identity) -> bytes:
        return first_configuration([identity.node], incarnations=[(identity.node, identity.incarnation)])

    made = recover_directory(directory, configuration=alone, fold=fold)
    unsure = made.old_index - made.old_commit
    if as_json:
        print_json(
            {
                "directory": str(directory),
                "kept": made.kept,
                "cluster": made.identity.cluster.hex(),
                "node": made.identity.node,
                "incarnation": f"{made.identity.incarnation:016x}",
                "term": made.term,
                "index": made.index,
                "old_index": made.old_index,
                "old_commit": made.old_commit,
            }
        )
        return
    out = console()
    out.print(f"A new cluster of node {made.identity.node} alone: {made.identity.cluster.hex()}")
    out.print(
        f"It has everything that this node received, up to entry {made.old_index}, and goes on behind {made.index}."
    )
    if unsure > 0:
        out.print(
            f"Of these, this node knew that {made.old_commit} were committed; the other {unsure} are kept and count as "
            "committed now, although their writers may have been told otherwise."
        )
    out.print("Lost: what other members acknowledged and this one never received. It cannot be known how much that is.")
    out.print(f"The old directory is kept as {made.kept}. Start the node, then add new members to it.")
