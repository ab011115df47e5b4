"""The workers of a Procrastinate application under test: its own tasks, wrapped, in the schema of the run.

`procrastinate worker` imports this module. The label of a job is taken from its arguments when a worker fetches it, so
neither the handler nor a middleware sees it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from harness.kit.harness_worker import settings
from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.base import imported
from harness.targets.applications.postgres_schema import schema_of, search_path
from harness.targets.applications.procrastinate import STALLED_CRON, retries_stalled
from harness.targets.wrapped_handler import LABEL, WrappedRun, label_of_child

# Arguments of a connection that say where a server is and who connects to it.
_ADDRESS = ("host", "hostaddr", "port", "dbname", "user", "password", "passfile", "service", "options")


def wrapped(own: Any) -> Any:
    """The application in the schema of the run; its tasks are wrapped once all of them are imported."""
    own.perform_import_paths()
    repoint(own.connector, settings.database_url, schema_of(settings.queue))
    lease = settings.lease
    # Records of jobs, without which they have no end, and a heartbeat within the lease of the run.
    own.worker_defaults = {
        **own.worker_defaults,
        "delete_jobs": "never",
        "update_heartbeat_interval": lease / 4,
        "stalled_worker_timeout": lease,
    }
    _look_for_stalled_within(own, lease)
    labels = _labels_of_fetched(own.job_manager)
    _label_children(imported("procrastinate.manager").JobManager)
    periodic = {one.task.name for one in own.periodic_registry.periodic_tasks.values()}
    for task in {id(one): one for one in own.tasks.values()}.values():
        if not task.name.startswith("builtin:"):
            wrapper = _wrapped_function(task, labels, scheduled=task.name in periodic)
            task.func, task.pass_context = wrapper, True
    body.say_hello()
    return own


def repoint(connector: Any, url: str, schema: str) -> None:
    """Let a connector lead to a schema of another database; its other arguments stay."""
    arguments = connector._pool_args
    given = arguments.get("kwargs")
    kept = {name: value for name, value in given.items() if _stays(name)} if isinstance(given, dict) else {}
    arguments.update(conninfo=url, kwargs={**kept, "options": search_path(schema)})


def _stays(name: str) -> bool:
    return name not in _ADDRESS and not name.startswith("ssl")


def _look_for_stalled_within(own: Any, lease: float) -> None:
    """Let the application's own task for stalled jobs run every few seconds, for the heartbeats of the run."""
    manager, periodic = own.job_manager, own.periodic_registry.periodic_tasks
    get_stalled_jobs = manager.get_stalled_jobs

    async def within_lease(
        nb_seconds: Any = None,  # noqa: ARG001 - the older rule, which a run does not use
        queue: Any = None,
        task_name: Any = None,
        seconds_since_heartbeat: Any = None,  # noqa: ARG001 - that of the run instead
    ) -> Any:
        return await get_stalled_jobs(queue=queue, task_name=task_name, seconds_since_heartbeat=lease)

    manager.get_stalled_jobs = within_lease
    for key, one in periodic.items():
        if retries_stalled(one.task.func):
            periodic[key] = type(one)(
                task=one.task,
                cron=STALLED_CRON,
                periodic_id=one.periodic_id,
                configure_kwargs=one.configure_kwargs,
            )


def _label_children(managers: Any) -> None:
    """Let each job that a run of a schedule defers carry its label, beside its arguments."""
    own = managers._defer_jobs_query_kwargs

    def labelled(self: Any, jobs: list[Any]) -> Any:
        if (label := label_of_child()) is not None:
            jobs = [job.evolve(task_kwargs={**job.task_kwargs, LABEL: label}) for job in jobs]
        return own(self, jobs)

    managers._defer_jobs_query_kwargs = labelled


def _labels_of_fetched(manager: Any) -> dict[int, Any]:
    """The labels of the jobs that this worker has fetched and not begun, by their ids; their arguments lose them."""
    labels: dict[int, Any] = {}
    fetch_job = manager.fetch_job

    async def fetch_labelled(*args: Any, **kwargs: Any) -> Any:
        job = await fetch_job(*args, **kwargs)
        if job is None:
            return None
        arguments = dict(job.task_kwargs)
        labels[job.id] = arguments.pop(LABEL, None)
        return job.evolve(task_kwargs=arguments)

    manager.fetch_job = fetch_labelled
    return labels


def _wrapped_function(task: Any, labels: dict[int, Any], *, scheduled: bool) -> Callable[..., Any]:
    own, takes_context = task.func, task.pass_context

    def begun(args: tuple[Any, ...]) -> WrappedRun | None:
        """The run of a job that has just been fetched; None for a call by another handler."""
        job = getattr(args[0], "job", None) if args else None
        if job is None or job.id not in labels:
            return None
        return WrappedRun.of(
            labels.pop(job.id),
            name=task.name,
            activity=str(job.id),
            attempt=job.attempts + 1,
            scheduled=scheduled,
        )

    def call(run: WrappedRun | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        given = args if run is None or takes_context else args[1:]
        return lambda: own(*given, **kwargs)

    @wraps(own)
    async def run_async(*args: Any, **kwargs: Any) -> Any:
        run = begun(args)
        handler = call(run, args, kwargs)
        return await (handler() if run is None else run.call_async(handler))

    @wraps(own)
    def run_sync(*args: Any, **kwargs: Any) -> Any:
        run = begun(args)
        handler = call(run, args, kwargs)
        return handler() if run is None else run.call(handler)

    return run_async if inspect.iscoroutinefunction(own) else run_sync


if ENV_APPLICATION in os.environ:
    application = wrapped(own_application())
