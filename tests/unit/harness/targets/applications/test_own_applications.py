"""What applications of RQ, Dramatiq and huey may be, and in which forms they may make their tasks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import redis

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError
from harness.history.promises import DeliveryMode, Loss, Promises, SigtermPromise
from harness.targets.applications import dramatiq, huey, rq, rq_worker
from harness.targets.applications.base import OwnApplication, OwnSession, shipped_promises
from harness.targets.applications.message import TaskMessage, message_of
from harness.targets.base import TargetSettings, TaskSpec
from harness.targets.wrapped_handler import TaskLabel
from harness.testing import app

HERE = Path()
SETTINGS = TargetSettings(queue="q", folder=HERE, history=HERE, gate_address="", lease=4.0)
NOWHERE = Endpoints(database_url="postgresql://127.0.0.1:1/x", redis_url="redis://127.0.0.1:1/0")


def of(place: str, *bases: type, **values: Any) -> Any:
    """An object of a class of another system, named as `module:Class`, with these attributes."""
    module, _, name = place.partition(":")
    kind = type(name, bases or (SimpleNamespace,), {"__module__": module, "__qualname__": name})
    return kind(**values)


def refund(order: int) -> None:
    """A function of an application."""


QUEUE = of("rq.queue:Queue", name="refunds")
BROKER = of("dramatiq.brokers.redis:RedisBroker", actors={})
REDIS_STORAGE = type("RedisStorage", (), {"__module__": "huey.storage"})
RECEIVERS: dict[str, list[object]] = {"any": []}


def a_huey(storage: type = REDIS_STORAGE) -> Any:
    return of("huey.api:Huey", storage_class=storage, _signal=SimpleNamespace(receivers=dict(RECEIVERS)))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (of("rq.job:Job"), r"app\(\) takes a Queue of RQ, a list of them or a WorkerPool, not Job"),
        ([QUEUE, 5], "takes a Queue of RQ, a list of them or a WorkerPool, not list"),
        ([], r"app\(\) does not know what runs a list"),
        (
            of("dramatiq.actor:Actor"),
            "takes the RedisBroker or RabbitmqBroker of a Dramatiq application, not",
        ),
        (of("dramatiq.brokers.stub:StubBroker"), "not StubBroker"),
        (of("huey.api:TaskWrapper"), r"app\(\) takes a Huey, not TaskWrapper"),
        (
            a_huey(type("PostgresStorage", (), {})),
            "on Redis, SQLite or files, not on PostgresStorage. Pass a RedisH",
        ),
    ],
)
def test_a_wrong_object_of_a_known_package_is_one_sentence(value: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        app(value, make=lambda number: (refund, (number,)))


@pytest.mark.parametrize("value", [QUEUE, [QUEUE], (QUEUE, QUEUE), BROKER, a_huey()])
def test_the_object_that_runs_an_application_is_taken(value: Any) -> None:
    assert app(value, make=lambda number: (refund, (number,))).application is value


class EnqueueData(NamedTuple):
    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    timeout: int | None
    job_id: str | None


EnqueueData.__module__ = "rq.queue"
DATA = EnqueueData(refund, (7,), {"cents": 1}, 5, None)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ((refund, (7,)), (refund, (7,), {}, {})),
        (("shop.refund", {"order": 7}), ("shop.refund", (), {"order": 7}, {})),
        ((refund, [7], {"at_front": True}), (refund, (7,), {}, {"at_front": True})),
        (DATA, (refund, (7,), {"cents": 1}, {"job_timeout": 5})),
    ],
)
def test_a_job_of_rq_has_a_function_or_its_path(made: Any, message: Any) -> None:
    found = rq.RqApplication(own=QUEUE, make=lambda number: made, reference=str).message(7)
    assert (found.name, found.args, found.kwargs, found.options) == message


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (refund, r"make\(7\) returned function. Return \(function, args\)"),
        ((5, (7,)), r"make\(7\) returned tuple. Return"),
        ((refund, (7,), {"retries": 3}), "the option 'retries', which RQ does not have. Use job_timeout"),
    ],
)
def test_another_form_of_a_job_is_refused(made: Any, sentence: str) -> None:
    with pytest.raises(TargetFailed, match=sentence):
        rq.RqApplication(own=QUEUE, make=lambda number: made, reference=str).message(7)


ACTOR = of("dramatiq.actor:Actor", actor_name="refund")
GENERIC = type("Refund", (), {"__actor__": ACTOR})
MESSAGE = of(
    "dramatiq.message:Message",
    **{"actor_name": "refund", "queue_name": "refunds", "args": (7,), "kwargs": {}, "options": {"x": 1}},
)


@pytest.mark.parametrize(
    ("made", "options"),
    [
        ((ACTOR, (7,)), {}),
        ((GENERIC, (7,), {"delay": 5}), {"delay": 5}),
        (("refund", [7]), {}),
        (MESSAGE, {"x": 1, "queue_name": "refunds"}),
        (of("dramatiq.composition:pipeline", messages=[MESSAGE]), {"x": 1, "queue_name": "refunds"}),
    ],
)
def test_a_message_of_dramatiq_has_an_actor_or_its_name(made: Any, options: Any) -> None:
    found = message_of(lambda number: made, 7, forms="", name_of=dramatiq.name_of, own_form=dramatiq.own_form)
    assert (found.name, found.args, found.options) == ("refund", (7,), options)


@pytest.mark.parametrize("made", [(refund, (7,)), ACTOR, (ACTOR, 7), None])
def test_a_function_that_is_no_actor_is_refused(made: Any) -> None:
    with pytest.raises(TargetFailed, match=r"make\(7\) returned \w+. Return a message"):
        message_of(lambda number: made, 7, forms="a message", name_of=dramatiq.name_of)


def test_a_killed_worker_of_rq_keeps_others_from_no_queue_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock of 899 s let the lost jobs of one of two queues wait for longer than a run."""
    monkeypatch.setitem(sys.modules, "rq", SimpleNamespace(Worker=object))
    monkeypatch.setattr(rq_worker, "lead_to", lambda own, url: None)
    monkeypatch.setenv("HARNESS_REDIS_URL", "redis://127.0.0.1:1")
    locks: list[tuple[str, int]] = []

    def take(key: str, value: int, *, nx: bool, ex: int) -> bool:
        locks.append((key, ex))
        return nx

    own = [
        of(
            "rq.queue:Queue",
            job_class=None,
            serializer=None,
            registry_cleaning_key=name,
            connection=of("r:R", set=take),
        )
        for name in ("high", "low")
    ]
    rq_worker.worker_class(own)
    assert [one.acquire_maintenance_lock() for one in own] == [True, True]
    assert locks == [("high", 5), ("low", 5)]


