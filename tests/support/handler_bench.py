"""A handler runner without a queue and a record: its results and progress are collected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from agentexec.config import Settings
from agentexec.identifiers import new_id
from agentexec.queue.protocol import Claim
from agentexec.task import Registry, TaskDefinition, encode_payload
from agentexec.worker.run_result import RunResult
from agentexec.worker.runner import HandlerRun, HandlerRunner

TOKEN = 77


class Job(BaseModel):
    number: int = 0


class Done(BaseModel):
    number: int


class Bench:
    """A runner whose results are collected."""

    def __init__(self, settings: Settings) -> None:
        self.registry = Registry()
        self.runner = HandlerRunner(self.registry, settings, asyncio.get_running_loop(), self)
        self.results: asyncio.Queue[RunResult] = asyncio.Queue()
        self.entries: list[tuple[UUID, int, str, int | None]] = []
        self.begun = asyncio.Event()

    def ended(self, result: RunResult) -> None:
        self.results.put_nowait(result)

    def progress(self, task_id: UUID, token: int, message: str, percentage: int | None) -> None:
        self.entries.append((task_id, token, message, percentage))

    def run(
        self,
        handler: Callable[..., object],
        *,
        attempt: int = 1,
        payload: bytes | None = None,
        task: UUID | None = None,
        token: int = TOKEN,
        failures: int = 0,
        **options: Any,
    ) -> UUID:
        name = getattr(handler, "__name__", "handler")
        self.registry.pop(name, None)
        self.registry.add(TaskDefinition(name, handler, **options))
        claim = Claim(
            task_id=task or new_id(),
            token=token,
            payload=encode_payload(name, {"number": 3}) if payload is None else payload,
        )
        self.runner.begin([HandlerRun(claim=claim, attempt=attempt, failures=failures)])
        return claim.task_id

    async def result(self) -> RunResult:
        return await asyncio.wait_for(self.results.get(), 10)


def on_a_bench(settings: Settings, scene: Callable[[Bench], object]) -> None:
    async def play() -> None:
        await scene(Bench(settings))  # type: ignore[misc]  # a scene is a coroutine function

    asyncio.run(play())
