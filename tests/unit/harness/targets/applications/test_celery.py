"""The forms in which a Celery application may make its tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.errors import TargetFailed, UsageError
from harness.targets.applications.celery import _FORMS, CelerySession, name_of, own_form, queues_of
from harness.targets.applications.message import Make, TaskMessage, message_of
from harness.targets.wrapped_handler import TaskLabel
from harness.testing import app

SIGNATURE = SimpleNamespace(
    task="refund", args=(7,), kwargs={"cents": 1}, options={"priority": 3}, apply_async=lambda: None
)


def made(make: Make) -> TaskMessage:
    return message_of(make, 7, forms=_FORMS, name_of=name_of, own_form=own_form)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (SIGNATURE, ("refund", (7,), {"cents": 1}, {"priority": 3})),
        (("refund", (7,)), ("refund", (7,), {}, {})),
        ((SimpleNamespace(name="refund"), [7]), ("refund", (7,), {}, {})),
        (("refund", {"order": 7}), ("refund", (), {"order": 7}, {})),
        (("refund", (7,), {"countdown": 2}), ("refund", (7,), {}, {"countdown": 2})),
        (("refund", {"order": 7}, {"queue": "q"}), ("refund", (), {"order": 7}, {"queue": "q"})),
    ],
)
def test_make_may_give_a_signature_or_a_task_with_arguments(given: Any, message: Any) -> None:
    found = made(lambda number: given)
    assert (found.name, found.args, found.kwargs, found.options) == message


@pytest.mark.parametrize(
    "given", [None, "refund", ("refund",), ("refund", 7), ("refund", (7,), 5), (1, (2,)), (None, ())]
)
def test_make_may_give_nothing_else(given: Any) -> None:
    with pytest.raises(
        TargetFailed, match=r"make\(7\) returned \w+. Return a signature such as refund.s\(order\)"
    ):
        made(lambda number: given)


def refuse(number: int) -> None:
    raise KeyError(number)


def test_make_that_raises_is_named_with_its_number() -> None:
    with pytest.raises(TargetFailed, match=r"make\(7\) raised KeyError: 7. Correct it."):
        made(refuse)


def test_workers_take_every_queue_that_the_application_names() -> None:
    tasks = {"a": SimpleNamespace(queue="of-task"), "b": SimpleNamespace(queue=None)}

    def application(**conf: Any) -> Any:
        given = {"task_routes": None, "task_queues": None, "task_default_queue": "celery", **conf}
        return SimpleNamespace(conf=SimpleNamespace(**given), tasks=tasks)

    queues = (SimpleNamespace(name="declared"),)
    assert queues_of(application()) == ["celery", "of-task"]
    assert queues_of(application(task_queues=queues)) == ["declared", "of-task"]
    routes = {"shop.*": {"queue": "shop"}, "note": "notes", "none": {"priority": 3}}
    assert queues_of(application(task_routes=routes)) == ["celery", "notes", "of-task", "shop"]
    assert queues_of(application(task_routes=[("a.*", {"queue": "a"}), lambda *a, **k: None])) == [
        "a",
        "celery",
        "of-task",
    ]


@pytest.mark.parametrize(("queue", "is_served"), [("shop", True), (SimpleNamespace(name="other"), False)])
def test_a_task_goes_to_a_queue_that_the_workers_take(queue: object, is_served: bool) -> None:
    """A route by a function sent tasks to a queue without a worker, and the run called them lost."""
    conf = SimpleNamespace(task_routes=None, task_queues=None, task_default_queue="shop")
    router = SimpleNamespace(route=lambda *given: {"queue": queue})
    sent: list[str] = []
    session: Any = SimpleNamespace(
        application=SimpleNamespace(own=SimpleNamespace(conf=conf, tasks={})),
        activity=lambda number: f"q-{number}",
        _client=SimpleNamespace(
            amqp=SimpleNamespace(router=router), send_task=lambda name, *args, **options: sent.append(name)
        ),
    )
    label = TaskLabel(number=7)
    if is_served:
        assert CelerySession.send(session, TaskMessage(name="refund"), label) == "q-7"
    else:
        named = r"make\(7\) sends to the queue 'other', .* They serve shop. Declare it in task_queues."
        with pytest.raises(TargetFailed, match=named):
            CelerySession.send(session, TaskMessage(name="refund"), label)
    assert sent == ["refund"] * is_served


def test_another_object_of_celery_is_refused() -> None:
    kind = type("Task", (), {"__module__": "celery.app.task"})
    with pytest.raises(UsageError, match=r"app\(\) takes a Celery application, not Task"):
        app(kind(), make=lambda number: number)


def test_a_task_is_one_of_the_application_or_of_the_modules_that_its_workers_import() -> None:
    tasks: dict[str, object] = {}

    def imported() -> None:
        tasks["shop.refund"] = None

    own = SimpleNamespace(tasks=tasks, loader=SimpleNamespace(import_default_modules=imported))

    def message(name: str) -> TaskMessage:
        application = SimpleNamespace(own=own, make=lambda number: (name, (number,)))
        return CelerySession.message(cast(CelerySession, SimpleNamespace(application=application)), 7)

    assert message("shop.refund").name == "shop.refund"
    with pytest.raises(TargetFailed, match=r"make\(7\) names the task 'shop.refnd', .* Known: shop.refund."):
        message("shop.refnd")
