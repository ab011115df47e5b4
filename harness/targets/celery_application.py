"""An application of Celery as a target: its own tasks and configuration, on the Redis of a run.

Every key of broker and results has the name of the run's queue as its prefix, so the queues keep their names. Celery is
imported from the environment of the application, which the harness does not require.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.environments.base import Endpoints
from harness.errors import FOREIGN_ERRORS, TargetFailed, UsageError, describe_error
from harness.history import Operation, OperationType
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.targets.application_reference import ENV_APPLICATION, environment_on
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.body import worker_environment
from harness.targets.subprocess_pool import SubprocessPool
from harness.targets.wrapped_handler import LABEL, TaskLabel

ENV_CONFIGURATION = "HARNESS_CELERY"
"""The environment variable with the configuration of a run, as JSON."""

# What decides to which queue a task goes, and in which form.
_ROUTING = (
    *(
        "task_routes",
        "task_queues",
        "task_default_queue",
        "task_default_exchange",
        "task_default_routing_key",
    ),
    *("task_default_priority", "task_queue_max_priority", "task_serializer", "accept_content"),
    *("result_serializer", "result_accept_content", "task_protocol"),
)
# Options of a task's registration that its messages have.
_OF_TASKS = ("queue", "exchange", "routing_key", "priority", "expires", "serializer", "compression")
# Celery takes these variables over what the code of an application says.
_ADDRESSES = (
    "CELERY_BROKER_URL",
    "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_WRITE_URL",
    "CELERY_RESULT_BACKEND",
)
_STATUSES = {
    **{"SUCCESS": "complete", "FAILURE": "error", "REVOKED": "canceled", "STARTED": "running"},
    **{"RETRY": "queued", "RECEIVED": "queued", "PENDING": "queued"},
}
_TERMINAL = ("SUCCESS", "FAILURE", "REVOKED")
_FORMS = "a signature such as refund.s(order), (name, args) or (name, args, options), where args are a list or a dict"


def _class_of(value: object) -> type | None:
    """Celery's own class of an application; None for any other object."""
    kinds = (
        kind
        for kind in type(value).__mro__
        if (kind.__module__, kind.__name__) == ("celery.app.base", "Celery")
    )
    return next(kinds, None)


def queues_of(own: Any) -> list[str]:
    """The queues that an application names: its default, its declared queues, those of routes and of single tasks."""
    routes = own.conf.task_routes or ()
    pairs = routes if isinstance(routes, list | tuple) else (routes,)
    targets = [target for one in pairs if isinstance(one, Mapping) for target in one.values()]
    targets += [one[1] for one in pairs if isinstance(one, list | tuple) and len(one) == 2]
    declared = own.conf.task_queues or ()
    named = [
        *([own.conf.task_default_queue] if not declared else []),
        *declared,
        *(target.get("queue") if isinstance(target, Mapping) else target for target in targets),
        *(getattr(task, "queue", None) for task in own.tasks.values()),
    ]
    return sorted({str(getattr(one, "name", one)) for one in named if one})


def configuration(own: Any, settings: TargetSettings) -> dict[str, Any]:
    """What a run changes in the configuration of an application: JSON values by name."""
    prefix = {"global_keyprefix": f"{settings.queue}:"}
    late = {"visibility_timeout": settings.lease} if own.conf.task_acks_late else {}
    return {
        "broker_transport_options": {**(own.conf.broker_transport_options or {}), **prefix, **late},
        "result_backend_transport_options": {**(own.conf.result_backend_transport_options or {}), **prefix},
        # The record of a task, without which no task has an end.
        "task_ignore_result": False,
        "task_track_started": True,
        "broker_connection_retry_on_startup": True,
    }


