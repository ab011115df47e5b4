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

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentexec import activity
    from agentexec.config import Settings
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
    from agentexec.worker.pool import Pool, WorkerPool

    CONF: Settings
    __version__: str

# Imported one by one, until a name is found at its first use: what they need takes fifty times as long as this module.
_PLACES = ("errors", "context", "task", "producer.results", "producer.routing", "worker.pool", "store.models")


def __getattr__(name: str) -> Any:
    """A public name or a module of this package; `CONF` are the settings of this process."""
    if name in ("CONF", "__version__"):
        config = import_module("agentexec.config")
        return config.VERSION if name == "__version__" else config.default_settings()
    for place in _PLACES if name in __all__ else ():
        if (found := getattr(import_module(f"agentexec.{place}"), name, None)) is not None:
            return globals().setdefault(name, found)
    try:
        return import_module(f"agentexec.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"agentexec.{name}":
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "CONF", "AgentexecError", "Base", "Client", "ConfigurationError", "CurrentTask", "IdempotencyConflict",
    "InvalidTask", "Pool", "Priority", "QueueFull", "RegistrationError", "Settings", "Task",
    "TaskFailedError", "TaskRequest", "UnsupportedServer", "WorkerPool", "WrongArgument", "activity",
    "current_task", "enqueue", "enqueue_in", "enqueue_many", "enqueue_many_sync", "enqueue_sync", "gather",
    "get_result", "metadata",
]  # fmt: skip
