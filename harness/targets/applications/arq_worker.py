"""The worker of an application of arq under test: its own functions, wrapped, on the Redis of the run.

`arq` imports `worker_settings` from this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from harness.kit.harness_worker import settings
from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.arq import (
    NUMBERED,
    functions_of,
    queue_of,
    queue_of_run,
    seconds,
    settings_of,
    silence_seconds,
)
from harness.targets.applications.asynchronous import KEPT_SECONDS
from harness.targets.applications.base import imported
from harness.targets.wrapped_handler import LABEL, WrappedRun, label_of_child


def wrapped(own: Any) -> dict[str, Any]:
    """The settings of the application on the servers of the run, with its functions wrapped."""
    given = dict(settings_of(own))
    redis = imported("arq.connections").RedisSettings.from_dsn(settings.redis_url)
    mine = given.get("redis_settings")
    if mine is not None:
        # Connections that functions open with the settings of the application lead to the run too.
        vars(mine).update(vars(redis))
    given.pop("redis_pool", None)
    keep = seconds(given.get("keep_result", KEPT_SECONDS))
    functions = [_wrapped(one, keep) for one in functions_of(own).values()]
    given |= {
        # Without its result no task of the run has an end, so all of these are kept.
        "functions": [
            *functions,
            *(replace(one, name=NUMBERED + one.name, keep_result_s=None) for one in functions),
        ],
        "cron_jobs": [_wrapped(one, keep) for one in given.get("cron_jobs") or ()],
        "redis_settings": mine or redis,
        "queue_name": queue_of_run(settings.queue, queue_of(own)),
        "max_jobs": settings.concurrency,
        "keep_result": max(KEPT_SECONDS, keep),
        "on_startup": _saying_hello(given.get("on_startup")),
    }
    if given.get("job_completion_wait"):
        given["job_completion_wait"] = int(settings.graceful)
    _let_jobs_stay_in_the_run()
    _let_keys_expire_soon(int(silence_seconds(own, settings.lease) * 1000))
    return given


def _wrapped(function: Any, keep: float) -> Any:
    """A function or a cron job of arq whose runs are recorded; `keep` is for how long the application keeps results."""
    own = function.coroutine

    @wraps(own)
    async def recorded(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        run = WrappedRun.of(
            kwargs.pop(LABEL, None),
            name=function.name,
            activity=ctx["job_id"],
            attempt=ctx["job_try"],
            scheduled=hasattr(function, "calculate_next"),
        )
        return await run.call_async(lambda: own(ctx, *args, **kwargs))

    kept = function.keep_result_s
    return replace(function, coroutine=recorded, keep_result_s=keep if kept is None else kept)


def _saying_hello(own: Callable[..., Any] | None) -> Callable[..., Any]:
    async def on_startup(ctx: Any) -> None:
        if own is not None:
            await own(ctx)
        body.say_hello()

    return on_startup


def _let_jobs_stay_in_the_run() -> None:
    """Let each job that a function enqueues go to the queue of the run, with the label that it has there."""
    redis = imported("arq.connections").ArqRedis
    own = redis.enqueue_job

    @wraps(own)
    async def enqueue_job(self: Any, function: str, *args: Any, **given: Any) -> Any:
        name = given.pop("_queue_name", None) or self.default_queue_name
        if (label := label_of_child()) is not None:
            given[LABEL] = label
        return await own(self, function, *args, _queue_name=queue_of_run(settings.queue, name), **given)

    redis.enqueue_job = enqueue_job


def _let_keys_expire_soon(milliseconds: int) -> None:
    """Let the key of a running job expire so soon after the end of its worker, which renews it until then."""
    module, prefix = imported("arq.worker"), imported("arq.constants").in_progress_key_prefix
    own = module.create_worker

    @wraps(own)
    def create_worker(*args: Any, **given: Any) -> Any:
        worker = own(*args, **given)
        worker.in_progress_timeout_s = milliseconds / 1000
        beat = worker.heart_beat

        async def heart_beat() -> None:
            async with worker.pool.pipeline(transaction=False) as together:
                for job in list(worker.tasks):
                    together.pexpire(f"{prefix}{job}", milliseconds)
                await together.execute()
            await beat()

        worker.heart_beat = heart_beat
        return worker

    module.create_worker = create_worker


if ENV_APPLICATION in os.environ:
    worker_settings = wrapped(own_application())
