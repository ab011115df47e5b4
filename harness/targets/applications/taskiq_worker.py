"""The workers of an application of taskiq under test: its own tasks, wrapped, on the Redis of the run.

`taskiq worker` imports `broker` and `RecordingReceiver` from this module.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from harness.kit.harness_worker import settings
from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.base import imported
from harness.targets.applications.redis_database import repoint
from harness.targets.applications.taskiq import on_run
from harness.targets.wrapped_handler import LABEL, WrappedRun, label_of_child


def wrapped(own: Any) -> Any:
    """The broker on the servers of the run, whose workers say hello once they have started."""
    events = imported("taskiq").TaskiqEvents
    repoint(own.connection_pool, settings.redis_url)
    label_children(own.formatter)
    own.add_event_handler(events.WORKER_STARTUP, _say_hello)
    return on_run(own, settings.redis_url, settings.queue, settings.lease)


def label_children(formatter: Any) -> None:
    """Let each message that a run of a schedule sends carry its label."""
    own = formatter.dumps

    def dumps(message: Any) -> Any:
        if (label := label_of_child()) is not None:
            message.labels = {**message.labels, LABEL: json.dumps(label)}
        return own(message)

    formatter.dumps = dumps


def receiver() -> type[Any]:
    """The class of receivers of taskiq whose runs of tasks are recorded."""
    base: type[Any] = imported("taskiq.receiver").Receiver

    class RecordingReceiver(base):  # type: ignore[misc]  # the class of an installed taskiq
        """Runs each task inside of the middlewares and with the dependencies of the application, and records it."""

        async def run_task(self, target: Callable[..., Any], message: Any, *args: Any, **kwargs: Any) -> Any:
            return await super().run_task(_wrapped(target, message), message, *args, **kwargs)

    return RecordingReceiver


def _wrapped(own: Callable[..., Any], message: Any) -> Callable[..., Any]:
    """A task of taskiq that records its run; taskiq runs one that is no coroutine function in a thread."""
    run = WrappedRun.of(
        json.loads(message.labels.get(LABEL) or "null"),
        name=message.task_name,
        activity=message.task_id,
        # The message has the number of the retries alone, and a stream delivers each of them again.
        attempt=None,
        # A scheduler of taskiq adds the label `schedule_id`.
        scheduled="schedule_id" in message.labels,
    )
    if inspect.iscoroutinefunction(own):

        @wraps(own)
        async def recorded(*args: Any, **kwargs: Any) -> Any:
            return await run.call_async(lambda: own(*args, **kwargs))

        return recorded

    @wraps(own)
    def recorded_in_thread(*args: Any, **kwargs: Any) -> Any:
        return run.call(lambda: own(*args, **kwargs))

    return recorded_in_thread


def _say_hello(_: Any) -> None:
    body.say_hello()


if ENV_APPLICATION in os.environ:
    broker = wrapped(own_application())
    RecordingReceiver = receiver()
