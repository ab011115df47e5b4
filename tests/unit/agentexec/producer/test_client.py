"""The client without servers: what it refuses, and its batches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from agentexec.config import load_settings
from agentexec.core.db import create_schema
from agentexec.errors import AgentexecError, IdempotencyConflict, InvalidTask
from agentexec.producer import enqueuer
from agentexec.producer.client import Client, add_registry
from agentexec.store.models import Activity
from agentexec.store.rows import NewActivity
from agentexec.task import LONGEST_DELAY, Registry, TaskDefinition, TaskRequest, UncheckedContext
from tests.support.record import row_of


class Job(BaseModel):
    model_config = ConfigDict(extra="forbid")

    value: Any = None


SETTINGS = load_settings(
    database_url="sqlite://", redis_url="redis://127.0.0.1:1", max_payload_bytes=1_000, queue_name="unit"
)


@pytest.fixture
def client() -> Iterator[Client]:
    """A client whose record is SQLite in memory, and whose Redis is away."""
    with Client(settings=SETTINGS) as client:
        create_schema(client.engine)
        yield client


@pytest.mark.parametrize(
    "options",
    [
        {"task_name": ""},
        {"task_name": "x" * 256},
        {"context": Job(value="\0")},
        {"context": Job(value="\ud800")},
        {"context": Job(value="x" * 2_000)},
        {"delay": -1.0},
        {"delay": float("nan")},
        {"delay": float("inf")},
        {"delay": 1e300},
        {"delay": LONGEST_DELAY + 1},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 256},
        {"idempotency_key": "a\0b"},
        {"metadata": {"x": object()}},
        {"metadata": {"x": float("nan")}},
        {"metadata": {"\0": 1}},
        {"lock_key": "x" * 256},
    ],
    ids=range(17),
)
def test_a_task_that_cannot_be_recorded_is_refused_before_anything_is_written(
    client: Client, options: dict[str, Any]
) -> None:
    good = TaskRequest(task_name="task", context=Job())
    wanted: dict[str, Any] = {"task_name": "task", "context": Job()} | options
    bad = TaskRequest(**wanted)
    with pytest.raises(InvalidTask):
        client.enqueue_many_sync([good, bad])
    with client.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM agentexec_activity").scalar() == 0


def test_redis_being_away_is_no_failure_of_an_enqueue(client: Client) -> None:
    task = client.enqueue_sync("task", Job(value=[1, None]))
    row = row_of(client.engine, task.agent_id)
    assert (row.status, row.dispatched) == ("queued", False), "a pool dispatches it"


def test_many_tasks_keep_their_order_and_share_nothing_but_their_batch(client: Client) -> None:
    async def scene() -> None:
        requests = [TaskRequest(task_name=f"task{n}", context=Job(value=n)) for n in range(20)]
        one, many = await asyncio.gather(client.enqueue("task", Job()), client.enqueue_many(requests))
        assert [task.task_name for task in many] == [f"task{n}" for n in range(20)]
        assert [task.context["value"] for task in many] == list(range(20))
        assert len({task.agent_id for task in [one, *many]}) == 21

    asyncio.run(scene())


def test_the_callers_of_one_event_loop_are_answered_together_and_one_that_leaves_costs_no_other(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> list[Any]:
        loop = asyncio.get_running_loop()
        wake = Mock(side_effect=loop.call_soon_threadsafe)
        monkeypatch.setattr(loop, "call_soon_threadsafe", wake)
        calls = [asyncio.create_task(client.enqueue(f"task{n}", Job())) for n in range(50)]
        await asyncio.sleep(0)
        calls[0].cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert wake.call_count < len(calls) / 2
        return answers

    left, *tasks = asyncio.run(scene())
    assert isinstance(left, asyncio.CancelledError)
    assert [task.task_name for task in tasks] == [f"task{n}" for n in range(1, 50)]


def test_an_event_loop_that_is_closed_meanwhile_costs_no_other_caller(client: Client) -> None:
    async def leave() -> None:
        client._enqueuer.submitted([client._prepare(TaskRequest(task_name="task", context=Job()))])

    asyncio.run(leave())
    assert client.enqueue_sync("other", Job()).task_name == "other"


def test_enqueuing_nothing_is_nothing(client: Client) -> None:
    assert client.enqueue_many_sync([]) == []


def test_a_repeated_idempotency_key_answers_with_the_first_task(client: Client) -> None:
    first = client.enqueue_sync("task", Job(value=1), idempotency_key="once")
    again = client.enqueue_sync("task", Job(value=2), idempotency_key="once")
    assert again.agent_id == first.agent_id


def names(client: Client) -> list[str]:
    with client.engine.connect() as connection:
        return list(
            connection.execute(sa.select(Activity.agent_type).order_by(Activity.agent_type)).scalars()
        )


def test_an_idempotency_key_of_another_task_is_refused(client: Client) -> None:
    client.enqueue_sync("task", Job(value=1), idempotency_key="once")
    with pytest.raises(
        IdempotencyConflict, match=r"'once' belongs to a task 'task' .* give the task 'other'"
    ):
        client.enqueue_sync("other", Job(value=1), idempotency_key="once")
    assert names(client) == ["task"]


def test_a_conflict_of_one_task_leaves_the_others_of_the_call_unrecorded(client: Client) -> None:
    client.enqueue_sync("task", Job(), idempotency_key="once")
    requests = [
        TaskRequest(task_name="before", context=Job()),
        TaskRequest(task_name="other", context=Job(), idempotency_key="once"),
        TaskRequest(task_name="after", context=Job(), idempotency_key="new"),
    ]
    for _ in range(2):
        with pytest.raises(IdempotencyConflict):
            client.enqueue_many_sync(requests)
    assert names(client) == ["task"]
    client.enqueue_many_sync([requests[0], requests[2]])
    assert names(client) == ["after", "before", "task"]


def test_a_conflict_of_one_caller_is_none_of_the_others(client: Client) -> None:
    client.enqueue_sync("task", Job(), idempotency_key="once")
    client.enqueue_sync("known", Job(), idempotency_key="known")

    async def scene() -> list[Any]:
        calls = [client.enqueue(f"task{n}", Job(), idempotency_key=f"key{n}") for n in range(20)]
        calls.insert(10, client.enqueue("other", Job(), idempotency_key="once"))
        calls.append(client.enqueue("known", Job(), idempotency_key="known"))
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(scene())
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in refused] == [IdempotencyConflict]
    assert names(client) == sorted(["task", "known", *(f"task{n}" for n in range(20))])


def test_a_task_that_is_registered_after_the_client_was_made_has_its_lock_key() -> None:
    async def work(agent_id: UUID, context: Job) -> None: ...

    registry = Registry()
    with Client(settings=SETTINGS, registry=registry) as client:
        create_schema(client.engine)
        registry.add(TaskDefinition("work", work, lock_key="value:{value}"))
        client.enqueue_sync("work", Job(value=1))
        with client.engine.connect() as connection:
            assert connection.execute(sa.select(Activity.lock_key)).scalar_one() == "value:1"


def test_a_closed_client_raises(client: Client) -> None:
    client.close()
    with pytest.raises(AgentexecError, match="closed"):
        client.enqueue_sync("task", Job())


def test_what_the_database_refuses_of_one_caller_fails_no_other(client: Client) -> None:
    """Callers that enqueue at the same moment share a statement."""
    with client.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON agentexec_activity WHEN NEW.agent_type IN ('bad', 'worse') "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    wanted = ["good1", "bad", "good2", "good3", "worse", "good4"]

    async def scene() -> list[Any]:
        calls = [client.enqueue(name, Job()) for name in wanted]
        return await asyncio.gather(*calls, return_exceptions=True)

    for name, answer in zip(wanted, asyncio.run(scene()), strict=True):
        assert isinstance(answer, sa.exc.IntegrityError) == (name in ("bad", "worse")), (name, answer)
    assert names(client) == ["good1", "good2", "good3", "good4"]


def test_an_error_that_concerns_no_row_is_not_tried_once_for_each_caller(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not answer would keep each caller waiting for the tries of all others."""
    tries: list[int] = []

    def away(_connection: object, activities: Sequence[NewActivity], **_: bool) -> None:
        tries.append(len(activities))
        raise sa.exc.OperationalError("", None, ConnectionError("silence"))

    monkeypatch.setattr(enqueuer, "record_enqueued", away)

    async def scene() -> list[Any]:
        calls = [client.enqueue("task", Job()) for _ in range(20)]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(answer, sa.exc.OperationalError) for answer in asyncio.run(scene()))
    assert len(tries) <= 3


