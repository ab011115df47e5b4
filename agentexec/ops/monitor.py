"""The small HTTP server of a pool's parent: `/metrics`, `/health`, `/health/live` and `/health/ready`.

It runs where AGENTEXEC_METRICS_PORT is set, and listens on loopback unless AGENTEXEC_METRICS_HOST says otherwise.
The standard library's server is enough for a probe every few seconds.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agentexec.config import Settings
from agentexec.errors import ConfigurationError
from agentexec.ops import metrics
from agentexec.ops.health import Checks

CLIENT_TIMEOUT = 5.0  # seconds that a client may take to send its request

_logger = logging.getLogger(__name__)

Answer = tuple[HTTPStatus, str, bytes]


class MonitoringServer:
    """Answers probes until it is closed."""

    def __init__(self, *, host: str, port: int, checks: Checks, collector: metrics.Collector | None) -> None:
        """Listen; port 0 takes a free one. Without a collector `/metrics` answers 501.

        Raises `ConfigurationError` where the address cannot be used.
        """
        self._checks = checks
        self._collector = collector
        handler = type("Handler", (_Handler,), {"monitor": self})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"Metrics and health cannot be served on {host}:{port} ({error}); "
                "set AGENTEXEC_METRICS_PORT to a free port, or to 0 to do without."
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="agentexec-monitor", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening and let go of the servers."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._checks.close()

    def answer(self, path: str) -> Answer:
        """What a GET of this path is told."""
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
                detail = "Metrics need the extra: pip install 'agentexec-harness[metrics]'."
                return _json(HTTPStatus.NOT_IMPLEMENTED, {"detail": detail})
            case _:
                return _json(
                    HTTPStatus.NOT_FOUND,
                    {"detail": "There are /metrics, /health, /health/live, /health/ready."},
                )


class _Handler(BaseHTTPRequestHandler):
    monitor: MonitoringServer
    timeout = CLIENT_TIMEOUT
    server_version = "agentexec"
    sys_version = ""

    def do_GET(self) -> None:
        status, kind, body = self.monitor.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        _logger.debug(format, *args)


@contextmanager
def monitoring(settings: Settings, *, ready_workers: Callable[[], int]) -> Iterator[MonitoringServer]:
    """The monitor of a pool for as long as the pool runs; raises `ConfigurationError` where it cannot listen."""
    checks = Checks.of(settings, ready_workers=ready_workers)
    collector = None
    if metrics.available():
        collector = metrics.Collector(checks, settings.queue_name, ready_workers=ready_workers)
    else:
        _logger.warning("prometheus-client is not installed: health is served, metrics are not")
    monitor = MonitoringServer(
        host=settings.metrics_host, port=settings.metrics_port, checks=checks, collector=collector
    )
    _logger.info("serving metrics and health on %s:%d", settings.metrics_host, monitor.port)
    try:
        yield monitor
    finally:
        monitor.close()


def _json(status: HTTPStatus, body: dict[str, Any]) -> Answer:
    return status, "application/json", json.dumps(body).encode()
