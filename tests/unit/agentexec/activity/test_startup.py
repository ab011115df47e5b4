"""`cancel_pending` cancels orphaned activities, and none that other pools run or have queued."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import update
from sqlalchemy.orm import Session

import agentexec as ax
from agentexec import activity
from agentexec.activity import Activity
from agentexec.identifiers import new_id
from tests.support.activity_support import (
    Message,
    age,
    as_default,
    claim,
    fake_client,
    log_of,
    status_of,
    use_redis,
)

LONG_AGO = timedelta(hours=5)


@pytest.fixture
def client(client: ax.Client) -> ax.Client:
    """A client whose queue has remembered for a day."""
    remember(client, timedelta(days=1))
    return client


def remember(client: ax.Client, since: timedelta) -> None:
    born = int((datetime.now(UTC) - since).timestamp() * 1000)
    epoch = UUID(int=(born << 80) | (new_id().int & ((1 << 80) - 1)))
    client.redis.hset(client.queue.keys.cfg, "epoch", epoch.hex)


def enqueued(client: ax.Client, **options: Any) -> UUID:
    """A task that the record and the queue know, and that the record knows to be dispatched."""
    task = client.enqueue_sync("talk", Message(), **options).agent_id
    with client.engine.begin() as connection:
        now = datetime.now(UTC)
        connection.execute(update(Activity).where(Activity.id == task).values(dispatched_at=now))
    return task


def lose(client: ax.Client, task: UUID) -> None:
    keys = client.queue.keys
    for hashes in (keys.job, keys.holder):
        client.redis.hdel(hashes, str(task))
    for sets in (keys.lease, keys.sched, keys.dlq):
        client.redis.zrem(sets, str(task))


def cancel_pending(client: ax.Client, grace: float = 3600.0) -> int:
    with Session(client.engine) as session:
        return activity.cancel_pending(session, grace=grace)


def test_an_orphan_is_canceled_and_counted(client: ax.Client) -> None:
    queued, running = enqueued(client), enqueued(client)
    claimed = dict(claim(client, want=2))
    lost = [queued, running]
    for task in lost:
        lose(client, task)
    age(client.engine, LONG_AGO)
    assert cancel_pending(client) == 2
    assert [status_of(client.engine, task) for task in lost] == ["canceled", "canceled"]
    assert log_of(client.engine, queued)[-1] == (
        claimed[queued] + 1,
        0,
        "canceled",
        "Canceled: the queue no longer knows this task.",
    )
    assert cancel_pending(client) == 0


def test_what_a_live_pool_runs_or_has_queued_is_spared(client: ax.Client) -> None:
    tasks = [enqueued(client) for _ in range(3)]
    tasks.append(enqueued(client, delay=0.01))
    claim(client)
    age(client.engine, LONG_AGO)
    before = [status_of(client.engine, task) for task in tasks]
    assert cancel_pending(client) == 0
    assert [status_of(client.engine, task) for task in tasks] == before


@pytest.mark.parametrize("state", ["holder", "lease", "sched", "dlq"])
def test_one_trace_in_the_queue_is_enough_to_be_spared(client: ax.Client, state: str) -> None:
    task = enqueued(client)
    lose(client, task)
    key = getattr(client.queue.keys, state)
    if state == "holder":
        client.redis.hset(key, str(task), "1|w")
    else:
        client.redis.zadd(key, {str(task): 0})
    age(client.engine, LONG_AGO)
    assert cancel_pending(client) == 0


def test_within_the_grace_period_nothing_is_an_orphan(client: ax.Client) -> None:
    task = enqueued(client)
    lose(client, task)
    age(client.engine, timedelta(minutes=59))
    assert cancel_pending(client) == 0
    assert cancel_pending(client, grace=58 * 60) == 1


def test_what_something_happened_to_lately_is_no_orphan(client: ax.Client) -> None:
    task = enqueued(client)
    lose(client, task)
    age(client.engine, LONG_AGO)
    with client.engine.begin() as connection:
        connection.execute(update(Activity).values(updated_at=datetime.now(UTC)))
    assert cancel_pending(client) == 0


def test_what_was_never_dispatched_waits_for_the_outbox_dispatcher(client: ax.Client) -> None:
    task = enqueued(client)
    lose(client, task)
    age(client.engine, LONG_AGO)
    with client.engine.begin() as connection:
        connection.execute(update(Activity).values(dispatched_at=None))
    assert cancel_pending(client) == 0


def test_what_is_due_later_is_no_orphan(client: ax.Client) -> None:
    task = enqueued(client, delay=7 * 24 * 3600.0)
    lose(client, task)
    age(client.engine, LONG_AGO)
    assert cancel_pending(client) == 0


def test_other_queues_and_activities_kept_by_hand_are_left_alone(client: ax.Client) -> None:
    by_hand = activity.create("import")
    elsewhere = enqueued(client)
    with client.engine.begin() as connection:
        connection.execute(update(Activity).where(Activity.id == elsewhere).values(queue_name="other"))
    lose(client, elsewhere)
    age(client.engine, LONG_AGO)
    assert cancel_pending(client) == 0
    assert status_of(client.engine, by_hand) == "queued"


@pytest.mark.parametrize("memory", [None, "young", UUID(int=4, version=4).hex, "scribble"])
def test_a_queue_that_lost_its_memory_proves_nothing(
    client: ax.Client, memory: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    task = enqueued(client)
    age(client.engine, LONG_AGO)
    client.redis.flushall()
    if memory == "young":  # a pool came up and is bringing tasks back
        remember(client, timedelta(minutes=1))
    elif memory is not None:
        client.redis.hset(client.queue.keys.cfg, "epoch", memory)
    with caplog.at_level(logging.WARNING):
        assert cancel_pending(client) == 0
    assert "memory is younger" in caplog.text
    assert status_of(client.engine, task) == "queued"


def test_a_redis_that_does_not_answer_cancels_nothing_and_is_logged(
    client: ax.Client, caplog: pytest.LogCaptureFixture
) -> None:
    task = enqueued(client)
    lose(client, task)
    age(client.engine, LONG_AGO)
    unreachable = redis.Redis(port=1, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0))
    use_redis(client, unreachable)
    with caplog.at_level(logging.WARNING):
        assert cancel_pending(client) == 0
    assert "Redis does not answer" in caplog.text
    assert status_of(client.engine, task) == "queued"
    unreachable.close()


def test_a_redis_that_goes_away_in_the_middle_leaves_nothing_half_done(client: ax.Client) -> None:
    tasks = [enqueued(client) for _ in range(3)]
    for task in tasks:
        lose(client, task)
    age(client.engine, LONG_AGO)
    client.queue.client = cast(redis.Redis, _DiesAt(client.redis, "pipeline"))
    assert cancel_pending(client) == 0
    assert {status_of(client.engine, task) for task in tasks} == {"queued"}


class _DiesAt:
    """A Redis client that loses its server at one of its commands."""

    def __init__(self, client: redis.Redis, command: str) -> None:
        self._client = client
        self._command = command

    def __getattr__(self, name: str) -> object:
        if name == self._command:
            raise redis.ConnectionError("gone")
        return getattr(self._client, name)


def test_a_redis_that_evicts_keys_proves_nothing(client: ax.Client, caplog: pytest.LogCaptureFixture) -> None:
    task = enqueued(client)
    lose(client, task)
    age(client.engine, LONG_AGO)
    client.redis = cast(redis.Redis, _Evicting(client.redis))
    with caplog.at_level(logging.WARNING):
        assert cancel_pending(client) == 0
    assert "allkeys-lru" in caplog.text


class _Evicting:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def info(self) -> dict[str, str]:
        return {"maxmemory_policy": "allkeys-lru"}


def test_a_task_that_starts_in_the_meantime_is_not_canceled(client: ax.Client) -> None:
    task = enqueued(client)
    lose(client, task)
    age(client.engine, LONG_AGO)
    with Session(client.engine) as session:
        answered = session.query(Activity).filter_by(id=task).one().fence
    with client.engine.begin() as connection:
        # What a worker does between the question to the queue and the answer's use.
        connection.execute(update(Activity).values(fence=answered + 1_000, status="running"))
        from agentexec.store import statements

        ended = statements.record_terminated(
            connection, {task: answered + 1}, activity.Status.CANCELED, "late"
        )
    assert ended == set()


def test_a_transaction_of_the_caller_stays_the_callers(client: ax.Client) -> None:
    task = enqueued(client)
    lose(client, task)
    age(client.engine, LONG_AGO)
    with Session(client.engine) as session:
        session.query(Activity).count()  # begins one
        assert activity.cancel_pending(session) == 1
        session.rollback()
    assert status_of(client.engine, task) == "queued"


def test_more_orphans_than_a_page_are_all_found(client: ax.Client) -> None:
    requests = [ax.TaskRequest(task_name="talk", context=Message()) for _ in range(1_203)]
    tasks = [t.agent_id for t in client.enqueue_many_sync(requests)]
    alive = set(tasks[::100])
    client.redis.hdel(client.queue.keys.job, *(str(task) for task in tasks if task not in alive))
    age(client.engine, LONG_AGO)
    assert cancel_pending(client) == len(tasks) - len(alive)
    assert {status_of(client.engine, task) for task in alive} == {"queued"}


def test_a_negative_grace_is_refused(client: ax.Client) -> None:
    with pytest.raises(ValueError, match="grace"):
        cancel_pending(client, grace=-1)


def test_a_full_queue_proves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with as_default(fake_client(tmp_path)) as full:
        remember(full, timedelta(days=1))
        lost = enqueued(full)
        lose(full, lost)
        enqueued(full)
        age(full.engine, LONG_AGO)
        full.settings = full.settings.model_copy(update={"max_queue_depth": 1})
        with caplog.at_level(logging.WARNING):
            assert cancel_pending(full) == 0
        assert "waiting for room" in caplog.text
