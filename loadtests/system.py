"""agentexec on the servers of a run: its tables, a real pool of workers, its record, and the traces it leaves."""

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
from harness.errors import TargetFailed
from harness.masking import masked
from harness.processes import descendants, send
from harness.targets.base import TargetSettings
from harness.targets.body import ENV_HISTORY
from harness.targets.subprocess_pool import SubprocessPool
from loadtests.profiles import Profile

_POOL = "loadtests.app:pool"
_GRACE = 5.0
_STOPS_WITHIN = 15.0
_ERRORS = (ax.AgentexecError, SQLAlchemyError, redis.RedisError)


class SystemUnderLoad:
    """One queue of its own on the servers of an environment."""

    def __init__(self, environment: Environment, queue: str) -> None:
        self._environment = environment
        self._queue = queue
        endpoints = environment.endpoints
        self._client = ax.Client(
            database_url=endpoints.database_url, redis_url=endpoints.redis_url, queue_name=queue
        )

    def prepare(self) -> None:
        """Create the tables; on somebody's own servers they have to be there. Raises `TargetFailed`."""
        try:
            if self._environment.name != "external":
                create_schema(self._client.engine)
            missing = not inspect(self._client.engine).has_table(ACTIVITY_TABLE)
        except _ERRORS as error:
            raise TargetFailed(
                f"agentexec cannot use the servers: {_said(error)}. Look into their logs."
            ) from None
        if missing:
            raise TargetFailed(
                f"The database has no table {ACTIVITY_TABLE}. Create the tables there with `agentexec db create`."
            )

    def variables(self) -> dict[str, str]:
        """The environment of a child process that uses this system; the settings of the caller's own are left out."""
        endpoints = self._environment.endpoints
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AGENTEXEC_", "LOCUST_", "LOADTESTS_"))
        }
        return kept | {
            # Children run in the run's own folder; what this process can import, they can too.
            "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
            "DATABASE_URL": endpoints.database_url,
            "REDIS_URL": endpoints.redis_url,
            "AGENTEXEC_QUEUE_NAME": self._queue,
            "AGENTEXEC_TABLE_PREFIX": PREFIX,
        }

    @contextmanager
    def pool(self, profile: Profile, history: Path) -> Iterator[SubprocessPool | None]:
        """A running pool, stopped at the end, by force if need be; none where the profile has no workers."""
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
            graceful_shutdown=_GRACE,
        )
        pool = SubprocessPool.start(
            [sys.executable, "-m", "agentexec", "worker", _POOL],
            environment=self.variables()
            | {
                ENV_HISTORY: str(history),
                "AGENTEXEC_NUM_WORKERS": str(profile.workers),
                "AGENTEXEC_WORKER_CONCURRENCY": str(profile.concurrency),
                "AGENTEXEC_GRACEFUL_SHUTDOWN_TIMEOUT": str(_GRACE),
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
                f"agentexec's record cannot be read: {_said(error)}. See the log of Postgres."
            ) from None

    def close(self) -> None:
        """Disconnect; on somebody's own servers remove the rows and keys of this queue first.

        Raises `TargetFailed` where that cannot be done.
        """
        try:
            if self._environment.name != "external":  # all of it is thrown away
                return
            self._client.queue.drop()
            with self._client.engine.begin() as connection:
                connection.execute(delete(Activity).where(Activity.queue_name == self._queue))
        except _ERRORS as error:
            raise TargetFailed(
                f"What the run left under the queue {self._queue} could not be removed: {_said(error)}. "
                "Delete the activities and keys of that queue."
            ) from None
        finally:
            self._client.close()


def stop(pool: SubprocessPool) -> None:
    """SIGTERM, and SIGKILL for parent and workers where that is not enough; returns when the parent is gone."""
    if pool.wait(0) is not None:
        return
    below = descendants(pool.pid)
    send([pool.pid], signal.SIGTERM)
    if pool.wait(_STOPS_WITHIN) is None:
        send([pool.pid], signal.SIGKILL)
        send(below, signal.SIGKILL)
        pool.wait(_STOPS_WITHIN)


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return masked(f"{type(error).__name__}: {lines[0]}".rstrip(".: "))
