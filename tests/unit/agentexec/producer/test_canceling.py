"""A cancel that was accepted comes true: whichever queue has the task, and whether or not Redis answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import select

import agentexec as ax
from agentexec import activity
from agentexec.activity import Activity, Status
from agentexec.config import load_settings
from agentexec.queue.protocol import Disposition, Finish, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import statements
from agentexec.task import EnqueueOptions
from agentexec.worker.reconciler import Reconciler
from tests.conftest import Eventually
from tests.support.activity_support import Message, claim, finish, status_of
from tests.support.queue_contents import RedisInspector
from tests.support.queue_invariants import require_consistent
from tests.support.record import row_of

SETTINGS = load_settings(database_url="sqlite://", redis_url="redis://127.0.0.1:1")

ENDS: dict[str, Callable[[ax.Client, UUID], object]] = {
    "client": lambda client, task: client.cancel([task]),
    "activity.cancel": lambda _, task: activity.cancel(task),
    "activity.error": lambda _, task: activity.error(task),
}


@pytest.fixture
def reconciler(client: ax.Client) -> Reconciler:
    return Reconciler(client.engine, client.queue, SETTINGS)


@contextmanager
def redis_away(client: ax.Client) -> Iterator[None]:
    """Calls of this client to Redis fail; pools reach it again after the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "redis", redis.Redis(port=1, retry=Retry(NoBackoff(), 0)))
        yield


def canceled(queue: RedisQueue, worker: str = "w") -> set[UUID]:
    """The tasks that the worker is asked to stop in its next step."""
    return set(queue.step(StepRequest(worker=worker, nonce=uuid4().hex)).canceled)


def in_another_queue(client: ax.Client) -> tuple[RedisQueue, UUID, int]:
    """A task that runs in another queue of the same servers."""
    settings = client.settings.model_copy(update={"queue_name": f"other-{uuid4().hex}"})
    other = ax.Client(settings=settings)
    queue = RedisQueue(client.redis, settings.queue_name)
    other.redis, other.queue, other.engine = client.redis, queue, client.engine
    epoch = queue.begin_rebuild("first")
    assert epoch is not None
    queue.end_rebuild(epoch)
    other._enqueuer = type(other._enqueuer)(client.engine, queue)
    task = other.enqueue_sync("talk", Message()).agent_id
    other._enqueuer.close()
    [(_, token)] = claim(other)
    return queue, task, token


def test_a_task_of_another_queue_is_asked_to_stop_there(client: ax.Client) -> None:
    queue, task, _ = in_another_queue(client)
    assert client.cancel([task]) == {task: Status.RUNNING}
    assert canceled(queue) == {task}


def test_tasks_of_several_queues_are_canceled_at_once(client: ax.Client) -> None:
    queue, running, _ = in_another_queue(client)
    delayed = client.enqueue_sync("talk", Message(), delay=60).agent_id
    assert client.cancel([running, delayed]) == {running: Status.RUNNING, delayed: Status.CANCELED}
    assert canceled(queue) == {running}
    assert client.queue.depth().known == 0


def test_a_manual_activity_that_runs_is_canceled_at_once(client: ax.Client) -> None:
    """It has no worker that could end it."""
    manual = activity.create("by hand")
    activity.update(manual, "half", 50)
    assert client.cancel([manual]) == {manual: Status.CANCELED}
    assert status_of(client.engine, manual) == "canceled"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "options", [{}, {"delay": 60.0}, {"delay": 60.0, "lock_key": "a"}, {"lock_key": "a"}]
)
def test_a_queued_task_leaves_the_queue_at_once(client: ax.Client, options: EnqueueOptions, end: str) -> None:
    """Otherwise it counts for the depth, and runs after retention removed its row and an operator requeued it."""
    task = client.enqueue_sync("talk", Message(), **options).agent_id
    ENDS[end](client, task)
    assert client.queue.depth().known == 0
    require_consistent(client.queue)


@pytest.mark.parametrize("end", ENDS)
def test_a_queued_task_that_ended_while_redis_was_away_leaves_the_queue_later(
    client: ax.Client, reconciler: Reconciler, end: str, eventually: Eventually
) -> None:
    task = client.enqueue_sync("talk", Message(), delay=60).agent_id
    eventually(lambda: all_marked(client))
    with redis_away(client):
        ENDS[end](client, task)
    assert client.queue.depth().known == 1
    reconciler.run_round(full_pass=False)
    assert client.queue.depth().known == 0
    assert not withdrawn_later(client)


def withdrawn_later(client: ax.Client) -> list[UUID]:
    with client.engine.connect() as connection:
        query = select(Activity.id).where(Activity.withdraw_since.is_not(None))
        return list(connection.execute(query).scalars())


def all_marked(client: ax.Client) -> bool:
    """Whether each task is marked as dispatched; a mark that comes after a cancel requests the withdrawal again."""
    with client.engine.connect() as connection:
        query = select(Activity.id).where(Activity.dispatched_at.is_(None)).limit(1)
        return connection.execute(query).first() is None


def test_a_running_task_that_was_canceled_while_redis_was_away_is_stopped_later(
    client: ax.Client, reconciler: Reconciler, eventually: Eventually
) -> None:
    task = client.enqueue_sync("talk", Message()).agent_id
    eventually(lambda: all_marked(client))
    [(_, token)] = claim(client)
    with redis_away(client):
        assert client.cancel([task]) == {task: Status.RUNNING}
    assert canceled(client.queue) == set()
    reconciler.run_round(full_pass=False)
    assert canceled(client.queue) == {task}
    finish(client, task, token, Status.CANCELED)
    reconciler.run_round(full_pass=False)
    assert withdrawn_later(client) == [], "the reconciler does not ask for ever"


