"""An application of arq as a target: its worker settings, a class or a dict, on the Redis of a run.

The queue and the ids of the jobs have the name of the run's queue as their prefix. The label of a task is a keyword
argument of its job, which the function does not see.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from harness.environments.base import Endpoints
from harness.errors import UsageError
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.targets.applications.asynchronous import (
    AsynchronousApplication,
    AsynchronousSession,
    require_options,
    survived,
)
from harness.targets.applications.base import imported, shipped_promises
from harness.targets.applications.message import Make, TaskMessage, message_of, require_known, require_served
from harness.targets.applications.settings import system_of
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel

_FORMS = "(function, args) or (function, args, options), where args are a list or a dict"
_OPTIONS = ("_queue_name", "_defer_until", "_defer_by", "_expires", "_job_try", "_job_id")
_DEFAULT_QUEUE = "arq:queue"
_DEFAULT_TRIES = 5
_DEFAULT_POLL_SECONDS = 0.5
_MARGIN_SECONDS = 2.5
"""What an interrupted job waits for beyond the end of its key and the next poll."""
NUMBERED = f"{LABEL}:"
"""What begins the names of functions for the tasks of a run, whose results are kept longer than those of other jobs."""

_STATUSES = {"deferred": "queued", "queued": "queued", "in_progress": "running"}


def settings_of(own: Any) -> Mapping[str, Any]:
    """The settings by name. Like arq, it leaves out what a class inherits."""
    return own if isinstance(own, dict) else vars(own)


def functions_of(own: Any) -> dict[str, Any]:
    """The functions of the settings by name, as arq's own `Function`."""
    func = imported("arq.worker").func
    return {one.name: one for one in map(func, settings_of(own).get("functions") or ())}


def queue_of(own: Any) -> str:
    """The queue that the settings serve."""
    given = settings_of(own)
    pool = given.get("redis_pool")
    return str(given.get("queue_name") or getattr(pool, "default_queue_name", None) or _DEFAULT_QUEUE)


def seconds(given: Any) -> float:
    """A time of arq, which is a number of seconds or a timedelta."""
    return float(getattr(given, "total_seconds", lambda: given)())


def poll_seconds(own: Any) -> float:
    """How often a worker looks for jobs."""
    return seconds(settings_of(own).get("poll_delay", _DEFAULT_POLL_SECONDS))


def silence_seconds(own: Any, lease: float) -> float:
    """For how long the key of a running job outlives its worker: the lease of a run, or more if workers look seldom.

    arq has it expire after the longest time-out of a job and ten seconds, so that it outlives every job. In a run, a
    worker renews the keys of its jobs whenever it looks for jobs.
    """
    return max(lease, 2 * poll_seconds(own))


def queue_of_run(run: str, name: str) -> str:
    """The queue of a run in the place of one that the application names."""
    return name if name.startswith(f"{run}:") else f"{run}:{name}"


