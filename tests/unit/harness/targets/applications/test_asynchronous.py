"""What `app` takes of arq, SAQ, streaq and taskiq, which messages `make` may give them, and what they then promise."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import TargetFailed, UsageError
from harness.history.promises import DeliveryMode, Loss, Promises, SigtermPromise
from harness.targets.applications.arq import ArqApplication, queue_of, queue_of_run
from harness.targets.applications.message import TaskMessage
from harness.targets.applications.saq import SaqApplication
from harness.targets.applications.settings import system_of
from harness.targets.applications.streaq import StreaqApplication, on_run
from harness.targets.applications.streaq_worker import _label, _reading_labels
from harness.targets.applications.taskiq import TaskiqApplication
from harness.targets.applications.taskiq import on_run as put_on_run
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel
from harness.testing import app

SETTINGS = TargetSettings(
    queue="run", folder=Path("folder"), history=Path("history"), gate_address="gate", lease=5.0
)
KILLS = {Loss.WORKER_KILLED, Loss.POOL_KILLED}


def like(name: str, /, **values: Any) -> Any:
    """An object of the class `module:Class` of a system that is not installed here."""
    module, _, kind = name.partition(":")
    made: Any = type(kind, (), {"__module__": module})()
    vars(made).update(values)
    return made


async def refund() -> None: ...


async def other() -> None: ...


def function(given: Any) -> Any:
    """arq's `func`."""
    if isinstance(given, SimpleNamespace):
        return given
    return SimpleNamespace(name=given.__qualname__, coroutine=given, max_tries=None)


class WorkerSettings:
    functions = (refund,)


class Cron:
    cron_jobs = ()


@pytest.fixture(autouse=True)
def systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """The little of the systems that is used before a session is open."""
    fields = dict.fromkeys(("retries", "timeout", "heartbeat", "ttl", "meta"))
    monkeypatch.setitem(sys.modules, "arq.worker", SimpleNamespace(func=function))
    monkeypatch.setitem(sys.modules, "saq", SimpleNamespace(Job=SimpleNamespace(__dataclass_fields__=fields)))


def saq_settings(**values: Any) -> dict[str, Any]:
    return {"queue": like("saq.queue.redis:RedisQueue"), "functions": [refund, ("note", other)], **values}


def streaq_worker(**values: Any) -> Any:
    task = like("streaq.task:RegisteredTask", fn_name="refund", max_tries=values.pop("max_tries", 3))
    given = {
        "priorities": ["high", "low"],
        "anyio_backend": "asyncio",
        "registry": {"refund": task},
        "grace_period": 0,
    } | values
    return like("streaq.worker:Worker", **{"idle_timeout": 60_000, **given})


def taskiq_broker(kind: str = "RedisStreamBroker", **labels: Any) -> Any:
    task = like("taskiq.decor:AsyncTaskiqDecoratedTask", task_name="refund", labels=labels)
    return like(
        f"taskiq_redis.redis_broker:{kind}",
        idle_timeout=600_000,
        queue_name="shop",
        additional_streams={"more": "0"},
        task=task,
        get_all_tasks=lambda: {"refund": task},
        find_task=lambda name: task,
    )


