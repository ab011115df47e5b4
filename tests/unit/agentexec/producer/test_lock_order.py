"""Tasks with one lock key run in the order of their enqueue, also where the queue did not take one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import fakeredis
import pytest
import redis
from sqlalchemy import Engine, update

from agentexec.config import load_settings
from agentexec.errors import QueueFull
from agentexec.identifiers import new_id
from agentexec.producer.enqueuer import Enqueuer, PreparedTask
from agentexec.queue.protocol import Admission, Dispatch, Disposition, Finish, QueuePolicy, StepRequest
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import statements
from agentexec.store.models import Activity
from agentexec.store.rows import ActivityUpdate, NewActivity
from agentexec.store.status import Status
from agentexec.task import encode_payload
from agentexec.worker.reconciler import Reconciler
from tests.support.record import starts

SETTINGS = load_settings(database_url="sqlite://", redis_url="redis://127.0.0.1:1", queue_name="ordered")


class Refusing(RedisQueue):
    """A queue that refuses the next enqueue as it is asked to."""

    refuse: Callable[[Sequence[Dispatch]], list[Admission]] | None = None

    def enqueue(self, tasks: Sequence[Dispatch], *, from_reconciler: bool = False) -> list[Admission]:
        refuse, self.refuse = self.refuse, None
        if refuse is not None:
            return refuse(tasks)
        return super().enqueue(tasks, from_reconciler=from_reconciler)


@pytest.fixture
def queue(redis: fakeredis.FakeRedis) -> Refusing:
    queue = Refusing(redis, "ordered", QueuePolicy(max_depth=3))
    epoch = queue.begin_rebuild("epoch")
    assert epoch is not None
    queue.end_rebuild(epoch)
    return queue


@pytest.fixture
def enqueuer(engine: Engine, queue: Refusing) -> Iterator[Enqueuer]:
    enqueuer = Enqueuer(engine, queue)
    yield enqueuer
    enqueuer.close()


@pytest.fixture
def outbox(engine: Engine, queue: Refusing) -> Callable[[], None]:
    """Dispatches, as a pool does, what was recorded some time ago."""
    reconciler = Reconciler(engine, queue, SETTINGS)

    def dispatch() -> None:
        with engine.begin() as connection:
            connection.execute(update(Activity).values(created_at=datetime.now(UTC) - timedelta(minutes=1)))
        reconciler.dispatch_outbox()

    return dispatch


def enqueue(enqueuer: Enqueuer, *lock_keys: str | None) -> list[UUID]:
    """Enqueue one task per lock key, as one call; returns their ids, also if the queue is full."""
    tasks = prepared(*lock_keys)
    with suppress(QueueFull):
        enqueuer.submit(tasks).result(10)
    return [task.activity.id for task in tasks]


def prepared(*lock_keys: str | None) -> list[PreparedTask]:
    activities = [
        NewActivity(
            id=new_id(),
            queue_name="ordered",
            task_name="task",
            context={},
            priority=1,
            message="Waiting.",
            lock_key=lock_key,
        )
        for lock_key in lock_keys
    ]
    return [PreparedTask(a, encode_payload("task", {}), 0) for a in activities]


def run_all(queue: RedisQueue, engine: Engine) -> list[UUID]:
    """Run and complete what the queue has, one task after the other; returns the order."""
    ran: list[UUID] = []
    finishes: list[Finish] = []
    while True:
        request = StepRequest(worker="w", nonce=new_id().hex, want=1, finishes=finishes)
        claims = queue.step(request).claims
        if not claims:
            return ran
        ran += [claim.task_id for claim in claims]
        with engine.begin() as connection:
            tokens = {claim.task_id: claim.token for claim in claims}
            statements.record_batch(connection, starts(tokens), [])
            statements.record_batch(connection, [], [completed(i, token) for i, token in tokens.items()])
        finishes = [Finish(task_id=c.task_id, token=c.token, disposition=Disposition.ACK) for c in claims]


def completed(task_id: UUID, token: int) -> ActivityUpdate:
    return ActivityUpdate(id=task_id, token=token, n=1, status=Status.COMPLETE, message="Over.")


def is_away(tasks: Sequence[Dispatch]) -> list[Admission]:
    raise redis.ConnectionError("away")


def is_full(tasks: Sequence[Dispatch]) -> list[Admission]:
    return [Admission.FULL for _ in tasks]


def lost_its_contents(tasks: Sequence[Dispatch]) -> list[Admission]:
    return [Admission.LATER for _ in tasks]


@pytest.mark.parametrize("refuse", [is_away, is_full, lost_its_contents])
def test_later_tasks_of_a_lock_key_wait_for_one_that_the_queue_did_not_take(
    enqueuer: Enqueuer,
    queue: Refusing,
    outbox: Callable[[], None],
    engine: Engine,
    refuse: Callable[[Sequence[Dispatch]], list[Admission]],
) -> None:
    queue.refuse = refuse
    first = enqueue(enqueuer, "k")
    second, other, free = enqueue(enqueuer, "k", "other", None)
    assert sorted(run_all(queue, engine)) == sorted([other, free]), "no other task waits for it"
    outbox()
    third = enqueue(enqueuer, "k")
    assert run_all(queue, engine) == [*first, second, *third]


def test_a_lock_key_is_dispatched_at_once_again_when_its_earlier_tasks_are(
    enqueuer: Enqueuer, queue: Refusing, outbox: Callable[[], None], engine: Engine
) -> None:
    queue.refuse = is_away
    (first,) = enqueue(enqueuer, "k")
    (second,) = enqueue(enqueuer, "k")
    with engine.begin() as connection:
        statements.request_cancel(connection, [second], "Canceled.")
    outbox()
    (third,) = enqueue(enqueuer, "k")
    assert run_all(queue, engine) == [first, third]


def test_order_holds_where_a_full_queue_gets_room_between_two_calls(
    enqueuer: Enqueuer, queue: Refusing, outbox: Callable[[], None], engine: Engine
) -> None:
    fillers = enqueue(enqueuer, None, None, None)
    (first,) = enqueue(enqueuer, "k")
    assert run_all(queue, engine) == fillers
    (second,) = enqueue(enqueuer, "k")
    assert run_all(queue, engine) == [], "both wait for a pool"
    outbox()
    assert run_all(queue, engine) == [first, second]


def test_a_task_behind_one_that_a_full_queue_refused_is_refused_too(
    enqueuer: Enqueuer, queue: Refusing, outbox: Callable[[], None], engine: Engine
) -> None:
    """A producer that slows down for `QueueFull` would not notice that its tasks pile up."""
    enqueue(enqueuer, None, None, None)
    with pytest.raises(QueueFull) as first:
        enqueuer.submit(prepared("k", "k")).result(10)
    for _ in range(2):
        with pytest.raises(QueueFull) as later:
            enqueuer.submit(prepared("k")).result(10)
        assert (len(first.value.agent_ids), len(later.value.agent_ids)) == (2, 1)
    assert len(run_all(queue, engine)) == 3
    outbox()
    assert len(run_all(queue, engine)) == 3
    outbox()
    assert len(enqueuer.submit(prepared("k")).result(10)) == 1, "the queue has room again, and nothing waits"
    queue.refuse = is_away
    enqueuer.submit(prepared("j")).result(10)
    assert len(enqueuer.submit(prepared("j")).result(10)) == 1, "a queue that is away is not full"