@dataclass(frozen=True, kw_only=True)
class ArqApplication(AsynchronousApplication):
    """The worker settings of arq, whose jobs `make` makes."""

    distribution = "arq"
    classes = ()
    takes = "the worker settings of arq"

    @classmethod
    def wrap(cls, value: Any, *, make: Make, reference: Callable[[], str], work: float | None) -> Self:
        """Wrap worker settings; raises `UsageError` for another object."""
        if system_of(value) != "arq":
            raise UsageError(
                f"app() takes {cls.takes}, not {type(value).__name__}. Pass the class with the functions."
            )
        try:
            imported("arq.worker")
        except ImportError:
            raise UsageError(
                f"app() takes {value.__name__ if isinstance(value, type) else 'the dict'} for {cls.takes}, "
                "which is not installed. Install arq, or pass what runs the application."
            ) from None
        return cls(own=value, make=make, reference=reference, work=work)

    @property
    def task_names(self) -> Collection[str]:
        return functions_of(self.own).keys()

    def message(self, number: int) -> TaskMessage:
        """What `make` gives for a number; raises `TargetFailed`."""
        functions = functions_of(self.own)

        def name_of(given: Any) -> str | None:
            if isinstance(given, str):
                return given
            return next((name for name, one in functions.items() if given in (one, one.coroutine)), None)

        made = message_of(self.make, number, forms=_FORMS, name_of=name_of)
        require_known(made.name, functions, number)
        require_options(made, _OPTIONS, number)
        served = queue_of(self.own)
        require_served("queue", made.options.get("_queue_name", served), [served], number)
        return made

    def promises(self, settings: TargetSettings) -> Promises:
        """What arq promises under the tries and waits of the settings.

        A job stays in the queue until it ends. Another worker takes it once the key of its run has expired. A job with
        one try, of the function that `make` names first, is not run a second time.
        """
        given = settings_of(self.own)
        shipped = shipped_promises("arq")
        survives = set(shipped.survives)
        waits = bool(given.get("job_completion_wait"))
        most = given.get("max_tries", _DEFAULT_TRIES)
        first = self.first()
        own = functions_of(self.own)[first.name].max_tries if first else None
        once = (most if own is None else own) <= 1
        if once:
            survives -= {Loss.WORKER_KILLED, Loss.POOL_KILLED}
        if once or not given.get("retry_jobs", True):  # a job that is stopped has no other run
            survives -= {Loss.SIGTERM_LATE} if waits else {Loss.SIGTERM, Loss.SIGTERM_LATE}
        killed = survives & {Loss.WORKER_KILLED, Loss.POOL_KILLED}
        poll, silence = poll_seconds(self.own), silence_seconds(self.own, settings.lease)
        return replace(
            shipped,
            survives=survived(frozenset(survives)),
            recovers_within=dict.fromkeys(sorted(killed), silence + poll + _MARGIN_SECONDS),
            takes_over_after=silence,
            queue=False,
            sigterm=SigtermPromise.RELEASES if waits else SigtermPromise.STOPS,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> ArqSession:
        return ArqSession(self, endpoints, settings)


class ArqSession(AsynchronousSession):
    """The workers of an application of arq, and a client with its serializers."""

    async def connect(self) -> None:
        connections = imported("arq.connections")
        given = settings_of(self.application.own)
        names = ("job_serializer", "job_deserializer", "expires_extra_ms")
        self._queue = queue_of_run(self.settings.queue, queue_of(self.application.own))
        self._redis = await connections.create_pool(
            connections.RedisSettings.from_dsn(self.endpoints.redis_url),
            default_queue_name=self._queue,
            **{name: given[name] for name in names if name in given},
        )

    def worker(self) -> list[str]:
        return ["arq", "harness.targets.applications.arq_worker.worker_settings"]

    async def sent(self, message: TaskMessage, activity: str, label: TaskLabel) -> None:
        given = {**message.options, "_job_id": activity, "_queue_name": self._queue}
        given |= {**message.kwargs, LABEL: label.to_value()}
        await self._redis.enqueue_job(NUMBERED + message.name, *message.args, **given)

    async def found(self, activities: list[str]) -> dict[str, str]:
        jobs = imported("arq.jobs")
        constants = imported("arq.constants")
        keys = [constants.result_key_prefix + one for one in activities]
        found = {}
        for activity, ended in zip(activities, await self._redis.mget(keys), strict=True):
            if ended is not None:
                result = jobs.deserialize_result(ended, deserializer=self._redis.job_deserializer)
                found[activity] = "complete" if result.success else "error"
                continue
            status = await jobs.Job(activity, self._redis, self._queue).status()
            if status.value in _STATUSES:
                found[activity] = _STATUSES[status.value]
        return found

    async def removed(self) -> None:
        try:
            if keys := await self.keys(self._redis):
                await self._redis.delete(*keys)
        finally:
            await self._redis.close(close_connection_pool=True)
