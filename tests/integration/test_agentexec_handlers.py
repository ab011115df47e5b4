"""Handlers that hang, flood, exit and clean up, in real pools: their neighbors do not notice, the record does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from agentexec.task import TaskRequest, UncheckedContext
from harness.environments.embedded import EmbeddedEnvironment
from tests.support.pool_process import App

if TYPE_CHECKING:
    from tests.conftest import Eventually

pytestmark = pytest.mark.integration

SOURCE = """
import asyncio
import os
import threading
import time
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel, Field

import agentexec as ax

FOLDER = Path(os.environ["APP_FOLDER"])
pool = ax.Pool()


class Job(BaseModel):
    name: str = ""


class Locked(BaseModel):
    user_id: int = Field(default=0, alias="uid")


@pool.task("hangs")
def hangs(agent_id: UUID, context: Job) -> None:
    (FOLDER / f"hangs-{agent_id}").touch()
    while not (FOLDER / "let-go").exists():
        time.sleep(0.02)


@pool.task("hangs-with-a-limit", time_limit=3.0)
def hangs_with_a_limit(agent_id: UUID, context: Job) -> None:
    hangs(agent_id, context)


@pool.task("pid")
def pid(agent_id: UUID, context: Job) -> int:
    return os.getpid()


@pool.task("exits")
async def exits(agent_id: UUID, context: Job) -> None:
    async def child() -> None:
        raise SystemExit(3)

    await asyncio.gather(child())


@pool.task("cleans-up")
async def cleans_up(agent_id: UUID, context: Job) -> None:
    (FOLDER / f"began-{agent_id}").touch()
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(25):  # longer than several renewals
            await asyncio.sleep(0.1)
        (FOLDER / f"cleaned-{agent_id}").touch()


@pool.task("floods")
def floods(agent_id: UUID, context: Job) -> int:
    (FOLDER / "floods").touch()
    for number in range(100_000):
        ax.activity.update(agent_id, f"step {number} " + "x" * 1000)
    return number


@pool.task("fails")
async def fails(agent_id: UUID, context: Job) -> None:
    def inner() -> None:
        raise ValueError(f"no luck with postgresql://me:{context.name}@db/x")

    inner()


@pool.task("stops")
def stops(agent_id: UUID, context: Job) -> None:
    raise StopIteration("mine")


@pool.task("locked", lock_key="user:{user_id}")
async def locked(agent_id: UUID, context: Locked) -> int:
    marker = FOLDER / f"in-{context.user_id}"
    marker.touch(exist_ok=False)  # fails where two run at once
    await asyncio.sleep(0.05)
    marker.unlink()
    return context.user_id
