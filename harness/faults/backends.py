"""A fault that ends all connections to Postgres, as an administrator, a pooler or a failover does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg

from harness.environments.base import WATCHING, Service
from harness.environments.urls import plain_url
from harness.errors import GateError, HarnessError, first_line
from harness.faults.base import Aim, FaultContext, PlannedFault
from harness.faults.process import some_workers, wait_until
from harness.history import InjectionKind
from harness.history.promises import Loss

OTHER_SESSIONS: LiteralString = f"""
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
AND application_name <> '{WATCHING}'
"""
"""The sessions that a fault strikes: those of its own database, without those that the harness watches with."""

COUNT_SESSIONS: LiteralString = f"SELECT count(*) {OTHER_SESSIONS}"
TERMINATE: LiteralString = f"SELECT count(pg_terminate_backend(pid)) {OTHER_SESSIONS}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TerminateBackends:
    """`pg_terminate_backend` for every connection to the target's database; the server accepts new ones at once."""

    at: float
    gated: bool = False
    name: str = "terminate-backends"
    kind: InjectionKind = InjectionKind.DISCONNECT
    loss: Loss = Loss.BACKENDS_TERMINATED
    service: Service = "postgres"

    def aim(self, context: FaultContext, planned: PlannedFault) -> Aim:
        """No process; the operation names the oldest running pool. Raises `GateError` if there is no connection."""
        pool = some_workers(context)[0]
        # Clients come back a moment after the fault before.
        if not wait_until(lambda: _counted(context, COUNT_SESSIONS) > 0, context.patience):
            raise GateError(_NONE)
        return Aim(pids=(), pool=pool)

    def inject(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Terminate the connections; raises `GateError` if there is none, and `HarnessError` if Postgres refuses."""
        if not _counted(context, TERMINATE):
            raise GateError(_NONE)

    def heal(self, context: FaultContext, planned: PlannedFault, aim: Aim) -> None:
        """Nothing to heal: Postgres accepts connections all the time."""


_NONE = "Postgres had no connection to end. Run this fault on a target that uses Postgres."


def _counted(context: FaultContext, query: LiteralString) -> int:
    if context.environment is None:
        raise HarnessError("This run has no Postgres. Run it on a backend.")
    url = plain_url(context.environment.endpoints.database_url)
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(query).fetchone()
    except psycopg.Error as error:
        raise HarnessError(
            f"Postgres did not end its connections: {first_line(error)}. See its log."
        ) from None
    return int(row[0]) if row else 0
