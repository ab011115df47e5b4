"""The workers of an RQ application under test: its own functions, wrapped, on the Redis of the run.

`rq worker-pool` imports this module and starts workers of `RecordedWorker`, a worker of the application's own class.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from harness.kit.harness_worker import settings
from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.base import imported
from harness.targets.applications.rq import lead_to, queues_of
from harness.targets.wrapped_handler import LABEL, WrappedRun

# Without a sign of life for the first and 60 seconds more, a job is lost; the others decide how soon a worker sees it.
_INTERVALS = {"job_monitoring_interval": 1, "maintenance_interval": 1, "worker_ttl": 20}
# A worker that is killed while it looks for lost jobs of a queue keeps others from it for so long. RQ has 899 s, which
# is for a look every 10 minutes.
_LOOK_SECONDS = 5


def worker_class(own: Any) -> Any:
    """The class of workers for an application, whose connections now lead to the Redis of the run."""
    queues = queues_of(own)
    lead_to(own, settings.redis_url)
    for one in queues:
        one.acquire_maintenance_lock = _acquiring_lock(one)
    base: Any = getattr(own, "worker_class", None) or imported("rq").Worker
    options = {
        **_INTERVALS,
        "queue_class": type(queues[0]),
        "job_class": queues[0].job_class,
        "serializer": queues[0].serializer,
        "exception_handlers": getattr(own, "exception_handlers", None),
    }

    class RecordedWorker(base):  # type: ignore[misc]  # the class of an installed RQ
        """A worker on the application's own queues that records its runs."""

        def __init__(self, _: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(queues, *args, **{**kwargs, **options})

        def work(self, *args: Any, **kwargs: Any) -> Any:
            body.say_hello()
            return super().work(*args, **kwargs)

        def perform_job(self, job: Any, *args: Any, **kwargs: Any) -> Any:
            job.perform = _wrapped_perform(job)
            return super().perform_job(job, *args, **kwargs)

    return RecordedWorker


def _acquiring_lock(queue: Any) -> Callable[[], bool]:
    """The method of a queue that lets one worker at a time look for its lost jobs."""
    return lambda: bool(queue.connection.set(queue.registry_cleaning_key, 1, nx=True, ex=_LOOK_SECONDS))


def _wrapped_perform(job: Any) -> Callable[[], Any]:
    own = job.perform

    def perform() -> Any:
        recorded = WrappedRun.of(
            (job.meta or {}).get(LABEL), name=job.func_name, activity=str(job.id), attempt=None
        )
        return recorded.call(own)

    return perform


if ENV_APPLICATION in os.environ:
    RecordedWorker = worker_class(own_application())