class Strict(BaseModel):
    number: int


def test_a_wrong_name_and_a_wrong_model_are_refused_where_this_process_knows_the_tasks() -> None:
    async def work(agent_id: UUID, context: Job) -> None: ...

    async def strict(agent_id: UUID, context: Strict) -> None: ...

    first, second, third = Registry(), Registry(), Registry()
    with Client(settings=SETTINGS, registry=first) as client:
        create_schema(client.engine)
        client.enqueue_sync("anything", Job())  # nothing is registered yet: it may be a producer alone
        first.add(TaskDefinition("work", strict))
        add_registry("unit", second)
        add_registry("other queue", third)
        second.add(TaskDefinition("of another pool", work, lock_key="value:{value}"))
        third.add(TaskDefinition("of another queue", work))
        with pytest.raises(
            InvalidTask, match=r"No task 'unheard_of' is registered; this process knows .*work"
        ):
            client.enqueue_sync("unheard_of", Job())
        with pytest.raises(InvalidTask, match="No task 'of another queue' is registered"):
            client.enqueue_sync("of another queue", Job())
        client.enqueue_sync("of another pool", Job(value=7))
        with client.engine.connect() as connection:
            query = sa.select(Activity.lock_key).where(Activity.agent_type == "of another pool")
            assert connection.execute(query).scalar_one() == "value:7"
        with pytest.raises(InvalidTask, match="The context of of another pool does not fit Job: other: "):
            client.enqueue_sync("of another pool", UncheckedContext({"other": 1}))
        with pytest.raises(InvalidTask, match="The context of work does not fit Strict: number: "):
            client.enqueue_sync("work", Job(value=1))


class Visit(BaseModel):
    user_id: int = 0


def test_a_lock_key_of_the_producer_is_that_of_the_validated_context() -> None:
    async def visit(agent_id: UUID, context: Visit) -> None: ...

    registry = Registry()
    registry.add(TaskDefinition("visit", visit, lock_key="user:{user_id}"))
    with Client(settings=SETTINGS, registry=registry) as client:
        create_schema(client.engine)
        raw: list[dict[str, Any]] = [{}, {"user_id": 0}, {"user_id": "00"}]
        client.enqueue_many_sync(
            [TaskRequest(task_name="visit", context=UncheckedContext(context)) for context in raw]
        )
        with client.engine.connect() as connection:
            assert set(connection.scalars(sa.select(Activity.lock_key))) == {"user:0"}