@pytest.mark.parametrize(
    ("value", "system"),
    [
        (WorkerSettings, "arq"),
        (Cron, "arq"),
        ({"functions": [], "redis_settings": None}, "arq"),
        ({"functions": [], "redis_pool": None}, "arq"),
        ({"functions": [], "queue": None}, "saq"),
        ({"functions": []}, "saq"),
        ({"queue": None}, None),
        (type("Derived", (WorkerSettings,), {}), None),  # arq does not see what a class inherits
        (WorkerSettings(), None),
        (str, None),
    ],
)
def test_worker_settings_are_known_by_what_they_hold(value: object, system: str | None) -> None:
    assert system_of(value) == system


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (str, r"does not know what runs a type\. Pass the pool or application of agentexec, arq, celery"),
        (like("arq.worker:Worker"), "takes the worker settings of arq, not Worker. Pass the class with"),
        (
            saq_settings(queue=like("saq.queue.postgres:PostgresQueue")),
            "SAQ on Redis, not PostgresQueue. Give",
        ),
        ({"functions": [refund]}, "SAQ on Redis, not NoneType. Give the settings a RedisQueue"),
        (
            like("saq.queue.base:Queue"),
            "takes the worker settings of SAQ, not Queue. Pass the dict with the queue",
        ),
        (
            like("taskiq.brokers.inmemory_broker:InMemoryBroker"),
            "takes a ListQueueBroker or a RedisStreamBroker",
        ),
        (
            taskiq_broker("PubSubBroker"),
            "takes a ListQueueBroker or a RedisStreamBroker of taskiq-redis, not PubSub",
        ),
        (like("streaq.task:Task"), "takes a Worker of streaq, not Task"),
        (streaq_worker(anyio_backend="trio"), "runs streaq on asyncio, not trio. Use asyncio for the runs."),
    ],
)
def test_another_object_is_refused_in_one_sentence(value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        app(value, make=lambda n: n)


def test_settings_of_arq_are_refused_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "arq.worker")
    with pytest.raises(
        UsageError, match="takes WorkerSettings for the worker settings of arq, which is not inst"
    ):
        app(WorkerSettings, make=lambda n: n)


@pytest.mark.parametrize("value", [WorkerSettings, saq_settings(), streaq_worker(), taskiq_broker()])
def test_an_application_is_taken(value: object) -> None:
    assert app(value, make=lambda n: n).wrapped.promises(SETTINGS).records


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (WorkerSettings, {"refund"}),
        (saq_settings(), {"refund", "note"}),
        (streaq_worker(), {"refund"}),
        (taskiq_broker(), {"refund"}),
    ],
)
def test_an_application_says_which_tasks_a_load_may_name(value: object, names: set[str]) -> None:
    assert set(app(value, make=lambda n: ("refund", (n,))).task_names or ()) == names


def test_a_queue_of_saq_stands_for_the_settings_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = saq_settings()
    monkeypatch.setitem(sys.modules, "shop_of_saq", SimpleNamespace(settings=settings))
    found: Any = app(settings["queue"], make=lambda n: n).wrapped
    assert found.own is settings


def of_arq(make: Callable[[int], Any]) -> TaskMessage:
    return ArqApplication(own=WorkerSettings, make=make, reference=str).message(7)


def of_saq(make: Callable[[int], Any]) -> TaskMessage:
    return SaqApplication(own=saq_settings(), make=make, reference=str).message(7)


def of_streaq(make: Callable[[int], Any]) -> TaskMessage:
    return StreaqApplication(own=streaq_worker(), make=make, reference=str).message(7)


def of_taskiq(make: Callable[[int], Any]) -> TaskMessage:
    return TaskiqApplication(own=taskiq_broker(), make=make, reference=str).message(7)


def streaq_task(**values: Any) -> Any:
    given = dict.fromkeys(("_after", "_triggers", "after", "delay", "schedule", "priority"))
    parent = streaq_worker().registry["refund"]
    return like("streaq.task:Task", parent=parent, args=(7,), kwargs={"cents": 1}, **(given | values))


JOB = like("saq.job:Job", function="refund", kwargs={"order": 7}, meta={"own": 1})
JOB.to_dict = lambda: {
    "function": "refund",
    "kwargs": {"order": 7},
    "key": "k",
    "retries": 3,
    "meta": {"own": 1},
}
KICKER = like("taskiq.kicker:AsyncKicker", task_name="refund", labels={"a": 1, "b": 1})
MESSAGE = like("taskiq.message:TaskiqMessage", task_name="refund", args=[7], kwargs={}, labels={"a": 1})
PLAIN = TaskMessage(name="refund", args=(7,))
BY_NAME = TaskMessage(name="refund", kwargs={"order": 7})


