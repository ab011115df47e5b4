"""The worker of an application of streaq under test: its own tasks, wrapped, on the Redis of the run.

`streaq run` imports `worker` from this module.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from harness.kit.harness_worker import settings
from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.asynchronous import KEPT_SECONDS
from harness.targets.applications.streaq import idle_seconds, on_run
from harness.targets.wrapped_handler import LABEL, WrappedRun, label_of_child

# The label of the task whose data streaq has read in this task of the event loop.
_label: ContextVar[Any] = ContextVar("harness_task_label", default=None)


def wrapped(own: Any) -> Any:
    """The worker on the servers of the run, with its tasks wrapped."""
    on_run(own, settings.redis_url, settings.queue)
    own.concurrency = settings.concurrency
    own.prefetch = 2 * settings.concurrency
    own.idle_timeout = int(idle_seconds(own, settings.lease) * 1000)
    if own.grace_period:
        own.grace_period = int(settings.graceful)
    own.lifespan = _saying_hello(own.lifespan)
    own.deserializer = _reading_labels(own.deserializer)
    own.serializer = _labelling(own.serializer)
    for task in own.registry.values():
        task.runner = _wrapped(task, task.runner)
        if task.ttl is not None:
            task.ttl = max(KEPT_SECONDS, int(getattr(task.ttl, "total_seconds", lambda ttl=task.ttl: ttl)()))
    return own


def _wrapped(task: Any, own: Callable[..., Any]) -> Callable[..., Any]:
    """What runs a task, inside of the middlewares; a direct call of the task in another one is not recorded."""

    @wraps(own)
    async def recorded(*args: Any, **kwargs: Any) -> Any:
        context = task.context
        run = WrappedRun.of(
            _label.get(),
            name=task.fn_name,
            activity=context.task_id,
            attempt=context.tries,
            scheduled=task.crontab is not None,
        )
        return await run.call_async(lambda: own(*args, **kwargs))

    return recorded


def _labelling(own: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A serializer, sync or async, that labels the data of a task which a run of a schedule enqueues."""

    def serializer(data: Any) -> Any:
        if isinstance(data, dict) and {"f", "a", "k"} <= data.keys() and (label := label_of_child()):
            data = {LABEL: label, **data}
        return own(data)

    return serializer


def _reading_labels(own: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A deserializer that keeps the label of the data of a task, which streaq reads before it runs the task."""

    def read(data: Any) -> Any:
        if isinstance(data, dict) and {"f", "a", "k"} <= data.keys():
            _label.set(data.get(LABEL))
        return data

    if inspect.iscoroutinefunction(own):

        async def reading_async(raw: Any) -> Any:
            return read(await own(raw))

        return reading_async
    return lambda raw: read(own(raw))


@asynccontextmanager
async def _saying_hello(own: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    async with own as context:
        body.say_hello()
        yield context


if ENV_APPLICATION in os.environ:
    worker = wrapped(own_application())
