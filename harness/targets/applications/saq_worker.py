"""The worker of an application of SAQ under test: its own functions, wrapped, on the Redis of the run.

`saq` imports `worker_settings` from this module.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from harness.kit.harness_worker import settings
from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.redis_database import repoint
from harness.targets.applications.saq import functions_of, on_run, settings_of
from harness.targets.wrapped_handler import LABEL, WrappedRun, label_of_child


def wrapped(own: Any) -> dict[str, Any]:
    """The settings of the application on the servers of the run, with its functions wrapped."""
    given = dict(settings_of(own) or {})
    scheduled = {one.function.__qualname__ for one in given.get("cron_jobs") or ()}
    functions = {
        name: _wrapped(name, one, scheduled=name in scheduled) for name, one in functions_of(given).items()
    }
    timers = given.get("timers") or {}
    startup = given.get("startup") or ()
    redis = given["queue"].redis
    repoint(redis.connection_pool, settings.redis_url)
    given["queue"] = on_run(given["queue"], redis, settings.queue)
    given["queue"].register_before_enqueue(_label_child)
    given |= {
        "functions": list(functions.items()),
        "cron_jobs": [
            replace(one, function=functions[one.function.__qualname__])
            for one in given.get("cron_jobs") or ()
        ],
        "concurrency": settings.concurrency,
        "startup": [*((startup,) if callable(startup) else startup), _say_hello],
        # SAQ takes whole seconds.
        "timers": {**timers, "sweep": max(1, int(min(timers.get("sweep", settings.lease), settings.lease)))},
    }
    if given.get("shutdown_grace_period_s"):
        given["shutdown_grace_period_s"] = int(settings.graceful)
    return given


async def _label_child(job: Any) -> None:
    if (label := label_of_child()) is not None:
        job.meta[LABEL] = label


def _wrapped(name: str, own: Callable[..., Any], *, scheduled: bool) -> Callable[..., Any]:
    """A function of SAQ whose runs are recorded; SAQ runs one that is no coroutine function in a thread."""

    def run_of(context: Any) -> WrappedRun:
        job = context["job"]
        label = job.meta.get(LABEL)
        return WrappedRun.of(label, name=name, activity=job.key, attempt=job.attempts, scheduled=scheduled)

    if inspect.iscoroutinefunction(own):

        @wraps(own)
        async def recorded(context: Any, **kwargs: Any) -> Any:
            return await run_of(context).call_async(lambda: own(context, **kwargs))

        return recorded

    @wraps(own)
    def recorded_in_thread(context: Any, **kwargs: Any) -> Any:
        return run_of(context).call(lambda: own(context, **kwargs))

    return recorded_in_thread


async def _say_hello(_: Any) -> None:
    body.say_hello()


if ENV_APPLICATION in os.environ:
    worker_settings = wrapped(own_application())
