"""Health of this process and its servers, determined within a bounded time.

A frozen server keeps its connections open and never answers, so a time-out of the driver is not enough. Each check
runs in a thread that is abandoned after the time limit. At most one such thread per server is blocked at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import redis
from sqlalchemy import Engine, StaticPool

from agentexec.config import Settings
from agentexec.core import runtime
from agentexec.core.db import engine_for
from agentexec.core.forking import reset_in_child
from agentexec.core.redis_client import blocking_client
from agentexec.core.requirements import unmet
from agentexec.text import summary

WITHIN = 2.0  # seconds that a server has to answer

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """The result of a check: what is wrong with each part, None for nothing. No text contains a secret."""

    redis: str | None = None
    database: str | None = None
    workers: str | None = None

    @property
    def errors(self) -> tuple[str, ...]:
        """Every reason not to be ready, each after the name of the part it concerns."""
        return tuple(f"{part}: {problem}" for part, problem in asdict(self).items() if problem)

    @property
    def ready(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    def body(self) -> dict[str, Any]:
        """The response of `/health/ready`: with status 200 if ready, else with 503."""
        return {"status": "ready"} if self.ready else {"status": "not ready", "errors": list(self.errors)}


class TimedCall(Generic[T]):
    """A call in a thread, so that its result can be awaited for a bounded time. Concurrent callers share one call."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._reset()
        reset_in_child(self, TimedCall._reset)

    def _reset(self) -> None:
        """Forget the call that runs: a forked child has no thread for it."""
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    def ask(self) -> Future[T]:
        """Start the call, unless it is running already."""
        with self._lock:
            if self._running is None:
                self._running = Future()
                runtime.current().spawn(partial(self._run, self._running), name="agentexec-check")
            return self._running

    def _run(self, future: Future[T]) -> None:
        try:
            publish = partial(future.set_result, self._call())
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, whatever it is
            publish = partial(future.set_exception, error)
        with self._lock:
            self._running = None
        publish()


class Checks:
    """Checks of the servers of one process. Safe to use from any thread; connects on first use."""

    def __init__(
        self,
        *,
        redis: redis.Redis,
        engine: Engine,
        ready_workers: Callable[[], int] | None = None,
        wanted_workers: int = 0,
        within: float = WITHIN,
    ) -> None:
        """`within` (seconds) limits a whole report, since all servers are checked in parallel.

        `ready_workers` counts the ready worker processes of `wanted_workers`; only a pool's parent gives it.
        """
        self.redis = redis
        self.engine = engine
        self.ready_workers = ready_workers
        self.within = within
        self._wanted_workers = wanted_workers
        self._redis_problem: TimedCall[str | None] = TimedCall(self._ask_redis)
        self._database_problem: TimedCall[str | None] = TimedCall(self._ask_database)

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        database: str | Engine | None = None,
        ready_workers: Callable[[], int] | None = None,
    ) -> Checks:
        """Checks with their own connections, so that an exhausted connection pool does not look like a dead server.

        `database` is what they connect to, by default the URL of the settings.
        """
        name, impatient = "agentexec-health", settings.model_copy(update={"redis_pool_timeout": WITHIN / 2})
        return cls(
            redis=blocking_client(impatient, name=name),
            # Its time-out is longer than `WITHIN`, whose message is clearer.
            engine=engine_for(database or settings.require_database_url(), name=name, timeout=WITHIN + 2),
            ready_workers=ready_workers,
            wanted_workers=settings.num_workers,
        )

    def report(self) -> Health:
        """Check all servers, in at most `within` seconds."""
        deadline = time.monotonic() + self.within
        calls = self._redis_problem.ask(), self._database_problem.ask()
        redis, database = (_problem(call, deadline, self.within) for call in calls)
        ready = self._wanted_workers if self.ready_workers is None else self.ready_workers()
        missing = f"{ready} of {self._wanted_workers} ready" if ready < self._wanted_workers else None
        return Health(redis=redis, database=database, workers=missing)

    def close(self) -> None:
        """Close the connections."""
        self.redis.close()
        if not isinstance(self.engine.pool, StaticPool):
            self.engine.dispose()

    # Both on a new connection: an old one may lead to a former master, and works also where no new one is accepted.

    def _ask_redis(self) -> None:
        self.redis.connection_pool.disconnect(inuse_connections=False)
        self.redis.ping()

    def _ask_database(self) -> str | None:
        if self.engine.dialect.name == "postgresql":
            self.engine.pool.dispose()  # and not the engine: a scrape may use a connection of this pool
        with self.engine.connect() as connection:
            return "; ".join(unmet(connection)) or None


def _problem(call: Future[str | None], deadline: float, within: float) -> str | None:
    try:
        return call.result(max(0.0, deadline - time.monotonic()))
    except FutureTimeoutError:
        return f"no answer within {within:g} s"
    except Exception as error:  # noqa: BLE001 - any error of a driver is a result of the check
        return summary(error)