@pytest.mark.parametrize("retry", [None, object()])
def test_rq_promises_to_survive_a_kill_if_its_jobs_are_retried(retry: object) -> None:
    made = rq.RqApplication(
        own=QUEUE, make=lambda number: (refund, (number,), {"retry": retry}), reference=str
    )
    found = made.promises(SETTINGS)
    assert ({Loss.WORKER_KILLED, Loss.POOL_KILLED} <= found.survives) is (retry is not None)
    assert Loss.SIGTERM in found.survives
    assert "jobs" in found.quotes["worker-killed"].sentence


@pytest.mark.parametrize("signal", [None, "interrupted", "any"])
def test_huey_gives_interrupted_tasks_back_if_its_application_does(signal: str | None) -> None:
    own = a_huey()
    if signal is not None:
        own._signal.receivers[signal] = [print]
    found = huey.HueyApplication(own=own, make=lambda number: None, reference=str).promises(SETTINGS)
    assert (Loss.SIGTERM_LATE in found.survives) is (signal is not None)
    assert found.sigterm is (SigtermPromise.RELEASES if signal else SigtermPromise.DRAINS)
    assert Loss.WORKER_KILLED not in found.survives


def test_dramatiq_takes_over_after_the_lease_of_the_run() -> None:
    found = dramatiq.DramatiqApplication(own=BROKER, make=lambda number: None, reference=str)
    assert found.promises(SETTINGS).takes_over_after == SETTINGS.lease + 2.0


def test_no_application_promises_at_most_once_because_it_has_retries_of_its_own() -> None:
    found = shipped_promises("huey")
    assert found.delivery is DeliveryMode.AT_LEAST_ONCE
    assert "delivery" not in found.quotes


class Letters(OwnApplication):
    distribution = "letters"
    classes = ("builtins:list",)
    takes = "a list"

    def promises(self, settings: TargetSettings) -> Promises:
        return Promises()

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> LetterSession:
        return LetterSession(self, endpoints, settings)


class LetterSession(OwnSession):
    """A system that takes tasks of one letter, loses "lost", and whose broker is gone for "gone"."""

    def command(self, pool: str) -> list[str]:
        return [pool]

    def message(self, number: int) -> TaskMessage:
        return message_of(self.application.make, number, forms="", name_of=str)

    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        if message.name == "gone":
            raise ConnectionError("no broker")
        if message.options:
            raise TypeError("letters have no options")
        self.application.own.append((message.name, label))
        return self.activity(label.number)

    def statuses(self) -> Mapping[str, str]:
        if not self.application.own:
            raise ConnectionError("redis://:hunter2@h/ is gone")
        ended = {"done": "complete", "waits": "queued", "failed": "error"}
        return {
            self.activity(label.number): ended[name] for name, label in self.application.own if name in ended
        }

    def remove(self) -> None:
        raise ConnectionError("no broker")


