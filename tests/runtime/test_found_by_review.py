"""Mistakes that were found by reading, and not by a test: what had to come together is brought together here."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quorate.errors import ConnectionLost, NodeFailed, NoQuorum, QuorateError, RequestTimeout
from quorate.raft import COMMAND, Configuration, Entry
from quorate.runtime._requests import Pending
from quorate.runtime.node import NativeNode
from quorate.storage import Faults
from quorate.store import commands
from quorate.store.views import Limit
from runtime.clusters import PATIENT, Cluster, free_sockets, members_of, until
from runtime.fake_member import GOODBYE, FakeMember

PATIENCE = 20.0
QUIET = replace(PATIENT, election_timeout_min_ms=30_000, election_timeout_max_ms=60_000)
"""For nodes whose leader the test plays: they wait for its next word."""
TERM = 5
TWO = Configuration(incoming=(1, 2))
READ = 2

SLOW_WAKING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

static int slow;

void slow_down(void) { slow = 1; }

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t done;
    int waking = slow && count == 1;
    if (waking && syscall(SYS_gettid) == getpid()) usleep(200000);
    done = ((ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"))(fd, bytes, count);
    if (waking && syscall(SYS_gettid) != getpid()) usleep(400000);
    return done;
}
"""
"""In front of the system's: who stops the loop wakes it late, and who puts something in goes on late after that."""

STOPS_WHILE_ASKED = """
import ctypes, faulthandler, sys, threading

from quorate.errors import NodeFailed
from quorate.runtime.node import NativeNode

faulthandler.dump_traceback_later(40, exit=True)
node = NativeNode("a", 1, {1: ("a", "unix:/unused")}, durability="memory", listen=None).start()
node.wait_ready(30)
run = node._run
ready, go = threading.Event(), threading.Event()

def ask():
    sys.setswitchinterval(1000)
    go.wait()
    try:
        run.ask(2, b"", 20.0).wait()  # a barrier
    except NodeFailed:
        pass
    print("answered")

asker = threading.Thread(target=ask)
asker.start()
ctypes.PyDLL(sys.argv[1]).slow_down()
go.set()
run.stop()
asker.join()
"""


