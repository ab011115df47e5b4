"""Health checks end within a bounded time and show no secrets."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import pytest
import redis
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from agentexec.config import Settings
from agentexec.core.db import create_schema, engine_for
from agentexec.errors import ConfigurationError
from agentexec.ops import metrics
from agentexec.ops.health import Checks, Health, TimedCall
from agentexec.ops.monitor import MonitoringServer, monitoring
from agentexec.text import summary


class Frozen(fakeredis.FakeRedis):
    """A Redis that answers no call until it is thawed."""

    def __init__(self) -> None:
        super().__init__(server=fakeredis.FakeServer())
        self.thawed = threading.Event()
        self.asked = 0

    def ping(self, **_: Any) -> bool:
        self.asked += 1
        self.thawed.wait(30)
        return True


def checks_of(engine: Engine, client: redis.Redis | None = None, **options: Any) -> Checks:
    client = client or fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7, 0)))
    return Checks(redis=client, engine=engine, **options)


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_servers_that_answer_make_it_ready(engine: Engine) -> None:
    assert checks_of(engine).report() == Health()
    assert Health().body() == {"status": "ready"}


def test_a_database_without_tables_is_not_ready() -> None:
    engine = engine_for("sqlite://")
    checks = checks_of(engine)
    assert "there is no table agentexec_activity_log" in str(checks.report().database)
    create_schema(engine)
    assert checks.report() == Health()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE agentexec_activity RENAME COLUMN holder TO worker"))
    assert "the table agentexec_activity lacks holder; run `agentexec db upgrade`" in str(
        checks.report().database
    )


def test_a_database_in_memory_is_asked_over_the_connection_of_the_application(engine: Engine) -> None:
    settings = Settings(database_url="sqlite://", redis_url="redis://127.0.0.1:1")
    checks = Checks.of(settings, database=engine)
    assert checks.report().database is None
    checks.close()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM agentexec_activity")).scalar_one() == 0


def test_every_reason_not_to_be_ready_is_reported() -> None:
    health = Health(redis="gone", database="gone, too", workers="1 of 4 ready")
    assert health.body() == {
        "status": "not ready",
        "errors": ["redis: gone", "database: gone, too", "workers: 1 of 4 ready"],
    }


def test_a_frozen_server_is_reported_in_time_and_asked_by_one_thread_only(engine: Engine) -> None:
    frozen = Frozen()
    checks = checks_of(engine, frozen, within=0.2)
    before = threading.active_count()
    began = time.monotonic()
    reports = [checks.report() for _ in range(5)]
    assert time.monotonic() - began < 5 * 0.2 + 1
    assert {report.redis for report in reports} == {"no answer within 0.2 s"}
    assert {report.database for report in reports} == {None}
    assert frozen.asked == 1
    assert threading.active_count() <= before + 1
    frozen.thawed.set()


def test_a_server_that_thaws_is_asked_again(engine: Engine, eventually: Callable[..., Any]) -> None:
    frozen = Frozen()
    checks = checks_of(engine, frozen, within=0.2)
    assert not checks.report().ready
    frozen.thawed.set()
    eventually(lambda: checks.report().ready)


def test_who_asks_meanwhile_gets_the_same_answer() -> None:
    go, asked = threading.Event(), []

    def question() -> int:
        asked.append(1)
        go.wait(10)
        return len(asked)

    bounded = TimedCall(question)
    first, second = bounded.ask(), bounded.ask()
    go.set()
    assert (first.result(10), second.result(10)) == (1, 1)
    assert bounded.ask().result(10) == 2


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Error 111 connecting to redis://:hunter22@db:6379/0. Connection refused."),
        OperationalError("SELECT 1", {}, Exception("no route to postgresql://app:hunter22@db/x\nmore lines")),
        RuntimeError("password=hunter22 was refused"),
    ],
)
def test_no_error_contains_a_secret(error: Exception) -> None:
    assert "hunter22" not in summary(error)
    assert "***" in summary(error)
    assert "\n" not in summary(error)


def test_an_error_without_words_still_has_a_name() -> None:
    assert summary(TimeoutError()) == "TimeoutError"


@pytest.fixture
def ready_workers() -> list[int]:
    return [2]


@pytest.fixture
def monitor(engine: Engine, ready_workers: list[int]) -> Iterator[MonitoringServer]:
    checks = checks_of(engine, ready_workers=lambda: ready_workers[0], wanted_workers=2)
    shown = metrics.Collector(checks, "q")
    monitor = MonitoringServer(host="127.0.0.1", port=0, checks=checks, collector=shown)
    yield monitor
    monitor.close()


def test_the_monitor_answers_as_documented(monitor: MonitoringServer, ready_workers: list[int]) -> None:
    assert get(monitor.port, "/health") == (200, '{"status": "ok"}')
    assert get(monitor.port, "/health/live") == (200, '{"status": "alive"}')
    assert get(monitor.port, "/health/ready?verbose=1") == (200, '{"status": "ready"}')
    ready_workers[0] = 1
    status, body = get(monitor.port, "/health/ready")
    assert status == 503
    assert json.loads(body) == {"status": "not ready", "errors": ["workers: 1 of 2 ready"]}


def test_the_monitor_shows_metrics(monitor: MonitoringServer) -> None:
    status, body = get(monitor.port, "/metrics")
    assert status == 200
    assert "agentexec_active_workers 2.0" in body


def test_the_monitor_knows_no_other_path_and_no_other_verb(monitor: MonitoringServer) -> None:
    assert get(monitor.port, "/etc/passwd")[0] == 404
    assert get(monitor.port, "/health", "POST")[0] == 501
    assert get(monitor.port, "/health", "HEAD") == (200, "")


def test_a_client_that_sends_nothing_delays_no_other(monitor: MonitoringServer) -> None:
    with socket.create_connection(("127.0.0.1", monitor.port)):
        assert get(monitor.port, "/health")[0] == 200


def test_without_the_library_health_is_served_and_metrics_name_what_to_install(engine: Engine) -> None:
    monitor = MonitoringServer(host="127.0.0.1", port=0, checks=checks_of(engine), collector=None)
    try:
        assert get(monitor.port, "/health/ready")[0] == 200
        status, body = get(monitor.port, "/metrics")
        assert status == 501
        assert "agentexec-reference[metrics]" in body
    finally:
        monitor.close()


def test_a_taken_port_is_one_sentence_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Checks] = []
    monkeypatch.setattr(Checks, "close", lambda checks: closed.append(checks))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(
            database_url="sqlite://", redis_url="redis://127.0.0.1:1", metrics_port=taken.getsockname()[1]
        )
        with (
            pytest.raises(ConfigurationError, match="set AGENTEXEC_METRICS_PORT to a free port"),
            monitoring(settings, ready_workers=lambda: 0),
        ):
            pass
    assert len(closed) == 1
