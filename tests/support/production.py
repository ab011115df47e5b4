"""agentexec as in production, for tests: a queue on real servers, a pool, an API on loopback."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from agentexec.config import Settings, load_settings
from agentexec.core.db import create_schema
from agentexec.producer.client import Client
from harness.environments.base import Endpoints
from tests.support.environment import ROOT, child_environment
from tests.support.pool_process import PoolProcess, start_pool

POOL = "tests.support.production_tasks:pool"
UP_WITHIN = 60.0  # seconds, on a busy machine


@dataclass(frozen=True, kw_only=True)
class Site:
    """One queue on real servers."""

    endpoints: Endpoints = field(repr=False)  # with passwords
    queue: str
    forks: str | None = None  # the address of `pool_forks` for its pools

    @classmethod
    def on(cls, endpoints: Endpoints, forks: str | None = None) -> Site:
        """A queue with a unique name; missing tables are created."""
        site = cls(endpoints=endpoints, queue=f"production-{uuid4().hex}", forks=forks)
        with site.client() as client:
            create_schema(client.engine)
        return site

    def settings(self, **overrides: Any) -> Settings:
        urls = {"database_url": self.endpoints.database_url, "redis_url": self.endpoints.redis_url}
        return load_settings(**({**urls, "queue_name": self.queue} | overrides))

    def client(self, **overrides: Any) -> Client:
        return Client(settings=self.settings(**overrides))

    def environment(self, **more: str) -> dict[str, str]:
        """For a child process; what the outside set for agentexec is left out."""
        urls = self.endpoints
        return child_environment(urls.database_url, urls.redis_url, self.queue, **more)


@dataclass(frozen=True, kw_only=True)
class RunningPool:
    """`agentexec worker`, with its monitor."""

    process: PoolProcess
    http: httpx.Client
    log: Path

    def metrics(self) -> dict[str, float]:
        return metrics_of(self.http)

    def workers(self) -> list[psutil.Process]:
        return self.process.workers

    def stop(self) -> int:
        self.process.signal(signal.SIGTERM)
        return self.process.wait(UP_WITHIN)


def metrics_of(client: httpx.Client) -> dict[str, float]:
    """Every sample as `name{label=value,...}`, labels in order, without the prefix `agentexec_`."""
    families = text_string_to_metric_families(client.get("/metrics").raise_for_status().text)
    return {
        s.name.removeprefix("agentexec_") + _labels(s.labels): s.value
        for family in families
        for s in family.samples
    }


@contextlib.contextmanager
def running_pool(
    site: Site,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    pool: str = POOL,
    workers: int = 2,
    monitored: bool = True,
    until: str = "/health/ready",
) -> Iterator[RunningPool]:
    """A pool that answers 200 at `until` where it is monitored; it is drained in the end."""
    port = free_port()
    log = folder / f"pool-{port}.log"
    variables = site.environment(AGENTEXEC_NUM_WORKERS=str(workers)) | dict(environment or {})
    if monitored:
        variables["AGENTEXEC_METRICS_PORT"] = str(port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        process = start_pool(pool, environment=variables, folder=ROOT, log=log, forks=site.forks)
        try:
            if monitored:
                until_up(http, until, process, log)
            yield RunningPool(process=process, http=http, log=log)
        finally:
            for child in process.workers if process.poll() is None else []:
                child.resume()  # a worker that a test stopped
            process.signal(signal.SIGTERM)
            try:
                process.wait(UP_WITHIN)
            finally:
                process.signal(signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def running_api(app: FastAPI) -> Iterator[httpx.Client]:
    """The application behind a real uvicorn on loopback."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(UP_WITHIN)


@contextlib.contextmanager
def served_api(
    site: Site,
    folder: Path,
    *options: str,
    app: str = "agentexec.api:create_app",
    health: str = "/health/ready",
    **environment: str,
) -> Iterator[httpx.Client]:
    """The API in a process of its own, started with the command of uvicorn and more `options` of it."""
    port = free_port()
    log = folder / f"uvicorn-{port}.log"
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        app,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *options,
    ]
    variables = site.environment(**environment)
    with log.open("wb") as output, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=output)
        try:
            until_up(http, health, process, log)
            yield http
        finally:
            process.terminate()
            process.wait(UP_WITHIN)


def until_up(
    http: httpx.Client, path: str, process: subprocess.Popen[bytes] | PoolProcess, log: Path
) -> None:
    """Wait until a child process answers 200; AssertionError with its log where it does not."""

    def answers() -> bool:
        if (code := process.poll()) is not None:
            raise AssertionError(f"it ended with {code}:\n{log.read_text()}")
        with contextlib.suppress(httpx.TransportError):
            return http.get(path).status_code == 200
        return False

    wait_for(answers)


def wait_for(condition: Callable[[], bool], within: float = UP_WITHIN) -> None:
    """Poll a real condition until it holds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not true within {within:g} s"
        time.sleep(0.02)


def free_port() -> int:
    """A port without a listener at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{name}={value}" for name, value in sorted(labels.items())) + "}" if labels else ""
