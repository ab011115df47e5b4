"""An application of Celery as a target: its own tasks and configuration, on the Redis of a run.

Every key of broker and results has the name of the run's queue as its prefix, so the queues keep their names. Celery is
imported from the environment of the application, which the harness does not require.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.environments.base import Endpoints
from harness.errors import FOREIGN_ERRORS, TargetFailed, describe_error
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.targets.applications.base import OUTSIDE, OwnApplication, OwnSession, class_of, shipped_promises
from harness.targets.applications.message import TaskMessage, message_of, require_known, require_served
from harness.targets.base import TargetSettings
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
_FORMS = "a signature such as refund.s(order), (name, args) or (name, args, options), where args are a list or a dict"
_CLASS = "celery.app.base:Celery"
_LOOKS_EVERY_SECONDS = 10.0
"""How often a worker looks for messages past their visibility time-out."""


def own_form(made: Any) -> TaskMessage | None:
    """The message of a signature, which is a dict too; None for anything else."""
    if not (hasattr(made, "apply_async") and hasattr(made, "task")):
        return None
    return TaskMessage(
        name=str(made.task),
        args=tuple(made.args or ()),
        kwargs=dict(made.kwargs or {}),
        options=dict(made.options or {}),
    )


def name_of(task: Any) -> str | None:
    """The name of a task of Celery, or the name itself; None for anything else."""
    found = task if isinstance(task, str) else getattr(task, "name", None)
    return found if isinstance(found, str) else None


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
class CeleryApplication(OwnApplication):
    """A Celery application whose tasks `make` makes."""

    distribution = "celery"
    classes = (_CLASS,)
    takes = "a Celery application"

    def promises(self, settings: TargetSettings) -> Promises:
        """What Celery promises with the acknowledgement that the application chose.

        A message that is acknowledged early is gone with its worker. One that is acknowledged late comes back after the
        visibility time-out, which is the lease of the run, and the time until a worker looks for it.
        """
        conf = self.own.conf
        survives = {Loss.SIGTERM, *OUTSIDE}
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
            quotes=shipped_promises("celery", "late" if conf.task_acks_late else "early").quotes,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> CelerySession:
        return CelerySession(self, endpoints, settings)


class CelerySession(OwnSession):
    """The workers of a Celery application, and a client with the routing of the application."""

    def __init__(
        self, application: CeleryApplication, endpoints: Endpoints, settings: TargetSettings
    ) -> None:
        super().__init__(application, endpoints, settings)
        self._configuration = configuration(application.own, settings)
        own = application.own.conf
        kind = class_of(application.own, _CLASS)
        assert kind is not None, "it was wrapped"
        self._client: Any = kind("harness", set_as_current=False)
        self._client.conf.update({name: own[name] for name in _ROUTING if name in own})
        self._client.conf.update(
            self._configuration, broker_url=endpoints.redis_url, result_backend=endpoints.redis_url
        )

    def command(self, pool: str) -> list[str]:
        module = "harness.targets.applications.celery_worker:application"
        queues = ",".join(queues_of(self.application.own))
        return [
            *(sys.executable, "-m", "celery", "-A", module, "worker", "--pool", "prefork"),
            *("--loglevel", "INFO", "--concurrency", str(self.settings.workers)),
            *("--hostname", f"{pool}@%h", "--queues", queues),
        ]

    def variables(self) -> dict[str, str]:
        return {
            **dict.fromkeys(_ADDRESSES, self.endpoints.redis_url),
            ENV_CONFIGURATION: json.dumps(self._configuration),
        }

    def message(self, number: int) -> TaskMessage:
        made = message_of(self.application.make, number, forms=_FORMS, name_of=name_of, own_form=own_form)
        own = self.application.own
        if made.name not in own.tasks:
            # The modules of `include`, `imports` and `autodiscover_tasks`, which a worker imports when it starts.
            try:
                own.loader.import_default_modules()
            except FOREIGN_ERRORS as error:
                raise TargetFailed(
                    f"The modules of the tasks cannot be imported: {describe_error(error)}."
                ) from error
        require_known(made.name, own.tasks, number)
        return made

    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        activity = self.activity(label.number)
        own = self.application.own.tasks.get(message.name)
        of_task = {option: getattr(own, option, None) for option in _OF_TASKS}
        options = {option: value for option, value in of_task.items() if value is not None}
        options |= message.options
        # Not each route shows its queue before there is a task: one may be a function, or an option of the task.
        route = self._client.amqp.router.route(dict(options), message.name, message.args, message.kwargs)
        if (queue := route.get("queue")) is not None:
            served = queues_of(self.application.own)
            remedy = " Declare it in task_queues."
            require_served("queue", str(getattr(queue, "name", queue)), served, label.number, remedy)
        headers = {**(options.pop("headers", None) or {}), LABEL: label.to_value()}
        options = {"retry": False, **options, "task_id": activity, "headers": headers}
        self._client.send_task(message.name, message.args, message.kwargs, **options)
        return activity

    def statuses(self) -> Mapping[str, str]:
        backend = self._client.backend
        ids = list(self.submitted)
        found = backend.mget([backend.get_key_for_task(one) for one in ids]) if ids else []
        states = ("PENDING" if one is None else str(json.loads(one)["status"]) for one in found)
        return {activity: _STATUSES.get(state, state) for activity, state in zip(ids, states, strict=True)}

    def remove(self) -> None:
        try:
            redis = self._client.backend.client
            for key in redis.scan_iter(f"*{self.settings.queue}*", count=1000):
                redis.delete(key)
        finally:
            self._client.close()
