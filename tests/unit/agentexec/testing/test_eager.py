"""Tasks that run at once in a test: what they return, record, enqueue, and what the block refuses."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import agentexec as ax
from agentexec import testing
from agentexec.errors import AgentexecError, InvalidTask, TaskFailedError, WrongArgument
from agentexec.store.status import Status
from tests.support.eager_tasks import Answer, Job, complete, fail, pool


def test_a_task_that_is_awaited_is_over_and_its_result_is_typed() -> None:
    async def scene() -> None:
        here = asyncio.get_running_loop()
        with testing.eager(pool) as client:
            assert client.worker_loop.event_loop is here, "mocks of the test's loop work in handlers"
            task = await ax.enqueue("complete", Job(number=7), delay=3_600, metadata={"a": 1})
            assert await ax.get_result(task, 0) == Answer(number=7, attempt=1)
            found = await ax.activity.detail(agent_id=task.agent_id)
            assert found is not None
            assert (found.status, found.metadata) == ("complete", {"a": 1})
            assert [entry.message for entry in found.logs] == [
                "Waiting to start.", "Task started.", "half", "almost", "Task completed successfully.",
            ]  # fmt: skip
            assert (await ax.activity.list()).total == 1

    asyncio.run(scene())


def test_without_an_event_loop_enqueue_sync_does_the_same() -> None:
    with testing.eager(pool) as client:
        one = ax.enqueue_sync("in_a_thread", Job(number=1))
        two = pool.enqueue_sync("retry", Job(number=2))
        many = ax.enqueue_many_sync([ax.TaskRequest(task_name="blocked", context=Job()) for _ in range(9)])
        results = asyncio.run(_gathered(one, two, *many))
        assert results == (Answer(number=1, attempt=1), Answer(number=2, attempt=2), *[None] * 9)
        assert client.enqueued == []


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


async def _gathered(*tasks: ax.Task) -> Any:
    return await ax.gather(*tasks, timeout=1)


def test_a_failure_is_recorded_and_raised_by_get_result() -> None:
    async def scene() -> None:
        with testing.eager(pool):
            task = await ax.enqueue("fail", Job())
            with pytest.raises(TaskFailedError, match="ValueError: as asked") as caught:
                await ax.get_result(task, 0)
            assert caught.value.attempts == pool.settings.max_task_retries + 1

    asyncio.run(scene())


def test_tasks_of_tasks_run_too_and_may_be_waited_for() -> None:
    outcome = testing.run(pool, "parent", Job(number=3))
    assert outcome.status == "complete", outcome.error
    assert "Answer(number=3, attempt=1)" in [entry.message for entry in outcome.logs]


@pytest.mark.parametrize(
    ("name", "status", "attempts", "error"),
    [
        ("complete", "complete", 1, None),
        ("retry", "complete", 2, None),
        ("fail", "error", 4, "ValueError: as asked, password=***"),
        ("give_up", "error", 1, "it cannot be done"),
        ("nothing", "complete", 1, None),
    ],
)
def test_a_run_has_an_outcome(name: str, status: str, attempts: int, error: str | None) -> None:
    outcome = testing.run(pool, name, Job(number=5))
    assert (outcome.status, outcome.attempt, outcome.error) == (status, attempts, error)
    assert outcome.result == (Answer(number=5, attempt=attempts) if name in ("complete", "retry") else None)


def test_limits_apply() -> None:
    for name in ("too_slow", "hung"):
        outcome = testing.run(pool, name, Job())
        assert (outcome.status, outcome.attempt) == ("error", 4)
        assert "time limit" in (outcome.error or "")


def test_a_task_that_no_pool_knows_ends_as_it_does_in_a_pool() -> None:
    try:
        outcome = testing.run(pool, "unknown", Job())
    except InvalidTask:
        return
    assert outcome.status == "error"
    assert "unknown" in (outcome.error or "")


def test_a_canceled_task_stops() -> None:
    async def scene() -> None:
        with testing.eager(pool) as client:
            waiting = asyncio.create_task(ax.enqueue("hung", Job()))
            await asyncio.to_thread(until, lambda: client.worker_loop.leases)
            (task,) = client.worker_loop.leases.tokens()
            assert await asyncio.to_thread(client.cancel, [task]) == {task: "running"}
            assert (await waiting).agent_id == task
            found = await ax.activity.detail(agent_id=task)
            assert found is not None
            assert found.status is Status.CANCELED

    asyncio.run(scene())


def test_a_synchronous_enqueue_on_the_loop_of_the_handlers_is_refused() -> None:
    async def scene() -> None:
        with testing.eager(pool), pytest.raises(AgentexecError, match=r"await ax\.enqueue"):
            ax.enqueue_sync("complete", Job())

    asyncio.run(scene())


def test_a_worker_that_fails_does_not_leave_its_callers_waiting() -> None:
    with testing.eager(pool) as client:
        client.tasks.step = None  # type: ignore[method-assign, assignment]  # a defect
        with pytest.raises(Exception, match="not callable"):
            ax.enqueue_sync("complete", Job())


def test_the_block_restores_the_client_and_removes_its_files(client: ax.Client) -> None:
    with testing.eager(pool) as inner:
        folder = Path(str(inner.engine.url.database)).parent
        assert folder.exists()
        assert pool.client is inner
    assert not folder.exists()
    task = ax.enqueue_sync("complete", Job())
    assert client.queue.known([task.agent_id]) == [True]


def test_several_pools_may_run_in_one_block() -> None:
    other = ax.Pool()

    @other.task("elsewhere")
    async def elsewhere(agent_id: UUID, context: Job) -> None:
        await ax.enqueue("complete", context)

    with testing.eager(pool, other):
        assert asyncio.run(_gathered(ax.enqueue_sync("elsewhere", Job()))) == (None,)


def test_an_enqueue_that_the_test_gave_up_ends_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """`asyncio.run` waits for the threads of its loop, and one of them waits for the task."""
    other = ax.Pool(database_url="sqlite://", redis_url="redis://127.0.0.1:1")
    waits = threading.Event()

    @other.task("forever")
    async def forever(agent_id: UUID, context: Job) -> None:
        await asyncio.Event().wait()

    async def scene() -> None:
        with testing.eager(other) as client:
            wait = client.tasks.wait_until_empty

            def note_and_wait() -> None:
                waits.set()
                wait()

            monkeypatch.setattr(client.tasks, "wait_until_empty", note_and_wait)
            enqueue = asyncio.create_task(ax.enqueue("forever", Job()))
            assert await asyncio.to_thread(waits.wait, 10)
            enqueue.cancel()
            with pytest.raises(asyncio.CancelledError):
                await enqueue

    thread = threading.Thread(target=asyncio.run, args=(scene(),), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


def test_a_client_in_memory_records_and_runs_nothing() -> None:
    async def scene() -> None:
        with testing.in_memory(pool) as client:
            first = await ax.enqueue("parent", Job(number=1))
            second = pool.enqueue_sync("fail", Job(number=2), priority=ax.Priority.HIGH)
            assert client.enqueued == [first, second]
            assert [(task.task_name, task.context) for task in client.enqueued] == [
                ("parent", {"number": 1}),
                ("fail", {"number": 2}),
            ]
            found = await ax.activity.detail(agent_id=first.agent_id)
            assert found is not None
            assert found.status == "queued"
            with pytest.raises(TimeoutError):
                await ax.get_result(first, 0)
            assert client.cancel([first.agent_id]) == {first.agent_id: "canceled"}
            assert client.enqueued == [second]

    asyncio.run(scene())


@pytest.mark.parametrize("wrong", [(), ("pool",), (pool, fail)])
def test_something_else_than_a_pool_is_refused(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(WrongArgument, match="pool"), testing.eager(*wrong):
        pass
    with pytest.raises(WrongArgument, match="pool"):
        testing.run(pool.registry, "complete", Job())  # type: ignore[arg-type]  # what is tested


def test_a_handler_that_is_called_directly_has_a_current_task() -> None:
    async def scene() -> None:
        with testing.running(task_name="complete", attempt=3) as task:
            assert await complete(agent_id=task.agent_id, context=Job(number=1)) == Answer(
                number=1, attempt=3
            )
            assert ax.current_task().task_name == "complete"
            assert task.reports == [("half", 50), ("almost", 90)]
            assert (task.failed, task.completed) == (None, None)
        with pytest.raises(AgentexecError):
            ax.current_task()

    asyncio.run(scene())


def test_the_decisions_of_a_handler_that_is_called_directly_can_be_read() -> None:
    some_id = UUID(int=7)
    with testing.running(agent_id=str(some_id), fence=9) as task:
        assert (task.agent_id, ax.current_task().fence) == (some_id, 9)
        ax.activity.error(some_id, "no")
        ax.activity.complete(some_id, "yes")
    assert (task.failed, task.completed) == ("no", "yes")
