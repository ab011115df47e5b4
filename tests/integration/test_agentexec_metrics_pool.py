"""Metrics and health of a real pool: correct across its processes, also if some are killed or frozen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import agentexec as ax
from agentexec.producer.client import Client
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.production import RunningPool, Site, running_pool
from tests.support.production_tasks import Message

pytestmark = pytest.mark.integration

ECHOED = "tasks_completed_total{status=complete,task_name=echo}"


def enqueue(client: Client, name: str, count: int = 1, text: str = "") -> None:
    client.enqueue_many_sync([ax.TaskRequest(task_name=name, context=Message(text=text))] * count)


def test_counters_are_exact_and_never_fall_while_workers_are_killed(
    site: Site, client: Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    with running_pool(site, tmp_path) as pool:
        seen: list[dict[str, float]] = []

        def echoed(count: int) -> bool:
            seen.append(pool.metrics())
            return seen[-1].get(ECHOED, 0) >= count

        enqueue(client, "echo", 200)
        eventually(lambda: echoed(200), deadline=30)
        for killed in pool.workers():  # idle ones: all that they counted is with the parent
            killed.kill()
            eventually(lambda dead=killed: not dead.is_running() or dead.status() == psutil.STATUS_ZOMBIE)
        enqueue(client, "echo", 200)
        eventually(lambda: echoed(400), deadline=30)
        eventually(lambda: pool.metrics()["active_workers"] == 2, deadline=30)
        last = pool.metrics()
        assert last[ECHOED] == 400
        assert last["task_duration_seconds_count{task_name=echo}"] == 400
        assert last["task_duration_seconds_bucket{le=+Inf,task_name=echo}"] == 400
        assert last["worker_deaths_total"] == 2
        assert last["queue_depth"] == last["leases_held"] == last["dlq_depth"] == 0
        counters = [name for name in last if "_total" in name or "_bucket" in name]
        for before, after in zip(seen, [*seen[1:], last], strict=True):
            fallen = [name for name in counters if after.get(name, 0) < before.get(name, 0)]
            assert fallen == []


def test_a_task_that_kills_its_worker_counts_once_as_complete_and_redelivered(
    site: Site, client: Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    with running_pool(site, tmp_path) as pool:
        enqueue(client, "die")
        eventually(
            lambda: "tasks_completed_total{status=complete,task_name=die}" in pool.metrics(), deadline=30
        )
        found = pool.metrics()
        assert found["tasks_completed_total{status=complete,task_name=die}"] == 1
        assert found["redeliveries_total"] == 1
        assert found["leases_reaped_total{reason=worker_died}"] == 1
        assert found["worker_deaths_total"] == 1
        assert found["task_duration_seconds_count{task_name=die}"] == 1


def test_a_late_update_of_a_frozen_worker_is_counted_as_refused(
    site: Site, client: Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    with running_pool(site, tmp_path, {"AGENTEXEC_LEASE_SECONDS": "1"}) as pool:
        enqueue(client, "freeze")
        eventually(lambda: pool.metrics()["leases_reaped_total{reason=expired}"] == 1, deadline=30)
        eventually(
            lambda: "tasks_completed_total{status=complete,task_name=freeze}" in pool.metrics(), deadline=30
        )
        for worker in pool.workers():
            worker.resume()
        refused = "stale_finishes_total", "leases_lost_total"
        eventually(lambda: sum(pool.metrics()[name] for name in refused) >= 1, deadline=30)
        assert pool.metrics()["tasks_completed_total{status=complete,task_name=freeze}"] == 1


def test_failures_end_in_the_dead_letters_and_in_the_metrics(
    site: Site, client: Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    with running_pool(
        site, tmp_path, {"AGENTEXEC_MAX_TASK_RETRIES": "2", "AGENTEXEC_RETRY_BASE_SECONDS": "0.01"}
    ) as pool:
        enqueue(client, "fail", text="no")
        eventually(lambda: pool.metrics()["dlq_depth"] == 1, deadline=30)
        found = pool.metrics()
        assert found["tasks_completed_total{status=error,task_name=fail}"] == 1
        assert found["task_duration_seconds_count{task_name=fail}"] == 3
        assert found["redeliveries_total"] == 2


def test_readiness_names_a_database_that_is_frozen_within_seconds_and_recovers(
    site: Site, servers: EmbeddedEnvironment, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    with running_pool(site, tmp_path) as pool:
        servers.pause("postgres")
        try:
            answer = pool.http.get("/health/ready", timeout=4)
            assert answer.status_code == 503
            assert answer.json() == {"status": "not ready", "errors": ["database: no answer within 2 s"]}
            assert pool.http.get("/health/live", timeout=1).json() == {"status": "alive"}
            assert pool.metrics()["server_up{server=database}"] == 0
        finally:
            servers.resume("postgres")
        eventually(lambda: pool.http.get("/health/ready").status_code == 200, deadline=30)


def test_the_logs_of_parent_and_workers_are_json_that_names_the_task_and_no_secret(
    site: Site, client: Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    with running_pool(
        site, tmp_path, {"AGENTEXEC_LOG_FORMAT": "json", "AGENTEXEC_MAX_TASK_RETRIES": "0"}
    ) as pool:
        enqueue(client, "fail", text="redis://:hunter22@db:6379/0 is away")
        eventually(lambda: pool.metrics()["dlq_depth"] == 1, deadline=30)
        assert pool.stop() == 0
    written = pool.log.read_text()
    assert "hunter22" not in written
    entries = [json.loads(line) for line in written.splitlines()]
    (failing,) = [e for e in entries if e["logger"] == "app"]
    assert failing["message"] == "failing with redis://:***@db:6379/0 is away"
    assert (failing["task"], failing["attempt"]) == ("fail", 1)
    (failed,) = [e for e in entries if "exception" in e]
    assert failed["exception"].endswith("ValueError: redis://:***@db:6379/0 is away")
    assert failed["agent_id"] == failing["agent_id"]
    assert len({e["pid"] for e in entries}) >= 2


def test_a_pool_without_metrics_listens_nowhere(
    site: Site, client: Client, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    with running_pool(site, tmp_path) as with_metrics:
        assert listening(with_metrics) != []
    with running_pool(site, tmp_path, monitored=False) as without:
        enqueue(client, "echo")
        eventually(lambda: client.queue.depth().known == 0, deadline=30)
        assert listening(without) == []
        assert without.stop() == 0


def listening(pool: RunningPool) -> list[Any]:
    parent = psutil.Process(pool.process.pid)
    found = [c for p in (parent, *parent.children(recursive=True)) for c in p.net_connections("inet")]
    return [c for c in found if c.status == psutil.CONN_LISTEN]
