"""The pool: where handlers are registered, and from where their processes are run."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from sqlalchemy import Engine

from agentexec.config import Settings, load_settings
from agentexec.core.db import engine_for, require_supported_database
from agentexec.core.redis_client import blocking_client, require_supported_redis
from agentexec.errors import ConfigurationError
from agentexec.ops.logs import set_up
from agentexec.producer.client import Client, set_default_client
from agentexec.queue.redis_queue import RedisQueue
from agentexec.task import Handler, Registry, TaskDefinition
from agentexec.worker.agreement import agree
from agentexec.worker.reconciler import Reconciler
from agentexec.worker.reference import PoolReference
from agentexec.worker.supervisor import StopCommand, Supervisor

HandlerT = TypeVar("HandlerT", bound=Handler)

_logger = logging.getLogger(__name__)


class Pool:
    """Several worker processes, each running several tasks at once.

    A pool is a module-level variable of an importable module or script, since its worker processes import
    it again:

        pool = ax.Pool(database_url="postgresql://...")

        @pool.task("research")
        async def research(agent_id: UUID, context: Research) -> Findings: ...

        if __name__ == "__main__":
            pool.run()
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        queue_name: str | None = None,
        num_workers: int | None = None,
        worker_concurrency: int | None = None,
        graceful_shutdown_timeout: float | None = None,
    ) -> None:
        """Arguments win over the environment. An `engine` gives its URL; every process makes connections of
        its own.

        Raises `ConfigurationError` where a setting is wrong; nothing is connected yet.
        """
        if engine is not None:
            database_url = engine.url.render_as_string(hide_password=False)
        self.settings: Settings = load_settings(
            database_url=database_url,
            redis_url=redis_url,
            queue_name=queue_name,
            num_workers=num_workers,
            worker_concurrency=worker_concurrency,
            graceful_shutdown_timeout=graceful_shutdown_timeout,
        )
        self.registry = Registry()
        self.reference: PoolReference | None = None
        self._supervisor: Supervisor | None = None
        if self.settings.database_url and self.settings.redis_url:
            set_default_client(lambda: Client(settings=self.settings, registry=self.registry))

    def task(
        self,
        name: str,
        *,
        lock_key: str | None = None,
        soft_time_limit: float | None = None,
        time_limit: float | None = None,
    ) -> Callable[[HandlerT], HandlerT]:
        """Register the decorated handler under `name`; its context model is taken from its annotations.

        `lock_key` is a template over the context's fields, such as "user:{user_id}": of the tasks for which
        it gives the same text, one runs at a time.

        Past `soft_time_limit` seconds an async handler is canceled; past `time_limit` seconds the worker process
        ends under any handler, its other tasks run again elsewhere, uncharged, and the pool starts a new one.
        Either counts as a failed attempt. Where they are None, AGENTEXEC_TASK_SOFT_TIME_LIMIT and
        AGENTEXEC_TASK_TIME_LIMIT decide.

        Raises `RegistrationError` where they are missing or the name is taken.
        """

        def register(handler: HandlerT) -> HandlerT:
            self.add_task(
                name, handler, lock_key=lock_key, soft_time_limit=soft_time_limit, time_limit=time_limit
            )
            return handler

        return register

    def add_task(
        self,
        name: str,
        handler: Handler,
        *,
        lock_key: str | None = None,
        soft_time_limit: float | None = None,
        time_limit: float | None = None,
    ) -> None:
        """Register a handler without the decorator."""
        definition = TaskDefinition(
            name, handler, lock_key=lock_key, soft_time_limit=soft_time_limit, time_limit=time_limit
        )
        self.registry.add(definition)

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; the second one cancels what still runs. Returns the exit code; blocks.

        Raises `ConfigurationError` or `UnsupportedServer` before any worker is started.
        """
        set_up(self.settings.log_format)
        supervisor = self._prepare()
        previous = {
            s: signal.signal(s, lambda *_: supervisor.order(StopCommand.DRAIN))
            for s in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            return self._supervise(supervisor)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    async def start(self) -> int:
        """Run on this event loop until `shutdown` is called; signals are the caller's. Returns the exit
        code.
        """
        supervisor = self._prepare()
        try:
            return await asyncio.to_thread(self._supervise, supervisor)
        except asyncio.CancelledError:
            supervisor.order(StopCommand.NOW)
            raise

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as published
        """Drain a started pool; past `timeout` seconds (default: the graceful time-out) running handlers
        are canceled.
        """
        supervisor = self._supervisor
        if supervisor is None:
            return
        supervisor.order(StopCommand.DRAIN)
        if timeout is not None and not await asyncio.to_thread(supervisor.ended.wait, timeout):
            supervisor.order(StopCommand.NOW)
        await asyncio.to_thread(supervisor.ended.wait)

    def _prepare(self) -> Supervisor:
        if not len(self.registry):
            raise ConfigurationError(
                "The pool has no task; register a handler with @pool.task before running it."
            )
        if self._supervisor is not None:
            raise ConfigurationError("The pool is running already; one process runs a pool once at a time.")
        settings = self.settings
        engine = engine_for(settings.require_database_url())
        client = blocking_client(settings)
        require_supported_database(engine)
        warning = require_supported_redis(client, settings.require_redis_url())
        if warning:
            _logger.warning(warning)
        queue = RedisQueue(client, settings.queue_name)
        agree(queue, settings)
        self._supervisor = Supervisor(
            reference=self.reference or PoolReference.of(self),
            expect=sorted(self.registry),
            settings=settings,
            healer=Reconciler(engine, queue, settings),
        )
        return self._supervisor

    def _supervise(self, supervisor: Supervisor) -> int:
        try:
            with self._monitored(supervisor):
                return supervisor.run()
        finally:
            self._supervisor = None

    def _monitored(self, supervisor: Supervisor) -> AbstractContextManager[object]:
        if not self.settings.metrics_port:
            return nullcontext()
        from agentexec.ops.monitor import monitoring  # an HTTP server, for those who asked for it

        return monitoring(self.settings, ready_workers=lambda: supervisor.ready_workers)
