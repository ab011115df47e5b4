"""An application of SAQ as a target: its worker settings, a dict, on the Redis of a run.

The queue has the name of the run's queue as its prefix. The label of a task is in `meta` of its job.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.targets.applications.asynchronous import (
    KEPT_SECONDS,
    AsynchronousApplication,
    AsynchronousSession,
    require_options,
    survived,
)
from harness.targets.applications.base import class_of, imported, shipped_promises
from harness.targets.applications.message import Make, TaskMessage, message_of, require_known
from harness.targets.applications.settings import system_of
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel

_FORMS = "a saq.Job, (function, kwargs) or (function, kwargs, options), where kwargs are a dict"
_QUEUE = "saq.queue.base:Queue"
_REDIS_QUEUE = "saq.queue.redis:RedisQueue"
_JOB = "saq.job:Job"
_TIMEOUT_SECONDS, _SWEEP_SECONDS = 10.0, 60.0  # the defaults of SAQ
_LATER_SECONDS = {Loss.WORKER_KILLED: 14.0, Loss.POOL_KILLED: 24.0}
"""What an interrupted job waits for beyond its time-out and the sweep: 5 s for each one that is swept before it."""
_STATUSES = {
    **{"new": "queued", "queued": "queued", "active": "running", "aborting": "running"},
    **{"complete": "complete", "failed": "error", "aborted": "canceled"},
}
# What the harness decides, or what a job has only once it is enqueued.
_NOT_OPTIONS = ("function", "kwargs", "queue", "key", "status", "meta")


def settings_of(own: Any) -> dict[str, Any] | None:
    """The worker settings that a value is, a dict, or those of a queue, which a dict of some module has."""
    if class_of(own, _QUEUE, _REDIS_QUEUE) is not None:
        return next(_settings_with(own), None)
    return own if isinstance(own, dict) and system_of(own) == "saq" else None


def _settings_with(queue: Any) -> Any:
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if isinstance(value, dict) and value.get("queue") is queue and system_of(value) == "saq":
                yield value


def functions_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The functions of the settings by name, those of its cron jobs included."""
    functions = [*(given.get("functions") or ()), *(one.function for one in given.get("cron_jobs") or ())]
    return dict(one if isinstance(one, tuple) else (one.__qualname__, one) for one in functions)


def on_run(queue: Any, redis: Any, run: str) -> Any:
    """Let a queue use this client of Redis, under the name of a run; returns the queue.

    It keeps its serializers and what it does before it enqueues.
    """
    hooks = queue._before_enqueues
    name = queue.name if queue.name.startswith(f"{run}:") else f"{run}:{queue.name}"
    kept = {"dump": queue._dump, "load": queue._load, "swept_error_message": queue.swept_error_message}
    vars(queue).update(vars(type(queue)(redis, name=name, **kept)), _before_enqueues=hooks)
    return queue


