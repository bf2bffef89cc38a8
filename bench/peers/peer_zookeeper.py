"""ZooKeeper: three members with the jars of Debian, asked through kazoo. Knows the contract of a peer."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from contract import Client, Lock, Missing, Peer, Place, Turn, module_missing, package_version, program_missing
from measures import KEYS, PATIENCE, flooded_by_callbacks, key

JAR = Path("/usr/share/java/zookeeper.jar")
SESSION_SECONDS = 4.0
"""The least that a server allows with its default tick of two seconds."""


class ZooLock(Lock):
    def __init__(self, client: ZooClient, name: str) -> None:
        self.lock = client.kazoo.Lock(f"/locks/{name}", "me")

    def acquire(self) -> None:
        if not self.lock.acquire(timeout=PATIENCE):
            raise TimeoutError("no lock")

    def release(self) -> None:
        self.lock.release()


class ZooClient(Client):
    def __init__(self, place: Place) -> None:
        from kazoo.client import KazooClient

        order = [place.leader, *(each for each in range(len(place.ports)) if each != place.leader)]
        hosts = ",".join(f"127.0.0.1:{place.ports[each][0]}" for each in order)
        self.kazoo = KazooClient(hosts, timeout=SESSION_SECONDS, randomize_hosts=False)
        self.kazoo.start(PATIENCE)
        self.kazoo.ensure_path("/bench")
        self.kazoo.ensure_path("/locks")
        for name in [*(key(number) for number in range(KEYS)), "after"]:
            self.kazoo.create_async(f"/bench/{name}", b"")
        self.kazoo.sync("/bench")

    def put(self, key: str, value: bytes) -> None:
        self.kazoo.set(f"/bench/{key}", value)

    def read(self, key: str) -> None:
        # A read is of the member's own copy; behind a sync it is as new as the sync.
        self.kazoo.sync_async(f"/bench/{key}")
        self.kazoo.get(f"/bench/{key}")

    def local(self, key: str) -> None:
        self.kazoo.get(f"/bench/{key}")

    def flood(self, window: int, seconds: float) -> Turn:
        def begin(key: str, value: bytes, answered: Callable[[], None]) -> None:
            self.kazoo.set_async(f"/bench/{key}", value).rawlink(lambda _: answered())

        return flooded_by_callbacks(begin, window, seconds)

    def lock(self, name: str) -> Lock:
        return ZooLock(self, name)

    def close(self) -> None:
        threading.Thread(target=self.kazoo.stop, daemon=True).start()
        time.sleep(0.2)


class ZooKeeper(Peer):
    name = "zookeeper"
    title = "ZooKeeper"
    fsync = "fsync on a majority"
    via = f"kazoo, session of {SESSION_SECONDS:g} s"
    ports_each = 3
    warm_seconds = 3.0
    without: Mapping[str, str] = {"lock-aio": "kazoo has none for asyncio"}

    def missing(self) -> Sequence[Missing]:
        jar = [] if JAR.exists() else [Missing(str(JAR), "apt install zookeeper (its service need not run)")]
        return [
            *jar,
            *program_missing("java", "apt install default-jre-headless"),
            *module_missing("kazoo"),
        ]

    def version(self) -> str:
        jars = [re.fullmatch(r"zookeeper-([\d.]+)\.jar", each.name) for each in JAR.parent.iterdir()]
        found = next((each.group(1) for each in jars if each), "")
        return f"{found}, kazoo {package_version('kazoo')}"

    def prepare(self, place: Place) -> None:
        servers = [
            f"server.{id}=127.0.0.1:{ports[1]}:{ports[2]};127.0.0.1:{ports[0]}"
            for id, ports in enumerate(place.ports, 1)
        ]
        for member in range(self.members):
            folder = place.folder / f"m{member}"
            (folder / "data").mkdir(parents=True)
            (folder / "data" / "myid").write_text(f"{member + 1}\n")
            lines = [
                "tickTime=2000",
                "initLimit=10",
                "syncLimit=5",
                f"dataDir={folder}/data",
                "admin.enableServer=false",
            ]
            (folder / "zoo.cfg").write_text("\n".join([*lines, *servers]) + "\n")

    def command(self, place: Place, member: int) -> Sequence[str]:
        folder = place.folder / f"m{member}"
        # What its own script zkServer.sh starts, without writing outside of the folder.
        java = shutil.which("java") or "java"
        return [
            java,
            *("-Xmx256m", "-XX:-UsePerfData"),
            *("-cp", f"{folder}:{JAR}"),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(folder / "zoo.cfg"),
        ]

    def leader(self, place: Place) -> int | None:
        modes = [self._mode(ports[0]) for ports in place.ports]
        if None in modes or modes.count("leader") != 1:
            return None
        return modes.index("leader")

    @staticmethod
    def _mode(port: int) -> str | None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0) as line:
                line.settimeout(1.0)
                line.sendall(b"srvr")
                said = b""
                while more := line.recv(4096):
                    said += more
        except OSError:
            return None
        found = re.search(rb"^Mode: (\w+)", said, re.MULTILINE)
        return found.group(1).decode() if found else None

    def client(self, place: Place) -> Client:
        return ZooClient(place)


PEERS = [ZooKeeper()]
