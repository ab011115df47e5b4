"""The workers of a huey application under test: its own tasks, wrapped, on the Redis of the run or in its folder.

`huey_consumer` imports this module, with `huey` in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.kit.harness_worker import settings
from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.base import class_of, imported
from harness.targets.applications.huey import ENV_FOLDER, LABEL_ATTRIBUTE, note_end, put_on
from harness.targets.wrapped_handler import TaskLabel, WrappedRun

_NAME = "harness"


def wrapped(own: Any) -> Any:
    """The Huey on the Redis or in the folder of the run, with every task wrapped that it takes."""
    put_on(own, url=settings.redis_url, queue=settings.queue, folder=Path(os.environ[ENV_FOLDER]))
    deserialize = own.deserialize_task

    def deserialize_task(data: Any) -> Any:
        task = deserialize(data)
        task.execute = _wrapped_run(own, task)
        return task

    def note_failed(task: Any, _: Any, error: BaseException | None) -> None:
        if error is not None and not task.retries:
            canceled = isinstance(error, imported("huey.exceptions").CancelExecution)
            note(own, task, "canceled" if canceled else "error")

    def note_canceled(_: str, task: Any) -> None:
        note(own, task, "canceled")

    own.deserialize_task = deserialize_task
    own.on_startup(_NAME)(body.say_hello)
    own.post_execute(_NAME)(note_failed)
    own.signal("expired", "revoked")(note_canceled)
    return own


def note(own: Any, task: Any, status: str) -> None:
    """Note how a task of the run ended."""
    if TaskLabel.from_value(getattr(task, LABEL_ATTRIBUTE, None)) is not None:
        note_end(own, str(task.id), status)


def _wrapped_run(own: Any, task: Any) -> Callable[[], Any]:
    execute, label = task.execute, getattr(task, LABEL_ATTRIBUTE)
    periodic = class_of(task, "huey.api:PeriodicTask") is not None

    def run() -> Any:
        recorded = WrappedRun.of(
            label,
            name=task.name,
            activity=str(task.id),
            attempt=None,
            scheduled=periodic,
        )
        result = recorded.call(execute)
        note(own, task, "complete")
        return result

    return run


if ENV_APPLICATION in os.environ:
    huey = wrapped(own_application())
