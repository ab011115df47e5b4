"""agentexec: background tasks for AI agents, with Redis as the queue and Postgres as the activity store.

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

import sys

# `python -m agentexec` searches the working directory first, where a file may hide a package that agentexec needs.
if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] == "agentexec" and not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))

from typing import Any

from agentexec import activity
from agentexec.config import VERSION, Settings, default_settings
from agentexec.context import CurrentTask, current_task
from agentexec.errors import (
    AgentexecError,
    ConfigurationError,
    IdempotencyConflict,
    InvalidTask,
    QueueFull,
    RegistrationError,
    TaskFailedError,
    UnsupportedServer,
    WrongArgument,
)
from agentexec.producer.client import Client
from agentexec.producer.results import gather, get_result
from agentexec.producer.routing import enqueue, enqueue_in, enqueue_many, enqueue_many_sync, enqueue_sync
from agentexec.store.models import Base, metadata
from agentexec.task import Priority, Task, TaskRequest
from agentexec.worker.pool import Pool

__version__ = VERSION

WorkerPool = Pool  # the name in agentexec 0.3.0

CONF: Settings  # read on first use


def __getattr__(name: str) -> Any:
    """`CONF`, the settings of this process, are read on first use, so that no import fails because of a setting."""
    if name == "CONF":
        return default_settings()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CONF",
    "AgentexecError",
    "Base",
    "Client",
    "ConfigurationError",
    "CurrentTask",
    "IdempotencyConflict",
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
    "WrongArgument",
    "activity",
    "current_task",
    "enqueue",
    "enqueue_in",
    "enqueue_many",
    "enqueue_many_sync",
    "enqueue_sync",
    "gather",
    "get_result",
    "metadata",
]
