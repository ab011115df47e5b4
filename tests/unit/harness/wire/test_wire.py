"""The proxy in front of a server: it forwards, and on request it loses one reply with its connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from harness.environments.ports import LOOPBACK
from harness.errors import UsageError
from harness.wire import Wire
from harness.wire.link import Link
from tests.conftest import Eventually

_SECONDS = 10.0


class EchoServer:
    """Answers each line with the line. `push` sends a message that no request asked for."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._accepted: list[socket.socket] = []
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def push(self, message: bytes) -> None:
        for connection in self._accepted:
            connection.sendall(message)

    def close(self) -> None:
        for each in (self._listener, *self._accepted):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._accepted.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                self.received.append(line)
                connection.sendall(line)


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with contextlib.closing(EchoServer()) as server:
        yield server


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[Wire]:
    with contextlib.closing(Wire(f"redis://:secret@{LOOPBACK}:{server.port}/0")) as proxy:
        yield proxy


def connect(proxy: Wire) -> socket.socket:
    port = urlsplit(proxy.url).port
    return socket.create_connection((LOOPBACK, port or 0), _SECONDS)


def ask(connection: socket.socket, request: bytes) -> bytes:
    """The reply to a request; empty if the connection ended instead."""
    connection.sendall(request)
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""


class Losing:
    """`lose_reply` in a thread, which is armed when this returns."""

    def __init__(self, proxy: Wire, *, skip: int = 0, at_least: int = 0, to: bytes = b"") -> None:
        self._answer: list[bool] = []

        def lose() -> None:
            self._answer.append(proxy.lose_reply(skip=skip, within=_SECONDS, at_least=at_least, to=to))

        self._thread = threading.Thread(target=lose, daemon=True)
        self._thread.start()
        while not proxy.is_losing:
            self._thread.join(0.001)

    def lost(self) -> bool:
        self._thread.join(_SECONDS)
        return self._answer == [True]


def test_requests_and_replies_pass(server: EchoServer, proxy: Wire) -> None:
    with connect(proxy) as one, connect(proxy) as other:
        assert [ask(one, b"a\n"), ask(other, b"b\n"), ask(one, b"c\n")] == [b"a\n", b"b\n", b"c\n"]
        large = b"x" * 1_000_000 + b"\n"
        threading.Thread(target=one.sendall, args=(large,), daemon=True).start()
        received = b""
        while len(received) < len(large):
            received += one.recv(1_000_000)
        assert received == large


def test_a_lost_reply_is_of_a_request_that_arrived_and_ends_only_its_connection(
    server: EchoServer, proxy: Wire
) -> None:
    with connect(proxy) as victim, connect(proxy) as other:
        assert ask(other, b"before\n") == b"before\n"
        losing = Losing(proxy)
        assert ask(victim, b"carried out\n") == b""
        assert losing.lost()
        assert server.received[-1] == b"carried out\n"
        assert ask(other, b"after\n") == b"after\n"
    with connect(proxy) as again:
        assert ask(again, b"again\n") == b"again\n"


def test_skipped_replies_pass_first(server: EchoServer, proxy: Wire) -> None:
    with connect(proxy) as connection:
        losing = Losing(proxy, skip=2)
        assert [ask(connection, b"a\n"), ask(connection, b"b\n"), ask(connection, b"c\n")] == [
            b"a\n",
            b"b\n",
            b"",
        ]
        assert losing.lost()


def test_replies_that_are_too_short_pass(server: EchoServer, proxy: Wire) -> None:
    with connect(proxy) as connection:
        losing = Losing(proxy, at_least=10)
        assert [ask(connection, b"none\n"), ask(connection, b"none\n")] == [b"none\n", b"none\n"]
        assert ask(connection, b"a message\n") == b""
        assert losing.lost()


def test_a_message_without_a_request_is_no_reply(server: EchoServer, proxy: Wire) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"a\n") == b"a\n"
        losing = Losing(proxy)
        server.push(b"news\n")
        assert connection.recv(1000) == b"news\n"
        assert ask(connection, b"b\n") == b""
        assert losing.lost()


def test_without_a_reply_nothing_is_lost_then_or_later(server: EchoServer, proxy: Wire) -> None:
    with connect(proxy) as connection:
        assert proxy.lose_reply(skip=0, within=0.01) is False
        assert ask(connection, b"a\n") == b"a\n"


def test_a_server_that_is_down_refuses_and_serves_when_it_is_back(proxy: Wire, server: EchoServer) -> None:
    server.close()
    with connect(proxy) as connection:
        assert ask(connection, b"a\n") == b""
    with contextlib.closing(socket.create_server((LOOPBACK, server.port))) as listener, connect(proxy):
        accepted, _ = listener.accept()
        accepted.close()


class EndedAtOnce(Wire):
    """Ends each link before it is connected to the server."""

    def opened(self, link: Link) -> None:
        super().opened(link)
        link.close()


def test_no_connection_to_the_server_is_left_of_a_link_that_ended_meanwhile() -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as listener,
        contextlib.closing(EndedAtOnce(f"redis://{LOOPBACK}:{listener.getsockname()[1]}/0")) as wire,
        connect(wire),
    ):
        accepted, _ = listener.accept()
        accepted.settimeout(_SECONDS)
        with accepted, contextlib.suppress(ConnectionResetError):
            assert accepted.recv(1000) == b""


def test_closing_ends_every_connection(server: EchoServer) -> None:
    proxy = Wire(f"redis://{LOOPBACK}:{server.port}/0")
    with connect(proxy) as connection:
        assert ask(connection, b"a\n") == b"a\n"
        proxy.close()
        assert connection.recv(1000) == b""
        with pytest.raises(OSError):
            connect(proxy)


def test_the_url_has_the_account_and_database_of_the_server(server: EchoServer) -> None:
    url = f"postgresql://user:p%40ss%2Fword@{LOOPBACK}:{server.port}/shop?application_name=x"
    with contextlib.closing(Wire(url)) as proxy:
        port = urlsplit(proxy.url).port
        assert proxy.url == url.replace(str(server.port), str(port))
        assert port != server.port


@pytest.mark.parametrize("url", ["unix:///run/redis.sock", "redis:///0"])
def test_a_server_without_an_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="host and a port"):
        Wire(url)


def test_replies_to_other_requests_pass(server: EchoServer, proxy: Wire) -> None:
    with connect(proxy) as connection, connect(proxy) as other:
        losing = Losing(proxy, to=b"COMMIT")
        assert [ask(connection, b"SELECT\n"), ask(other, b"INSERT\n")] == [b"SELECT\n", b"INSERT\n"]
        assert ask(connection, b"COMMIT\n") == b""
        assert losing.lost()
        assert server.received[-1] == b"COMMIT\n"
        assert ask(other, b"COMMIT\n") == b"COMMIT\n"


def test_a_request_for_encryption_after_the_end_of_the_server_gets_no_answer(eventually: Eventually) -> None:
    failures: list[object] = []
    with socket.create_server((LOOPBACK, 0)) as listener:
        url = f"postgresql://{LOOPBACK}:{listener.getsockname()[1]}/db"
        with contextlib.closing(Wire(url, protocol="postgres")) as proxy:
            proxy.loop.set_exception_handler(lambda loop, what: failures.append(what))
            with connect(proxy) as client:
                accepted, _ = listener.accept()
                with accepted:
                    accepted.shutdown(socket.SHUT_WR)
                    assert client.recv(1) == b""
                    client.sendall(struct.pack("!ii", 8, 80877103))
                    client.shutdown(socket.SHUT_WR)
                    eventually(lambda: not proxy.clients)
    assert failures == []
