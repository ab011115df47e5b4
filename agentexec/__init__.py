"""agentexec: background tasks for AI agents, over Redis, with Postgres as the record.

import agentexec as ax

pool = ax.Pool(database_url="postgresql://localhost/agentexec", redis_url="redis://localhost")

class Question(BaseModel):
    text: str

@pool.task("answer")
async def answer(agent_id: UUID, context: Question) -> Answer: ...

task = await ax.enqueue("answer", Question(text="why?"))     # durable in Postgres when it returns
result = await ax.get_result(task)

pool.run()                                                   # or: agentexec worker mymodule:pool
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from agentexec import activity
from agentexec.config import Settings, default_settings
from agentexec.context import CurrentTask, current_task
from agentexec.errors import (
    AgentexecError,
    ConfigurationError,
    InvalidTask,
    QueueFull,
    RegistrationError,
    TaskFailedError,
    UnsupportedServer,
)
from agentexec.producer.client import Client, default_client
from agentexec.producer.results import gather, get_result
from agentexec.store.models import Base, metadata
from agentexec.task import Priority, Task, TaskRequest
from agentexec.worker.pool import Pool, WorkerPool

try:
    __version__ = version("agentexec-harness")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

if TYPE_CHECKING:
    CONF: Settings


def __getattr__(name: str) -> Any:
    """`CONF`, the settings of this process, read when they are first asked for: importing must not fail for one."""
    if name == "CONF":
        return default_settings()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


async def enqueue(
    task_name: str,
    context: BaseModel,
    *,
    priority: Priority = Priority.LOW,
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    lock_key: str | None = None,
    delay: float = 0.0,
) -> Task:
    """Enqueue one task through this process's client; see `Client.enqueue`."""
    return await default_client().enqueue(
        task_name,
        context,
        priority=priority,
        metadata=metadata,
        idempotency_key=idempotency_key,
        lock_key=lock_key,
        delay=delay,
    )


async def enqueue_many(requests: Sequence[TaskRequest]) -> list[Task]:
    """Enqueue many tasks in one transaction; see `Client.enqueue_many`."""
    return await default_client().enqueue_many(requests)


__all__ = [
    "CONF",
    "AgentexecError",
    "Base",
    "Client",
    "ConfigurationError",
    "CurrentTask",
    "InvalidTask",
    "Pool",
    "Priority",
    "QueueFull",
    "RegistrationError",
    "Settings",
    "Task",
    "TaskFailedError",
    "TaskRequest",
    "UnsupportedServer",
    "WorkerPool",
    "activity",
    "current_task",
    "enqueue",
    "enqueue_many",
    "gather",
    "get_result",
    "metadata",
]
