"""Whether this process and its servers can do their work, found out within a bounded time.

A server that is frozen keeps its connections open and answers nothing, so a time-out of the driver is not enough:
every question is asked in a thread that is left behind when it takes too long. At most one such thread per server
waits, however often somebody asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import redis
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from agentexec.config import Settings
from agentexec.core.db import engine_for
from agentexec.core.redis_client import blocking_client
from agentexec.masking import masked

WITHIN = 2.0  # seconds that a server has to answer
MAX_ERROR = 300  # characters of an error that are shown

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """What was found. `redis` and `database` say what is wrong with a server, None where it answers.

    `ready_workers` and `wanted_workers` are None in a process that has no workers of its own. No text holds a
    secret.
    """

    redis: str | None = None
    database: str | None = None
    ready_workers: int | None = None
    wanted_workers: int | None = None

    @property
    def errors(self) -> tuple[str, ...]:
        """Every reason not to be ready, each headed by the part that it concerns."""
        found = [
            f"{part}: {wrong}"
            for part, wrong in (("redis", self.redis), ("database", self.database))
            if wrong
        ]
        ready, wanted = self.ready_workers, self.wanted_workers
        if ready is not None and wanted is not None and ready < wanted:
            found.append(f"workers: {ready} of {wanted} ready")
        return tuple(found)

    @property
    def ready(self) -> bool:
        """Whether there is no reason not to be."""
        return not self.errors

    def body(self) -> dict[str, Any]:
        """What `/health/ready` answers: with status 200 where it is ready, else with 503."""
        return {"status": "ready"} if self.ready else {"status": "not ready", "errors": list(self.errors)}


class TimedCall(Generic[T]):
    """A question whose answer is waited for a bounded time. Who asks while it is under way gets the same answer."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._under_way: Future[T] | None = None

    def ask(self) -> Future[T]:
        """Start asking, unless somebody did already."""
        with self._lock:
            if self._under_way is None:
                self._under_way = Future()
                threading.Thread(
                    target=self._answer, args=(self._under_way,), name="agentexec-check", daemon=True
                ).start()
            return self._under_way

    def _answer(self, future: Future[T]) -> None:
        try:
            answer = self._question()
        except Exception as error:  # noqa: BLE001 - it belongs to those who asked, whatever it is
            self._close()
            future.set_exception(error)
        else:
            self._close()
            future.set_result(answer)

    def _close(self) -> None:
        with self._lock:
            self._under_way = None


class Checks:
    """Asks the servers of one process. Safe to use from any thread; connects when it is first asked."""

    def __init__(
        self,
        *,
        redis: redis.Redis,
        engine: Engine,
        ready_workers: Callable[[], int] | None = None,
        wanted_workers: int | None = None,
        within: float = WITHIN,
    ) -> None:
        """`within` (seconds) bounds a whole report, since all servers are asked at once."""
        self.redis = redis
        self.engine = engine
        self._ready_workers = ready_workers
        self._wanted_workers = wanted_workers
        self._within = within
        self._redis_answers: TimedCall[Any] = TimedCall(redis.ping)
        self._database_answers: TimedCall[Any] = TimedCall(self._select_one)

    @classmethod
    def of(
        cls, settings: Settings, *, ready_workers: Callable[[], int] | None = None, within: float = WITHIN
    ) -> Checks:
        """Checks with connections of their own, so that a busy pool of connections is not taken for a dead server."""
        return cls(
            redis=blocking_client(settings.model_copy(update={"redis_pool_timeout": within / 2})),
            engine=probing_engine(settings.require_database_url(), within=within),
            ready_workers=ready_workers,
            wanted_workers=None if ready_workers is None else settings.num_workers,
            within=within,
        )

    def report(self) -> Health:
        """Ask everybody and wait for the answers, at most `within` seconds."""
        deadline = time.monotonic() + self._within
        asked = self._redis_answers.ask(), self._database_answers.ask()
        redis_says, database_says = (_trouble(future, deadline, self._within) for future in asked)
        ready = None if self._ready_workers is None else self._ready_workers()
        return Health(
            redis=redis_says, database=database_says, ready_workers=ready, wanted_workers=self._wanted_workers
        )

    def close(self) -> None:
        """Let go of the connections."""
        self.redis.close()
        self.engine.dispose()

    def _select_one(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))


def probing_engine(database_url: str, *, within: float = WITHIN) -> Engine:
    """An engine that connects anew for every question and gives up within some seconds; SQLite as everywhere else."""
    engine = engine_for(database_url)
    if engine.dialect.name != "postgresql":
        return engine
    limits = {
        "connect_timeout": round(within) + 2,  # past our own limit, which says it better
        "tcp_user_timeout": round(within * 1000),
        "keepalives_idle": max(1, round(within)),
        "keepalives_interval": 1,
        "keepalives_count": 2,
    }
    return create_engine(engine.url, poolclass=NullPool, connect_args=limits)


def said(error: BaseException) -> str:
    """One line about an error, without secrets."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(told).strip().splitlines()
    kind = type(told).__name__
    return masked(f"{kind}: {lines[0]}" if lines else kind)[:MAX_ERROR]


def _trouble(future: Future[Any], deadline: float, within: float) -> str | None:
    try:
        future.result(max(0.0, deadline - time.monotonic()))
    except FutureTimeoutError:
        return f"no answer within {within:g} s"
    except Exception as error:  # noqa: BLE001 - whatever the driver raised is the answer that was asked for
        return said(error)
    return None