@dataclass(frozen=True, kw_only=True)
class SaqApplication(AsynchronousApplication):
    """The worker settings of SAQ, whose jobs `make` makes."""

    distribution = "saq"
    classes = ()
    takes = "the worker settings of SAQ"

    @classmethod
    def wrap(cls, value: Any, *, make: Make, reference: Callable[[], str], work: float | None) -> Self:
        """Wrap worker settings or their queue; raises `UsageError` for another object, or a queue without Redis."""
        found = settings_of(value)
        if found is None:
            raise UsageError(
                f"app() takes {cls.takes}, not {type(value).__name__}. "
                "Pass the dict with the queue and the functions."
            )
        if class_of(found.get("queue"), _REDIS_QUEUE) is None:
            raise UsageError(
                f"app() runs SAQ on Redis, not {type(found.get('queue')).__name__}. Give the settings a RedisQueue."
            )
        return cls(own=found, make=make, reference=reference, work=work)

    @property
    def task_names(self) -> Collection[str]:
        return functions_of(self.own).keys()

    def message(self, number: int) -> TaskMessage:
        """What `make` gives for a number; raises `TargetFailed`."""
        functions = functions_of(self.own)

        def name_of(given: Any) -> str | None:
            if isinstance(given, str):
                return given
            return next((name for name, one in functions.items() if given is one), None)

        made = message_of(self.make, number, forms=_FORMS, name_of=name_of, own_form=_own_form)
        require_known(made.name, functions, number)
        require_options(made, imported("saq").Job.__dataclass_fields__, number)
        if made.args:
            raise TargetFailed(
                f"make({number}) gives arguments without names, which SAQ does not take. Return {_FORMS}."
            )
        return made

    def promises(self, settings: TargetSettings) -> Promises:
        """What SAQ promises for the first job that `make` gives.

        A job has one attempt, or as many as its `retries`. The sweep finds one that is active past its time-out, or
        without a heartbeat for too long.
        """
        first = self.first()
        options = first.options if first else {}
        again = int(options.get("retries", 1)) > 1
        waits = (options.get("timeout", _TIMEOUT_SECONDS), options.get("heartbeat", 0))
        stuck = min((float(one) for one in waits if one), default=None)
        shipped = shipped_promises("saq", "retries" if again else "")
        survives = set(shipped.survives)
        if stuck is None:
            survives -= {Loss.WORKER_KILLED, Loss.POOL_KILLED, Loss.WORKER_PAUSED}
        sweep = min(float((self.own.get("timers") or {}).get("sweep", _SWEEP_SECONDS)), settings.lease)
        killed = survives & _LATER_SECONDS.keys()
        grace = self.own.get("shutdown_grace_period_s")
        return replace(
            shipped,
            survives=survived(frozenset(survives)),
            recovers_within={one: (stuck or 0) + sweep + _LATER_SECONDS[one] for one in sorted(killed)},
            takes_over_after=None if stuck is None else stuck + sweep,
            queue=False,
            sigterm=SigtermPromise.RELEASES if grace else SigtermPromise.STOPS,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> SaqSession:
        return SaqSession(self, endpoints, settings)


def _own_form(made: Any) -> TaskMessage | None:
    """The message of a job with the options that are not SAQ's defaults; None for anything else."""
    if class_of(made, _JOB) is None:
        return None
    options = {name: value for name, value in made.to_dict().items() if name not in _NOT_OPTIONS}
    meta = {"meta": dict(made.meta)} if made.meta else {}
    return TaskMessage(name=made.function, kwargs=dict(made.kwargs or {}), options=options | meta)


class SaqSession(AsynchronousSession):
    """The workers of an application of SAQ, and its queue on the Redis of the run."""

    async def connect(self) -> None:
        redis = imported("redis.asyncio").Redis.from_url(self.endpoints.redis_url)
        self._queue = on_run(copy(self.application.own["queue"]), redis, self.settings.queue)
        await self._queue.connect()
        await self._queue.redis.ping()

    def worker(self) -> list[str]:
        return ["saq", "harness.targets.applications.saq_worker.worker_settings", "-v"]

    async def sent(self, message: TaskMessage, activity: str, label: TaskLabel) -> None:
        options = {"ttl": KEPT_SECONDS, **message.options}
        if options["ttl"]:  # 0 is for ever
            options["ttl"] = max(KEPT_SECONDS, options["ttl"])
        meta = {**options.pop("meta", {}), LABEL: label.to_value()}
        job = imported("saq").Job(message.name, kwargs=dict(message.kwargs), **{**options, "key": activity})
        job.meta = meta
        await self._queue.enqueue(job)

    async def found(self, activities: list[str]) -> dict[str, str]:
        jobs = await self._queue.jobs(activities)
        return {
            activity: _STATUSES[job.status.value]
            for activity, job in zip(activities, jobs, strict=True)
            if job is not None
        }

    async def removed(self) -> None:
        try:
            if keys := await self.keys(self._queue.redis):
                await self._queue.redis.delete(*keys)
        finally:
            await self._queue.disconnect()
