"""A data directory: whose it is, that only one process has it open, and where things lie in it.

Knows nothing of what the log and the snapshots contain::

    LOCK         held with flock by the process that has the directory open
    IDENTITY     format, cluster, node, incarnation; written last when the directory is made
    log/         segments (16-digit sequence), `reserve`
    snapshots/   finished snapshots, and `.part` files of unfinished ones
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from quorate.errors import ConfigError, InvalidArgument, StorageError
from quorate.limits import NODE_NAME_MAX
from quorate.storage._io import Faults, checksum, sync_directory, write_file

__all__ = ["FORMAT", "DataDirectory", "Identity"]

FORMAT: Final = 1
"""Version of the layout of a data directory. A newer one is refused."""

NO_IDENTITY: Final = (
    "If its first start was interrupted, start the node again: the directory is then made anew. Else restore IDENTITY "
    "from a backup; or remove this node from its cluster and add it again with an empty directory"
)
"""What to do about a directory without IDENTITY."""

_FIRST_LINE: Final = "quorate data directory"


@dataclass(frozen=True)
class Identity:
    """Whose data it is.

    ``incarnation`` is drawn anew whenever a directory is made (or a node without one starts), so that peers can
    refuse the vote of a member that has lost its disk or its memory.

    >>> Identity(cluster=bytes(16), node=1, incarnation=5, name="a")
    Identity(cluster=00000000000000000000000000000000, node=1, incarnation=0000000000000005, name='a')
    """

    cluster: bytes
    node: int
    incarnation: int
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.cluster) != 16:
            raise InvalidArgument(f"a cluster id has 16 bytes, not {len(self.cluster)}")
        if not 0 < self.node < 1 << 64:
            raise InvalidArgument(f"a node id is from 1 to 2**64 - 1, not {self.node}")
        if not 0 < self.incarnation < 1 << 64:
            raise InvalidArgument(f"an incarnation is from 1 to 2**64 - 1, not {self.incarnation}")
        if len(self.name.encode()) > NODE_NAME_MAX or any(ord(c) < 32 for c in self.name):
            raise InvalidArgument(f"a node name has at most {NODE_NAME_MAX} bytes of UTF-8 and no control characters")

    def __repr__(self) -> str:
        return (
            f"Identity(cluster={self.cluster.hex()}, node={self.node}, incarnation={self.incarnation:016x}, "
            f"name={self.name!r})"
        )

    @classmethod
    def new(cls, *, cluster: bytes | None = None, node: int, name: str = "") -> Identity:
        """An identity with a fresh incarnation, and a fresh cluster id if none is given."""
        return cls(cluster or secrets.token_bytes(16), node, secrets.randbits(64) | 1, name)

    def encode(self) -> bytes:
        """The bytes of the file IDENTITY: readable lines, the last one a CRC32C of those before."""
        text = (
            f"{_FIRST_LINE}\nformat {FORMAT}\ncluster {self.cluster.hex()}\nnode {self.node}\n"
            f"incarnation {self.incarnation:016x}\nname {self.name}\n"
        ).encode()
        return text + b"crc32c %08x\n" % checksum(text)

    @classmethod
    def decode(cls, data: bytes, *, file: str | None = None) -> Identity:
        """The identity in these bytes. Raises StorageError if they are not exactly what :meth:`encode` makes."""
        advice = "The file is damaged or was edited; restore it from a backup"
        try:
            lines = data.decode().split("\n")
            fields = dict(line.split(" ", 1) for line in lines[1:-1])
            if lines[0] != _FIRST_LINE:
                raise ValueError
            version = int(fields["format"])
            if version > FORMAT:
                raise StorageError(
                    f"the data directory has format {version}, and this version of Quorate knows up to {FORMAT}",
                    file=file,
                    offset=0,
                    advice="Start the newer version",
                )
            found = cls(
                bytes.fromhex(fields["cluster"]), int(fields["node"]), int(fields["incarnation"], 16), fields["name"]
            )
        except (ValueError, KeyError):  # InvalidArgument and UnicodeDecodeError are ValueErrors
            raise StorageError("this is no identity file", file=file, offset=0, advice=advice) from None
        if found.encode() != data:
            raise StorageError("the checksum is wrong", file=file, offset=data.rfind(b"crc32c"), advice=advice)
        return found


_open_locks: weakref.WeakSet[DataDirectory] = weakref.WeakSet()


class DataDirectory:
    """An open data directory. Holds its lock until :meth:`close`; a context manager.

    ``path`` is made if it is missing and ``create`` is true. A new directory takes ``cluster`` (16 bytes, None:
    random), ``node`` and ``name``; of an existing one they must be what it says, if given.

    Raises ConfigError if another process has it open, StorageError if it is damaged or somebody else's.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as path, DataDirectory(path, node=1, name="a") as directory:
    ...     directory.identity.name
    'a'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        cluster: bytes | None = None,
        node: int | None = None,
        name: str | None = None,
        create: bool = True,
        faults: Faults | None = None,
    ) -> None:
        self.path: Final = Path(os.path.abspath(path))
        self.faults: Final = faults
        self.pid: Final = os.getpid()
        self._lock = -1
        made: list[Path] = []
        if not self.path.is_dir():
            if not create:
                raise StorageError("there is no such directory", file=str(self.path))
            made = [each for each in (self.path, *self.path.parents) if not each.exists()]
            self.path.mkdir(parents=True)
        elif create:
            self._refuse_foreign()
        self._take_lock(create)
        try:
            identity_path = self.path / "IDENTITY"
            self.committed = identity_path.exists()
            """Whether the directory is complete. A crash before leaves one without IDENTITY, which is made anew."""
            if self.committed:
                self.identity = Identity.decode(identity_path.read_bytes(), file=str(identity_path))
                self._compare(cluster, node, name)
                if create:  # a killed process may have named the file and not synced the name
                    sync_directory(str(self.path), faults)
            elif not create:
                raise StorageError("this is no data directory", file=str(identity_path), advice=NO_IDENTITY)
            elif node is None:
                raise InvalidArgument("a new data directory needs the id of its node")
            else:
                self.identity = Identity.new(cluster=cluster, node=node, name=name or "")
                for folder in ("log", "snapshots"):
                    (self.path / folder).mkdir(exist_ok=True)
                sync_directory(str(self.path), faults)
                for each in made:
                    sync_directory(str(each.parent), faults)
        except BaseException:
            self.close()
            raise

    def _refuse_foreign(self) -> None:
        """A directory that holds somebody else's files is not ours to fill; a wrong path must not make a mess there."""
        found = {each.name for each in self.path.iterdir()}
        # Without IDENTITY and LOCK: a power loss during the first start leaves any of what is made before them.
        if "IDENTITY" in found or "LOCK" in found or not found - {"lost+found", "log", "snapshots", "IDENTITY.new"}:
            return
        raise ConfigError(
            f"the directory {self.path} is not empty, and holds no data of Quorate (it has {min(found)!r}). Choose "
            "another path, or an empty directory"
        )

    def _take_lock(self, create: bool) -> None:
        path = self.path / "LOCK"
        if not create and not path.exists():
            raise StorageError("this is no data directory", file=str(path))
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 200).decode(errors="replace").strip()
            self.close()
            raise ConfigError(
                f"the data directory {self.path} is open in another process"
                + (f" ({holder})" if holder else "")
                + ". Run one node per host, and let the other workers connect to it with quorate.connect(…)"
            ) from None
        with contextlib.suppress(OSError):  # the lock is what counts: a full disk has no room for a word on the holder
            os.ftruncate(self._lock, 0)
            os.write(self._lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        _open_locks.add(self)

    def _compare(self, cluster: bytes | None, node: int | None, name: str | None) -> None:
        for what, wanted, found in (
            ("cluster", cluster, self.identity.cluster),
            ("node", node, self.identity.node),
            ("node name", name, self.identity.name),
        ):
            if wanted is not None and wanted != found:
                shown = [value.hex() if isinstance(value, bytes) else repr(value) for value in (found, wanted)]
                raise StorageError(
                    f"the directory belongs to {what} {shown[0]}, not {shown[1]}",
                    file=str(self.path / "IDENTITY"),
                    advice="Give the right data_dir; to begin anew, name an empty one",
                )

    @property
    def log_path(self) -> str:
        """Where the segments lie."""
        return str(self.path / "log")

    @property
    def snapshot_path(self) -> str:
        """Where the snapshots lie."""
        return str(self.path / "snapshots")

    def commit(self) -> None:
        """Writes IDENTITY: from here on the directory is complete, and a missing log is an error."""
        write_file(str(self.path / "IDENTITY"), self.identity.encode(), self.faults)
        self.committed = True

    def replace_identity(self, identity: Identity) -> None:
        """Gives the directory to another cluster or node; the caller has rewritten the log."""
        self.identity = identity
        self.commit()

    def close(self) -> None:
        """Gives the lock back. Does nothing the second time."""
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = -1

    def _close_in_child(self) -> None:
        # The lock belongs to the open file, which a forked child shares: closing here leaves it with the parent.
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the lock is given back."""
        return self._lock < 0

    def __enter__(self) -> DataDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"DataDirectory({str(self.path)!r}, {self.identity!r}{', closed' if self.closed else ''})"


def _after_fork() -> None:
    for directory in list(_open_locks):
        directory._close_in_child()


os.register_at_fork(after_in_child=_after_fork)
