"""What a load reads of real servers and workers: with the rights of any client, on any machine."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest

from agentexec.core.identity import process_identity
from agentexec.queue.keys import QueueKeys
from harness.environments.embedded import EmbeddedEnvironment
from harness.environments.redis_connection import RedisConnection, RedisFailure
from harness.load import server_gauges
from harness.load.resources import WAL, Sample
from harness.load.server_gauges import ELSEWHERE, PostgresSampler, RedisSampler
from harness.load.worker_gauges import WorkersSampler

pytestmark = pytest.mark.integration


@pytest.fixture
def postgres(servers: EmbeddedEnvironment) -> Iterator[PostgresSampler]:
    sampler = PostgresSampler(servers.endpoints.database_url)
    yield sampler
    sampler.close()


@pytest.fixture
def limited(servers: EmbeddedEnvironment) -> Iterator[str]:
    """The URL of a database whose users cannot read the position of the write-ahead log."""
    name = f"limited_{secrets.token_hex(4)}"
    url = servers.endpoints.database_url
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
        admin.execute(f"CREATE DATABASE {name}")
        place = url.rpartition("@")[2].partition("/")[0]
        with psycopg.connect(url.replace("/postgres", f"/{name}"), autocommit=True) as own:
            own.execute("REVOKE EXECUTE ON FUNCTION pg_current_wal_insert_lsn() FROM PUBLIC")
        yield f"postgresql+psycopg://{name}:{name}@{place}/{name}"
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.execute(f"DROP ROLE {name}")


def test_the_write_ahead_log_and_the_processes_of_a_server_on_this_machine_are_measured(
    servers: EmbeddedEnvironment, postgres: PostgresSampler, eventually: Callable[..., object]
) -> None:
    before = postgres.sample()
    with psycopg.connect(servers.endpoints.database_url) as connection:
        connection.execute("SELECT pg_logical_emit_message(false, 'load', repeat('x', 100000))")
        connection.commit()
        connection.execute("SELECT count(*) FROM generate_series(1, 2000000)")
    after = postgres.sample()
    assert not after.notes
    assert 100_000 <= after.totals[WAL] - before.totals[WAL] < 10_000_000
    # A session that has ended counts, once the server has noticed its end.
    eventually(lambda: postgres.sample().totals["Postgres CPU"] - before.totals["Postgres CPU"] > 0.02, 30)
    assert after.levels["Postgres memory"] > 10_000_000
    assert after.totals["Postgres commits"] > 0


def test_a_right_that_is_missing_costs_one_gauge_and_is_said(limited: str) -> None:
    sampler = PostgresSampler(limited)
    for _ in range(2):
        sample = sampler.sample()
    sampler.close()
    assert WAL not in sample.totals
    assert sample.notes == {
        WAL: "the server refuses it: permission denied for function pg_current_wal_insert_lsn"
    }
    assert {"Postgres commits", "Postgres CPU"} <= sample.totals.keys()


def test_a_process_id_of_another_machine_is_no_process_of_this_one(
    postgres: PostgresSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_gauges, "_CLOCK_SECONDS", -1.0)  # no process began when its server says so
    sample = postgres.sample()
    assert sample.notes == dict.fromkeys(("Postgres CPU", "Postgres memory"), ELSEWHERE)
    assert not sample.levels


def test_a_connection_that_was_lost_is_opened_again(
    servers: EmbeddedEnvironment, postgres: PostgresSampler
) -> None:
    postgres.sample()
    with psycopg.connect(servers.endpoints.database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'agentexec-harness'"
        )
    with pytest.raises(psycopg.OperationalError):
        postgres.sample()
    postgres.close()
    assert WAL in postgres.sample().totals


def test_redis_says_what_it_uses(servers: EmbeddedEnvironment) -> None:
    sampler = RedisSampler(servers.endpoints.redis_url)
    before, after = sampler.sample(), sampler.sample()
    sampler.close()
    assert after.totals["Redis commands"] > before.totals["Redis commands"]
    assert after.totals["Redis CPU"] > 0
    assert after.levels["Redis memory"] > 100_000
    assert not after.notes


def test_a_user_of_redis_without_the_right_to_ask_is_refused(servers: EmbeddedEnvironment) -> None:
    name, url = f"limited-{secrets.token_hex(4)}", servers.endpoints.redis_url
    with RedisConnection(url) as admin:
        admin.call("ACL", "SETUSER", name, "on", f">{name}", "~*", "+@all", "-info")
        sampler = RedisSampler(f"redis://{name}:{name}@{url.rpartition('@')[2]}")
        try:
            with pytest.raises(RedisFailure, match="NOPERM"):
                sampler.sample()
        finally:
            sampler.close()
            admin.call("ACL", "DELUSER", name)


def test_workers_are_found_by_what_they_publish_and_those_elsewhere_are_not_counted(
    servers: EmbeddedEnvironment,
) -> None:
    queue = f"gauges-{secrets.token_hex(4)}"
    keys = QueueKeys.of(queue)
    host_and_pid, _, started = process_identity().rpartition("|")
    workers = {
        "here": process_identity(),
        "gone": f"{host_and_pid}|{int(started) - 1}",  # its process id is another's now
        "away": "another host|1|2",
    }
    with RedisConnection(servers.endpoints.redis_url) as connection:
        for worker, identity in workers.items():
            connection.call("HSET", keys.workers, worker, identity)
        for task, worker in enumerate(("here", "here", "away", "forgotten")):
            connection.call("HSET", keys.holder, task, f"7|{worker}")
        sampler = WorkersSampler(servers.endpoints.redis_url, [queue, f"{queue}-2"])
        try:
            sampler.sample()
            found = sampler.sample()
        finally:
            sampler.close()
            connection.call("DEL", keys.workers, keys.holder)
    assert (found.levels["workers"], found.levels["slots in use"]) == (3, 3)
    assert found.levels["workers memory"] > 1_000_000
    note = "2 of 3 workers are not processes of this machine, and are not counted"
    assert found.notes == {"workers CPU": note, "workers memory": note}


def test_a_queue_without_workers_uses_nothing(servers: EmbeddedEnvironment) -> None:
    sampler = WorkersSampler(servers.endpoints.redis_url, [f"gauges-{secrets.token_hex(4)}"])
    assert sampler.sample() == Sample(levels={"workers": 0, "slots in use": 0})
    sampler.close()
