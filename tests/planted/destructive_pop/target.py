"""How the planted target is put under test."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import psycopg
import redis

from harness.environments.base import Endpoints
from harness.errors import TargetFailed
from harness.history import Operation
from harness.history.promises import Loss, Promises
from harness.targets.base import Submission, TargetSettings, TaskSpec
from harness.targets.body import worker_environment
from harness.targets.promised import everything
from harness.targets.subprocess_pool import SubprocessPool
from tests.planted.destructive_pop.store import Store, witness

POOL = "tests.planted.destructive_pop.pool"


class Session:
    def __init__(self, endpoints: Endpoints, settings: TargetSettings) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._store = Store(settings.queue)
        self._redis = redis.Redis.from_url(endpoints.redis_url)
        self._connection: psycopg.Connection[Any] = psycopg.connect(endpoints.database_url, autocommit=True)
        self._connection.execute(self._store.schema)
        self._pools = 0

    def start_pool(self) -> SubprocessPool:
        settings = self._settings
        self._pools += 1
        environment = {
            **os.environ,
            **worker_environment(settings.history, settings.gate_address),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PLANTED_DATABASE": self._endpoints.database_url,
            "PLANTED_REDIS": self._endpoints.redis_url,
            "PLANTED_QUEUE": settings.queue,
            "PLANTED_WORKERS": str(settings.workers),
            "PLANTED_CONCURRENCY": str(settings.concurrency),
            "PLANTED_GRACEFUL": str(settings.graceful_shutdown),
        }
        return SubprocessPool.start(
            [sys.executable, "-m", POOL],
            environment=environment,
            settings=settings,
            name=f"pool-{self._pools}",
        )

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        return [self._submit(task) for task in tasks]

    def _submit(self, task: TaskSpec) -> Submission:
        activity = str(uuid4())
        message = {"id": activity, "number": task.number, "work": task.work, "gate": task.gate}
        try:
            self._connection.execute(self._store.insert, {"id": activity, "number": task.number})
            self._redis.lpush(self._settings.queue, json.dumps(message))
        except (psycopg.Error, redis.RedisError) as error:
            return Submission(number=task.number, error=type(error).__name__)
        return Submission(number=task.number, activity=activity)

    def unfinished(self) -> int:
        try:
            return self._store.unfinished(self._connection)
        except psycopg.Error as error:
            raise TargetFailed(f"Postgres does not answer: {error}. See its log.") from None

    def witnesses(self) -> Iterable[Operation]:
        yield from self._store.witnesses(self._connection)
        ready = self._redis.llen(self._settings.queue)
        value = {"ready": ready, "leased": 0, "scheduled": 0, "dead": 0, "known": ready}
        yield witness("redis", "queue", value)

    def close(self) -> None:
        self._connection.close()
        self._redis.close()


@dataclass(frozen=True)
class DestructivePop:
    name: str = field(default="destructive-pop")

    def version(self) -> str:
        return "planted bug"

    def promises(self, settings: TargetSettings) -> Promises:
        """All that the reference promises, but its records bring nothing back, and have no results."""
        return replace(everything(settings), survives=frozenset(Loss) - {Loss.BROKER_EMPTIED}, results=False)

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> Session:
        try:
            return Session(endpoints, settings)
        except (psycopg.Error, redis.RedisError) as error:
            raise TargetFailed(
                f"The servers cannot be prepared: {type(error).__name__}. See their logs."
            ) from None


TARGET = DestructivePop()
