"""Redis connections in the states that production brings: demoted masters, exhausted pools, names, clusters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from agentexec.config import load_settings
from agentexec.core import redis_client
from agentexec.core.redis_client import (
    blocking_client,
    get_redis,
    renewing_client,
    require_supported_redis,
)
from agentexec.errors import UnsupportedServer
from agentexec.identifiers import new_id
from agentexec.queue.protocol import Dispatch, Disposition, Finish, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from agentexec.task import encode_payload
from harness.doctor import redis_checks
from harness.doctor.check import Grade
from harness.doctor.installation import DoctorOptions, Installation
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.local_redis import wheel_binary
from harness.environments.ports import LOOPBACK
from tests.support.production import RunningPool, Site, running_pool, wait_for
from tests.support.queue_tasks import Nap
from tests.support.redis_servers import PASSWORD, Servers, replicated
from tests.support.redis_servers import servers as redis_servers
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = pytest.mark.integration

POOL = "tests.support.queue_tasks:pool"


@pytest.fixture
def started() -> Iterator[Servers]:
    with redis_servers(wheel_binary()) as started:
        yield started


def url_of(port: int) -> str:
    return f"redis://:{PASSWORD}@{LOOPBACK}:{port}/0"


def demote(started: Servers, old: int, new: int) -> None:
    """`new` becomes the master and `old` its replica, as a failover without Sentinels does it."""
    with started.client(new, PASSWORD) as client:
        client.replicaof("NO", "ONE")
    with started.client(old, PASSWORD) as client:
        client.replicaof(LOOPBACK, new)


@pytest.fixture
def pair(started: Servers) -> tuple[int, int]:
    """A master and a replica of it."""
    master = started.start(f"requirepass {PASSWORD}", f"masterauth {PASSWORD}")
    replica = started.start(
        f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", f"replicaof {LOOPBACK} {master}"
    )
    return master, replica


@pytest.fixture
def behind_address(pair: tuple[int, int]) -> Iterator[TcpProxy]:
    """The address that leads new connections to the present master."""
    with tcp_proxy(url_of(pair[0])) as proxy:
        yield proxy


def use_url(monkeypatch: pytest.MonkeyPatch, url: str, **settings: object) -> None:
    monkeypatch.setattr(redis_client, "default_settings", lambda: load_settings(redis_url=url, **settings))


def test_every_client_follows_its_address_to_the_new_master(
    started: Servers, pair: tuple[int, int], behind_address: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = behind_address.url(url_of(pair[0]))
    use_url(monkeypatch, url)
    settings = load_settings(redis_url=url)

    async def scenario() -> None:
        application = await get_redis()
        await application.set("before", 1)
        with blocking_client(settings) as client, renewing_client(settings) as renewing:
            client.set("before", 1)
            renewing.set("before", 1)
            demote(started, *pair)
            behind_address.target_port = pair[1]
            assert client.set("after", 1)
            with pytest.raises(redis.RedisError):
                renewing.set("after", 1)  # it never resends
            assert renewing.set("after", 1)
            assert await application.set("after", 1)
            for port in (client, renewing):
                assert port.info("server")["tcp_port"] == pair[1]
        await application.aclose()

    asyncio.run(scenario())


def test_a_client_works_again_once_its_server_is_promoted_back(
    started: Servers, pair: tuple[int, int]
) -> None:
    with blocking_client(load_settings(redis_url=url_of(pair[0]))) as client:
        client.set("before", 1)
        demote(started, *pair)
        with pytest.raises(redis.exceptions.ReadOnlyError):
            client.set("during", 1)
        demote(started, pair[1], pair[0])
        assert client.set("after", 1)


def test_a_pool_and_its_producer_follow_a_plain_address_to_the_new_master(
    started: Servers,
    pair: tuple[int, int],
    behind_address: TcpProxy,
    servers: EmbeddedEnvironment,
    tmp_path: Path,
) -> None:
    site = Site.on(replace(servers.endpoints, redis_url=behind_address.url(url_of(pair[0]))))
    quick = {"AGENTEXEC_LEASE_SECONDS": "3", "AGENTEXEC_RECONCILE_SECONDS": "1"}
    with running_pool(site, tmp_path, quick, pool=POOL) as pool, site.client() as client:
        workers = {worker.pid for worker in pool.workers()}
        first = client.enqueue_sync("nap", Nap())
        wait_for(lambda: client.queue.result(first.agent_id) is not None)
        demote(started, *pair)
        behind_address.target_port = pair[1]
        second = client.enqueue_sync("nap", Nap())
        wait_for(lambda: client.queue.result(second.agent_id) is not None)
        with started.client(pair[0], PASSWORD) as old:
            wait_for(lambda: not agentexec_connections(pool, old))
        assert {worker.pid for worker in pool.workers()} == workers, "no worker had to be replaced"


def agentexec_connections(pool: RunningPool, server: redis.Redis) -> list[str]:
    """The names of agentexec's connections to a server, after each part of the pool has used its own once more."""
    pool.http.get("/health/ready")
    return [c["name"] for c in server.client_list() if c["name"].startswith("agentexec-")]


