"""The HTTP server of a pool's parent: `/metrics`, `/health`, `/health/live` and `/health/ready`.

It runs if AGENTEXEC_METRICS_PORT is set and listens on AGENTEXEC_METRICS_HOST, by default on loopback. The server of
the standard library is enough for a probe every few seconds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sqlalchemy import Engine

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.errors import ConfigurationError
from agentexec.ops import metrics
from agentexec.ops.health import Checks

_logger = logging.getLogger(__name__)

Response = tuple[HTTPStatus, str, bytes]


class MonitoringServer(ThreadingHTTPServer):
    """Serves health and metrics until it is closed."""

    def __init__(self, *, host: str, port: int, checks: Checks, collector: metrics.Collector | None) -> None:
        """Listen; port 0 is any free port. Without a collector `/metrics` responds with 501.

        Raises `ConfigurationError` if the address cannot be used.
        """
        self._checks = checks
        self._collector = collector
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"Metrics and health cannot be served on {host}:{port} ({error}); "
                "set AGENTEXEC_METRICS_PORT to a free port, or to 0 for no server."
            ) from None
        self._thread = runtime.current().spawn(self.serve_forever, name="agentexec-monitor")

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def close(self) -> None:
        """Stop listening and close the connections to the servers."""
        self.shutdown()
        self.server_close()
        self._thread.join()
        self._checks.close()

    def respond(self, path: str) -> Response:
        """The response to a GET of this path."""
        match path:
            case "/health":
                return _json(HTTPStatus.OK, {"status": "ok"})
            case "/health/live":
                return _json(HTTPStatus.OK, {"status": "alive"})
            case "/health/ready":
                health = self._checks.report()
                return _json(HTTPStatus.OK if health.ready else HTTPStatus.SERVICE_UNAVAILABLE, health.body())
            case "/metrics" if self._collector is not None:
                return HTTPStatus.OK, metrics.CONTENT_TYPE, metrics.render(self._collector)
            case "/metrics":
                detail = "Metrics need the extra: pip install 'agentexec-reference[metrics]'."
                return _json(HTTPStatus.NOT_IMPLEMENTED, {"detail": detail})
            case _:
                detail = "There is no such path; use /metrics, /health, /health/live or /health/ready."
                return _json(HTTPStatus.NOT_FOUND, {"detail": detail})


class _Handler(BaseHTTPRequestHandler):
    server: MonitoringServer
    timeout = 5.0  # seconds that a client has to send its request
    server_version = "agentexec"
    sys_version = ""

    def do_GET(self) -> None:
        status, kind, body = self.server.respond(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        _logger.debug(format, *args)


def monitoring(
    settings: Settings, *, ready_workers: Callable[[], int], database: str | Engine | None = None
) -> closing[MonitoringServer]:
    """Start the server of a pool, for a `with` block; raises `ConfigurationError` if it cannot listen."""
    checks = Checks.of(settings, database=database, ready_workers=ready_workers)
    collector = metrics.Collector(checks, settings.queue_name) if metrics.AVAILABLE else None
    if collector is None:
        _logger.warning("prometheus-client is not installed: only health is served, no metrics")
    try:
        monitor = MonitoringServer(
            host=settings.metrics_host, port=settings.metrics_port, checks=checks, collector=collector
        )
    except ConfigurationError:
        checks.close()
        raise
    _logger.info("serving metrics and health on %s:%d", settings.metrics_host, monitor.port)
    return closing(monitor)


def _json(status: HTTPStatus, body: dict[str, Any]) -> Response:
    return status, "application/json", json.dumps(body).encode()
