"""Enqueues jobs under ids of its own, and reads their status and results."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.jobs import Job, JobStatus

from harness_worker import client
from harness_worker.environment import SETTINGS

STATUSES = {JobStatus.deferred: "queued", JobStatus.queued: "queued", JobStatus.in_progress: "running"}


class Adapter:
    redis: ArqRedis

    def __init__(self) -> None:
        self.ids: dict[int, str] = {}

    async def prepare(self) -> None:
        settings = RedisSettings.from_dsn(SETTINGS.redis_url)
        self.redis = await create_pool(settings, default_queue_name=SETTINGS.queue)

    async def submit(self, task: dict[str, Any]) -> str:
        job_id = self.ids[task["number"]] = f"{SETTINGS.queue}-{task['number']}"
        await self.redis.enqueue_job("numbered", task, _job_id=job_id)
        return job_id

    async def unfinished(self) -> int:
        found = [await self.status(job_id) for job_id in self.ids.values()]
        return sum(status in ("queued", "running") for status in found)

    async def evidence(self) -> AsyncIterator[dict[str, Any]]:
        for number, job_id in self.ids.items():
            status = await self.status(job_id)
            if status is not None:
                yield client.record(number, job_id, status)

    async def status(self, job_id: str) -> str | None:
        job = Job(job_id, self.redis, SETTINGS.queue)
        result = await job.result_info()
        if result is not None:
            return "complete" if result.success else "error"
        return STATUSES.get(await job.status())


client.serve(Adapter())
