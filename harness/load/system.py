"""agentexec under load on the servers of a run: tables, a real pool, the statuses, and the cleanup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from sqlalchemy import delete, inspect, select
from sqlalchemy.exc import SQLAlchemyError

import agentexec as ax
from agentexec.core.db import create_schema
from agentexec.store.dialects import ACTIVITY_TABLE, PREFIX
from agentexec.store.models import Activity
from harness.environments.base import Environment
from harness.errors import TargetFailed, describe_error
from harness.load.gauge_sources import ENV_LOGS, ENV_SLOTS, log_variables
from harness.load.task_log import ENV_FOLDER
from harness.masking import masked
from harness.processes import descendants, send

_GRACEFUL_SECONDS = 5.0
_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_LAST_LINES = 15
_STOP_SECONDS = 15.0
_ERRORS = (ax.AgentexecError, SQLAlchemyError, redis.RedisError)


@dataclass(frozen=True, kw_only=True)
class PoolCommand:
    """How to start a pool: its name `module:attribute`, and the folder in which that name can be imported."""

    pool: str
    folder: Path
    log: Path
    workers: int = 2
    concurrency: int = 8
    variables: Mapping[str, str] = field(default_factory=dict)


class SystemUnderLoad:
    """agentexec with its own queue on the servers of an environment."""

    def __init__(self, environment: Environment, queue: str) -> None:
        self._environment = environment
        self._queue = queue
        self._slots: dict[str, str] = {}
        endpoints = environment.endpoints
        self._client = ax.Client(
            database_url=endpoints.database_url, redis_url=endpoints.redis_url, queue_name=queue
        )

    def prepare(self) -> None:
        """Create the tables; on external servers they must exist. Raises `TargetFailed`."""
        try:
            if self._environment.name != "external":
                create_schema(self._client.engine)
            missing = not inspect(self._client.engine).has_table(ACTIVITY_TABLE)
        except _ERRORS as error:
            raise TargetFailed(
                f"agentexec cannot use the servers: {describe_error(error)}. See their logs."
            ) from None
        if missing:
            raise TargetFailed(
                f"The database has no table {ACTIVITY_TABLE}. Create the tables there with `agentexec db create`."
            )

    def variables(self) -> dict[str, str]:
        """The environment of a child process that uses this system, without the settings of this process."""
        endpoints = self._environment.endpoints
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AGENTEXEC_", "LOCUST_", ENV_FOLDER, ENV_LOGS, ENV_SLOTS))
        }
        return kept | {
            # Children run in the run's folder, but must import the same modules as this process.
            "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
            "DATABASE_URL": endpoints.database_url,
            "REDIS_URL": endpoints.redis_url,
            "AGENTEXEC_QUEUE_NAME": self._queue,
            "AGENTEXEC_TABLE_PREFIX": PREFIX,
            **log_variables(self._environment),
            **self._slots,
        }

    @contextmanager
    def pool(self, command: PoolCommand) -> Iterator[None]:
        """A pool that runs; nothing if it has no workers. It is stopped at the end, by SIGKILL if necessary."""
        if command.workers == 0:
            yield
            return
        number = command.workers * command.concurrency
        self._slots = {ENV_SLOTS: f"{number}, of {command.workers} workers with {command.concurrency} each"}
        variables = self.variables() | {
            **command.variables,
            "AGENTEXEC_NUM_WORKERS": str(command.workers),
            "AGENTEXEC_WORKER_CONCURRENCY": str(command.concurrency),
            "AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT": str(_GRACEFUL_SECONDS),
        }
        with command.log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "agentexec", "worker", command.pool],
                cwd=command.folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C at the terminal must reach this process only, which then stops the pool in order.
                start_new_session=True,
            )
        try:
            self._await_workers(process, command)
            yield
        finally:
            _stop(process)

    def _await_workers(self, process: subprocess.Popen[bytes], command: PoolCommand) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while len(self._client.queue.registered()) < command.workers:
            code = process.poll()
            if code is not None or time.monotonic() > deadline:
                how = "is not up in time" if code is None else f"ended with code {code}"
                text = masked(command.log.read_text("utf-8", "replace")).strip().splitlines()
                last = "\n".join(text[-_LAST_LINES:]) or "nothing"
                raise TargetFailed(f"The pool {command.pool} {how}. It wrote: {last}")
            time.sleep(_POLL_SECONDS)

    def statuses(self) -> Mapping[str, str]:
        """The status of every activity of this queue, by its id; raises `TargetFailed`."""
        query = select(Activity.id, Activity.status).where(Activity.queue_name == self._queue)
        try:
            with self._client.engine.connect() as connection:
                return {str(row[0]): row[1].value for row in connection.execute(query)}
        except SQLAlchemyError as error:
            raise TargetFailed(
                f"agentexec's activities cannot be read: {describe_error(error)}. See the log of Postgres."
            ) from None

    def close(self) -> None:
        """Disconnect; on external servers remove the rows and keys of this queue first.

        Raises `TargetFailed` if that fails.
        """
        try:
            if self._environment.name != "external":  # its data is deleted as a whole
                return
            with self._client.engine.begin() as connection:
                gone = delete(Activity).where(Activity.queue_name == self._queue).returning(Activity.id)
                ids = list(connection.execute(gone).scalars())
            self._client.queue.drop(results=ids)
        except _ERRORS as error:
            raise TargetFailed(
                f"The data of the queue {self._queue} could not be removed: {describe_error(error)}. "
                "Delete the activities and keys of that queue."
            ) from None
        finally:
            self._client.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM the pool, then SIGKILL parent and workers if necessary; returns once the parent is gone."""
    if process.poll() is not None:
        return
    below = descendants(process.pid)
    send([process.pid], signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        send([process.pid], signal.SIGKILL)
        send(below, signal.SIGKILL)
        process.wait(_STOP_SECONDS)