def test_a_request_of_a_pool_that_redis_did_not_take_is_made_again(
    client: ax.Client, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = client.enqueue_sync("talk", Message()).agent_id
    claim(client)
    with redis_away(client):
        client.cancel([task])

    def lost(ids: object) -> None:
        raise redis.ConnectionError("no reply came")

    with monkeypatch.context() as patch:
        patch.setattr(client.queue, "request_cancel", lost)
        with pytest.raises(redis.ConnectionError):
            reconciler.run_round(full_pass=False)
    reconciler.run_round(full_pass=False)
    assert canceled(client.queue) == {task}


def test_a_request_that_redis_forgot_is_made_again(client: ax.Client, reconciler: Reconciler) -> None:
    task = client.enqueue_sync("talk", Message()).agent_id
    claim(client)
    client.cancel([task])
    for _ in range(2):  # it may forget it as long as the task runs
        client.redis.delete(client.queue.keys.cancel)
        reconciler.run_round(full_pass=False)
        assert canceled(client.queue) == {task}


def test_a_request_comes_true_also_where_the_queue_lost_everything(
    client: ax.Client, reconciler: Reconciler
) -> None:
    task = client.enqueue_sync("talk", Message()).agent_id
    [(_, token)] = claim(client)
    client.cancel([task])
    client.redis.flushall()
    for _ in range(2):  # the first rebuilds the queue
        reconciler.run_round(full_pass=False)
    assert status_of(client.engine, task) == "canceled"
    assert finish(client, task, token) is None, "its handler cannot complete it any longer"
    reconciler.run_round(full_pass=False)
    assert client.queue.depth().known == 0


def test_a_request_for_a_task_whose_lease_was_lost_is_recorded(
    client: ax.Client, reconciler: Reconciler
) -> None:
    """The queue requeued the task, its row still says RUNNING, and the database refused what was to be recorded."""
    task = client.enqueue_sync("talk", Message()).agent_id
    claim(client)
    client.queue.release("w", None, charge=True, declare_gone=True)
    client.cancel([task])
    reconciler.run_round(full_pass=False)
    assert status_of(client.engine, task) == "canceled"
    assert client.queue.depth().known == 0


def test_a_dispatch_that_arrives_after_the_cancel_is_taken_back(
    client: ax.Client, reconciler: Reconciler, eventually: Eventually
) -> None:
    """A producer records a task, is slow, and dispatches and marks it after the cancel."""
    task = client.enqueue_sync("talk", Message(), delay=60).agent_id
    eventually(lambda: all_marked(client))
    client.queue.drop()
    epoch = client.queue.begin_rebuild("again")
    assert epoch is not None
    client.queue.end_rebuild(epoch)
    client.cancel([task])
    reconciler.run_round(full_pass=False)
    assert withdrawn_later(client) == []
    with client.engine.begin() as connection:
        connection.execute(Activity.__table__.update().values(dispatched_at=None))  # type: ignore[attr-defined]  # a table
    client.redis.hset(client.queue.keys.job, str(task), b"1{}")
    client.redis.zadd(client.queue.keys.sched, {str(task): 9e15})
    with client.engine.begin() as connection:
        statements.mark_dispatched(connection, [task])
    reconciler.run_round(full_pass=False)
    assert client.queue.depth().known == 0


def test_a_canceled_task_whose_row_was_cleaned_up_does_not_run_after_a_requeue(client: ax.Client) -> None:
    task = client.enqueue_sync("talk", Message(), delay=60).agent_id
    client.cancel([task])
    activity.cleanup_old_activities(client.engine, days=0)
    RedisInspector(client.queue).fall_due(task)
    assert client.queue.step(StepRequest(worker="w", nonce="n", want=9)).claims == ()


def test_dead_letters_stay_where_they_are(client: ax.Client, reconciler: Reconciler) -> None:
    task = client.enqueue_sync("talk", Message()).agent_id
    [(_, token)] = claim(client)
    client.cancel([task])
    end = Finish(task_id=task, token=token, disposition=Disposition.DEAD_LETTER, reason="no")
    client.queue.step(StepRequest(worker="w", nonce="n", finishes=[end]))
    reconciler.run_round(full_pass=False)
    assert client.queue.depth().dead == 1
    assert status_of(client.engine, task) == "canceled"


def test_many_tasks_are_removed_in_small_scripts(
    client: ax.Client, reconciler: Reconciler, eventually: Eventually
) -> None:
    """Also more than the reconciler reads at once."""
    requests = [ax.TaskRequest(task_name="talk", context=Message(), delay=60) for _ in range(1_100)]
    tasks = [task.agent_id for task in client.enqueue_many_sync(requests)]
    eventually(lambda: all_marked(client))
    with redis_away(client):
        client.cancel(tasks)
    reconciler.run_round(full_pass=False)
    assert client.queue.depth().known == 0
    assert withdrawn_later(client) == []


def test_terminal_and_unknown_tasks_are_left_out(client: ax.Client) -> None:
    done = client.enqueue_sync("talk", Message()).agent_id
    [(_, token)] = claim(client)
    finish(client, done, token)
    assert client.cancel([done, uuid4()]) == {}
    assert row_of(client.engine, done).cancel_requested is False
