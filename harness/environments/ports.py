"""Free ports on the loopback address."""

from __future__ import annotations

import secrets
import socket

LOOPBACK = "127.0.0.1"

# Below the ephemeral ports of outgoing connections. In that range, a client that reconnects to a killed server can get
# the server's port as its source port, connect to itself, and block the restart of the server.
_LOWEST, _HIGHEST = 15_000, 32_000
_ATTEMPTS = 200


def free_port() -> int:
    """A port that is free on 127.0.0.1 now; another process may still take it."""
    for _ in range(_ATTEMPTS):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if is_free(port):
            return port
    with socket.socket() as any_port:
        any_port.bind((LOOPBACK, 0))
        return int(any_port.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a port can be bound on 127.0.0.1 now."""
    with socket.socket() as candidate:
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
