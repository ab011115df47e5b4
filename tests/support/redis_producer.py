"""A target without pools, whose producer is struck: a task is a key of Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from harness.environments.base import Endpoints
from harness.errors import describe_error
from harness.targets.base import Submission, TargetSettings, TaskSpec


class RedisSession:
    """One command for each task."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._redis = redis.Redis.from_url(endpoints.redis_url)
        self._redis.ping()

    def submit(self, tasks: Sequence[TaskSpec]) -> list[Submission]:
        return [self._submitted(task) for task in tasks]

    def close(self) -> None:
        self._redis.close()

    def _submitted(self, task: TaskSpec) -> Submission:
        try:
            self._redis.set(f"task-{task.number}", 1)
        except redis.RedisError as error:
            return Submission(number=task.number, error=describe_error(error))
        return Submission(number=task.number, activity=f"task-{task.number}")


class RedisTarget:
    """Opens such sessions."""

    name = "redis-producer"

    def version(self) -> str:
        return "1"

    def open(self, endpoints: Endpoints, settings: TargetSettings) -> Any:
        del settings
        return RedisSession(endpoints)


TARGET = RedisTarget()
