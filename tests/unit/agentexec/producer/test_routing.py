"""Several pools in one process: which queue a task goes to, and of which type its result is."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from uuid import UUID

import fakeredis
import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field
from sqlalchemy import Engine, update

import agentexec as ax
from agentexec.core.db import create_schema, engine_for
from agentexec.errors import AgentexecError, InvalidTask, WrongArgument
from agentexec.producer.client import default_client
from agentexec.producer.routing import producers
from agentexec.store.models import Activity
from agentexec.store.status import Status
from tests.support.activity_support import Fake, Message, all_activities, use_redis


class Answer(BaseModel):
    text: str


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(alias="theText")

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def length(self) -> int:
        return len(self.text)


@dataclass
class Plain:
    day: date


class NoModel:
    """What pydantic cannot build."""


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'record.db'}"
    engine = engine_for(url)
    create_schema(engine)
    engine.dispose()
    return url


@pytest.fixture
def pools(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ax.Pool]]:
    """Three pools: two queues with a task of their own and a task in common, and a second pool of one of them."""
    monkeypatch.setattr("agentexec.producer.client._default", None)
    monkeypatch.setattr("agentexec.producer.client._factory", None)
    monkeypatch.setattr("agentexec.producer.routing._producers", [])
    names = {"one": "q1", "two": "q2", "again": "q1"}
    url = "redis://127.0.0.1:1"
    found = {
        name: ax.Pool(database_url=database, redis_url=url, queue_name=queue) for name, queue in names.items()
    }
    for name, tasks in {"one": "a c", "two": "b c", "again": "a"}.items():
        for task in tasks.split():
            register(found[name], task)
    for pool in found.values():
        use_redis(pool.client, Fake(server=fakeredis.FakeServer(version=(7, 0))))
    yield found
    for pool in found.values():
        pool.client.close()


def register(pool: ax.Pool, name: str, returns: Any = None) -> None:
    async def handler(agent_id: UUID, context: Message) -> None: ...

    handler.__annotations__ |= {"return": returns}
    assert get_type_hints(handler)
    pool.add_task(name, handler)


def queues(engine: Engine) -> dict[str, str]:
    return {row.agent_type: row.queue_name for row in all_activities(engine)}


def test_a_task_goes_to_the_queue_of_the_pool_that_registered_it(pools: dict[str, ax.Pool]) -> None:
    async def scene() -> None:
        await ax.enqueue("a", Message())
        await ax.enqueue(task_name="b", context=Message())
        with pytest.raises(InvalidTask, match="No task 'unknown' is registered; this process knows a, c"):
            await ax.enqueue("unknown", Message())

    asyncio.run(scene())
    assert queues(pools["one"].client.engine) == {"a": "q1", "b": "q2"}
    # default_client() takes the factory of the first pool.
    assert default_client() is pools["one"].client


def test_a_call_without_an_event_loop_is_routed_too(pools: dict[str, ax.Pool]) -> None:
    ax.enqueue_sync("b", Message())
    ax.enqueue_many_sync([ax.TaskRequest(task_name="a", context=Message())])
    assert queues(pools["one"].client.engine) == {"a": "q1", "b": "q2"}


def test_a_name_of_several_queues_is_refused_and_the_pool_takes_it(pools: dict[str, ax.Pool]) -> None:
    async def scene() -> None:
        with pytest.raises(InvalidTask, match=r"\(q1, q2\).*pool\.enqueue"):
            await ax.enqueue("c", Message())
        with pytest.raises(InvalidTask, match=r"q1, q2"):
            await ax.enqueue_many([ax.TaskRequest(task_name=name, context=Message()) for name in ("a", "b")])
        assert queues(pools["one"].client.engine) == {}
        await pools["two"].enqueue("c", Message())
        await pools["one"].enqueue_many([ax.TaskRequest(task_name="a", context=Message())])
        with pytest.raises(
            InvalidTask, match="No task 'not registered' is registered; this process knows b, c"
        ):
            pools["two"].enqueue_sync("not registered", Message())

    asyncio.run(scene())
    assert queues(pools["one"].client.engine) == {"c": "q2", "a": "q1"}


def test_a_pool_that_is_gone_takes_no_task(pools: dict[str, ax.Pool]) -> None:
    pools.pop("two").client.close()
    gc.collect()
    ax.enqueue_sync("c", Message())
    assert queues(pools["one"].client.engine) == {"c": "q1"}
    assert len(producers()) == 2


def end(engine: Engine, task: ax.Task, result: Any) -> None:
    with engine.begin() as connection:
        values = {"status": Status.COMPLETE, "result": result}
        connection.execute(update(Activity).where(Activity.agent_id == task.agent_id).values(values))


@pytest.mark.parametrize(
    ("returns", "stored", "result"),
    [
        (Answer, {"text": "x"}, Answer(text="x")),
        (Answer | None, None, None),
        (Answer, None, None),
        (list[Answer], [{"text": "x"}], [Answer(text="x")]),
        (Aliased, {"text": "x", "length": 1}, Aliased(theText="x")),
        (Aliased, {"theText": "x"}, Aliased(theText="x")),
        (Plain, {"day": "2026-01-15"}, Plain(date(2026, 1, 15))),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (None, {"a": 1}, {"a": 1}),
        (Any, {"a": 1}, {"a": 1}),
        (NoModel, {"a": 1}, {"a": 1}),
    ],
)
def test_a_result_is_of_the_type_that_the_handler_returns(
    pools: dict[str, ax.Pool], returns: Any, stored: Any, result: Any
) -> None:
    register(pools["two"], "typed", returns)
    task = ax.enqueue_sync("typed", Message())
    end(pools["two"].client.engine, task, stored)

    async def scene() -> None:
        for asked in (task, task.agent_id, str(task.agent_id)):
            assert await ax.get_result(asked, 5) == result
        assert await ax.gather(task, task.agent_id) == (result, result)
        assert await pools["two"].get_result(task, 5) == result
        assert await ax.get_result(task, 5, result_type=Any) == stored

    asyncio.run(scene())


def test_a_result_is_json_values_where_the_handler_is_not_known(pools: dict[str, ax.Pool]) -> None:
    with ax.Client(settings=pools["one"].settings) as client:  # it knows no tasks, so it takes all names
        use_redis(client, Fake(server=fakeredis.FakeServer(version=(7, 0))))
        task = client.enqueue_sync("elsewhere", Message())
    end(pools["one"].client.engine, task, {"text": "x"})

    async def scene() -> None:
        assert await ax.get_result(task, 5) == {"text": "x"}
        assert await ax.get_result(task, 5, result_type=Answer) == Answer(text="x")
        with pytest.raises(AgentexecError, match=r"does not fit Plain \(day\).*result_type=Any"):
            await ax.get_result(task, 5, result_type=Plain)
        for wrong in (NoModel, [Answer], {"text": Answer}, "Answer", "list[", Answer(text="")):
            with pytest.raises(WrongArgument, match="pass a model"):
                await ax.get_result(task, 5, result_type=wrong)
        no_hash = Annotated[Answer, {"seen": []}]
        assert await ax.get_result(task, 5, result_type=no_hash) == Answer(text="x")

    asyncio.run(scene())


def test_a_result_comes_from_the_client_that_is_given(pools: dict[str, ax.Pool], client: ax.Client) -> None:
    task = client.enqueue_sync("a", Message())
    end(client.engine, task, 7)
    assert asyncio.run(ax.get_result(task, 5, client=client)) == 7


def test_the_asynchronous_calls_of_a_pool_are_coroutine_functions_as_those_of_a_client() -> None:
    """Frameworks and mocks ask for it, and a call that is not awaited connects to nothing."""
    for name in ("enqueue", "enqueue_many", "enqueue_sync", "enqueue_many_sync", "enqueue_in"):
        of_client, of_pool = getattr(ax.Client, name), getattr(ax.Pool, name)
        assert inspect.iscoroutinefunction(of_pool) == inspect.iscoroutinefunction(of_client)
    assert inspect.iscoroutinefunction(ax.Pool.enqueue)
