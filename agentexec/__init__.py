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

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from agentexec import activity
from agentexec.config import VERSION, Settings, default_settings
from agentexec.context import CurrentTask, current_task
from agentexec.errors import (
    AgentexecError,
    ConfigurationError,
    InvalidTask,
    QueueFull,
    RegistrationError,
    TaskFailedError,
    UnsupportedServer,
    WrongArgument,
)
from agentexec.producer.client import Client, default_client
from agentexec.producer.results import gather, get_result
from agentexec.store.models import Base, metadata
from agentexec.task import Priority, Task, TaskRequest
from agentexec.worker.pool import Pool

__version__ = VERSION

WorkerPool = Pool  # the name in agentexec 0.3.0

_P = ParamSpec("_P")
_T = TypeVar("_T")

CONF: Settings  # read on first use


def __getattr__(name: str) -> Any:
    """`CONF`, the settings of this process, are read on first use, so that no import fails because of a setting."""
    if name == "CONF":
        return default_settings()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _of_default_client(
    method: Callable[Concatenate[Client, _P], Coroutine[Any, Any, _T]],
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """A method of `Client` as a function that uses the client of this process."""

    @wraps(method)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await method(default_client(), *args, **kwargs)

    return call


enqueue = _of_default_client(Client.enqueue)
enqueue_many = _of_default_client(Client.enqueue_many)

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
    "WrongArgument",
    "activity",
    "current_task",
    "enqueue",
    "enqueue_many",
    "gather",
    "get_result",
    "metadata",
]
