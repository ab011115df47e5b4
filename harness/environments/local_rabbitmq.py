"""RabbitMQ as a child process, from the package `rabbitmq-server` of the machine; its data survive a restart."""

from __future__ import annotations

import re
import secrets
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

from harness.environments import ports, probe
from harness.environments.base import Service
from harness.environments.local_server import LocalServer, make_private
from harness.environments.ports import LOOPBACK
from harness.environments.session import Session
from harness.errors import EnvironmentUnavailable

# Not /usr/sbin/rabbitmq-server, which changes to the user of the system's own server.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

_USER = "harness"
_PROTOCOL = b"AMQP\x00\x00\x09\x01"
_VERSION = re.compile(rb"versionS\x00\x00\x00.([0-9.]+)", re.DOTALL)
_ANSWER_SECONDS = 2.0


class LocalRabbitmq(LocalServer):
    """One RabbitMQ node with a user and a password, without plugins."""

    service: Service = "rabbitmq"
    stop_signal = signal.SIGTERM

    def __init__(self, session: Session) -> None:
        super().__init__(session, None)
        self._password = secrets.token_hex(16)
        # Ports of Erlang's name server and of the node itself, beside those of a RabbitMQ of the system.
        self._epmd_port, self._distribution_port = ports.free_port(), ports.free_port()

    @property
    def url(self) -> str:
        """The URL of the virtual host `/` with the password."""
        return f"amqp://{_USER}:{self._password}@{LOOPBACK}:{self.port}/%2F"

    def prepare(self) -> None:
        """Write the configuration; raises `EnvironmentUnavailable` if RabbitMQ is not installed."""
        if not PROGRAM.is_file():
            raise EnvironmentUnavailable(
                f"RabbitMQ is not installed: there is no {PROGRAM}. Run `apt-get install rabbitmq-server`."
            )
        lines = [f"default_user = {_USER}", f"default_pass = {self._password}", "log.console = true"]
        make_private(self.home / "rabbitmq.conf", "\n".join([*lines, ""]))
        (self.home / "enabled_plugins").write_text("[].\n", "utf-8")

    def command(self) -> list[str]:
        """The command that runs the node in the foreground with its log on standard output."""
        return [str(PROGRAM)]

    def environment(self) -> dict[str, str]:
        """The server's environment, with every folder below `home`."""
        home = str(self.home)
        return {
            **super().environment(),
            # Erlang keeps its cookie there.
            "HOME": home,
            # The script then becomes the node, and does not stay as its parent.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": f"hx-{self._epmd_port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONF_ENV_FILE": f"{home}/no-such-file",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": home,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{home}/pid",
        }

    def ask(self, service: Service, url: str) -> str:
        """The version that the server sends when a client connects."""
        address = urlsplit(url)
        try:
            with socket.create_connection((address.hostname, address.port or 0), _ANSWER_SECONDS) as end:
                end.sendall(_PROTOCOL)
                greeting = end.recv(4096)
        except OSError as error:
            raise probe.NotAnswering(error.strerror or type(error).__name__) from error
        version = _VERSION.search(greeting)
        if version is None:
            raise probe.NotAnswering("it does not greet as RabbitMQ does")
        return f"RabbitMQ {version[1].decode()}"
