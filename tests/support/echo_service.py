"""A service of another package: a server that answers each line with itself."""

from __future__ import annotations

import signal
import socket
import sys
from urllib.parse import urlsplit

from harness.environments import probe
from harness.environments.local_server import LocalServer
from harness.environments.session import Session

PROGRAM = """
import socketserver, sys

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)

socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""


class EchoServer(LocalServer):
    """The service `echo`."""

    service = "echo"
    stop_signal = signal.SIGTERM

    def __init__(self, session: Session) -> None:
        super().__init__(session, None)

    @property
    def url(self) -> str:
        return f"echo://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        return

    def command(self) -> list[str]:
        return [sys.executable, "-c", PROGRAM, str(self.port)]

    def ask(self, service: str, url: str) -> str:
        try:
            return f"Echo {echo(url, '1.0')}"
        except OSError as error:
            raise probe.NotAnswering(str(error)) from error


def echo(url: str, text: str) -> str:
    """What the server answers to a line; raises `OSError` without an answer in a second."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port or 0), timeout=1) as end:
        end.sendall(f"{text}\n".encode())
        return end.makefile().readline().strip()
