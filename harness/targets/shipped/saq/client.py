"""Enqueues jobs under keys of its own, and reads their status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from saq import Queue

from harness_worker import client
from harness_worker.environment import SETTINGS

STATUSES = {
    "new": "queued",
    "queued": "queued",
    "active": "running",
    "aborting": "running",
    "complete": "complete",
    "failed": "error",
    "aborted": "error",
}
RETRIES = {"retries": 5} if SETTINGS.profile == "retries" else {}


class Adapter:
    def __init__(self) -> None:
        self.keys: dict[int, str] = {}
        self.queue = Queue.from_url(SETTINGS.redis_url, name=SETTINGS.queue)

    async def prepare(self) -> None:
        await self.queue.connect()

    async def submit(self, task: dict[str, Any]) -> str:
        key = self.keys[task["number"]] = f"{SETTINGS.queue}-{task['number']}"
        await self.queue.enqueue("numbered", key=key, task=task, **RETRIES)
        return key

    async def unfinished(self) -> int:
        found = [await self.status(key) for key in self.keys.values()]
        return sum(status in ("queued", "running") for status in found)

    async def evidence(self) -> AsyncIterator[dict[str, Any]]:
        for number, key in self.keys.items():
            status = await self.status(key)
            if status is not None:
                yield client.record(number, key, status)

    async def status(self, key: str) -> str | None:
        job = await self.queue.job(key)
        return None if job is None else STATUSES[job.status]


client.serve(Adapter())
