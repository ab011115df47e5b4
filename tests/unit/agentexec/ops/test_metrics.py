"""What is counted, how it reaches the parent, and what Prometheus reads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text

from agentexec.core import counters
from agentexec.core.counters import Counters, Reporter
from agentexec.errors import ConfigurationError
from agentexec.identifiers import new_id
from agentexec.ops import metrics
from agentexec.ops.health import Checks
from agentexec.queue.protocol import Dispatch, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import statements
from agentexec.store.dialects import ACTIVITY_TABLE
from agentexec.store.rows import NewActivity
from tests.support.guide import as_written

NAMES = st.sampled_from(["research", "write", 'odd "name"\n\\', "(other)"])
COUNTS = st.lists(st.tuples(NAMES, st.sampled_from(["complete", "error", "canceled"]), st.floats(0, 4000)))


def collector(
    redis: fakeredis.FakeRedis, engine: Engine, counted: Counters, workers: int = 2
) -> metrics.Collector:
    checks = Checks(redis=redis, engine=engine, ready_workers=lambda: workers, within=5.0)
    return metrics.Collector(checks, "q", counted=counted)


def samples(rendered: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(rendered.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def counted_from(runs: list[tuple[str, str, float]], into: Counters) -> None:
    for name, status, seconds in runs:
        into.add(counters.QUEUED, name)
        into.ran(name, seconds)
        into.add(counters.COMPLETED, name, status)


def transfer(reporter: Reporter, fd: int, parent: Counters) -> None:
    """Let a worker end, and its parent read all of it."""
    reporter.close()
    with os.fdopen(fd, "rb") as pipe:
        for line in pipe:
            parent.absorb(counters.decoded(line))


def test_the_names_and_labels_are_those_of_the_guide(redis: fakeredis.FakeRedis, engine: Engine) -> None:
    counted = Counters()
    counted_from([("research", "complete", 0.3), ("research", "error", 70.0)], counted)
    found = samples(metrics.render(collector(redis, engine, counted)))
    research = ("task_name", "research")
    assert found["agentexec_tasks_queued_total", frozenset({research})] == 2
    assert found["agentexec_tasks_completed_total", frozenset({research, ("status", "complete")})] == 1
    assert found["agentexec_tasks_completed_total", frozenset({research, ("status", "error")})] == 1
    assert found["agentexec_task_duration_seconds_sum", frozenset({research})] == pytest.approx(70.3)
    assert found["agentexec_task_duration_seconds_count", frozenset({research})] == 2
    assert found["agentexec_task_duration_seconds_bucket", frozenset({research, ("le", "1.0")})] == 1
    assert found["agentexec_queue_depth", frozenset()] == 0
    assert found["agentexec_active_workers", frozenset()] == 2


def test_the_metrics_block_of_the_guide_cannot_stand_beside_the_collector(
    redis: fakeredis.FakeRedis, engine: Engine
) -> None:
    names: dict[str, Any] = {}
    exec(as_written()["metrics"], names)
    block = [one for one in names.values() if isinstance(one, MetricWrapperBase)]
    try:
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            REGISTRY.register(collector(redis, engine, Counters()))
    finally:
        for metric in block:
            REGISTRY.unregister(metric)
    assert len(block) == 5


def test_the_gauges_show_the_contents_of_the_queue(redis: fakeredis.FakeRedis, engine: Engine) -> None:
    queue = RedisQueue(redis, "q")
    queue.begin_rebuild("first")
    queue.end_rebuild("first")
    tasks = [Dispatch(task_id=uuid4(), payload=b"{}", level=1, delay=60.0 * (i == 0)) for i in range(5)]
    queue.enqueue(tasks)
    queue.enqueue([Dispatch(task_id=uuid4(), payload=b"{}", level=1, lock_key="k") for _ in range(3)])
    queue.step(StepRequest(worker="w", nonce="n", want=1))
    found = samples(metrics.render(collector(redis, engine, Counters())))
    assert found["agentexec_queue_depth", frozenset()] == 4
    assert found["agentexec_queue_scheduled", frozenset()] == 1
    assert found["agentexec_queue_parked", frozenset()] == 2
    assert found["agentexec_leases_held", frozenset()] == 1
    assert found["agentexec_dlq_depth", frozenset()] == 0


def test_the_outbox_lag_is_the_age_of_the_oldest_task_that_was_not_dispatched(
    redis: fakeredis.FakeRedis, engine: Engine
) -> None:
    ids = [new_id() for _ in range(3)]
    with engine.begin() as connection:
        statements.record_enqueued(
            connection,
            [
                NewActivity(id=i, queue_name="q", task_name="t", context={}, priority=1, message="")
                for i in ids
            ],
        )
        statements.mark_dispatched(connection, ids[:1])
        for id_, age in zip(ids, (500, 90, 30), strict=True):
            past = f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-{age} seconds')"
            connection.execute(
                text(f"UPDATE {ACTIVITY_TABLE} SET created_at = {past} WHERE id = '{id_.hex}'")
            )
    found = samples(metrics.render(collector(redis, engine, Counters())))
    assert found["agentexec_outbox_lag_seconds", frozenset()] == pytest.approx(90, abs=5)


def test_a_server_that_is_away_takes_its_gauges_with_it_and_leaves_the_rest(
    redis: fakeredis.FakeRedis, engine: Engine
) -> None:
    counted = Counters()
    counted.add(counters.COMPLETED, "research", "complete")
    shown = collector(redis, engine, counted)
    redis.connection_pool.connection_kwargs["server"].connected = False
    found = samples(metrics.render(shown))
    assert found["agentexec_server_up", frozenset({("server", "redis")})] == 0
    assert found["agentexec_server_up", frozenset({("server", "database")})] == 1
    assert ("agentexec_queue_depth", frozenset()) not in found
    assert ("agentexec_outbox_lag_seconds", frozenset()) in found
    assert found[
        "agentexec_tasks_completed_total", frozenset({("task_name", "research"), ("status", "complete")})
    ]


@given(COUNTS, COUNTS)
def test_what_workers_hand_over_adds_up_to_what_they_counted(
    first: list[tuple[str, str, float]], second: list[tuple[str, str, float]]
) -> None:
    alone, parent = Counters(), Counters()
    counted_from(first + second, alone)
    for runs in (first, second):
        worker = Counters()
        read, write = os.pipe()
        reporter = Reporter(write, worker)
        counted_from(runs[:2], worker)
        reporter.report()
        counted_from(runs[2:], worker)
        transfer(reporter, read, parent)
    assert parent.counts() == pytest.approx(alone.counts())


def test_a_full_pipe_neither_stops_a_worker_nor_loses_a_count() -> None:
    worker, parent = Counters(), Counters()
    read, write = os.pipe()
    reporter = Reporter(write, worker)
    for i in range(3000):  # far more than an unread pipe can hold
        worker.add(counters.COMPLETED, f"task-{i % 400}", "complete")
        if i % 10 == 0:
            counted_from([(f"task-{n}", "error", 1.0) for n in range(400)], worker)
            reporter.report()
    closing = threading.Thread(target=reporter.close)
    closing.start()
    with os.fdopen(read, "rb") as pipe:
        for line in pipe:
            parent.absorb(counters.decoded(line))
    closing.join(10)
    completed = {key: n for key, n in parent.counts().items() if key[0] == counters.COMPLETED}
    assert sum(n for key, n in completed.items() if key[2] == "complete") == 3000
    assert sum(n for key, n in completed.items() if key[2] == "error") == 300 * 400


def test_a_line_never_lands_inside_of_another_one() -> None:
    worker, parent = Counters(), Counters()
    read, write = os.pipe()
    reporter = Reporter(write, worker)
    for _ in range(30):  # until the pipe is full in the middle of a line
        for n in range(400):
            worker.add(counters.QUEUED, f"task-{n}")
        reporter.report()
    reporter.send(b"leaving\n")
    closing = threading.Thread(target=reporter.close)
    closing.start()
    with os.fdopen(read, "rb") as pipe:
        lines = list(pipe)
    closing.join(10)
    for line in lines:
        parent.absorb(counters.decoded(line) if line != b"leaving\n" else {})
    assert lines.count(b"leaving\n") == 1
    assert sum(parent.counts().values()) == 30 * 400


def test_a_parent_that_is_gone_does_not_fail_a_worker() -> None:
    worker = Counters()
    read, write = os.pipe()
    os.close(read)
    reporter = Reporter(write, worker)
    worker.add(counters.COMPLETED, "t", "complete")
    reporter.report()
    reporter.close()


def test_the_cut_off_line_of_a_killed_worker_counts_nothing() -> None:
    worker = Counters()
    read, write = os.pipe()
    worker.add(counters.COMPLETED, "t", "complete")
    Reporter(write, worker).close()
    with os.fdopen(read, "rb") as pipe:
        line = pipe.read()
    assert counters.decoded(line) == {(counters.COMPLETED, "t", "complete"): 1}
    assert [counters.decoded(line[:cut]) for cut in range(len(line))] == [{}] * len(line)


def test_names_without_end_share_one_series() -> None:
    counted = Counters()
    for i in range(counters.MAX_NAMES + 100):
        counted.add(counters.QUEUED, f"name-{i}")
    counts = counted.counts()
    assert len(counts) == counters.MAX_NAMES + 1
    assert counts[counters.QUEUED, counters.OTHER] == 100


def test_counters_that_never_rose_are_shown_at_zero(redis: fakeredis.FakeRedis, engine: Engine) -> None:
    found = samples(metrics.render(collector(redis, engine, Counters())))
    assert found["agentexec_stale_finishes_total", frozenset()] == 0
    assert found["agentexec_leases_reaped_total", frozenset({("reason", "expired")})] == 0


def test_the_documentation_lists_exactly_the_metrics_that_there_are(
    redis: fakeredis.FakeRedis, engine: Engine
) -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "production" / "observe.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(agentexec_\w+)", page, re.MULTILINE))
    shown = collector(redis, engine, Counters()).collect()
    assert listed == {f.name + "_total" * (f.type == "counter") for f in shown}


def test_without_the_library_the_collector_names_what_to_install(
    redis: fakeredis.FakeRedis, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "AVAILABLE", False)
    with pytest.raises(ConfigurationError, match=r"agentexec-reference\[metrics\]"):
        collector(redis, engine, Counters())


@pytest.mark.parametrize("module", ["agentexec", "agentexec.cli", "agentexec.worker.process"])
def test_who_asks_for_no_metrics_pays_for_none(module: str) -> None:
    heavy = ("prometheus_client", "fastapi", "starlette", "limits", "http.server", "agentexec.ops.monitor")
    script = f"import {module}, sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
