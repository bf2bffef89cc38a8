"""``quorate snapshot save|restore``: backup, and a new cluster from an old one's data."""

from __future__ import annotations

from pathlib import Path

import click

from quorate.cli._show import console, print_json
from quorate.storage.offline import restore_snapshot, save_snapshot

__all__ = ["snapshot"]


@click.group()
def snapshot() -> None:
    """Backup, and a new cluster from an old one's data."""


@snapshot.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def save(directory: Path, file: Path, as_json: bool) -> None:
    """Save what a stopped node's data DIRECTORY holds to FILE, and prove the file readable.

    It has everything up to the last entry that this node knew to be committed. The directory is not changed.
    """
    from quorate.cli._fold import fold

    meta, last = save_snapshot(directory, file, fold=fold)
    if as_json:
        print_json({"file": str(file), "term": meta.term, "index": meta.index, "last": last})
        return
    out = console()
    out.print(f"saved: everything up to entry {meta.index} of term {meta.term}")
    if last > meta.index:
        out.print(
            f"not in the file: the entries {meta.index + 1} to {last} of the log, which this node did not know to be"
            " committed. Keep the directory too, or save that of the member that knew most"
        )


@snapshot.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--node", type=click.IntRange(1), required=True, help="Id of the node that the directory is for.")
@click.option("--name", default="", help="Its name.")
@click.option(
    "--members", metavar="IDS", help="Ids of all members of the new cluster, with commas. [default: this node]"
)
@click.option("--cluster", metavar="HEX", help="Id of the new cluster, 32 digits: what the first restore printed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def restore(
    file: Path, directory: Path, node: int, name: str, members: str | None, cluster: str | None, as_json: bool
) -> None:
    """Make the data DIRECTORY of a new cluster's node from a snapshot FILE.

    Restore each member from the same FILE, with the same --members and, from the second on, the --cluster that the
    first one printed. Revisions and lock tokens go on above a gap, and the history of watches begins anew. The old
    cluster must not run any more: its clients would not know which one to believe.
    """
    from quorate.cli._fold import first_configuration, fold

    try:
        voters = {int(part) for part in members.split(",")} if members else {node}
        which = bytes.fromhex(cluster) if cluster else None
    except ValueError:
        raise click.UsageError("--members is a list like 1,2,3, and --cluster has 32 hexadecimal digits") from None
    if node not in voters:
        raise click.UsageError(f"--members must contain this node, {node}")
    made = restore_snapshot(
        file, directory, node=node, name=name, cluster=which, configuration=first_configuration(voters), fold=fold
    )
    if as_json:
        print_json(
            {
                "directory": str(directory),
                "cluster": made.identity.cluster.hex(),
                "node": node,
                "term": made.term,
                "index": made.index,
                "from_index": made.old_index,
            }
        )
        return
    out = console()
    out.print(f"restored: everything up to entry {made.old_index}; the new cluster goes on behind {made.index}")
    out.print(f"cluster:  {made.identity.cluster.hex()}")
    others = sorted(voters - {node})
    if others:
        out.print(
            f"Restore {', '.join(map(str, others))} from the same file with --cluster {made.identity.cluster.hex()}"
        )