def session_of(*names: str, **options: Any) -> OwnSession:
    made = {number: (name, (), options) for number, name in enumerate(names, 1)}
    return Letters.wrap([], make=made.__getitem__, reference=str, work=0.5).open(NOWHERE, SETTINGS)


def test_a_session_reports_the_tasks_that_its_system_knows() -> None:
    session = session_of("done", "waits", "lost", "gone", "failed")
    found = session.submit([TaskSpec(number=number, work=2.0, gate="g") for number in range(1, 6)])
    assert [one.activity for one in found] == ["q-1", "q-2", "q-3", None, "q-5"]
    assert [one.name for one in found] == ["done", "waits", "lost", "gone", "failed"]
    assert found[3].error == "ConnectionError: no broker"
    assert not found[3].certain
    assert session.unfinished() == 1, "a lost task does not keep the drain"
    records = [(op.value["task"], op.value["status"]) for op in session.witnesses()]
    assert records == [(1, "complete"), (2, "queued"), (5, "error")]
    label = session.application.own[0][1]
    assert (label.work, label.gate) == (0.5, "g")


@pytest.mark.parametrize(
    ("name", "title"),
    [("shop.refund", "shop.refund"), (refund, f"{__name__}.refund"), (Path, "Path"), (Path(), "PosixPath")],
)
def test_a_message_has_a_name_for_people_whatever_its_system_calls_it(name: Any, title: str) -> None:
    assert TaskMessage(name=name).title == title


def test_what_a_session_cannot_do_is_one_sentence() -> None:
    with pytest.raises(
        TargetFailed, match=r"make\(1\) gives a task that letters refuses: TypeError: letters"
    ):
        session_of("done", priority=1).submit([TaskSpec(number=1)])
    with pytest.raises(TargetFailed, match=r"The results cannot be read: .* See the log of Redis.") as failed:
        session_of().unfinished()
    assert "hunter2" not in str(failed.value)
    with pytest.raises(TargetFailed, match="The keys of the run cannot be removed: ConnectionError"):
        session_of().close()


def test_two_tasks_of_one_id_are_one_task() -> None:
    session = session_of("done", "done")
    session.activity = lambda number: "order-7"  # type: ignore[method-assign]  # as an option of `make` may choose
    first, second = session.submit([TaskSpec(number=1), TaskSpec(number=2)])
    assert first.activity == "order-7"
    assert (second.error, second.certain) == ("task 1 has the same id", True)


def server() -> redis.Redis:
    return redis.Redis(host="redis.example", port=6379)


DISPOSABLE = replace(SETTINGS, disposable=True)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            ("charge", (7,)),
            r"make\(7\) names the actor 'charge', which the broker does not have. Known: refund",
        ),
        (
            of("dramatiq.message:Message", **{**vars(MESSAGE), "options": {"redis_message_id": "1"}}),
            r"make\(7\) sent its message itself. Return refund.message",
        ),
    ],
)
def test_what_dramatiq_cannot_send_is_one_sentence(made: Any, sentence: str) -> None:
    own = of(
        "dramatiq.brokers.redis:RedisBroker",
        **{"client": server(), "middleware": [], "namespace": "dramatiq", "actors": {"refund": ACTOR}},
    )
    application = dramatiq.DramatiqApplication(own=own, make=lambda number: made, reference=str)
    session = application.open(NOWHERE, DISPOSABLE)
    assert own.namespace == "dramatiq", "the broker itself has its own namespace"
    assert own.client.connection_pool.connection_kwargs["host"] == "127.0.0.1"
    with pytest.raises(TargetFailed, match=sentence):
        session.submit([TaskSpec(number=7)])


def test_a_job_for_a_queue_without_workers_is_refused() -> None:
    own = [of("rq.queue:Queue", name=name, connection=server()) for name in ("high", "low")]
    make = {7: (refund, (7,), {"queue": "middle"})}.__getitem__
    session = rq.RqApplication(own=own, make=make, reference=str).open(NOWHERE, DISPOSABLE)
    assert session.command("pool-1")[3:6] == ["worker-pool", "high", "low"]
    assert {queue.connection.connection_pool.connection_kwargs["host"] for queue in own} == {"127.0.0.1"}
    with pytest.raises(
        TargetFailed, match=r"names the queue 'middle', which app\(\) did not get. Known: high, low"
    ):
        session.submit([TaskSpec(number=7)])
