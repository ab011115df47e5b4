"""Servers that keep their connections open and never answer: each call ends after a few time-outs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

import agentexec as ax
from agentexec.producer.client import Client
from harness.environments.embedded import EmbeddedEnvironment
from tests.conftest import Eventually
from tests.support.activity_support import as_default
from tests.support.pool_process import App
from tests.support.production import Site, wait_for
from tests.support.queue_tasks import Nap
from tests.support.record import row_of
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = pytest.mark.integration

QUICK = {"redis_pool_timeout": 1.0, "database_timeout": 2.0}
CALLERS = 20
# Seconds: a few time-outs, far below one for each caller. A busy machine needs time to start threads.
SOON = 12.0


@pytest.fixture
def redis_proxy(servers: EmbeddedEnvironment) -> Iterator[TcpProxy]:
    with tcp_proxy(servers.endpoints.redis_url) as proxy:
        yield proxy


@pytest.fixture
def database_proxy(servers: EmbeddedEnvironment) -> Iterator[TcpProxy]:
    with tcp_proxy(servers.endpoints.database_url) as proxy:
        yield proxy


@pytest.fixture
def client(servers: EmbeddedEnvironment, redis_proxy: TcpProxy, database_proxy: TcpProxy) -> Iterator[Client]:
    """A client with open connections, all through proxies that can swallow traffic."""
    endpoints = replace(
        servers.endpoints,
        redis_url=redis_proxy.url(servers.endpoints.redis_url),
        database_url=database_proxy.url(servers.endpoints.database_url),
    )
    site = Site.on(endpoints)
    with site.client(**QUICK) as client:
        client.enqueue_sync("nap", Nap())
        yield client
        redis_proxy.swallowing.clear()
        database_proxy.swallowing.clear()
    with Site(endpoints=servers.endpoints, queue=site.queue).client() as direct:
        direct.queue.drop()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def test_callers_together_wait_for_silent_redis_once(client: Client, redis_proxy: TcpProxy) -> None:
    redis_proxy.swallowing.set()
    with within(SOON), ThreadPoolExecutor(CALLERS) as threads:
        tasks = list(threads.map(lambda _: client.enqueue_sync("nap", Nap()), range(CALLERS)))
        tasks += [client.enqueue_sync("nap", Nap()) for _ in range(CALLERS)]
    assert all(row_of(client.engine, task.agent_id).status == "queued" for task in tasks)


def test_dispatch_goes_on_when_redis_answers_again(client: Client, redis_proxy: TcpProxy) -> None:
    redis_proxy.swallowing.set()
    client.enqueue_sync("nap", Nap())
    assert client.circuit.silent
    redis_proxy.swallowing.clear()
    redis_proxy.close_connections()
    wait_for(lambda: not client.circuit.silent)
    task = client.enqueue_sync("nap", Nap())
    assert client.queue.known([task.agent_id]) == [True]


@pytest.mark.parametrize("connected", [True, False])
def test_callers_in_line_fail_together_for_a_silent_database(
    client: Client, database_proxy: TcpProxy, connected: bool
) -> None:
    def fails(_: int) -> bool:
        with pytest.raises(OperationalError):
            client.enqueue_sync("nap", Nap())
        return True

    if not connected:
        client._recording.dispose()
    database_proxy.swallowing.set()
    with within(SOON), ThreadPoolExecutor(CALLERS) as threads:
        assert all(threads.map(fails, range(CALLERS)))


def test_an_enqueue_survives_one_connection_that_was_swallowed(
    client: Client, database_proxy: TcpProxy
) -> None:
    """As after a firewall forgot a connection: only new ones work."""
    database_proxy.swallow_present_connections()
    with within(SOON):
        task = client.enqueue_sync("nap", Nap())
    assert row_of(client.engine, task.agent_id).status == "queued"


@pytest.mark.parametrize("silent", ["redis", "database", "both"])
def test_get_result_keeps_its_time_out(
    client: Client, redis_proxy: TcpProxy, database_proxy: TcpProxy, silent: str
) -> None:
    task = client.enqueue_sync("nap", Nap())
    for name, proxy in (("redis", redis_proxy), ("database", database_proxy)):
        if silent in (name, "both"):
            proxy.swallowing.set()

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await ax.get_result(task, timeout=1)

    with as_default(client), within(SOON):
        asyncio.run(scenario())


def test_get_result_finds_it_in_the_record_while_redis_is_silent(
    client: Client, redis_proxy: TcpProxy
) -> None:
    task = client.enqueue_sync("nap", Nap())
    with client.engine.begin() as connection:
        done = "UPDATE agentexec_activity SET status = 'complete', result = '7' WHERE agent_id = :id"
        connection.execute(text(done), {"id": task.agent_id})
    redis_proxy.swallowing.set()

    async def scenario() -> list[object]:
        calls = [ax.get_result(task, timeout=30, result_type=Any) for _ in range(CALLERS)]
        return list(await asyncio.gather(*calls))

    with as_default(client), within(SOON):
        assert asyncio.run(scenario()) == [7] * CALLERS


def test_frozen_servers_are_silent_servers(tmp_path: Path) -> None:
    """SIGSTOP: the kernel acknowledges what arrives, so TCP notices nothing."""
    with EmbeddedEnvironment() as environment:
        site = Site.on(environment.endpoints)
        with site.client(**QUICK) as client:
            client.enqueue_sync("nap", Nap())
            environment.pause("redis")
            with within(SOON):
                client.enqueue_sync("nap", Nap())
            environment.resume("redis")
            environment.pause("postgres")
            with within(SOON), pytest.raises(OperationalError):
                client.enqueue_sync("nap", Nap())
            environment.resume("postgres")
            client.enqueue_sync("nap", Nap())


def test_a_worker_gives_up_what_waits_for_a_silent_database_and_another_one_takes_over(
    app: App, database_proxy: TcpProxy, eventually: Eventually
) -> None:
    """Its running handlers keep their leases, and no crash is charged."""
    database_url = database_proxy.url(app.servers.endpoints.database_url)
    quick: dict[str, Any] = {"num_workers": 1, "lease_seconds": 2, "max_crashes": 0, "database_timeout": 600}
    app.pool(**quick, database_url=database_url)
    tasks = app.enqueue(1, 2, hold=[1])
    (pid,) = {begun_in(app, eventually, number) for number in (1, 2)}
    other = app.pool(**quick)
    eventually(lambda: len(app.client.queue.registered()) == 2, deadline=60.0)
    database_proxy.swallow_present_connections(pid)
    app.let_go(1)
    eventually(lambda: app.row(tasks[0]).status == "complete", deadline=60.0)
    assert begun_in(app, eventually, 1, attempt=2) in [worker.pid for worker in other.workers]
    assert psutil.pid_exists(pid), "it gives its task up; a worker that ends is another recovery"
    assert app.begun(2, attempt=2) is None
    app.let_go(2)
    eventually(lambda: app.all_complete(tasks), deadline=60.0)


def begun_in(app: App, eventually: Eventually, number: int, attempt: int = 1) -> int:
    """The process in which an attempt has begun."""
    begun = eventually(lambda: app.begun(number, attempt), deadline=60.0)
    assert begun is not None
    return begun.pid