@dataclass(frozen=True, kw_only=True)
class CeleryApplication:
    """A Celery application whose tasks `make` makes; `reference` names it for worker processes."""

    celery: Any
    make: Callable[[int], Any]
    reference: Callable[[], str]
    work: float | None = None

    @classmethod
    def wrap(
        cls, value: Any, *, make: Callable[[int], Any], reference: Callable[[], str], work: float | None
    ) -> CeleryApplication:
        """Wrap a Celery application; raises `UsageError` for another object of Celery."""
        if _class_of(value) is None:
            raise UsageError(
                f"app() takes a Celery application, not {type(value).__name__}. Pass the Celery(...)."
            )
        return cls(celery=value, make=make, reference=reference, work=work)

    def version(self) -> str:
        """The version of the installed Celery."""
        return version("celery")

    def promises(self, settings: TargetSettings) -> Promises:
        """What Celery promises with the acknowledgement that the application chose.

        A message that is acknowledged early is gone with its worker. One that is acknowledged late comes back after the
        visibility time-out, which is the lease of the run, and the time until a worker looks for it.
        """
        conf = self.celery.conf
        survives = {Loss.SIGTERM, Loss.DEPLOYMENT, Loss.DATABASE_RESTARTED, Loss.DATABASE_FROZEN}
        survives |= {Loss.BACKENDS_TERMINATED}
        if conf.task_acks_late:
            survives |= {Loss.POOL_KILLED} | (
                {Loss.WORKER_KILLED} if conf.task_reject_on_worker_lost else set()
            )
        return Promises(
            survives=frozenset(survives),
            takes_over_after=settings.lease + _LOOKS_EVERY_SECONDS if conf.task_acks_late else None,
            slots_per_worker=1,
            records=True,
            sigterm=SigtermPromise.DRAINS,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> CelerySession:
        """Open a session; raises `TargetFailed` if Redis does not answer."""
        return CelerySession(self, endpoints, settings)


_LOOKS_EVERY_SECONDS = 10.0
"""How often a worker looks for messages past their visibility time-out."""


class CelerySession:
    """The workers of a Celery application on the servers of a run, and a client that sends its tasks."""

    def __init__(
        self, application: CeleryApplication, endpoints: Endpoints, settings: TargetSettings
    ) -> None:
        self._application = application
        self._endpoints = endpoints
        self._settings = settings
        self._configuration = configuration(application.celery, settings)
        self._pools = 0
        self._submitted: dict[str, int] = {}
        own = application.celery.conf
        kind = _class_of(application.celery)
        assert kind is not None, "it was wrapped"
        self._client: Any = kind("harness", set_as_current=False)
        self._client.conf.update({name: own[name] for name in _ROUTING if name in own})
        self._client.conf.update(
            self._configuration, broker_url=endpoints.redis_url, result_backend=endpoints.redis_url
        )

    def start_pool(self) -> SubprocessPool:
        """Start `celery worker` and return once its child processes are up."""
        self._pools += 1
        name = f"pool-{self._pools}"
        module = "harness.targets.celery_application_worker:application"
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            module,
            "worker",
            "--pool",
            "prefork",
            "--loglevel",
            "INFO",
        ]
        command += ["--concurrency", str(self._settings.workers), "--hostname", f"{name}@%h"]
        command += ["--queues", ",".join(queues_of(self._application.celery))]
        settings = replace(self._settings, folder=Path.cwd())
        return SubprocessPool.start(command, environment=self._environment(), settings=settings, name=name)

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        """Send tasks in order, each under an id that the client chooses."""
        return [self._submit(task) for task in tasks]

    def _submit(self, task: TaskSpec) -> Submission:
        name, args, kwargs, options = _as_message(self._application.make, task.number)
        activity = f"{self._settings.queue}-{task.number}"
        own = self._application.celery.tasks.get(name)
        of_task = {option: getattr(own, option, None) for option in _OF_TASKS}
        options = {option: value for option, value in of_task.items() if value is not None} | options
        label = TaskLabel.of(task, work=self._application.work, lock=None)
        headers = {**(options.pop("headers", None) or {}), LABEL: label.to_value()}
        try:
            self._client.send_task(
                name, args, kwargs, **{"retry": False, **options, "task_id": activity, "headers": headers}
            )
        except Exception as error:  # noqa: BLE001 - transports raise errors of their own
            return Submission(number=task.number, error=describe_error(error))
        self._submitted[activity] = task.number
        return Submission(number=task.number, activity=activity)

    def unfinished(self) -> int:
        """How many acknowledged tasks have no result yet."""
        return sum(state not in _TERMINAL for state in self._states().values())

    def witnesses(self) -> Iterator[Operation]:
        """The final state of each task."""
        for activity, state in self._states().items():
            value = {
                "task": self._submitted[activity],
                "activity": activity,
                "status": _STATUSES.get(state, state),
            }
            yield Operation(
                time=time.monotonic_ns(), process="redis", type=OperationType.INFO, f="record", value=value
            )

    def close(self) -> None:
        """Remove the keys of this run and disconnect."""
        try:
            redis = self._client.backend.client
            for key in redis.scan_iter(f"*{self._settings.queue}*", count=1000):
                redis.delete(key)
        except Exception as error:  # noqa: BLE001 - as above
            raise TargetFailed(f"The keys of the run cannot be removed: {describe_error(error)}.") from None
        finally:
            self._client.close()

    def _states(self) -> Mapping[str, str]:
        backend = self._client.backend
        ids = list(self._submitted)
        try:
            found = backend.mget([backend.get_key_for_task(one) for one in ids]) if ids else []
        except Exception as error:  # noqa: BLE001 - as above
            raise TargetFailed(
                f"The results cannot be read: {describe_error(error)}. See the log of Redis."
            ) from None
        states = ("PENDING" if one is None else str(json.loads(one)["status"]) for one in found)
        return dict(zip(ids, states, strict=True))

    def _environment(self) -> dict[str, str]:
        settings = self._settings
        return {
            **environment_on(self._endpoints),
            **worker_environment(settings.history, settings.gate_address),
            **dict.fromkeys(_ADDRESSES, self._endpoints.redis_url),
            ENV_APPLICATION: self._application.reference(),
            ENV_CONFIGURATION: json.dumps(self._configuration),
        }


def _as_message(
    make: Callable[[int], Any], number: int
) -> tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """Name, arguments and options of the task that `make` gives; raises `TargetFailed`, one sentence."""
    try:
        made = make(number)
    except FOREIGN_ERRORS as error:
        raise TargetFailed(f"make({number}) raised {describe_error(error)}. Correct it.") from error
    if hasattr(made, "apply_async") and hasattr(made, "task"):  # a signature, which is a dict too
        return str(made.task), tuple(made.args or ()), dict(made.kwargs or {}), dict(made.options or {})
    match made:
        case (str() as name, list() | tuple() as args):
            return name, tuple(args), {}, {}
        case (str() as name, Mapping() as kwargs):
            return name, (), dict(kwargs), {}
        case (str() as name, list() | tuple() as args, Mapping() as options):
            return name, tuple(args), {}, dict(options)
        case (str() as name, Mapping() as kwargs, Mapping() as options):
            return name, (), dict(kwargs), dict(options)
    raise TargetFailed(f"make({number}) returned {type(made).__name__}. Return {_FORMS}.")