def test_callers_wait_for_a_free_connection(
    servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"none-{uuid4().hex}"
    url = servers.endpoints.redis_url
    use_url(monkeypatch, url, redis_pool_size=1, redis_pool_timeout=30)

    async def scenario() -> None:
        client = await get_redis()
        assert await asyncio.gather(*(client.blpop([key], timeout=0.05) for _ in range(20))) == [None] * 20
        await client.aclose()

    asyncio.run(scenario())


def test_a_caller_waits_no_longer_than_the_pool_timeout(
    servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_url(monkeypatch, servers.endpoints.redis_url, redis_pool_size=1, redis_pool_timeout=0.2)

    async def scenario() -> None:
        client = await get_redis()
        async with client.client():  # it has the only connection
            with pytest.raises(redis.ConnectionError, match="No connection available"):
                await client.get("a")
        await client.aclose()

    asyncio.run(scenario())


def test_a_silent_server_costs_the_application_no_more_than_the_pool_timeout(
    servers: EmbeddedEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tcp_proxy(servers.endpoints.redis_url) as proxy:
        use_url(monkeypatch, proxy.url(servers.endpoints.redis_url), redis_pool_timeout=0.3)

        async def scenario() -> None:
            client = await get_redis()
            assert await client.ping()
            proxy.swallowing.set()
            with pytest.raises(redis.TimeoutError):
                await client.ping()
            given = client.connection_pool.connection_kwargs
            assert given["socket_timeout"] == 0.3, "a second more is for the reads of idle workers"
            await client.aclose()

        asyncio.run(scenario())


def test_callers_behind_sentinels_wait_for_a_free_connection_too(
    started: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = replicated(started, sentinels=1)
    use_url(monkeypatch, site.url, redis_pool_size=1, redis_pool_timeout=30)

    async def scenario() -> None:
        application = await get_redis()
        answers = await asyncio.gather(*(application.blpop(["none"], timeout=0.05) for _ in range(5)))
        assert answers == [None] * 5
        await application.aclose()

    asyncio.run(scenario())
    settings = load_settings(redis_url=site.url, redis_pool_size=1, redis_pool_timeout=30)
    with blocking_client(settings) as client, ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: client.blpop(["none"], timeout=0.05), range(5)))
        assert answers == [None] * 5
        started.kill(site.sentinels[0])
        client.connection_pool.disconnect()
        for _ in range(3):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        assert len(client.connection_pool._connections) <= 1, "no connection is kept for each failure"


def test_threads_wait_for_a_free_connection(servers: EmbeddedEnvironment) -> None:
    key = f"none-{uuid4().hex}"
    settings = load_settings(redis_url=servers.endpoints.redis_url, redis_pool_size=2, redis_pool_timeout=30)
    with blocking_client(settings) as client, ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: client.blpop([key], timeout=0.05), range(20)))
    assert answers == [None] * 20


