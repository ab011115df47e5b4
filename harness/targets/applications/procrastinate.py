"""An application of Procrastinate as a target: its own tasks, queues and options, in a schema of the run's Postgres.

The harness applies the tables of Procrastinate to that schema. Procrastinate is imported from the environment of the
application, which the harness does not require.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError
from harness.history.promises import Loss, Promises, SigtermPromise
from harness.targets.applications.base import (
    OwnApplication,
    OwnSession,
    class_of,
    imported,
    shipped_promises,
)
from harness.targets.applications.message import Make, TaskMessage, message_of, require_served
from harness.targets.applications.postgres_schema import (
    NOT_IN_REDIS,
    making_tables,
    schema_of,
    schema_on,
    search_path,
)
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel

_APP, _TASK = "procrastinate.app:App", "procrastinate.tasks:Task"
_DEFERRER = "procrastinate.jobs:JobDeferrer"
_CONNECTOR = "procrastinate.psycopg_connector:PsycopgConnector"
_FORMS = (
    "(task, arguments) or (task, arguments, options) with the options of Task.configure, where arguments are a dict, "
    "or (task.configure(...), arguments)"
)
_OPTIONS = ("lock", "queueing_lock", "schedule_at", "schedule_in", "queue", "priority")
# Options of a task's registration that its jobs have.
_OF_TASKS = ("queue", "priority", "lock", "queueing_lock")
_STATUSES = {
    **{"todo": "queued", "doing": "running", "aborting": "running", "succeeded": "complete"},
    **{"failed": "error", "cancelled": "canceled", "aborted": "canceled"},  # codespell:ignore cancelled
}
STALLED_CRON = "* * * * * */2"
"""How often a run looks for stalled jobs, if the application does it at all."""
_LOOK_SECONDS = 4.0
"""A period of that task, a heartbeat, and the run of the task."""
_POLL_SECONDS = 7.0
"""How much longer a worker needs that misses the notification: it polls every 5 seconds."""
_CLIENTS = 16
_TIMEOUT_SECONDS = 10.0


def retries_stalled(function: Any) -> bool:
    """Whether the code of a function names `get_stalled_jobs`, as the task of the documentation does."""
    pending = [getattr(function, "__code__", None)]
    for code in pending:
        if isinstance(code, CodeType):
            if "get_stalled_jobs" in code.co_names:
                return True
            pending.extend(code.co_consts)
    return False


def name_of(task: Any) -> str | None:
    """The name of a task of Procrastinate, or the name itself; None for anything else."""
    found = task if isinstance(task, str) else task.name if class_of(task, _TASK) else None
    return found if isinstance(found, str) else None


def own_form(made: Any) -> TaskMessage | None:
    """The message of a deferrer, as `Task.configure` returns it, with or without arguments; None for anything else."""
    match made:
        case (deferrer, Mapping() as given) if class_of(deferrer, _DEFERRER):
            pass
        case deferrer if class_of(deferrer, _DEFERRER):
            given = {}
        case _:
            return None
    job = deferrer.job
    return TaskMessage(
        name=job.task_name,
        kwargs={**job.task_kwargs, **given},
        options={
            "queue": job.queue,
            "priority": job.priority,
            "lock": job.lock,
            "queueing_lock": job.queueing_lock,
            "schedule_at": job.scheduled_at,
        },
    )


@dataclass(frozen=True, kw_only=True)
class ProcrastinateApplication(OwnApplication):
    """An App of Procrastinate whose jobs `make` makes."""

    distribution = "procrastinate"
    classes = (_APP,)
    takes = "an App of Procrastinate with a PsycopgConnector"

    @classmethod
    def wrap(
        cls, value: Any, *, make: Make, reference: Callable[[], str], work: float | None
    ) -> ProcrastinateApplication:
        if class_of(value, _APP) and class_of(value.connector, _CONNECTOR) is None:
            raise UsageError(
                f"app() takes {cls.takes}, not one with {type(value.connector).__name__}. Workers need that connector."
            )
        wrapped: ProcrastinateApplication = super().wrap(value, make=make, reference=reference, work=work)
        return wrapped

    @property
    def looks_for_stalled(self) -> bool:
        """Whether a periodic task of the application takes jobs of dead workers."""
        self.own.perform_import_paths()
        periodic = self.own.periodic_registry.periodic_tasks.values()
        return any(retries_stalled(one.task.func) for one in periodic)

    def message(self, number: int) -> TaskMessage:
        """What `make` gives for the number of a task; raises `TargetFailed`."""
        made = message_of(self.make, number, forms=_FORMS, name_of=name_of, own_form=own_form)
        if made.args:
            raise TargetFailed(f"make({number}) has arguments without names. Return {_FORMS}.")
        unknown = [name for name in made.options if name not in _OPTIONS]
        if unknown:
            raise TargetFailed(
                f"make({number}) has the option {unknown[0]!r}, which is not one of {', '.join(_OPTIONS)}. Correct it."
            )
        return made

    def promises(self, settings: TargetSettings) -> Promises:
        """What Procrastinate promises: jobs of a dead worker run again if a periodic task looks for them.

        With a graceful time-out of its own, a worker aborts the jobs that outlive it.
        """
        stalled = self.looks_for_stalled
        shipped = shipped_promises("procrastinate", "stalled" if stalled else "")
        survives = shipped.survives | NOT_IN_REDIS | {Loss.DEPLOYMENT}
        ends = self.own.worker_defaults.get("shutdown_graceful_timeout") is not None
        after = settings.lease + _LOOK_SECONDS if stalled else None
        return replace(
            shipped,
            survives=survives - {Loss.SIGTERM_LATE} if ends else survives,
            takes_over_after=after,
            recovers_within=dict.fromkeys(shipped.recovers_within, (after or 0.0) + _POLL_SECONDS),
            slots_per_worker=int(self.own.worker_defaults.get("concurrency", 1)),
            queue=False,
            sigterm=SigtermPromise.STOPS if ends else shipped.sigterm,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> ProcrastinateSession:
        return ProcrastinateSession(self, endpoints, settings)


class ProcrastinateSession(OwnSession):
    """The workers of a Procrastinate application, and a client that defers its jobs."""

    store = "postgres"

    def __init__(
        self, application: ProcrastinateApplication, endpoints: Endpoints, settings: TargetSettings
    ) -> None:
        super().__init__(application, endpoints, settings)
        self._message = application.message
        schema = schema_of(settings.queue)
        with ExitStack() as opened:
            self._url = opened.enter_context(schema_on(endpoints.database_url, schema))
            own = imported("procrastinate")
            connector = own.SyncPsycopgConnector(
                conninfo=self._url,
                kwargs={"options": search_path(schema)},
                json_dumps=getattr(application.own.connector, "_json_dumps", None),
                max_size=_CLIENTS,
                timeout=_TIMEOUT_SECONDS,
            )
            self._client: Any = own.App(connector=connector)
            opened.callback(self._client.close)
            with making_tables("Procrastinate"):
                self._client.open()
                self._client.schema_manager.apply_schema()
            self._open = opened.pop_all()

    def command(self, pool: str) -> list[str]:
        module = "harness.targets.applications.procrastinate_worker.application"
        return [
            *(sys.executable, "-m", "harness.kit.harness_worker.pool"),
            *(sys.executable, "-m", "procrastinate", "--app", module, "worker", "--name", pool),
        ]

    def variables(self) -> dict[str, str]:
        return {"HARNESS_DATABASE_URL": self._url}

    def message(self, number: int) -> TaskMessage:
        return self._message(number)

    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        own = self.application.own.tasks.get(message.name)
        of_task = {option: getattr(own, option, None) for option in _OF_TASKS}
        options = {name: value for name, value in {**of_task, **message.options}.items() if value is not None}
        if served := self.application.own.worker_defaults.get("queues"):
            require_served("queue", options.get("queue", "default"), served, label.number)
        name = message.name if own is None else own.name
        job = self._client.configure_task(name, **options)
        return str(job.defer(**message.kwargs, **{LABEL: label.to_value()}))

    def statuses(self) -> Mapping[str, str]:
        rows = self._client.connector.execute_query_all("SELECT id, status::text FROM procrastinate_jobs")
        return {str(row["id"]): _STATUSES.get(row["status"], row["status"]) for row in rows}

    def remove(self) -> None:
        self._open.close()
