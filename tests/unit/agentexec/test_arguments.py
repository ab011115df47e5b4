"""Arguments of a wrong type: one sentence that says what to do, of a class of agentexec, and nothing is written."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

import agentexec as ax
from agentexec.context import CurrentTask, HandlerVerdict
from agentexec.errors import AgentexecError
from agentexec.identifiers import new_id
from tests.support.activity_support import Message, all_activities

activity: Any = ax.activity
SOME_ID = new_id()


async def handler(agent_id: UUID, context: Message) -> None: ...


def pool() -> Any:
    return ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1")


def coroutine() -> Any:
    found = ax.enqueue("never", Message())
    found.close()
    return found


def in_handler() -> Any:
    return CurrentTask(
        agent_id=SOME_ID,
        task_name="x",
        attempt=1,
        fence=1,
        _report=lambda *_: None,
        _verdict=HandlerVerdict(),
    )


def request(**changed: Any) -> ax.TaskRequest:
    fields: dict[str, Any] = {"task_name": "task", "context": Message()} | changed
    return ax.TaskRequest(**fields)


# What is called with the client, and a word of the sentence.
WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "Pool(url)": (lambda _: ax.Pool("sqlite://user:hush@host/"), "or database_url"),  # type: ignore[arg-type]
    "Pool(None, url)": (lambda _: ax.Pool(None, "sqlite://"), "Pool(database_url=...)"),  # type: ignore[arg-type]
    "Client(url)": (lambda _: ax.Client("sqlite://"), "Client(database_url=...)"),  # type: ignore[arg-type]
    "Pool(engine=dict)": (lambda _: ax.Pool(engine={}), "Engine"),  # type: ignore[arg-type]
    "Pool(workers)": (lambda _: ax.Pool(num_workers="many"), "num_workers"),  # type: ignore[arg-type]
    "Pool(timeout)": (lambda _: ax.Pool(graceful_shutdown_timeout=[]), "graceful_shutdown_timeout"),  # type: ignore[arg-type]
    "Client(settings)": (lambda _: ax.Client(settings={}), "Settings"),  # type: ignore[arg-type]
    "Client(registry=pool)": (lambda _: ax.Client(registry=pool()), "registry"),
    "task without a name": (lambda _: pool().task(handler), "@pool.task"),
    "task without a handler": (lambda _: pool().task("x")("y"), "function"),
    "task with another lock key": (lambda _: pool().task("x", lock_key=len)(handler), "template"),
    "task with a limit as text": (lambda _: pool().task("x", time_limit="5")(handler), "seconds"),
    "task with a timedelta": (lambda _: pool().task("x", soft_time_limit=timedelta(1))(handler), "seconds"),
    "add_task swapped": (lambda _: pool().add_task(handler, "x"), "name"),
    "add_task(str)": (lambda _: pool().add_task("x", "handler"), "function"),
    "add_task(coroutine)": (lambda _: pool().add_task("x", coroutine()), "function"),
    "add_task(builtin)": (lambda _: pool().add_task("x", print), "agent_id"),
    "add_task(class)": (lambda _: pool().add_task("x", int), "handler"),
    "enqueue(name, dict)": (lambda _: ax.enqueue("x", {"text": "hush"}), "pydantic model"),  # type: ignore[arg-type]
    "enqueue(name, None)": (lambda _: ax.enqueue("x", None), "pydantic model"),  # type: ignore[arg-type]
    "enqueue(name, class)": (lambda _: ax.enqueue("x", Message), "the class Message"),  # type: ignore[arg-type]
    "enqueue swapped": (lambda _: ax.enqueue(Message(), "x"), "enqueue(name, context)"),  # type: ignore[arg-type]
    "enqueue(handler)": (lambda _: ax.enqueue(handler, Message()), "name"),  # type: ignore[arg-type]
    "enqueue(priority)": (lambda _: ax.enqueue("x", Message(), priority="urgent"), "high or low"),  # type: ignore[arg-type]
    "enqueue(priority=0)": (lambda _: ax.enqueue("x", Message(), priority=0), "high or low"),  # type: ignore[arg-type]
    "enqueue(delay)": (lambda _: ax.enqueue("x", Message(), delay=timedelta(1)), "total_seconds"),  # type: ignore[arg-type]
    "enqueue(delay as text)": (lambda _: ax.enqueue("x", Message(), delay="5"), "seconds"),  # type: ignore[arg-type]
    "enqueue(metadata)": (lambda _: ax.enqueue("x", Message(), metadata=["a"]), "dict"),  # type: ignore[arg-type]
    "enqueue(key)": (lambda _: ax.enqueue("x", Message(), idempotency_key=5), "str(...)"),  # type: ignore[arg-type]
    "enqueue(lock key)": (lambda _: ax.enqueue("x", Message(), lock_key=b"x"), "str(...)"),  # type: ignore[arg-type]
    "enqueue_in(name)": (lambda _: ax.enqueue_in("x", Message(), "x"), "Session"),  # type: ignore[arg-type]
    "enqueue_many(one)": (lambda _: ax.enqueue_many(request()), "list"),  # type: ignore[arg-type]
    "enqueue_many(context)": (lambda _: ax.enqueue_many(Message()), "list"),  # type: ignore[arg-type]
    "enqueue_many(text)": (lambda _: ax.enqueue_many("x"), "list"),  # type: ignore[arg-type]
    "enqueue_many(tuples)": (lambda _: ax.enqueue_many([request(), ("x", Message())]), "TaskRequest("),  # type: ignore[list-item]
    "enqueue_many(a bad one)": (lambda _: ax.enqueue_many([request(), request(context={})]), "pydantic"),
    "enqueue_sync(name, dict)": (lambda _: ax.enqueue_sync("x", {}), "pydantic model"),  # type: ignore[arg-type]
    "enqueue_many_sync(one)": (lambda _: ax.enqueue_many_sync(request()), "list"),  # type: ignore[arg-type]
    "client.cancel(id)": (lambda client: client.cancel(SOME_ID), "[agent_id]"),
    "client.cancel(text)": (lambda client: client.cancel(str(SOME_ID)), "[agent_id]"),
    "client.cancel(numbers)": (lambda client: client.cancel([5]), "UUID"),
    "client.cancel(message)": (lambda client: client.cancel([], message=5), "text"),
    "get_result(text)": (lambda _: ax.get_result("x"), "UUID"),
    "get_result(list)": (lambda _: ax.get_result([SOME_ID]), "gather(*tasks)"),  # type: ignore[arg-type]
    "get_result(None)": (lambda _: ax.get_result(None), "Task"),  # type: ignore[arg-type]
    "get_result(coroutine)": (lambda _: ax.get_result(coroutine()), "await"),
    "get_result(timeout)": (lambda _: ax.get_result(SOME_ID, timeout="5"), "seconds"),  # type: ignore[arg-type]
    "gather(list)": (lambda _: ax.gather([SOME_ID, SOME_ID]), "gather(*tasks)"),  # type: ignore[arg-type]
    "gather(coroutines)": (lambda _: ax.gather(coroutine()), "await"),
    "create(name)": (lambda _: activity.create(5), "text"),
    "create(message)": (lambda _: activity.create("x", 5), "text"),
    "create(id)": (lambda _: activity.create("x", agent_id=5), "UUID"),
    "create(id as text)": (lambda _: activity.create("x", agent_id="mine"), "UUID"),
    "create(metadata)": (lambda _: activity.create("x", metadata=[1]), "dict"),
    "update(id)": (lambda _: activity.update("x", "m"), "UUID"),
    "update(message)": (lambda _: activity.update(SOME_ID, 5), "text"),
    "update(percentage)": (lambda _: activity.update(SOME_ID, "m", "50"), "percentage"),
    "update(status)": (lambda _: activity.update(SOME_ID, "m", status="over"), "over"),
    "complete(task)": (lambda _: activity.complete(ax.Task(task_name="x", agent_id=SOME_ID)), "agent_id"),
    "complete(message)": (lambda _: activity.complete(SOME_ID, None), "text"),
    "error(message)": (lambda _: activity.error(SOME_ID, ValueError("x")), "text"),
    "error(percentage)": (lambda _: activity.error(SOME_ID, "m", 101), "100"),
    "cancel(message)": (lambda _: activity.cancel(SOME_ID, 5), "text"),
    "cancel(client)": (lambda _: activity.cancel(SOME_ID, client="x"), "Client"),
    "detail(id first)": (lambda _: activity.detail(SOME_ID), "agent_id=..."),
    "detail(id)": (lambda _: activity.detail(agent_id="x"), "UUID"),
    "detail(filter)": (lambda _: activity.detail(agent_id=SOME_ID, metadata_filter="x"), "dict"),
    "list(page first)": (lambda _: activity.list(1), "Session"),
    "list(page)": (lambda _: activity.list(page="1"), "page"),
    "list(page_size)": (lambda _: activity.list(page_size=None), "page_size"),
    "list(filter)": (lambda _: activity.list(metadata_filter=[("a", 1)]), "dict"),
    "list(status)": (lambda _: activity.list(status="over"), "over"),
    "list(status number)": (lambda _: activity.list(status=5), "status"),
    "count_active(text)": (lambda _: activity.count_active("x"), "Session"),
    "cancel_pending(grace)": (lambda _: activity.cancel_pending(grace="x"), "seconds"),
    "cancel_pending(client)": (lambda _: activity.cancel_pending(client="x"), "Client"),
    "cleanup(url)": (lambda _: activity.cleanup_old_activities("sqlite://"), "engine"),
    "cleanup(days)": (lambda client: activity.cleanup_old_activities(client.engine, "30"), "days"),
    "cleanup(age)": (
        lambda client: activity.cleanup_old_activities(client.engine, older_than=30),
        "timedelta",
    ),
    "normalize(number)": (lambda _: activity.normalize_agent_id(5), "UUID"),
    "is_legal": (lambda _: activity.is_legal("over", "queued"), "over"),
    "report(message)": (lambda _: in_handler().report(5), "text"),
    "report(percentage)": (lambda _: in_handler().report("m", "50"), "percentage"),
    "fail(None)": (lambda _: in_handler().fail(None), "text"),
    "close_with(number)": (lambda _: in_handler().close_with(5), "text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_of_a_wrong_type_is_one_sentence_and_nothing_is_written(
    client: ax.Client, name: str
) -> None:
    call, word = WRONG[name]

    async def scene() -> None:
        found = call(client)
        if inspect.isawaitable(found):
            await found

    with pytest.raises((AgentexecError, ValueError)) as caught:
        asyncio.run(scene())
    sentence = str(caught.value)
    assert word in sentence
    assert "\n" not in sentence
    assert "hush" not in sentence, "a value may be a secret"
    assert all_activities(client.engine) == []


def test_a_priority_by_its_name_is_that_priority(client: ax.Client) -> None:
    client.enqueue_sync("task", Message(), priority="high")  # type: ignore[arg-type]  # what is tested
    (row,) = all_activities(client.engine)
    assert row.priority == ax.Priority.HIGH.level


def test_an_id_as_text_is_an_id(client: ax.Client) -> None:
    task = client.enqueue_sync("task", Message())
    assert client.cancel([str(task.agent_id)]) == {task.agent_id: "canceled"}  # type: ignore[list-item]


def test_every_callable_of_the_package_is_in_the_table() -> None:
    """Models and errors check what they are given themselves."""
    named = " ".join(WRONG)
    for module in (ax, activity):
        for name in module.__all__:
            public = getattr(module, name)
            if callable(public) and not (
                isinstance(public, type) and issubclass(public, BaseModel | Exception | ax.Base)
            ):
                assert name in LEFT_OUT or f"{name}(" in named or f"{name} " in named, name


# Without arguments, or values that the package makes.
LEFT_OUT = {
    "CurrentTask", "Priority", "TaskRequest", "WorkerPool", "current_task", "Base", "AgentId", "Done", "Status",
    "generate_agent_id", "normalize_agent_id", "is_legal", "cleanup_old_activities",
}  # fmt: skip
