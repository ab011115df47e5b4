"""Ports on the loopback address that nobody uses at the moment."""

from __future__ import annotations

import secrets
import socket

LOOPBACK = "127.0.0.1"

# Below what systems hand out to outgoing connections: there a client that reconnects to a killed server can be given
# the server's own port as its source, connect to itself, and keep the server from coming back.
_LOWEST, _HIGHEST = 15_000, 32_000
_ATTEMPTS = 200


def free_port() -> int:
    """A port that can be bound on 127.0.0.1 now; somebody may still take it before its user does."""
    for _ in range(_ATTEMPTS):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if is_free(port):
            return port
    with socket.socket() as any_port:
        any_port.bind((LOOPBACK, 0))
        return int(any_port.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether the port can be bound on 127.0.0.1 now."""
    with socket.socket() as candidate:
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
