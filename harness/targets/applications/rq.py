"""An application of RQ as a target: its own queues and functions, on the Redis of a run.

RQ has no prefix for its keys, so on a Redis that is not the run's alone it gets a database of its own.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError
from harness.history.promises import Loss, Promises
from harness.targets.applications.base import (
    OUTSIDE,
    OwnApplication,
    OwnSession,
    class_of,
    shipped_promises,
)
from harness.targets.applications.message import Make, TaskMessage, message_of
from harness.targets.applications.redis_database import database_of, repoint
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel

_FORMS = (
    "(function, args) or (function, args, options) with the options of enqueue, where args are a list or a dict, "
    "or Queue.prepare_data(...)"
)
_QUEUE, _POOL, _DATA = "rq.queue:Queue", "rq.worker_pool:WorkerPool", "rq.queue:EnqueueData"
# What `enqueue` takes, `enqueue_in` and `enqueue_at` for the methods of these names, and `queue` for a queue's name.
_OPTIONS = (
    *("job_timeout", "description", "result_ttl", "ttl", "failure_ttl", "depends_on", "job_id", "at_front"),
    *("meta", "retry", "repeat", "on_success", "on_failure", "on_stopped", "rate_limit", "unique"),
    *("webhooks", "enqueue_in", "enqueue_at", "queue"),
)
_STATUSES = {
    **{"started": "running", "finished": "complete", "failed": "error"},
    **{"stopped": "canceled", "canceled": "canceled"},
}
_KEPT_SECONDS = 86_400


def queues_of(own: Any) -> list[Any]:
    """The queues of an application: a queue, a list of queues, or those of a pool; empty for anything else."""
    if class_of(own, _POOL):
        shared = {"connection": own.connection, "job_class": own.job_class, "serializer": own.serializer}
        return [own.queue_class(one.name, **shared) for one in own.queues]
    given = own if isinstance(own, list | tuple) else [own]
    return list(given) if given and all(class_of(one, _QUEUE) for one in given) else []


def lead_to(own: Any, url: str) -> None:
    """Let the connections of the queues of an application lead to a Redis."""
    for connection in {one.connection for one in queues_of(own)}:
        repoint(connection.connection_pool, url)


def own_form(made: Any) -> TaskMessage | None:
    """The message of `Queue.prepare_data`; None for anything else."""
    if class_of(made, _DATA) is None:
        return None
    given = {name: value for name, value in made._asdict().items() if value is not None}
    name, args, kwargs = given.pop("func"), given.pop("args", ()), given.pop("kwargs", {})
    if "timeout" in given:
        given["job_timeout"] = given.pop("timeout")
    return TaskMessage(name=name, args=tuple(args), kwargs=dict(kwargs), options=given)


@dataclass(frozen=True, kw_only=True)
class RqApplication(OwnApplication):
    """An application on queues of RQ, whose jobs `make` makes."""

    distribution = "rq"
    classes = (_QUEUE, _POOL)
    takes = "a Queue of RQ, a list of them or a WorkerPool"

    @classmethod
    def wrap(
        cls, value: Any, *, make: Make, reference: Callable[[], str], work: float | None
    ) -> RqApplication:
        if not queues_of(value):
            raise UsageError(f"app() takes {cls.takes}, not {type(value).__name__}. Pass that object.")
        return cls(own=value, make=make, reference=reference, work=work)

    def message(self, number: int) -> TaskMessage:
        """What `make` gives for the number of a task; raises `TargetFailed`."""
        made = message_of(self.make, number, forms=_FORMS, name_of=_function, own_form=own_form)
        unknown = [name for name in made.options if name not in _OPTIONS]
        if unknown:
            raise TargetFailed(
                f"make({number}) has the option {unknown[0]!r}, which RQ does not have. Use {', '.join(_OPTIONS)}."
            )
        return made

    def promises(self, settings: TargetSettings) -> Promises:
        """What RQ promises: the job of a killed worker runs again if it has retries left, as task 1 shows."""
        del settings
        shipped = shipped_promises("rq")
        try:
            retries = self.message(1).options.get("retry")
        except TargetFailed:
            retries = None
        killed = frozenset() if retries else frozenset({Loss.WORKER_KILLED, Loss.POOL_KILLED})
        return replace(shipped, survives=shipped.survives - killed | OUTSIDE, queue=False)

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> RqSession:
        return RqSession(self, endpoints, settings)


class RqSession(OwnSession):
    """The worker pool of an RQ application, and copies of its queues that take its jobs."""

    def __init__(self, application: RqApplication, endpoints: Endpoints, settings: TargetSettings) -> None:
        super().__init__(application, endpoints, settings)
        self._message = application.message
        self._open = ExitStack()
        self._url = self._open.enter_context(database_of(endpoints.redis_url, settings))
        # Those of the application itself, so that nothing reaches a server of the user.
        lead_to(application.own, self._url)
        self._queues = {one.name: _taking(one) for one in queues_of(application.own)}
        self._redis: Any = next(iter(self._queues.values())).connection
        self._open.callback(self._redis.close)

    def command(self, pool: str) -> list[str]:
        del pool
        return [
            *(sys.executable, "-m", "rq.cli", "worker-pool", *self._queues),
            *("--num-workers", str(self.settings.workers)),
            *("--worker-class", "harness.targets.applications.rq_worker.RecordedWorker"),
        ]

    def variables(self) -> dict[str, str]:
        return {"RQ_REDIS_URL": self._url, "HARNESS_REDIS_URL": self._url}

    def message(self, number: int) -> TaskMessage:
        return self._message(number)

    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        options = {"job_id": self.activity(label.number), **message.options}
        queue = self._queue(options.pop("queue", None), label.number)
        # The record of a job, without which it has no end.
        options |= {"result_ttl": _KEPT_SECONDS, "failure_ttl": _KEPT_SECONDS}
        options["meta"] = {**(options.get("meta") or {}), LABEL: label.to_value()}
        later, at = options.pop("enqueue_in", None), options.pop("enqueue_at", None)
        given: dict[str, Any] = {"args": message.args, "kwargs": dict(message.kwargs), **options}
        if later is not None:
            return str(queue.enqueue_in(later, message.name, **given).id)
        if at is not None:
            return str(queue.enqueue_at(at, message.name, **given).id)
        return str(queue.enqueue(message.name, **given).id)

    def statuses(self) -> Mapping[str, str]:
        ids = list(self.submitted)
        key_for = next(iter(self._queues.values())).job_class.key_for
        with self._redis.pipeline(transaction=False) as together:
            for one in ids:
                together.hget(key_for(one), "status")
            found = together.execute()
        states = {activity: state.decode() for activity, state in zip(ids, found, strict=True) if state}
        return {activity: _STATUSES.get(state, "queued") for activity, state in states.items()}

    def remove(self) -> None:
        self._open.close()

    def _queue(self, name: str | None, number: int) -> Any:
        if name is None:
            return next(iter(self._queues.values()))
        if name not in self._queues:
            raise TargetFailed(
                f"make({number}) names the queue {name!r}, which app() did not get. Known: {', '.join(self._queues)}."
            )
        return self._queues[name]


def _taking(own: Any) -> Any:
    """The queue, or a copy of it that takes jobs in place of running them in this process."""
    queue = copy.copy(own)
    queue._is_async = True
    return queue


def _function(task: Any) -> Any:
    return task if isinstance(task, str) or callable(task) else None
