"""Runs of a schedule, and of the tasks that they enqueue, are marked in the history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.history import History
from harness.kit.harness_worker.recording import close_files
from harness.run.patience import Movement
from harness.targets.applications import huey, huey_worker, pgqueuer_worker, taskiq_worker
from harness.targets.wrapped_handler import LABEL, TaskLabel, WrappedRun, label_of_child

NUMBERED = TaskLabel(number=7).to_value()


@pytest.fixture
def scheduled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    """By `f` of each ended run, whether it is one of a schedule."""
    monkeypatch.setenv("HARNESS_HISTORY", str(tmp_path))
    close_files()
    yield lambda: [
        (op.f, op.value.get("scheduled", False)) for op in History.load(tmp_path) if op.type == "ok"
    ]
    close_files()


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_run_of_a_schedule_enqueues_is_of_the_schedule_too(
    scheduled: Callable[[], list[Any]], is_async: bool
) -> None:
    labels: list[Any] = []

    def run(label: TaskLabel | None, *, scheduled: bool) -> None:
        wrapped = WrappedRun(
            label=label, name="tick", activity="a", attempt=1, fence=None, scheduled=scheduled
        )
        if is_async:
            asyncio.run(wrapped.call_async(lambda: labels.append(label_of_child())))
        else:
            wrapped.call(lambda: labels.append(label_of_child()))

    run(None, scheduled=True)
    run(None, scheduled=False)
    run(TaskLabel(number=7), scheduled=True)  # a task of the run, whatever its function is for
    children = [WrappedRun.of(label, name="child", activity="b", attempt=None) for label in labels]
    assert [child.scheduled for child in children] == [True, False, False]
    assert TaskLabel.from_value(labels[0]) is None
    assert scheduled() == [("child", True), ("child", False), ("run", False)]


def test_only_other_runs_are_movement(tmp_path: Path) -> None:
    file = tmp_path / "worker-1.jsonl"
    moved = Movement(tmp_path)
    file.write_text('{"f":"run"}\n{"f":"child","value":{"name":"tick","scheduled":true}}\n{"f":"chi')
    (tmp_path / "runner.jsonl").write_text('{"f":"phase"}\n')
    assert moved.operations() == 1
    with file.open("a") as more:
        more.write('ld"}\n{"f":"child","value":{"scheduled":true}}\n')
    assert moved.operations() == moved.operations() == 2


@pytest.mark.parametrize(
    ("bases", "label", "expected"),
    [
        (("PeriodicTask",), None, ("child", True)),
        ((), {"scheduled": True}, ("child", True)),
        ((), None, ("child", False)),
        ((), NUMBERED, ("run", False)),
    ],
)
def test_periodic_tasks_of_huey(
    scheduled: Callable[[], list[Any]], bases: tuple[str, ...], label: Any, expected: tuple[str, bool]
) -> None:
    kinds = tuple(type(name, (SimpleNamespace,), {"__module__": "huey.api"}) for name in bases)
    task: Any = type("tick", kinds or (SimpleNamespace,), {})(execute=lambda: None, id="a", name="tick")
    setattr(task, huey.LABEL_ATTRIBUTE, label)
    storage: Any = SimpleNamespace(name="q", put_data=lambda key, value: None)
    huey_worker._wrapped_run(SimpleNamespace(storage=storage, storage_class=object), task)()
    assert scheduled() == [expected]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"schedule_id": "s"}, ("child", True)),
        ({}, ("child", False)),
        ({LABEL: json.dumps(NUMBERED)}, ("run", False)),
    ],
)
def test_tasks_of_a_scheduler_of_taskiq(
    scheduled: Callable[[], list[Any]], labels: dict[str, Any], expected: tuple[str, bool]
) -> None:
    message = SimpleNamespace(labels=labels, task_name="tick", task_id="a")
    taskiq_worker._wrapped(lambda: None, message)()
    assert scheduled() == [expected]


def test_tasks_that_a_task_of_a_scheduler_of_taskiq_sends_have_its_label(
    scheduled: Callable[[], list[Any]],
) -> None:
    """They were movement, so a drain with such a scheduler in a worker did not see that a task is stuck."""
    formatter = SimpleNamespace(dumps=lambda message: message.labels)
    taskiq_worker.label_children(formatter)
    sent: list[dict[str, Any]] = []

    def tick() -> None:
        sent.append(formatter.dumps(SimpleNamespace(labels={"mine": "1"})))

    for labels in ({"schedule_id": "s"}, {}):
        taskiq_worker._wrapped(tick, SimpleNamespace(labels=labels, task_name="tick", task_id="a"))()
    assert sent == [{"mine": "1", LABEL: json.dumps({"scheduled": True})}, {"mine": "1"}]
    taskiq_worker._wrapped(lambda: None, SimpleNamespace(labels=sent[0], task_name="tock", task_id="b"))()
    assert scheduled() == [("child", True), ("child", False), ("child", True)]


def test_jobs_that_a_schedule_of_pgqueuer_enqueues_have_its_label() -> None:
    class Queries:
        given: list[Any]

        async def enqueue(
            self, entrypoint: Any, payload: Any, priority: Any = 0, headers: Any = None
        ) -> None:
            self.given.append(headers)

    queries = Queries()
    queries.given = []
    pgqueuer_worker.label_children(Queries)

    async def tick(*_: Any) -> None:
        await queries.enqueue("tock", None, headers={"mine": "1"})
        await queries.enqueue(["a", "b"], [None, None], [0, 0])

    asyncio.run(tick())
    asyncio.run(pgqueuer_worker.scheduled_execute(SimpleNamespace(execute=tick))("schedule", "context"))
    label = {LABEL: {"scheduled": True}}
    assert queries.given == [{"mine": "1"}, None, {**label, "mine": "1"}, [label, label]]
