"""A TCP proxy in threads: it can swallow traffic without a reset, and lead new connections to another server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psutil

LOOPBACK = "127.0.0.1"


class TcpProxy:
    """Forwards connections to a port of loopback."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port  # of new connections
        self.swallowing = threading.Event()  # of all connections, also new ones
        self.accepted = 0
        self._open: list[socket.socket] = []
        self._swallowed: set[socket.socket] = set()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url: str) -> str:
        """The URL of a server, through this proxy."""
        parts = urlsplit(url)
        account, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{account}{at}{LOOPBACK}:{self.port}"))

    def swallow_present_connections(self, process: int | None = None) -> None:
        """Forward nothing more of the connections that are open now, or of those of one process."""
        self._swallowed.update(self._open if process is None else self._of(process))

    def _of(self, process: int) -> list[socket.socket]:
        own = [c.laddr.port for c in psutil.Process(process).net_connections("tcp")]
        pairs = zip(self._open[::2], self._open[1::2], strict=False)
        return [each for pair in pairs if _peer_port(pair[0]) in own for each in pair]

    def close_connections(self) -> None:
        """Close every connection."""
        self._close(self._open)

    def close(self) -> None:
        """Close the listener and every connection."""
        self._close([self._listener, *self._open])

    def _close(self, sockets: list[socket.socket]) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                server = socket.create_connection((LOOPBACK, self.target_port))
                self._open += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not self.swallowing.is_set() and source not in self._swallowed:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def _peer_port(connection: socket.socket) -> int | None:
    try:
        return int(connection.getpeername()[1])
    except OSError:  # it is closed
        return None


@contextlib.contextmanager
def tcp_proxy(url: str) -> Iterator[TcpProxy]:
    """A proxy in front of the server of a URL; it is closed afterwards."""
    port = urlsplit(url).port
    assert port is not None
    with contextlib.closing(TcpProxy(port)) as proxy:
        yield proxy
