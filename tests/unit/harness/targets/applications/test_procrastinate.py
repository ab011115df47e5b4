"""The forms of jobs of Procrastinate, what its applications promise, and how their functions are wrapped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import TargetFailed, UsageError
from harness.history import History
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.kit.harness_worker.recording import close_files
from harness.targets.applications.message import TaskMessage
from harness.targets.applications.postgres_schema import schema_of
from harness.targets.applications.procrastinate import (
    ProcrastinateApplication,
    ProcrastinateSession,
    retries_stalled,
)
from harness.targets.applications.procrastinate_worker import (
    _labels_of_fetched,
    _look_for_stalled_within,
    _wrapped_function,
    repoint,
)
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel
from harness.testing import app


def kind(module: str, name: str) -> Callable[..., Any]:
    return type(name, (SimpleNamespace,), {"__module__": module})


App, Task = kind("procrastinate.app", "App"), kind("procrastinate.tasks", "Task")
Deferrer = kind("procrastinate.jobs", "JobDeferrer")
Connector = kind("procrastinate.psycopg_connector", "PsycopgConnector")
JOB = {"task_name": "refund", "queue": "refunds", "priority": 2, "lock": "a", "queueing_lock": None}
DEFERRER = Deferrer(job=SimpleNamespace(**JOB, scheduled_at=None, task_kwargs={"cents": 1}))


def application(*periodic: Callable[..., Any], **defaults: Any) -> Any:
    tasks = {number: SimpleNamespace(task=Task(func=one)) for number, one in enumerate(periodic)}
    return App(
        connector=Connector(),
        worker_defaults=defaults,
        periodic_registry=SimpleNamespace(periodic_tasks=tasks),
        perform_import_paths=lambda: None,
    )


def wrapped(own: Any, make: Any = None) -> ProcrastinateApplication:
    found = app(own, make=make or (lambda n: None)).wrapped
    assert isinstance(found, ProcrastinateApplication)
    return found


def promises(tmp_path: Path, *periodic: Callable[..., Any], **defaults: Any) -> Promises:
    settings = TargetSettings(queue="q", folder=tmp_path, history=tmp_path, gate_address="g", lease=4.0)
    return wrapped(application(*periodic, **defaults)).promises(settings)


async def retry_stalled(context: Any) -> None:
    async def inner() -> Any:
        return list(await context.app.job_manager.get_stalled_jobs())

    await inner()


def made(given: Any) -> TaskMessage:
    return wrapped(application(), lambda number: given).message(7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("refund", {"order": 7}), ({"order": 7}, {})),
        ((Task(name="refund"), {"order": 7}), ({"order": 7}, {})),
        (("refund", {}, {"schedule_in": {"seconds": 1}}), ({}, {"schedule_in": {"seconds": 1}})),
        (("refund", []), ({}, {})),
    ],
)
def test_make_may_give_a_task_with_named_arguments(given: Any, message: Any) -> None:
    found = made(given)
    assert (found.name, found.kwargs, found.options) == ("refund", *message)


@pytest.mark.parametrize(("given", "kwargs"), [(DEFERRER, {}), ((DEFERRER, {"order": 7}), {"order": 7})])
def test_make_may_give_a_configured_task(given: Any, kwargs: dict[str, Any]) -> None:
    found = made(given)
    assert (found.name, found.kwargs) == ("refund", {"cents": 1, **kwargs})
    assert {name: value for name, value in found.options.items() if value is not None} == {
        "queue": "refunds",
        "priority": 2,
        "lock": "a",
    }


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("refund", (7,)), "arguments without names"),
        (("refund", {}, {"countdown": 2}), "the option 'countdown', which is not one of lock,"),
        ((retry_stalled, {}), r"returned tuple. Return \(task, arguments\)"),
        ("refund", "returned str"),
        ((DEFERRER, (7,)), "returned tuple"),
    ],
)
def test_make_may_give_nothing_else(given: Any, named: str) -> None:
    with pytest.raises(TargetFailed, match=f"make\\(7\\) (has )?(the )?{named.removeprefix('the ')}"):
        made(given)


@pytest.mark.parametrize("own", [App(connector=SimpleNamespace()), Task(name="refund")])
def test_an_app_without_its_asynchronous_connector_is_refused(own: Any) -> None:
    with pytest.raises(
        UsageError, match=r"app\(\) takes an App of Procrastinate with a PsycopgConnector, not"
    ):
        app(own, make=lambda n: None)


def test_jobs_of_a_dead_worker_come_back_only_if_a_periodic_task_looks_for_them(tmp_path: Path) -> None:
    killed = {Loss.WORKER_KILLED, Loss.POOL_KILLED}
    without = promises(tmp_path, lambda: None, concurrency=3)
    assert not killed & without.survives
    assert (without.takes_over_after, without.recovers_within, without.slots_per_worker) == (None, {}, 3)
    found = promises(tmp_path, lambda: None, retry_stalled)
    assert found.survives >= {*killed, Loss.BROKER_EMPTIED, Loss.SIGTERM_LATE, Loss.DEPLOYMENT}
    assert (found.takes_over_after, found.recovers_within[Loss.WORKER_KILLED]) == (8.0, 15.0)
    assert "retry_stalled_jobs" in found.quotes["survives"].sentence


def test_a_graceful_time_out_of_its_own_aborts_jobs(tmp_path: Path) -> None:
    found = promises(tmp_path, retry_stalled, shutdown_graceful_timeout=3.0)
    assert found.sigterm is SigtermPromise.STOPS
    assert Loss.SIGTERM_LATE not in found.survives
    assert promises(tmp_path).sigterm is SigtermPromise.DRAINS


def test_a_function_without_code_retries_nothing() -> None:
    assert not retries_stalled(len)
    assert not retries_stalled(None)


def test_a_schema_is_a_plain_name_that_differs_for_each_run() -> None:
    long = "x" * 80
    names = {schema_of(queue) for queue in ("hx-1-Kill", "HX_2", "9", "ä", f"{long}-1", f"{long}-2")}
    assert len(names) == 6
    assert all(name.isascii() and name.isidentifier() and name == name.lower() for name in names)
    assert max(map(len, names)) <= 63


@pytest.mark.parametrize("given", [{"host": "a", "sslmode": "require", "keepalives": 1}, lambda: {}, None])
def test_a_connector_leads_to_the_schema_of_the_run_and_keeps_the_rest(given: Any) -> None:
    connector = SimpleNamespace(_pool_args={"conninfo": "host=a", "kwargs": given, "min_size": 2})
    repoint(connector, "postgresql://run", "h_q")
    kept = {"keepalives": 1} if isinstance(given, dict) else {}
    assert connector._pool_args == {
        "conninfo": "postgresql://run",
        "kwargs": {**kept, "options": "-c search_path=h_q,public"},
        "min_size": 2,
    }


def test_only_the_task_for_stalled_jobs_has_another_period_and_the_heartbeat_of_the_run() -> None:
    asked: list[Any] = []

    async def get_stalled_jobs(**given: Any) -> list[Any]:
        asked.append(given)
        return []

    manager = SimpleNamespace(get_stalled_jobs=get_stalled_jobs)
    ones = {
        name: SimpleNamespace(task=Task(func=one), cron="0 * * * *", periodic_id=name, configure_kwargs={})
        for name, one in (("report", len), ("stalled", retry_stalled))
    }
    own = SimpleNamespace(job_manager=manager, periodic_registry=SimpleNamespace(periodic_tasks=ones))
    _look_for_stalled_within(own, 2.0)
    assert [one.cron for one in ones.values()] == ["0 * * * *", "* * * * * */2"]
    asyncio.run(manager.get_stalled_jobs(queue="q", seconds_since_heartbeat=600))
    assert asked == [{"queue": "q", "task_name": None, "seconds_since_heartbeat": 2.0}]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    monkeypatch.setenv("HARNESS_HISTORY", str(tmp_path))
    close_files()
    yield lambda: [(op.f, op.type.value, op.value.get("task")) for op in History.load(tmp_path).where("run")]
    close_files()


class Job(SimpleNamespace):
    def evolve(self, **given: Any) -> Job:
        return Job(**{**vars(self), **given})


@pytest.mark.parametrize("takes_context", [True, False])
@pytest.mark.parametrize("sync", [True, False])
def test_a_fetched_job_is_recorded_without_its_label_and_a_call_is_none(
    recorded: Callable[[], list[Any]], sync: bool, takes_context: bool
) -> None:
    seen: list[Any] = []

    def refund(*args: Any, order: int) -> str:
        seen.append((args, order))
        return "done"

    async def refund_async(*args: Any, order: int) -> str:
        return refund(*args, order=order)

    async def fetch_job() -> Job:
        label = {"number": 5, "work": 0.0}
        return Job(id=9, attempts=0, task_kwargs={"order": 7, LABEL: label})

    manager: Any = SimpleNamespace(fetch_job=fetch_job)
    labels = _labels_of_fetched(manager)
    task: Any = Task(name="refund", func=refund if sync else refund_async, pass_context=takes_context)
    function = _wrapped_function(task, labels, scheduled=False)
    assert asyncio.iscoroutinefunction(function) is not sync

    async def run() -> None:
        job = await manager.fetch_job()
        assert job.task_kwargs == {"order": 7}
        context = SimpleNamespace(job=job)
        # The worker passes the context; the handler of another job may call the function, with or without one.
        for args in ((context,), (context,) if takes_context else ()):
            found = function(*args, **job.task_kwargs)
            assert (found if sync else await found) == "done"
        assert seen == [((context,) if takes_context else (), 7)] * 2

    asyncio.run(run())
    assert [one for one in recorded() if one[2] == 5] == [("run", "invoke", 5), ("run", "ok", 5)]


@pytest.mark.parametrize(("queues", "is_served"), [(None, True), (["default"], True), (["others"], False)])
def test_a_job_goes_to_a_queue_that_the_workers_take(queues: list[str] | None, is_served: bool) -> None:
    job = SimpleNamespace(defer=lambda **arguments: 5)
    session: Any = SimpleNamespace(
        application=SimpleNamespace(own=SimpleNamespace(worker_defaults={"queues": queues}, tasks={})),
        _client=SimpleNamespace(configure_task=lambda name, **options: job),
    )
    message, label = TaskMessage(name="refund"), TaskLabel(number=7)
    if is_served:
        assert ProcrastinateSession.send(session, message, label) == "5"
    else:
        with pytest.raises(
            TargetFailed, match=r"make\(7\) sends to the queue 'default', .* They serve others."
        ):
            ProcrastinateSession.send(session, message, label)
