"""Membership through a client: a node that joins, becomes a voter, leads, and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate import ConfigError, InvalidArgument, Rejected
from runtime.clusters import PATIENT, until


def test_a_node_joins_leads_and_leaves() -> None:
    with tempfile.TemporaryDirectory(prefix="q-") as folder, contextlib.ExitStack() as nodes:
        members = {name: f"unix:{folder}/{name}" for name in "ab"}
        for name in "ab":
            nodes.enter_context(quorate.Node(name, members=members, durability="memory", config=PATIENT))
        url = f"unix:{folder}/a,unix:{folder}/b"
        with quorate.connect(url, timeout=60) as client:
            client.put("k", b"v")
            assert {(each.name, each.voter) for each in client.members()} == {("a", True), ("b", True)}
            third = quorate.Node("c", join=members["a"], listen=f"unix:{folder}/c", durability="memory", config=PATIENT)
            nodes.enter_context(third)
            client.add_member("c", third.address)
            added = next(each for each in client.members() if each.name == "c")
            assert (added.voter, added.address) == (False, third.address)
            client.add_member("c", third.address)  # what is done is not done twice
            client.promote_member("c")
            assert all(each.voter for each in client.members())
            third.wait_ready(60)
            embedded = third.client()
            found = embedded.get("k", timeout=60)
            assert found is not None
            assert found.value == b"v"
            assert embedded.transfer_leadership("c") == "c"
            assert next(each.name for each in client.members() if each.leader) == "c"
            assert until(lambda: client.status()["leader"] == "c", 30)
            other = client.transfer_leadership()
            assert other in ("a", "b")

            async def leave() -> None:
                async with quorate.aio.connect(url, timeout=60) as twin:
                    assert len(await twin.members()) == 3
                    await twin.remove_member("c")
                    assert sorted(each.name for each in await twin.members()) == ["a", "b"]

            asyncio.run(leave())
            assert client.put("k", b"w") > 0


def test_a_member_moves_and_another_is_replaced() -> None:
    with tempfile.TemporaryDirectory(prefix="q-") as folder, contextlib.ExitStack() as nodes:

        def node(name: str, place: str, **settings: Any) -> quorate.Node:
            made = quorate.Node(
                name, listen=f"unix:{folder}/{place}", data_dir=f"{folder}/data-{name}", config=PATIENT, **settings
            )
            return nodes.enter_context(made)

        members = {name: f"unix:{folder}/{name}" for name in "abc"}
        _, moving, leaving = (node(name, name, members=members) for name in "abc")
        with quorate.connect(f"unix:{folder}/a,unix:{folder}/b", timeout=60) as client:
            client.put("k", b"v")
            moving.stop()
            moved = node("b", "elsewhere", members=members)
            client.change_address("b", f"unix:{folder}/elsewhere", timeout=60)
            moved.wait_ready(60)
            leaving.stop()
            client.put("k", b"w")  # which needs the one that has moved
            new = node("d", "d", join=members["a"])
            client.replace_member("c", "d", new.address)
            found = {each.name: (each.address, each.voter) for each in client.members()}
            assert found == {
                "a": (members["a"], True),
                "b": (f"unix:{folder}/elsewhere", True),
                "d": (new.address, True),
            }
            kept = new.client().get("k", timeout=60)
            assert kept is not None
            assert kept.value == b"w"


def test_what_cannot_be() -> None:
    with quorate.local() as client:
        for wrong in (
            lambda: client.add_member("", "127.0.0.1:1"),
            lambda: client.remove_member(7),  # type: ignore[arg-type]
            lambda: client.transfer_leadership(""),
            lambda: client.replace_member("local", "", "127.0.0.1:1"),
        ):
            with pytest.raises(InvalidArgument, match="named by a str"):
                wrong()
        with pytest.raises(ConfigError, match="no address"):
            client.add_member("b", "nowhere")
        with pytest.raises(Rejected, match="no member"):
            client.promote_member("nobody")
    with pytest.raises(ConfigError, match="not both"):
        quorate.Node("c", join="127.0.0.1:1", members={"c": "127.0.0.1:2"}, listen="127.0.0.1:2", durability="memory")
    with pytest.raises(ConfigError, match="has to listen"):
        quorate.Node("c", join="127.0.0.1:1", durability="memory")
