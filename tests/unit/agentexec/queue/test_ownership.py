"""Two installations with different tables do not share a queue: each would dead-letter the tasks of the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

import agentexec as ax
from agentexec.cli import main
from agentexec.core.db import create_schema, engine_for
from agentexec.errors import ConfigurationError
from agentexec.producer.enqueuer import OWNERSHIP_EVERY, Enqueuer
from agentexec.queue.ownership import adopt_queue
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store.installation import store_name
from agentexec.worker.reconciler import Reconciler
from tests.support.activity_support import Message, claim, finish

ANOTHER = r"serves another activity store .*AGENTEXEC_QUEUE_NAME.*agentexec queue adopt"


@pytest.fixture
def other(client: ax.Client, tmp_path: Path) -> Iterator[ax.Client]:
    """A client of another installation, by mistake on the same Redis and queue."""
    settings = client.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'other.db'}"})
    other = ax.Client(settings=settings)
    create_schema(other.engine)
    other.redis, other.queue = client.redis, RedisQueue(client.redis, settings.queue_name)
    other._enqueuer = Enqueuer(other.engine, other.queue)
    yield other
    other._enqueuer.close()
    other.engine.dispose()


def test_a_producer_of_another_installation_is_refused_before_it_records(
    client: ax.Client, other: ax.Client
) -> None:
    client.enqueue_sync("talk", Message())
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=ANOTHER):
            other.enqueue_sync("talk", Message())
    with other.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM agentexec_activity").scalar_one() == 0
    assert client.queue.depth().known == 1


def test_a_queue_whose_tasks_are_over_serves_the_next_store(client: ax.Client, other: ax.Client) -> None:
    """As after a move to another database: the pools drained before it."""
    client.enqueue_sync("talk", Message())
    [(task, token)] = claim(client)
    finish(client, task, token)
    client.queue.request_cancel([task])
    client.queue.release("w", None, declare_gone=True)
    client.redis.flushall()
    other.enqueue_sync("talk", Message())
    assert other.queue.depth().known == 1


def test_a_living_worker_keeps_an_empty_queue(client: ax.Client, other: ax.Client) -> None:
    adopt_queue(store_name(client.engine), client.queue)
    client.queue.register("w", "host|1|1")
    with pytest.raises(ConfigurationError, match=ANOTHER):
        other.enqueue_sync("talk", Message())
    client.queue.release("w", None, declare_gone=True)
    other.enqueue_sync("talk", Message())


def test_a_producer_notices_that_the_queue_serves_another_store_now(
    client: ax.Client, other: ax.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.enqueue_sync("talk", Message())
    adopt_queue(store_name(other.engine), other.queue, force=True)
    client.enqueue_sync("talk", Message())  # it looks every ten seconds, not with every batch
    later = client._enqueuer._ours_until + OWNERSHIP_EVERY
    monkeypatch.setattr("agentexec.core.runtime.SystemRuntime.monotonic", staticmethod(lambda: later))
    with pytest.raises(ConfigurationError, match=ANOTHER):
        client.enqueue_sync("talk", Message())


def test_a_rebuild_of_a_queue_that_another_installation_took_is_refused(
    client: ax.Client, other: ax.Client
) -> None:
    other.enqueue_sync("talk", Message())
    client.redis.hdel(client.queue.keys.cfg, "epoch")
    with pytest.raises(ConfigurationError, match=ANOTHER):
        Reconciler(client.engine, client.queue, client.settings).run_round(full_pass=False)


def test_an_operator_can_let_the_queue_serve_a_store_that_moved(
    client: ax.Client,
    other: ax.Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client.enqueue_sync("talk", Message())
    monkeypatch.setattr("agentexec.cli.dead_letters.Client", lambda: other)
    monkeypatch.setattr(other, "close", lambda: None)
    assert main(["queue", "adopt"]) == 0
    assert "serves this activity store now" in capsys.readouterr().out
    other.enqueue_sync("talk", Message())


def test_a_redis_that_is_away_refuses_no_producer(other: ax.Client) -> None:
    import redis

    away = redis.Redis(port=1)
    enqueuer = Enqueuer(other.engine, RedisQueue(away, "away"))
    enqueuer._require_own_queue()
    enqueuer.close()


def test_the_name_of_a_store_is_its_file_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(url: str) -> str | None:
        engine: Engine = engine_for(url)
        found = store_name(engine)
        engine.dispose()
        return found

    monkeypatch.chdir(tmp_path)
    assert (
        name("sqlite:///a.db") == name(f"sqlite:///{tmp_path}/a.db") == f"{tmp_path}/a.db/agentexec_activity"
    )
    assert name("sqlite:///b.db") != name("sqlite:///a.db")
    assert name("sqlite://") is None
    assert name("sqlite:///:memory:") is None