"""


class HandlersApp(App):
    """The application above."""

    def __init__(self, servers: EmbeddedEnvironment, folder: Path, forks: str) -> None:
        super().__init__(servers, folder, forks)
        (folder / "app.py").write_text(SOURCE)

    def send(self, name: str, *contexts: dict[str, Any]) -> list[UUID]:
        """Enqueue one task per context, as a producer that knows no model."""
        requests = [TaskRequest(task_name=name, context=UncheckedContext(context)) for context in contexts]
        return [task.agent_id for task in self.client.enqueue_many_sync(requests)]

    def exists(self, name: str) -> bool:
        return (self.folder / name).exists()


@pytest.fixture
def app(servers: EmbeddedEnvironment, forks: str, tmp_path: Path) -> Iterator[HandlersApp]:
    app = HandlersApp(servers, tmp_path, forks)
    yield app
    (tmp_path / "let-go").touch()
    app.close()


def test_hung_threads_of_canceled_tasks_take_no_slot_and_a_worker_full_of_them_is_replaced(
    app: HandlersApp, eventually: Eventually
) -> None:
    pool = app.pool(num_workers=1, worker_concurrency=3, lease_seconds=1)
    (before,) = app.send("pid", {})
    eventually(lambda: app.row(before).status == "complete", deadline=30)
    hung = app.send("hangs", {}, {}, {})
    eventually(lambda: all(app.exists(f"hangs-{task}") for task in hung), deadline=30)
    app.client.cancel(hung)
    eventually(lambda: set(app.statuses(hung)) == {"canceled"}, deadline=30)
    after = app.send("pid", *[{}] * 6)
    eventually(lambda: app.all_complete(after), deadline=30)
    assert {app.row(task).attempt for task in after} == {1}
    old = app.row(before).result
    eventually(lambda: old not in {worker.pid for worker in pool.workers}, deadline=30)
    assert "runs on after its run was stopped; 3 such thread(s)" in pool.log


def test_the_hard_limit_of_a_hung_thread_ends_its_process_after_its_cancel(
    app: HandlersApp, eventually: Eventually
) -> None:
    pool = app.pool(num_workers=1, worker_concurrency=3, lease_seconds=1)
    (hung,) = app.send("hangs-with-a-limit", {})
    eventually(lambda: app.exists(f"hangs-{hung}"), deadline=30)
    (first,) = app.send("pid", {})
    eventually(lambda: app.row(first).status == "complete", deadline=30)
    app.client.cancel([hung])
    eventually(lambda: app.row(hung).status == "canceled", deadline=30)
    old = app.row(first).result
    eventually(lambda: old not in {worker.pid for worker in pool.workers}, deadline=30)
    (second,) = app.send("pid", {})
    eventually(lambda: app.row(second).status == "complete", deadline=30)
    assert app.row(hung).status == "canceled", "its limit changes nothing in the record"


def test_a_canceled_handler_finishes_its_clean_up_while_its_lease_is_renewed(
    app: HandlersApp, eventually: Eventually
) -> None:
    app.pool(num_workers=1, lease_seconds=1)
    (task,) = app.send("cleans-up", {})
    eventually(lambda: app.exists(f"began-{task}"), deadline=30)
    app.client.cancel([task])
    eventually(lambda: app.row(task).status == "canceled", deadline=30)
    assert app.exists(f"cleaned-{task}")


def test_a_task_of_a_handler_that_exits_does_not_end_its_worker(
    app: HandlersApp, eventually: Eventually
) -> None:
    app.pool(num_workers=1, max_task_retries=0, max_crashes=0)
    (before,) = app.send("pid", {})
    (exits, stops), (after,) = [*app.send("exits", {}), *app.send("stops", {})], app.send("pid", {})
    eventually(lambda: app.statuses([exits, stops]) == ["error", "error"], deadline=30)
    eventually(lambda: app.all_complete([before, after]), deadline=30)
    assert app.row(exits).error == "SystemExit: 3"
    assert app.row(stops).error == "StopIteration: mine"
    (last,) = app.send("pid", {})
    eventually(lambda: app.row(last).status == "complete", deadline=30)
    assert app.row(last).result == app.row(before).result, "the same process"


def test_a_handler_that_reports_in_a_loop_slows_no_neighbor_and_fills_no_memory(
    app: HandlersApp, eventually: Eventually
) -> None:
    app.pool(num_workers=1)
    (flood,) = app.send("floods", {})
    eventually(lambda: app.exists("floods"), deadline=30)
    began = time.monotonic()
    (neighbor,) = app.send("pid", {})
    eventually(lambda: app.row(neighbor).status == "complete", deadline=30)
    neighbor_waited = time.monotonic() - began
    eventually(lambda: app.row(flood).status == "complete", deadline=60)
    row = app.row(flood)
    assert row.log[-2].message.startswith("step 99999 "), "the newest is kept"
    numbers = [entry.n for entry in row.log if entry.fence == row.fence]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) < 50_000, "most of the reports were replaced by newer ones"
    assert neighbor_waited < 15


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_traceback_of_a_failure_is_in_the_log_and_in_the_record(
    app: HandlersApp, eventually: Eventually, log_format: str
) -> None:
    pool = app.pool(num_workers=1, max_task_retries=1, log_format=log_format)
    (task,) = app.send("fails", {"name": "s3cret"})
    eventually(lambda: app.row(task).status == "error", deadline=30)
    row = app.row(task)
    assert row.error == "ValueError: no luck with postgresql://me:***@db/x"
    failures = [entry for entry in row.log if "Task failed with error" in entry.message]
    assert [entry.status for entry in failures] == ["queued", "error"]
    for entry in failures:
        summary, _, rest = entry.message.partition("\n")
        assert summary == f"Task failed with error: {row.error}"
        assert rest.startswith("Traceback (most recent call last):")
        assert "in inner" in rest
    eventually(lambda: pool.log.count("Traceback") == 2)
    assert "s3cret" not in pool.log + str(row.log)
    if log_format == "json":
        lines = [json.loads(line) for line in pool.log.splitlines() if "Traceback" in line]
        assert [line["level"] for line in lines] == ["ERROR", "ERROR"]
        assert {(line["agent_id"], line["task"]) for line in lines} == {(str(task), "fails")}
        assert [line["attempt"] for line in lines] == [1, 2]
        assert "runs again" in lines[0]["message"]
        assert "failed for good" in lines[1]["message"]
        assert "in inner" in lines[0]["exception"]
    else:
        assert pool.log.count(f"agent_id={task}") >= 2
        assert pool.log.count(" ERROR agentexec.worker.runner") == 2


def test_equal_contexts_never_run_at_once_under_a_lock_key(app: HandlersApp, eventually: Eventually) -> None:
    app.pool(num_workers=2, worker_concurrency=4, max_task_retries=0)
    contexts: list[dict[str, Any]] = [{}, {"user_id": 0}, {"uid": 0}, {"user_id": "0"}, {"uid": "00"}]
    tasks = app.send("locked", *contexts, *contexts)
    eventually(lambda: app.all_complete(tasks) or "error" in app.statuses(tasks), deadline=60)
    assert app.all_complete(tasks)
    (wrong,) = app.send("locked", {"uid": "x"})
    eventually(lambda: app.row(wrong).status == "error", deadline=30)
    assert "does not fit Locked" in (app.row(wrong).error or "")
