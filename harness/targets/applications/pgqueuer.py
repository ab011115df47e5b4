"""An application of PgQueuer as a target: its own entrypoints and options, in a schema of the run's Postgres.

The application is the function that `pgq run` takes. The environment of a worker leads its connections to the Postgres
of the run, and names the schema. PgQueuer is imported from the environment of the application, which the harness does
not require.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from harness.environments.base import Endpoints
from harness.errors import TargetFailed, UsageError
from harness.history.promises import Loss, Promises
from harness.targets.applications.base import OwnApplication, OwnSession, imported, shipped_promises
from harness.targets.applications.message import Make, TaskMessage, made_by, wrong_form
from harness.targets.applications.postgres_schema import NOT_IN_REDIS, making_tables, schema_of, schema_on
from harness.targets.base import TargetSettings
from harness.targets.wrapped_handler import LABEL, TaskLabel

_FORMS = (
    "(entrypoint, payload) or (entrypoint, payload, options) with the options of enqueue, where entrypoint is a name "
    "and payload bytes, a text, None, or a JSON object or list"
)
_OPTIONS = ("priority", "execute_after", "dedupe_key", "headers")
_STATUSES = {
    **{"queued": "queued", "picked": "running", "successful": "complete"},
    **{"exception": "error", "failed": "error", "canceled": "canceled", "deleted": "canceled"},
}
# A job in the table of jobs has not ended; its last row in the log says how another one did.
_STATUS_OF_JOBS = """
    SELECT id, status::text FROM {jobs}
    UNION ALL
    (SELECT DISTINCT ON (job_id) job_id, status::text FROM {log}
        WHERE job_id NOT IN (SELECT id FROM {jobs}) ORDER BY job_id, id DESC)
"""
_LOOK_SECONDS = 4.0
"""How much longer than the heartbeat others need: one poll, and the batch before."""
_BATCH_SECONDS = 7.0
_TIMEOUT_SECONDS = 10


def message_in(make: Make, number: int) -> TaskMessage:
    """What `make` gives for the number of a task, with its payload as the only argument; raises `TargetFailed`."""
    made = made_by(make, number)
    match made:
        case (str(name), bytes() | str() | list() | Mapping() | None as payload):
            options: Mapping[str, Any] = {}
        case (str(name), bytes() | str() | list() | Mapping() | None as payload, Mapping() as options):
            pass
        case _:
            raise wrong_form(number, made, _FORMS)
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise TargetFailed(
            f"make({number}) has the option {unknown[0]!r}, which is not one of {', '.join(_OPTIONS)}. Correct it."
        )
    if isinstance(payload, list | Mapping):
        payload = json.dumps(payload)
    return TaskMessage(
        name=name, args=(payload.encode() if isinstance(payload, str) else payload,), options=dict(options)
    )


@dataclass(frozen=True, kw_only=True)
class PgqueuerApplication(OwnApplication):
    """A function that makes a PgQueuer, whose jobs `make` makes."""

    distribution = "pgqueuer"
    classes = ()
    takes = "the function that `pgq run` takes, which makes a PgQueuer"

    @classmethod
    def wrap(
        cls, value: Any, *, make: Make, reference: Callable[[], str], work: float | None
    ) -> PgqueuerApplication:
        if not callable(value) or isinstance(value, type):
            raise UsageError(f"app() takes {cls.takes}, not {type(value).__name__}. Pass that function.")
        return cls(own=value, make=make, reference=reference, work=work)

    def promises(self, settings: TargetSettings) -> Promises:
        """What PgQueuer promises; the lease of the run is its heartbeat time-out."""
        shipped = shipped_promises("pgqueuer")
        after = settings.lease + _LOOK_SECONDS
        return replace(
            shipped,
            survives=shipped.survives | NOT_IN_REDIS | {Loss.DEPLOYMENT},
            takes_over_after=after,
            recovers_within=dict.fromkeys(shipped.recovers_within, after + _BATCH_SECONDS),
            queue=False,
        )

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> PgqueuerSession:
        return PgqueuerSession(self, endpoints, settings)


class PgqueuerSession(OwnSession):
    """The workers of a PgQueuer application, and a client that enqueues its jobs."""

    store = "postgres"

    def __init__(
        self, application: PgqueuerApplication, endpoints: Endpoints, settings: TargetSettings
    ) -> None:
        super().__init__(application, endpoints, settings)
        self._schema = schema_of(settings.queue)
        names = imported("pgqueuer.domain.settings").DBSettings(db_schema=self._schema)
        self._names: Any = names.qualified
        builders = imported("pgqueuer.adapters.persistence.qb")
        self._builders = {
            "qbe": builders.QueryBuilderEnvironment(settings=names),
            "qbq": builders.QueryQueueBuilder(settings=names),
            "qbs": builders.QuerySchedulerBuilder(settings=names),
        }
        with ExitStack() as opened:
            self._url = opened.enter_context(schema_on(endpoints.database_url, self._schema))
            with making_tables("PgQueuer"):
                asyncio.run(self._install())
            self._open = opened.pop_all()

    def command(self, pool: str) -> list[str]:
        del pool
        return [
            *(sys.executable, "-m", "harness.kit.harness_worker.pool"),
            *(sys.executable, "-m", "harness.targets.applications.pgqueuer_worker"),
        ]

    def variables(self) -> dict[str, str]:
        return {
            "HARNESS_DATABASE_URL": self._url,
            "HARNESS_CONCURRENCY": str(self.settings.concurrency),
            "PGQUEUER_SCHEMA": self._schema,
            "PGQUEUER_DSN": self._url,
        }

    def message(self, number: int) -> TaskMessage:
        return message_in(self.application.make, number)

    def send(self, message: TaskMessage, label: TaskLabel) -> str:
        headers = {**(message.options.get("headers") or {}), LABEL: label.to_value()}
        return asyncio.run(self._enqueue(message, {**message.options, "headers": headers}))

    def statuses(self) -> Mapping[str, str]:
        import psycopg  # here, since not every environment with the harness has it

        query = _STATUS_OF_JOBS.format(jobs=self._names.queue_table, log=self._names.queue_table_log)
        with psycopg.connect(self._url, connect_timeout=_TIMEOUT_SECONDS) as connection:
            return {
                str(job): _STATUSES.get(str(status), str(status))
                for job, status in connection.execute(query.encode())
            }

    def remove(self) -> None:
        self._open.close()

    async def _install(self) -> None:
        async with self._queries() as queries:
            await queries.install()

    async def _enqueue(self, message: TaskMessage, options: Mapping[str, Any]) -> str:
        async with self._queries() as queries:
            [job] = await queries.enqueue(message.name, *message.args, **options)
            return str(job)

    @asynccontextmanager
    async def _queries(self) -> AsyncIterator[Any]:
        import psycopg  # as above

        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=_TIMEOUT_SECONDS
        )
        async with connection:
            driver = imported("pgqueuer.db").PsycopgDriver(connection)
            yield imported("pgqueuer.queries").Queries(driver, **self._builders)