@pytest.mark.parametrize(
    ("read", "made", "message"),
    [
        (of_arq, ("refund", (7,)), PLAIN),
        (of_arq, (refund, [7]), PLAIN),
        (of_arq, (refund, {"order": 7}), BY_NAME),
        (
            of_arq,
            (refund, (7,), {"_defer_by": 2}),
            TaskMessage(name="refund", args=(7,), options={"_defer_by": 2}),
        ),
        (of_saq, ("refund", {"order": 7}), BY_NAME),
        (of_saq, (refund, {"order": 7}), BY_NAME),
        (of_saq, (other, {"order": 7}), TaskMessage(name="note", kwargs={"order": 7})),
        (
            of_saq,
            (refund, {"order": 7}, {"retries": 5}),
            TaskMessage(name="refund", kwargs={"order": 7}, options={"retries": 5}),
        ),
        (
            of_saq,
            JOB,
            TaskMessage(name="refund", kwargs={"order": 7}, options={"retries": 3, "meta": {"own": 1}}),
        ),
        (of_streaq, ("refund", (7,)), PLAIN),
        (of_streaq, (streaq_worker().registry["refund"], (7,)), PLAIN),
        (
            of_streaq,
            streaq_task(delay=2),
            TaskMessage(name="refund", args=(7,), kwargs={"cents": 1}, options={"delay": 2}),
        ),
        (of_taskiq, ("refund", (7,)), PLAIN),
        (of_taskiq, (taskiq_broker().task, {"order": 7}), BY_NAME),
        (
            of_taskiq,
            (KICKER, (7,), {"b": 2}),
            TaskMessage(name="refund", args=(7,), options={"a": 1, "b": 2}),
        ),
        (
            of_taskiq,
            ("refund", (7,), {"queue_name": "more"}),
            TaskMessage(name="refund", args=(7,), options={"queue_name": "more"}),
        ),
        (of_taskiq, MESSAGE, TaskMessage(name="refund", args=(7,), options={"a": 1})),
    ],
)
def test_make_may_give_each_natural_form(read: Any, made: Any, message: TaskMessage) -> None:
    assert read(lambda n: made) == message


@pytest.mark.parametrize(
    ("read", "made", "error"),
    [
        (
            of_arq,
            ("missing", (7,)),
            "names the task 'missing', which the application does not have. Known: refund.",
        ),
        (of_arq, (other, (7,)), r"returned tuple. Return \(function, args\)"),
        (
            of_arq,
            (refund, (7,), {"defer_by": 2}),
            "gives the option 'defer_by', which is none. Choose from _defer_by",
        ),
        (
            of_arq,
            (refund, (7,), {"_queue_name": "q"}),
            "sends to the queue 'q', which the workers of the application do not serve. They serve arq:queue.",
        ),
        (of_saq, ("missing", {}), "names the task 'missing', .* Known: note, refund."),
        (of_saq, (refund, (7,)), "gives arguments without names, which SAQ does not take. Return a saq.Job"),
        (
            of_saq,
            (refund, {"order": 7}, {"tries": 1}),
            "gives the option 'tries', which is none. Choose from heart",
        ),
        (of_saq, None, "returned NoneType. Return a saq.Job"),
        (of_streaq, ("missing", (7,)), "names the task 'missing'"),
        (
            of_streaq,
            streaq_task(_triggers=1),
            "returned Task. Return .*; a chain has more than one task",
        ),
        (
            of_streaq,
            ("refund", (7,), {"retries": 1}),
            "gives the option 'retries', which is none. Choose from after",
        ),
        (of_streaq, 7, "returned int. Return a task such as"),
        (of_taskiq, (KICKER, 7), "returned tuple. Return a TaskiqMessage"),
        (of_taskiq, ("refund", (7,), {"queue_name": "q"}), "the queue 'q', .* They serve more, shop."),
        (of_streaq, ("refund", (7,), {"priority": "q"}), "the priority 'q', .* They serve high, low."),
        (of_taskiq, "refund", "returned str. Return a TaskiqMessage"),
    ],
)
def test_make_may_give_nothing_else(read: Any, made: Any, error: str) -> None:
    with pytest.raises(TargetFailed, match=r"make\(7\) .*" + error):
        read(lambda n: made)


