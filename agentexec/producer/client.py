"""The client of producers: enqueue tasks and cancel them."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Never, Self, Unpack
from uuid import UUID

import redis
from pydantic import BaseModel
from sqlalchemy import Connection, Engine
from sqlalchemy.pool import StaticPool

from agentexec.config import Settings, default_settings, load_settings
from agentexec.core.circuit import Circuit
from agentexec.core.db import engine_for, required_engine, url_of
from agentexec.core.forking import reset_in_child
from agentexec.core.postgres import patiently
from agentexec.core.redis_client import blocking_client, reading_client
from agentexec.errors import (
    ConfigurationError,
    InvalidTask,
    PayloadTooLarge,
    require,
    require_list,
    require_none,
)
from agentexec.identifiers import new_id, parse_id
from agentexec.producer.encoding import write_context
from agentexec.producer.enqueuer import Enqueuer, PreparedTask
from agentexec.producer.outbox import connection_of, record_in
from agentexec.producer.requests import checked_requests
from agentexec.queue.protocol import Queue
from agentexec.queue.redis_queue import RedisQueue
from agentexec.store import direct, reading, statements
from agentexec.store.rows import NewActivity
from agentexec.store.status import Status
from agentexec.task import LONGEST_DELAY, EnqueueOptions, Registry, Task, TaskDefinition, TaskRequest
from agentexec.text import checked_json, checked_name, enumerated, storable_text

if TYPE_CHECKING:  # the ORM is imported by those who use it
    from sqlalchemy.orm import Session, scoped_session

_logger = logging.getLogger(__name__)

NAME = "agentexec-producer"  # of its connections, in the servers' lists


class Client:
    """A client of one queue and its activity store. Threads and event loops may share it, and so may forked children.

    A child connects by itself. What its parent handed in before the fork stays with the parent.
    """

    def __init__(
        self,
        *others: Never,
        database_url: str | None = None,
        redis_url: str | None = None,
        queue_name: str | None = None,
        settings: Settings | None = None,
        registry: Registry | None = None,
        engine: Engine | None = None,
    ) -> None:
        """Connect at first use. Arguments override the environment; `registry` has the lock keys of tasks.

        With `engine`, the client connects to the database as that engine does, through pools of its own.
        Raises `ConfigurationError` if a URL is missing or the engine cannot be used.
        """
        require_none(others, "Client")
        remedy = "make one with load_settings, or leave it out"
        require(settings, (Settings, type(None)), "settings are a Settings", remedy, error=ConfigurationError)
        remedy = "pass the `registry` of a pool"
        require(registry, (dict, type(None)), "registry is a Registry", remedy, error=ConfigurationError)
        # The registry of a pool may still be empty, and get its tasks later.
        self._registry = Registry() if registry is None else registry
        self.settings = settings or load_settings(
            database_url=database_url if engine is None else url_of(engine),
            redis_url=redis_url,
            queue_name=queue_name,
        )
        self.database: str | Engine = (
            required_engine(engine) if engine is not None else self.settings.require_database_url()
        )
        self.engine = engine_for(self.database, pool_size=4, name=NAME)
        if isinstance(self.engine.pool, StaticPool):  # SQLite in memory: there is no other way to it
            self.database = self.engine
        self.redis = blocking_client(self.settings, name=NAME)
        self.queue = RedisQueue.of(self.redis, self.settings, engine=self.engine)
        self.results = RedisQueue.of(reading_client(self.settings, name=NAME), self.settings)
        # Not tested before use, which costs a round trip per batch: the enqueuer repeats what a broken connection lost.
        self._recording = self.engine
        if self.engine.dialect.name == "postgresql":
            wait = self.settings.database_timeout
            self._recording = engine_for(
                self.database, test_connections=False, name=NAME, timeout=wait, own=True
            )
        self._enqueuer = Enqueuer(self._recording, self.queue)
        reset_in_child(self._enqueuer, Enqueuer.reset)

    async def enqueue(self, task_name: str, context: BaseModel, **options: Unpack[EnqueueOptions]) -> Task:
        """Record a task in Postgres and dispatch it; returns once it is durable. `TaskRequest` describes the options.

        A task that was enqueued before with the same `idempotency_key` is returned instead; its context is not
        compared. Raises `InvalidTask` (`IdempotencyConflict` if that task has another name or queue), `QueueFull`, or
        the error of the database. After a broken connection the outcome is unknown; enqueuing again with the same
        `idempotency_key` is safe.
        """
        return (await self.enqueue_many([TaskRequest(task_name=task_name, context=context, **options)]))[0]

    async def enqueue_many(self, requests: Sequence[TaskRequest]) -> list[Task]:
        """Enqueue many tasks in one transaction: all are recorded, or none. Returns tasks in the order of requests."""
        entries = [self._prepare(request) for request in checked_requests(requests)]
        return _tasks(entries, await self._enqueuer.submitted(entries))

    def enqueue_sync(self, task_name: str, context: BaseModel, **options: Unpack[EnqueueOptions]) -> Task:
        """`enqueue` for code without an event loop; blocks until the task is durable."""
        return self.enqueue_many_sync([TaskRequest(task_name=task_name, context=context, **options)])[0]

    def enqueue_many_sync(self, requests: Sequence[TaskRequest]) -> list[Task]:
        """`enqueue_many` for code without an event loop."""
        entries = [self._prepare(request) for request in checked_requests(requests)]
        return _tasks(entries, self._enqueuer.submit(entries).result())

    def enqueue_in(
        self,
        session: Session | scoped_session[Any] | Connection,
        task_name: str,
        context: BaseModel,
        **options: Unpack[EnqueueOptions],
    ) -> Task:
        """Record a task in the transaction of the caller, who commits it or rolls it back with everything else.

        A pool dispatches the task about 3 s after the commit, so it is not in the queue before. The session must lead
        to the database of the pool. With an `AsyncSession`: `await session.run_sync(client.enqueue_in, name, context)`.
        Raises `InvalidTask`, `ConfigurationError` if agentexec's tables are not there, or the error of the database.
        """
        connection = connection_of(session)
        (request,) = checked_requests([TaskRequest(task_name=task_name, context=context, **options)])
        entry = self._prepare(request)
        return _tasks([entry], [record_in(connection, entry.activity)])[0]

    def cancel(self, agent_ids: Sequence[UUID], message: str = "Canceled on request.") -> dict[UUID, Status]:
        """Cancel queued tasks and ask running ones of any queue to stop; returns the new status of each pending one.

        The requests are durable: while Redis does not answer, the pools pass them on later.
        """
        require_list(agent_ids, "cancel takes a list of ids", "write client.cancel([agent_id])")
        require(message, str, "The message of a cancel is text", "leave it out for the default")
        return request_cancel(self.engine, self.queue_of, [parse_id(i) for i in agent_ids], message)

    @property
    def circuit(self) -> Circuit:
        """Whether Redis is silent at present."""
        return self._enqueuer.circuit

    def queue_of(self, queue_name: str) -> RedisQueue:
        """The queue of this name on the same Redis."""
        return RedisQueue(self.redis, queue_name, engine=self.engine)

    def close(self) -> None:
        """Finish what was handed in and close all connections."""
        self._enqueuer.close()
        self._recording.dispose()
        self.redis.close()
        self.results.client.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, request: TaskRequest) -> PreparedTask:
        name = checked_name(request.task_name, "A task name")
        definition = self._definition(name)
        receiver = None if definition is None else definition.context_type
        context, received, payload = write_context(name, request.context, receiver)
        metadata = None if request.metadata is None else dict(request.metadata)
        size = checked_size(payload, metadata, name, self.settings)
        if not 0 <= request.delay <= LONGEST_DELAY:
            raise InvalidTask(
                f"The delay of {name} is {request.delay}; give seconds from now, at most {LONGEST_DELAY:g}."
            )
        if request.idempotency_key is not None:
            checked_name(request.idempotency_key, f"The idempotency key of {name}")
        lock_key = request.lock_key
        if lock_key is not None:
            checked_name(lock_key, f"The lock key of {name}")
        elif definition is not None:
            # Otherwise this process does not know the template: the worker makes the key.
            lock_key = definition.lock_key(received)
        activity = NewActivity(
            id=new_id(),
            queue_name=self.settings.queue_name,
            task_name=name,
            context=context,
            priority=request.priority.level,
            message=self.settings.activity_message_create,
            metadata=metadata,
            idempotency_key=request.idempotency_key,
            lock_key=lock_key,
            delay=request.delay,
        )
        return PreparedTask(activity, payload, size)

    def _definition(self, task_name: str) -> TaskDefinition | None:
        """The registration of a task, by this client's pool or another pool of the queue; None without a registry.

        Raises `InvalidTask` if no pool of this process registered the task.
        """
        if task_name in self._registry or not self._registry:
            return self._registry.get(task_name)
        registries = [self._registry, *_registered(self.settings.queue_name)]
        for registry in registries:
            if task_name in registry:
                return registry[task_name]
        raise InvalidTask(
            f"No task {task_name[:40]!r} is registered; this process knows {enumerated(set().union(*registries))}. "
            "For a task of another program, use a Client without a registry."
        )


def checked_size(payload: bytes, metadata: dict[str, Any] | None, task_name: str, settings: Settings) -> int:
    """The bytes of a payload and of metadata; raises `PayloadTooLarge` if they are more than the settings allow."""
    size, limit = len(payload), settings.max_payload_bytes
    if metadata is not None:
        size += len(checked_json(metadata, f"The metadata of {task_name}").encode())
    if size > limit:
        raise PayloadTooLarge(
            f"The context and the metadata of {task_name} take {size} bytes, more than "
            f"AGENTEXEC_MAX_PAYLOAD_BYTES allows ({limit}); store the data elsewhere and pass a reference to it."
        )
    return size


def request_cancel(
    engine: Engine, queue_of: Callable[[str], Queue], ids: Sequence[UUID], message: str
) -> dict[UUID, Status]:
    """Cancel in the activity store, then in the queues, which `queue_of` gives by name; see `Client.cancel`."""
    text = storable_text(message)
    standing, tasks = patiently(lambda: _record_cancel(engine, ids, text))
    withdraw(queue_of, tasks)
    return standing


def withdraw(queue_of: Callable[[str], Queue], tasks: Mapping[str, Sequence[UUID]]) -> None:
    """Ask the queues to stop or remove these tasks, which are given by the name of their queue."""
    try:
        for queue_name, task_ids in tasks.items():
            queue_of(queue_name).request_cancel(task_ids)
    except redis.RedisError as error:
        note = "Redis did not take %d cancel request(s) (%s); a pool passes them on when it answers"
        _logger.warning(note, sum(map(len, tasks.values())), type(error).__name__)


def _record_cancel(
    engine: Engine, ids: Sequence[UUID], text: str
) -> tuple[dict[UUID, Status], dict[str, list[UUID]]]:
    """Cancel in the activity store; returns the new statuses, and by queue the tasks that the queue has to cancel."""
    with engine.begin() as connection:
        standing = statements.request_cancel(connection, ids, text)
        tasks: defaultdict[str, list[UUID]] = defaultdict(list)
        for task_id, queue_name in reading.queue_names(connection, standing).items():
            tasks[queue_name].append(task_id)
        for task_id in tasks.pop(direct.BY_HAND, ()):  # no worker would end it
            activity = direct.lock(connection, task_id)
            if activity is not None and not activity.status.terminal:
                direct.end(connection, activity, Status.CANCELED, text, None)
                standing[task_id] = Status.CANCELED
        return standing, tasks


def _tasks(entries: Sequence[PreparedTask], ids: Sequence[UUID]) -> list[Task]:
    """Tasks under the ids that they are recorded with."""
    return [
        Task(task_name=entry.activity.task_name, agent_id=i, context=entry.activity.context)
        for entry, i in zip(entries, ids, strict=True)
    ]


_lock = threading.Lock()
# The queues of all pools of this process, and their tasks.
_registries: list[tuple[str, weakref.ref[Registry]]] = []
_default: Client | None = None
_replacement: Client | None = None
_factory: Callable[[], Client] | None = None


def default_client() -> Client:
    """The client of this process, made at first use: that of the first `Pool`, otherwise from the environment."""
    global _default
    with _lock:
        if _replacement is not None:
            return _replacement
        if _default is None:
            _default = _factory() if _factory is not None else Client(settings=default_settings())
        return _default


def _unlock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock)


def add_registry(queue_name: str, registry: Registry) -> None:
    """Make the tasks of a pool known to all clients of its queue in this process."""
    _registries.append((queue_name, weakref.ref(registry)))


def _registered(queue_name: str) -> Iterator[Registry]:
    for name, reference in _registries:
        if name == queue_name and (registry := reference()) is not None:
            yield registry


def set_default_client(factory: Callable[[], Client]) -> None:
    """Make the client of this process with `factory`, unless a factory was set before."""
    global _factory
    with _lock:
        _factory = _factory or factory


def replacement() -> Client | None:
    """The client of a `use_client` block, which stands for every client of this process; None outside of one."""
    return _replacement


@contextmanager
def use_client(client: Client) -> Iterator[Client]:
    """Let every call without a client, and every pool, use this client in a `with` block."""
    global _replacement
    before, _replacement = _replacement, client
    try:
        yield client
    finally:
        _replacement = before
