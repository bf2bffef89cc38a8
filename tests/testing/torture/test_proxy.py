"""The network in the middle: passes everything on, until it is told not to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from quorate.testing.torture.proxy import CLIENT, Network

PATIENCE = 20.0


class Echo:
    """Listens, and answers what it hears with what it heard in capitals."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.open: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        threads = []
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.open.append(connection)
                threads.append(threading.Thread(target=self.answer, args=(connection,)))
                threads[-1].start()
        for each in threads:
            each.join()

    def answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                connection.sendall(data.upper())

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.thread.join()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network(1) as made:
        yield made


def connected(address: str, node: int | None = None) -> socket.socket:
    """A connection, of a client or of a member that says who it is, as far as the network reads it."""
    host, port = address.split(":")
    made = socket.create_connection((host, int(port)), timeout=PATIENCE)
    hello = b"qrt?client" if node is None else b"QRT\x01\x01" + bytes(19) + bytes(17) + node.to_bytes(8, "little")
    made.sendall(hello)
    assert received(made, len(hello)) == hello.upper()
    return made


def received(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        assert part, found
        found += part
    return found


def silent(connection: socket.socket) -> bool:
    """Nothing comes for a moment."""
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b"never"
    except TimeoutError:
        return True
    finally:
        connection.settimeout(PATIENCE)


def test_bytes_pass_and_a_cut_holds_them_in_one_direction(network: Network, echo: Echo) -> None:
    network.open("a", 7, "127.0.0.1:1")
    front = network.open("b", 8, echo.address)
    with connected(front, 7) as member, connected(front) as client:
        network.set([("a", "b")], cut=True)
        member.sendall(b"one")
        assert silent(member)
        client.sendall(b"two")
        assert received(client, 3) == b"TWO"
        network.mend([("a", "b")], "cut")
        assert received(member, 3) == b"ONE"
        # The other direction alone: what is asked arrives, the answer waits.
        network.set([("b", "a")], cut=True)
        member.sendall(b"three")
        assert silent(member)
        network.mend()
        assert received(member, 5) == b"THREE"


def test_delay_and_loss_keep_the_order(network: Network, echo: Echo) -> None:
    front = network.open("c", 9, echo.address)
    network.set([(CLIENT, "c"), ("c", CLIENT)], delay_ms=5.0, loss=0.3)
    with connected(front) as client:
        sent = b"".join(b"%05d" % number for number in range(20))
        for at in range(0, len(sent), 5):
            client.sendall(sent[at : at + 5])
        assert received(client, len(sent)) == sent
    network.mend()


def test_much_passes_whole(network: Network, echo: Echo) -> None:
    front = network.open("d", 10, echo.address)
    data = bytes(range(48, 58)) * 400_000
    with connected(front) as client:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        assert received(client, len(data)) == data
        sender.join()


def test_connections_break_and_ends_are_passed_on(network: Network, echo: Echo) -> None:
    network.open("a", 7, "127.0.0.1:1")
    front = network.open("e", 11, echo.address)
    with connected(front, 7) as member, connected(front) as client:
        network.set([("a", "e")], breaks=True)
        with contextlib.suppress(ConnectionResetError):
            assert member.recv(1) == b""
        client.sendall(b"x")
        assert received(client, 1) == b"X"
        client.shutdown(socket.SHUT_WR)  # it closes what is at its end
        assert client.recv(1) == b""


def test_nobody_behind_it_is_a_broken_connection(network: Network) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        front = network.open("f", 12, f"127.0.0.1:{taken.getsockname()[1]}")
        host, port = front.split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as client, contextlib.suppress(OSError):
            client.sendall(b"hello")
            assert client.recv(1) == b""