def promised(value: Any, made: Any = None) -> Promises:
    return app(value, make=lambda n: made).wrapped.promises(SETTINGS)


@pytest.mark.parametrize(
    ("changed", "once", "sigterm"),
    [
        ({}, False, SigtermPromise.STOPS),
        ({"poll_delay": timedelta(seconds=0.5), "job_completion_wait": 9}, False, SigtermPromise.RELEASES),
        ({"max_tries": 1}, True, SigtermPromise.STOPS),
        (
            {"functions": [SimpleNamespace(name="a", coroutine=refund, max_tries=1)]},
            True,
            SigtermPromise.STOPS,
        ),
    ],
)
def test_arq_promises_another_run_if_a_job_has_tries_left(
    changed: dict[str, Any], once: bool, sigterm: SigtermPromise
) -> None:
    made = promised({"functions": [refund], "redis_settings": None, **changed}, (refund, (1,)))
    assert (made.survives & KILLS) == (set() if once else KILLS)
    # A job with one try ends badly if it is stopped, unless the worker waits for it.
    assert (Loss.SIGTERM in made.survives) == (Loss.DEPLOYMENT in made.survives) == (not once)
    assert Loss.DATABASE_RESTARTED in made.survives
    assert dict(made.recovers_within) == ({} if once else dict.fromkeys(KILLS, 8.0))
    assert made.takes_over_after == 5.0
    assert made.sigterm is sigterm
    assert "arq-docs" in made.quotes["delivery"].address


def test_arq_does_not_promise_that_a_stopped_job_runs_again_if_the_settings_forbid_it() -> None:
    made = promised({"functions": [refund], "redis_settings": None, "retry_jobs": False})
    assert not made.survives & {Loss.SIGTERM, Loss.SIGTERM_LATE}
    assert made.survives >= KILLS


def test_saq_promises_another_run_if_a_job_has_retries() -> None:
    settings = saq_settings(timers={"sweep": 2}, shutdown_grace_period_s=3)
    again = promised(settings, (refund, {"order": 1}, {"retries": 3, "timeout": 4}))
    assert again.survives >= KILLS
    assert again.recovers_within[Loss.WORKER_KILLED] == 20.0
    assert again.takes_over_after == 6.0
    assert again.sigterm is SigtermPromise.RELEASES
    once = promised(settings, (refund, {"order": 1}))
    assert not once.survives & KILLS
    assert once.takes_over_after == 12.0


def test_saq_finds_no_job_without_a_timeout_and_a_heartbeat() -> None:
    endless = promised(saq_settings(), (refund, {"order": 1}, {"retries": 3, "timeout": 0}))
    assert not endless.survives & {*KILLS, Loss.WORKER_PAUSED}
    assert endless.takes_over_after is None
    beating = promised(saq_settings(), (refund, {"order": 1}, {"retries": 3, "timeout": 0, "heartbeat": 2}))
    assert beating.takes_over_after == 7.0
    assert beating.survives >= KILLS


def test_streaq_promises_another_run_if_a_task_has_tries_left() -> None:
    again = promised(streaq_worker(idle_timeout=3_000, grace_period=2), ("refund", (1,)))
    assert again.survives >= KILLS
    assert again.takes_over_after == 3.0
    assert again.recovers_within[Loss.POOL_KILLED] == 8.0
    assert again.sigterm is SigtermPromise.RELEASES
    once = promised(streaq_worker(max_tries=1), ("refund", (1,)))
    assert not once.survives & {*KILLS, Loss.SIGTERM}
    assert once.takes_over_after == 5.0
    assert once.sigterm is SigtermPromise.STOPS