def test_a_worker_that_sends_a_result_to_a_demoted_master_sends_it_to_the_new_one(
    started: Servers, pair: tuple[int, int], behind_address: TcpProxy
) -> None:
    settings = load_settings(redis_url=behind_address.url(url_of(pair[0])))
    task, payload = new_id(), encode_payload("nap", {})
    with blocking_client(settings) as client:
        queue = RedisQueue.of(client, settings)
        queue.enqueue([Dispatch(task_id=task, payload=payload, level=0, delay=0.0, lock_key=None)])
        (claim,) = queue.step(step_request(want=1)).claims
        demote(started, *pair)
        behind_address.target_port = pair[1]
        finish = Finish(task_id=task, token=claim.token, disposition=Disposition.ACK, result="1")
        with pytest.raises(redis.exceptions.ReadOnlyError):
            queue.step(step_request(finish))
        queue.step(step_request(finish))
        assert queue.result(task) == "1"


def step_request(*finishes: Finish, want: int = 0) -> StepRequest:
    return StepRequest(worker="w", nonce=uuid4().hex, want=want, finishes=finishes, lowest_token=0)


def test_a_cluster_is_refused_with_the_reason(started: Servers) -> None:
    url = url_of(started.start(f"requirepass {PASSWORD}", "cluster-enabled yes"))
    with blocking_client(load_settings(redis_url=url)) as client:
        with pytest.raises(UnsupportedServer, match="runs as a cluster"):
            require_supported_redis(client, url)
    with Installation(DoctorOptions(redis_url=url)) as site:
        assert redis_checks.cluster.probe(site).grade is Grade.FAIL


def test_connections_have_names_and_the_url_may_give_another(
    started: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = started.start(f"requirepass {PASSWORD}")
    use_url(monkeypatch, url_of(port))

    def named(url: str, name: str) -> str:
        with blocking_client(load_settings(redis_url=url), name=name) as client:
            return str(client.client_getname())

    async def application() -> str:
        client = await get_redis()
        name = await client.client_getname()
        await client.aclose()
        return str(name)

    assert named(url_of(port), "agentexec-producer") == "agentexec-producer"
    assert named(f"{url_of(port)}?client_name=mine", "agentexec-producer") == "mine"
    assert asyncio.run(application()) == "agentexec"


def test_a_user_who_may_not_name_connections_can_use_them(
    started: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = started.start(f"requirepass {PASSWORD}", f"user few on >{PASSWORD} ~* +@all -client")
    url = url_of(port).replace("//:", "//few:")
    use_url(monkeypatch, url)

    async def application() -> object:
        client = await get_redis()
        answer = await client.ping()
        await client.aclose()
        return answer

    with blocking_client(load_settings(redis_url=url)) as client:
        assert client.ping()
    assert asyncio.run(application())


@pytest.mark.parametrize("option", ["protocol=2", "protocol=3", "health_check_interval=1", "client_name=x"])
def test_a_queue_works_with_the_options_that_a_url_may_have(
    servers: EmbeddedEnvironment, option: str
) -> None:
    site = Site.on(replace(servers.endpoints, redis_url=f"{servers.endpoints.redis_url}?{option}"))
    with site.client() as client:
        task = client.enqueue_sync("nap", Nap()).agent_id
        (claim,) = client.queue.step(step_request(want=1)).claims
        client.queue.register("w", "here")
        assert client.queue.registered() == {"w": "here"}
        assert client.queue.depth().leased == 1
        assert client.queue.traces([task]) == {task}
        finish = Finish(task_id=claim.task_id, token=claim.token, disposition=Disposition.ACK, result="1")
        client.queue.step(step_request(finish))
        assert client.queue.result(task) == "1"
        client.queue.drop(results=[task])
