"""agentexec under load on the servers of a run: tables, a real pool, the statuses, and the cleanup."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis
from sqlalchemy import delete, inspect, select
from sqlalchemy.exc import SQLAlchemyError

import agentexec as ax
from agentexec.core.db import create_schema
from agentexec.store.models import ACTIVITY_TABLE, PREFIX, Activity
from harness.environments.base import Environment
from harness.errors import TargetFailed, describe_error
from harness.processes import descendants, send
from harness.targets.base import TargetSettings
from harness.targets.body import ENV_HISTORY
from harness.targets.subprocess_pool import SubprocessPool
from loadtests.profiles import Profile

_POOL = "loadtests.app:pool"
_GRACEFUL_SECONDS = 5.0
_STOP_SECONDS = 15.0
_ERRORS = (ax.AgentexecError, SQLAlchemyError, redis.RedisError)


class SystemUnderLoad:
    """agentexec with its own queue on the servers of an environment."""

    def __init__(self, environment: Environment, queue: str) -> None:
        self._environment = environment
        self._queue = queue
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
            if not name.startswith(("AGENTEXEC_", "LOCUST_", "LOADTESTS_"))
        }
        return kept | {
            # Children run in the run's folder, but must import the same modules as this process.
            "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
            "DATABASE_URL": endpoints.database_url,
            "REDIS_URL": endpoints.redis_url,
            "AGENTEXEC_QUEUE_NAME": self._queue,
            "AGENTEXEC_TABLE_PREFIX": PREFIX,
        }

    @contextmanager
    def pool(self, profile: Profile, history: Path) -> Iterator[SubprocessPool | None]:
        """A running pool; None if the profile has no workers. It is stopped at the end, by SIGKILL if necessary."""
        if profile.workers == 0:
            yield None
            return
        settings = TargetSettings(
            queue=self._queue,
            folder=self._environment.folder,
            history=history,
            gate_address="",  # no handler waits at a gate
            workers=profile.workers,
            concurrency=profile.concurrency,
            graceful_shutdown=_GRACEFUL_SECONDS,
        )
        pool = SubprocessPool.start(
            [sys.executable, "-m", "agentexec", "worker", _POOL],
            environment=self.variables()
            | {
                ENV_HISTORY: str(history),
                "AGENTEXEC_NUM_WORKERS": str(profile.workers),
                "AGENTEXEC_WORKER_CONCURRENCY": str(profile.concurrency),
                "AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT": str(_GRACEFUL_SECONDS),
            },
            settings=settings,
            name="pool",
        )
        try:
            yield pool
        finally:
            stop(pool)

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
            self._client.queue.drop()
            with self._client.engine.begin() as connection:
                connection.execute(delete(Activity).where(Activity.queue_name == self._queue))
        except _ERRORS as error:
            raise TargetFailed(
                f"The data of the queue {self._queue} could not be removed: {describe_error(error)}. "
                "Delete the activities and keys of that queue."
            ) from None
        finally:
            self._client.close()


def stop(pool: SubprocessPool) -> None:
    """SIGTERM the pool, then SIGKILL parent and workers if necessary; returns once the parent is gone."""
    if pool.wait(0) is not None:
        return
    below = descendants(pool.pid)
    send([pool.pid], signal.SIGTERM)
    if pool.wait(_STOP_SECONDS) is None:
        send([pool.pid], signal.SIGKILL)
        send(below, signal.SIGKILL)
        pool.wait(_STOP_SECONDS)