@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc and LD_PRELOAD")
def test_a_node_ends_while_a_thread_that_holds_the_gil_hands_a_question_in(tmp_path: Path) -> None:
    """It waits for the end of the loop, which must not wait for a thread that wants the GIL at its own end."""
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(SLOW_WAKING)
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer is not for gcc
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], env=plain, check=True)
    preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(library)]))
    done = subprocess.run(
        [sys.executable, "-c", STOPS_WHILE_ASKED, str(library)],
        env={**os.environ, "LD_PRELOAD": preload}, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "answered\n"


def led_by_the_test(**settings: Any) -> tuple[NativeNode, FakeMember]:
    """A node of a cluster of two, and the other member."""
    settings = settings or {"durability": "memory"}
    own, other = free_sockets(2)
    members = members_of(f"127.0.0.1:{each.getsockname()[1]}" for each in (own, other))
    node = NativeNode("a", 1, members, listen=own, config=QUIET, **settings)
    return node, FakeMember(node, 2, other)


@pytest.mark.parametrize("where", ["on the same connection", "behind another connection"])
def test_a_goodbye_proves_nothing_if_an_answer_may_have_been_lost_before(where: str) -> None:
    """What a leader said on a connection that was not read to its end may have been where it put a proposal."""
    node, leader = led_by_the_test()
    with node, leader:
        leads = leader.message("Heartbeat", term=TERM)
        said = leader.connect(leads)
        leader.accept()
        until(lambda: node.status()["leader"] == "b", PATIENCE)
        asked = node.propose(commands.put("k", "v"), timeout=PATIENCE)
        leader.heard("ForwardProposal")
        if where == "on the same connection":
            said.sendall(GOODBYE)
            with pytest.raises(NoQuorum):  # which tells that it did not happen
                asked.wait()
        else:
            leader.connect(GOODBYE)
            with pytest.raises(ConnectionLost):  # which tells that nobody knows
                asked.wait()


OPENS_AND_IS_REFUSED = """
import os, sys

from quorate.client._remote import Remote
from quorate.store import commands
from quorate.store.views import Result

with Remote(sys.argv[1], follow=False) as remote:
    for ttl_ms in (60_000, (1 << 32) - 1):
        result = Result.decode(remote.propose(commands.session_open(os.urandom(16), ttl_ms), 20.0).wait()[1])
        print(result.status.name, result.number, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell of the end of a process")
def test_a_refused_session_is_not_taken_for_the_one_whose_number_is_in_the_refusal() -> None:
    """A refusal has the number of the limit where an opening has that of the session: of somebody else's, perhaps."""
    with Cluster(1) as cluster:
        node = cluster.leader()
        # The index in an answer is the newest one; status() may still tell of an older one.
        while node.propose(commands.put("k", "v"), timeout=PATIENCE).wait()[0] < Limit.SESSION_TTL_MAX_MS - 1:
            pass
        victim = node.execute(commands.session_open(os.urandom(16), 600_000), timeout=PATIENCE).number
        assert victim == Limit.SESSION_TTL_MAX_MS
        command = [sys.executable, "-c", OPENS_AND_IS_REFUSED, str(node.first_members[1][1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                status, own = process.stdout.readline().split()
                assert status == "OK"
                assert process.stdout.readline().split() == ["LIMIT", str(victim)]
            finally:
                process.kill()
        # Both would end at once, in the order of their numbers.
        until(lambda: node.reader.session(int(own)) is None, PATIENCE)
        node.barrier(timeout=PATIENCE)
        assert node.reader.session(victim) is not None


def test_whoever_waits_gets_an_answer_when_the_disk_fails_under_what_was_just_taken(tmp_path: Path) -> None:
    """What is taken in one turn goes to the core one after the other, and the first may end the node."""
    faults = Faults()
    members = {1: ("a", "unix:/unused")}
    config = replace(PATIENT, disk_stall_ms=60_000)
    node = NativeNode("a", 1, members, data_dir=tmp_path / "a", listen=None, faults=faults, config=config)
    with node:
        node.wait_ready(PATIENCE)
        put = commands.put("k", bytes(1000))
        # The log's thread is held up by the first write, and the second one fails. Behind both, the mailbox fills.
        faults.slow("sync", seconds=1.0, times=1)
        faults.slow("write", seconds=0.0005, first=2)
        faults.fail("write", error=errno.EIO, first=2)
        asked = [node.propose(put, timeout=3 * PATIENCE)]
        with contextlib.suppress(NodeFailed):  # on a machine on which this takes longer than that first write
            while node.status()["queues"]["backlog"] < 64:
                asked.append(node.propose(put, timeout=3 * PATIENCE))
            for _ in range(10_000):
                asked.append(node.ask(READ, timeout=3 * PATIENCE))
                asked.append(node.propose(put, timeout=3 * PATIENCE))
        became = {outcome(each) for each in asked}
        assert RequestTimeout not in became
        until(lambda: not node.running, PATIENCE)


def outcome(pending: Pending) -> type[QuorateError] | None:
    try:
        pending.wait()
    except QuorateError as error:
        return type(error)
    return None


def test_a_snapshot_that_the_log_overtook_keeps_no_later_one_out(tmp_path: Path) -> None:
    """Its last chunk is on its way to the disk when the entries that it holds are committed here all the same."""
    faults = Faults()
    node, leader = led_by_the_test(data_dir=tmp_path / "a", faults=faults)
    with node, leader:
        connection = leader.connect(leader.message("Heartbeat", term=TERM))
        leader.accept()
        until(lambda: node.status()["leader"] == "b", PATIENCE)
        entries = [Entry(index, TERM, COMMAND, commands.put("k", str(index))) for index in range(1, 4)]
        chunk = bytes(1000)
        first = {"snapshot_index": 2, "snapshot_term": TERM, "size": len(chunk), "digest": 1, "length": len(chunk)}
        faults.slow("write", seconds=0.5, path="snapshots")
        connection.sendall(
            leader.message("InstallSnapshot", term=TERM, data=chunk, configuration=TWO, **first)
            + leader.message("AppendEntries", term=TERM, prev_log_index=0, entries=entries, leader_commit=3)
        )
        until(lambda: node.status()["applied"] == 3, PATIENCE)
        faults.clear()
        # A later one is taken in from the first byte on: the node asks for what follows.
        later = {"snapshot_index": 9, "snapshot_term": TERM, "size": 2000, "digest": 2, "length": len(chunk)}
        connection.sendall(leader.message("InstallSnapshot", term=TERM, data=chunk, configuration=TWO, **later))
        while True:
            answer = leader.heard("InstallSnapshotResponse")
            if answer.snapshot_index == 9:
                break
        assert answer.success
        assert answer.offset == len(chunk)
