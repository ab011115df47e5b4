"""A TCP proxy between a target and one of its servers, which can lose replies of the server."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit, urlunsplit

from harness.environments.ports import LOOPBACK
from harness.errors import UsageError

_CHUNK_BYTES = 65_536
_CONNECT_SECONDS = 5.0


class _Asked:
    """The last request of a connection that has no reply yet; None if each has one."""

    request: bytes | None = None


class ReplyProxy:
    """Forwards TCP connections from a port of the loopback address to the server of a URL, until `close`."""

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        if parts.hostname is None or parts.port is None:
            raise UsageError("A proxy needs a server with a host and a port. Give a URL that has both.")
        self._server = (parts.hostname, parts.port)
        self._parts = parts
        self._changed = threading.Condition()
        self._skip: int | None = None
        self._at_least = 0
        self._to = b""
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((LOOPBACK, 0))
        threading.Thread(target=self._accept, name="reply-proxy", daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the server with the address of this proxy."""
        account, at, _ = self._parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        return urlunsplit(self._parts._replace(netloc=f"{account}{at}{LOOPBACK}:{port}"))

    @property
    def is_losing(self) -> bool:
        """Whether a reply is going to be lost."""
        return self._skip is not None

    def lose_reply(self, *, skip: int, within: float, at_least: int = 0, to: bytes = b"") -> bool:
        """Forward `skip` replies and lose the next one with its connection; False if none comes `within` seconds.

        Replies of fewer than `at_least` bytes, and those to a request without the bytes `to`, pass and are not counted.
        """
        with self._changed:
            self._skip, self._at_least, self._to = skip, at_least, to
            lost = self._changed.wait_for(lambda: self._skip is None, within)
            self._skip = None
            return lost

    def close(self) -> None:
        """Close the listener and every connection."""
        with self._changed:
            ending = [self._listener, *self._open]
        for each in ending:
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), name="reply-proxy", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Forward the requests of one connection; a thread of its own forwards the replies."""
        with client, contextlib.suppress(OSError):
            server = socket.create_connection(self._server, _CONNECT_SECONDS)
            with server:
                server.settimeout(None)
                asked = _Asked()
                replies = threading.Thread(
                    target=self._forward_replies,
                    args=(server, client, asked),
                    name="reply-proxy",
                    daemon=True,
                )
                with self._changed:
                    self._open |= {client, server}
                replies.start()
                try:
                    while data := client.recv(_CHUNK_BYTES):
                        asked.request = data
                        server.sendall(data)
                    server.shutdown(socket.SHUT_WR)
                    replies.join()
                finally:
                    with self._changed:
                        self._open -= {client, server}
                    _end(server)
                    _end(client)

    def _forward_replies(self, server: socket.socket, client: socket.socket, asked: _Asked) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK_BYTES):
                # Messages that no request asked for are no replies.
                if asked.request is not None and self._loses(len(data), asked.request):
                    break
                asked.request = None
                client.sendall(data)
        _end(server)
        _end(client)

    def _loses(self, length: int, request: bytes) -> bool:
        with self._changed:
            if self._skip is None or length < self._at_least or self._to not in request:
                return False
            self._skip -= 1
            if self._skip >= 0:
                return False
            self._skip = None
            self._changed.notify_all()
            return True


def _end(connection: socket.socket) -> None:
    """Shut a socket down, which also wakes a thread that waits for it, and close it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