@pytest.mark.parametrize(
    ("broker", "labels", "again"),
    [
        (taskiq_broker(), {}, True),
        (taskiq_broker(), {"ack_type": "when_received"}, False),
        (taskiq_broker(ack_type=SimpleNamespace(value="when_received")), {}, False),
        (taskiq_broker("ListQueueBroker"), {}, False),
    ],
)
def test_taskiq_promises_another_run_if_a_broker_acknowledges_late(
    broker: Any, labels: dict[str, Any], again: bool
) -> None:
    made = promised(broker, ("refund", (1,), labels))
    assert (made.survives >= KILLS) == again
    assert made.takes_over_after == (10.0 if again else None)
    assert made.sigterm is SigtermPromise.DRAINS


def test_promises_do_not_need_a_make_that_works() -> None:
    for value in (WorkerSettings, saq_settings(), streaq_worker(), taskiq_broker()):
        assert promised(value, made=None).records


def test_retries_of_an_application_are_no_breach_of_at_most_once() -> None:
    for value in (
        WorkerSettings,
        saq_settings(),
        streaq_worker(max_tries=1),
        taskiq_broker("ListQueueBroker"),
    ):
        assert promised(value).delivery is DeliveryMode.AT_LEAST_ONCE


def test_queues_of_arq_are_in_the_run() -> None:
    assert queue_of(WorkerSettings) == "arq:queue"
    assert queue_of({"queue_name": "shop"}) == "shop"
    assert queue_of({"queue_name": None, "redis_pool": SimpleNamespace(default_queue_name="pool")}) == "pool"
    assert queue_of_run("run", "shop") == queue_of_run("run", "run:shop") == "run:shop"


def test_a_worker_of_streaq_is_put_on_a_run_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = SimpleNamespace(Redis=SimpleNamespace(from_url=lambda url, decode_responses: url))
    monkeypatch.setitem(sys.modules, "coredis", opened)
    worker = streaq_worker(
        prefix="streaq:shop",
        queue_name="shop",
        id="streaq:shopper",
        stream_key="streaq:shop:queues:",
        priorities=["high", "low"],
    )
    for _ in range(2):
        assert on_run(worker, "redis://run", "run") is worker
        assert worker.queue_name == "run:shop"
        assert worker.prefix == "streaq:run:shop"
        assert worker._streams == {"streaq:run:shop:queues:high": ">", "streaq:run:shop:queues:low": ">"}
        assert worker.id == "streaq:shopper"
        assert worker._redis == "redis://run"


def test_every_queue_of_a_broker_of_taskiq_is_in_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(url: str, **given: Any) -> Any:
        return SimpleNamespace(url=url, **given)

    monkeypatch.setitem(sys.modules, "taskiq_redis", SimpleNamespace(RedisAsyncResultBackend=backend))
    broker = taskiq_broker()
    broker.result_backend = SimpleNamespace()  # one that keeps nothing
    sent = []

    async def kick(self: Any, message: Any) -> None:
        sent.append(message.labels)

    type(broker).kick = kick
    for _ in range(2):
        put_on_run(broker, "redis://run", "run", 5.0)
    assert broker.queue_name == "run:shop"
    assert broker.additional_streams == {"run:more": "0"}
    assert broker.idle_timeout == 10_000
    assert broker.result_backend.prefix_str == "run"
    asyncio.run(broker.kick(SimpleNamespace(labels={"queue_name": "more", "a": 1})))
    asyncio.run(broker.kick(SimpleNamespace(labels={})))
    assert sent == [{"queue_name": "run:more", "a": 1}, {}]


def test_the_label_of_a_task_of_streaq_is_that_of_the_data_read_last() -> None:
    label = TaskLabel(number=7).to_value()
    data = {"f": "refund", "a": (), "k": {}}
    read = _reading_labels(lambda raw: raw)
    assert read({**data, LABEL: label})["f"] == "refund"
    assert _label.get() == label
    assert read({"r": 1}) == {"r": 1}  # a result, which streaq reads before it runs a dependent task
    assert _label.get() == label
    read(data)
    assert _label.get() is None

    async def own(raw: Any) -> Any:
        return raw

    async def read_async() -> None:
        await _reading_labels(own)({**data, LABEL: label})
        assert _label.get() == label

    asyncio.run(read_async())
