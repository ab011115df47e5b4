"""Which client a call without a client uses, and the calls of a pool through its own client.

A task goes to the queue of the pool that registered it, if this process has that pool. Any other task goes to the
client of the process (`default_client`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack

from pydantic import BaseModel
from sqlalchemy import Connection, Engine

from agentexec.config import Settings
from agentexec.core.forking import reset_in_child
from agentexec.errors import InvalidTask
from agentexec.producer.client import Client, add_registry, default_client, replacement, set_default_client
from agentexec.producer.requests import checked_requests
from agentexec.task import EnqueueOptions, Registry, Task, TaskDefinition, TaskRequest

if TYPE_CHECKING:  # the ORM is imported by those who use it
    from sqlalchemy.orm import Session, scoped_session

P = ParamSpec("P")
T = TypeVar("T")
AsyncMethod = Callable[Concatenate[Client, P], Coroutine[Any, Any, T]]


def _async(method: AsyncMethod[P, T]) -> Callable[Concatenate[TaskProducer, P], Coroutine[Any, Any, T]]:
    @wraps(method)
    async def call(self: TaskProducer, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await method(self.client, *args, **kwargs)

    return call


def _sync(method: Callable[Concatenate[Client, P], T]) -> Callable[Concatenate[TaskProducer, P], T]:
    @wraps(method)
    def call(self: TaskProducer, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(self.client, *args, **kwargs)

    return call


class TaskProducer:
    """A registry of tasks with a client of their queue: what a pool is to producers in its process."""

    def __init__(self, settings: Settings, engine: Engine | None = None) -> None:
        self.settings = settings
        self.engine = engine
        self.registry = Registry()
        add_registry(settings.queue_name, self.registry)
        self._client: Client | None = None
        self._reset_lock()
        reset_in_child(self, TaskProducer._reset_lock)
        _producers.append(weakref.ref(self))
        if self.has_servers:
            set_default_client(lambda: self.client)

    @property
    def has_servers(self) -> bool:
        """Whether the settings name both servers; otherwise it gets no task by its name."""
        return bool(self.settings.database_url and self.settings.redis_url)

    def _reset_lock(self) -> None:
        self._making = threading.Lock()

    @property
    def client(self) -> Client:
        """The client of this queue, made at first use."""
        with self._making:
            if (found := replacement()) is not None:
                return found
            if self._client is None:
                self._client = Client(settings=self.settings, registry=self.registry, engine=self.engine)
            return self._client

    @property
    def database(self) -> str | Engine:
        """What to connect to: the engine of the application, or a URL."""
        return self.settings.require_database_url() if self.engine is None else self.engine

    enqueue = _async(Client.enqueue)
    enqueue_many = _async(Client.enqueue_many)
    enqueue_sync = _sync(Client.enqueue_sync)
    enqueue_many_sync = _sync(Client.enqueue_many_sync)
    enqueue_in = _sync(Client.enqueue_in)


_producers: list[weakref.ref[TaskProducer]] = []


def producers() -> list[TaskProducer]:
    """The pools of this process, in the order in which they were made."""
    return [producer for reference in list(_producers) if (producer := reference()) is not None]


def definitions(task_name: str) -> list[TaskDefinition]:
    """The registrations of a task in this process."""
    return [producer.registry[task_name] for producer in producers() if task_name in producer.registry]


def client_for(*task_names: Any) -> Client:
    """The client for these tasks: that of the pool that registered them, otherwise `default_client()`.

    Raises `InvalidTask` if the tasks belong to several queues, or if pools of several queues registered one of them.
    """
    if replacement() is not None:
        return default_client()
    everyone = [producer for producer in producers() if producer.has_servers]
    routes: dict[object, TaskProducer] = {}
    for name in task_names:
        # A name of a wrong type may have no hash.
        takers = isinstance(name, str) and [producer for producer in everyone if name in producer.registry]
        for producer in takers or everyone[:1]:
            settings = producer.settings
            routes.setdefault((settings.queue_name, settings.database_url, settings.redis_url), producer)
    if len(routes) > 1:
        queues = ", ".join(sorted(producer.settings.queue_name for producer in routes.values()))
        names = ", ".join(sorted(set(task_names)))
        raise InvalidTask(
            f"Pools of several queues ({queues}) take {names}; call the method of the pool that is meant, "
            "such as pool.enqueue."
        )
    return next(iter(routes.values())).client if routes else default_client()


async def enqueue(task_name: str, context: BaseModel, **options: Unpack[EnqueueOptions]) -> Task:
    """`Client.enqueue` of the pool that registered the task, otherwise of the client of this process."""
    return await client_for(task_name).enqueue(task_name, context, **options)


def enqueue_sync(task_name: str, context: BaseModel, **options: Unpack[EnqueueOptions]) -> Task:
    """`enqueue` for code without an event loop; blocks until the task is durable."""
    return client_for(task_name).enqueue_sync(task_name, context, **options)


def enqueue_in(
    session: Session | scoped_session[Any] | Connection,
    task_name: str,
    context: BaseModel,
    **options: Unpack[EnqueueOptions],
) -> Task:
    """`Client.enqueue_in` of the pool that registered the task, otherwise of the client of this process."""
    return client_for(task_name).enqueue_in(session, task_name, context, **options)


async def enqueue_many(requests: Sequence[TaskRequest]) -> list[Task]:
    """`Client.enqueue_many` of the pool that registered the tasks, otherwise of the client of this process.

    Raises `InvalidTask` also for tasks of several queues: one transaction records those of one queue.
    """
    checked = checked_requests(requests)
    return await client_for(*(request.task_name for request in checked)).enqueue_many(checked)


def enqueue_many_sync(requests: Sequence[TaskRequest]) -> list[Task]:
    """`enqueue_many` for code without an event loop."""
    checked = checked_requests(requests)
    return client_for(*(request.task_name for request in checked)).enqueue_many_sync(checked)
