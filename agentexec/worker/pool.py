"""The pool: the registry of handlers and the start of its worker processes."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Never, TypeVar, Unpack
from uuid import UUID

from sqlalchemy import Engine

from agentexec.config import checked_seconds, load_settings
from agentexec.core.db import engine_for, require_supported_database, url_of
from agentexec.core.fork_server import ForkServer
from agentexec.core.redis_client import blocking_client, require_supported_redis
from agentexec.core.requirements import unmet
from agentexec.core.streams import flush_standard_streams, open_standard_descriptors
from agentexec.errors import ConfigurationError, require_none
from agentexec.ops.logs import set_up
from agentexec.producer.result_types import result_type_of
from agentexec.producer.results import DEFAULT_TIMEOUT, get_result
from agentexec.producer.routing import TaskProducer
from agentexec.queue.ownership import adopt_queue, store_name
from agentexec.queue.redis_queue import RedisQueue
from agentexec.task import Handler, Task, TaskDefinition, TaskOptions, check_name
from agentexec.text import enumerated
from agentexec.worker.agreement import agree
from agentexec.worker.child import Child
from agentexec.worker.maintenance import Maintenance
from agentexec.worker.protocol import StopCommand
from agentexec.worker.reconciler import Reconciler
from agentexec.worker.reference import PoolReference
from agentexec.worker.signals import handled
from agentexec.worker.supervisor import Supervisor

HandlerT = TypeVar("HandlerT", bound=Handler)

_logger = logging.getLogger(__name__)

_forbidden = False


@contextmanager
def running_is_forbidden() -> Iterator[None]:
    """Refuse to run any pool during a `with` block: while a module is imported for its pool, and in a worker."""
    global _forbidden
    before, _forbidden = _forbidden, True
    try:
        yield
    finally:
        _forbidden = before


class Pool(TaskProducer):
    """Several worker processes, each running several tasks at once.

    A pool is a module-level variable of a module or script, since its worker processes import it again:

        pool = ax.Pool(database_url="postgresql://...")

        @pool.task("research")
        async def research(agent_id: UUID, context: Research) -> Findings: ...

        if __name__ == "__main__":
            pool.run()
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *others: Never,
        database_url: str | None = None,
        redis_url: str | None = None,
        queue_name: str | None = None,
        num_workers: int | None = None,
        worker_concurrency: int | None = None,
        graceful_shutdown_timeout: float | None = None,
    ) -> None:
        """Arguments take precedence over the environment.

        With an `engine`, each process connects to the database as that engine does, through pools of its own: worker
        processes import the module of the pool again and so make the engine again.

        Raises `ConfigurationError` for a wrong setting or engine; nothing is connected yet.
        """
        require_none(others, "Pool")
        if engine is not None:
            database_url = url_of(engine)
        settings = load_settings(
            database_url=database_url,
            redis_url=redis_url,
            queue_name=queue_name,
            num_workers=num_workers,
            worker_concurrency=worker_concurrency,
            graceful_shutdown_timeout=graceful_shutdown_timeout,
        )
        super().__init__(settings, engine)
        self._overrides: dict[str, object] = {}
        self.reference: PoolReference | None = None
        self.fork_server = ForkServer()
        self._supervisor: Supervisor | None = None

    def task(self, name: str, **options: Unpack[TaskOptions]) -> Callable[[HandlerT], HandlerT]:
        """Register the decorated handler under `name`; its annotations give the context model.

        `lock_key` is a template over the context's fields, such as "user:{user_id}": tasks for which it gives the same
        text run one at a time.

        After a failure the task runs again up to `max_retries` times; None means AGENTEXEC_MAX_TASK_RETRIES. With
        `retry_on`, an exception type or a tuple of them, it runs again only after these, and after a time limit only
        if `TimeoutError` is one of them.

        Past `soft_time_limit` seconds an async handler is canceled. Past `time_limit` seconds the worker process ends
        whatever its handlers do: its other tasks run again elsewhere, uncharged, and the pool starts a new one. Both
        count as a failed attempt. For None, AGENTEXEC_TASK_SOFT_TIME_LIMIT and AGENTEXEC_TASK_TIME_LIMIT apply.

        Raises `RegistrationError` for a handler without annotations, a wrong option, or a name that is taken.
        """
        check_name(name)

        def register(handler: HandlerT) -> HandlerT:
            self.registry.add(TaskDefinition(name, handler, **options))
            return handler

        return register

    def add_task(self, name: str, handler: Handler, **options: Unpack[TaskOptions]) -> None:
        """Register a handler without the decorator."""
        self.registry.add(TaskDefinition(name, handler, **options))

    async def get_result(
        self,
        task: Task | UUID | str,
        timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 - as published
        *,
        result_type: Any = None,
    ) -> Any:
        """`agentexec.get_result` of a task of this pool's queue, which may have the name of another pool's task."""
        if result_type is None and isinstance(task, Task) and task.task_name in self.registry:
            result_type = result_type_of(self.registry[task.task_name])
        return await get_result(task, timeout, result_type=result_type, client=self.client)

    def run(self) -> int:
        """Run until SIGTERM, SIGINT or SIGHUP; a second one, or SIGQUIT, cancels running handlers.

        Blocks; returns the exit code. A SIGHUP that was ignored at the start, as under `nohup`, stays ignored.

        Raises `ConfigurationError` or `UnsupportedServer` before any worker is started, and `ConfigurationError` if
        no worker can start.
        """
        set_up(self.settings.log_format, level=self.settings.log_level)
        supervisor = self._prepare()
        drain, now = (partial(supervisor.stop, command) for command in (StopCommand.DRAIN, StopCommand.NOW))
        actions = {signal.SIGTERM: drain, signal.SIGINT: drain, signal.SIGHUP: drain, signal.SIGQUIT: now}
        try:
            with handled(actions):
                return self._supervise(supervisor)
        finally:
            flush_standard_streams()

    async def start(self) -> int:
        """Run on this event loop until `shutdown` is called; returns the exit code. The caller handles signals."""
        supervisor = self._prepare()
        try:
            return await asyncio.to_thread(self._supervise, supervisor)
        except asyncio.CancelledError:
            supervisor.stop(StopCommand.NOW)
            raise

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as published
        """Drain a started pool. Past `timeout` seconds (default: the graceful time-out) it cancels running handlers.

        Raises ValueError for a time-out above a century; then nothing was stopped.
        """
        if timeout is not None:
            timeout = checked_seconds(timeout, "The time-out of shutdown")
        supervisor = self._supervisor
        if supervisor is None:
            return
        supervisor.stop(StopCommand.DRAIN)
        if timeout is not None and not await asyncio.to_thread(supervisor.ended.wait, timeout):
            supervisor.stop(StopCommand.NOW)
        await asyncio.to_thread(supervisor.ended.wait)

    def override(self, settings: Mapping[str, object]) -> None:
        """Replace settings by name, here and in the workers; raises `ConfigurationError` for a wrong value.

        They take precedence over the arguments of the constructor and the environment.
        """
        self._overrides = {**self._overrides, **settings}
        self.settings = load_settings(**{**self.settings.model_dump(), **settings})

    def _prepare(self) -> Supervisor:
        if _forbidden:
            raise ConfigurationError(
                "The pool is run while its module is imported, which every worker does; "
                'put the call under `if __name__ == "__main__":`.'
            )
        if not len(self.registry):
            raise ConfigurationError(
                "The pool has no task; register a handler with @pool.task before running it."
            )
        if self._supervisor is not None:
            raise ConfigurationError("The pool is running already; one process runs a pool once at a time.")
        open_standard_descriptors()
        settings = self.settings
        engine = engine_for(self.database, name="agentexec-pool", own=True)
        client = blocking_client(settings, name="agentexec-pool")
        require_supported_database(engine)
        with engine.connect() as connection:
            for problem in unmet(connection):
                _logger.warning("the database is not ready: %s", problem)
        warning = require_supported_redis(client, settings.require_redis_url())
        if warning:
            _logger.warning(warning)
        queue = RedisQueue.of(client, settings)
        adopt_queue(store_name(engine), queue)
        agree(queue, settings)
        fingerprints = self.registry.fingerprints()
        queue.announce(fingerprints)
        self._supervisor = Supervisor(
            reference=self.reference or PoolReference.of(self),
            expected_tasks=tuple(sorted(self.registry)),
            overrides=self._overrides,
            settings=settings,
            maintenance=Maintenance(Reconciler(engine, queue, settings, fingerprints), settings),
            start_child=partial(Child, self.fork_server),
        )
        _logger.info(
            "%d worker%s \N{MULTIPLICATION SIGN} %d, tasks %s, queue %s",
            settings.num_workers,
            "s" if settings.num_workers > 1 else "",
            settings.worker_concurrency,
            enumerated(self.registry),
            settings.queue_name,
        )
        return self._supervisor

    def _supervise(self, supervisor: Supervisor) -> int:
        try:
            with self.fork_server, self._monitored(supervisor):
                return supervisor.run()
        finally:
            self._supervisor = None

    def _monitored(self, supervisor: Supervisor) -> AbstractContextManager[object]:
        if not self.settings.metrics_port:
            return nullcontext()
        from agentexec.ops.monitor import monitoring  # an HTTP server, only where it is asked for

        return monitoring(
            self.settings, database=self.database, ready_workers=lambda: supervisor.ready_workers
        )


WorkerPool = Pool  # the name in agentexec 0.3.0
