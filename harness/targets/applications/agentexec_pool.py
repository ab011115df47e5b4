"""The pool of an application under test: its own handlers, wrapped, on the servers of the run.

`agentexec worker` imports this module, here and in each worker process. Before it imports the application, it pins the
servers, the queue and the size of the pool, so that no argument in the application leads to a server of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import URL, make_url

import agentexec as ax
from agentexec.config import load_settings, normalised_database_url, pin_settings
from agentexec.task import TaskDefinition
from harness.targets import body
from harness.targets.application_reference import ENV_APPLICATION, own_application
from harness.targets.applications.agentexec import ENV_OWN_QUEUE
from harness.targets.wrapped_handler import LABEL, TaskLabel, WrappedRun

_PINNED = (
    *("database_url", "redis_url", "num_workers", "worker_concurrency", "lease_seconds", "metrics_port"),
    "graceful_shutdown_timeout",
)

_label: ContextVar[TaskLabel | None] = ContextVar("harness_task_label", default=None)


class WrappedDefinition(TaskDefinition):
    """The registration of a task whose handler is wrapped; everything else is that of the application."""

    def __init__(self, own: TaskDefinition) -> None:
        vars(self).update(vars(own))
        self._own = own.handler
        self.handler = self._call_async if own.is_async else self._call

    def validate(self, context: Mapping[str, Any]) -> BaseModel:
        """The context of the application's handler, without the label of the task."""
        own = dict(context)
        _label.set(TaskLabel.from_value(own.pop(LABEL, None)))
        return super().validate(own)

    def _call(self, *, agent_id: UUID, context: BaseModel) -> Any:
        return self._run(agent_id).call(lambda: self._own(agent_id=agent_id, context=context))

    async def _call_async(self, *, agent_id: UUID, context: BaseModel) -> Any:
        return await self._run(agent_id).call_async(lambda: self._own(agent_id=agent_id, context=context))

    def _run(self, agent_id: UUID) -> WrappedRun:
        task = ax.current_task()
        return WrappedRun(
            label=_label.get(),
            name=self.name,
            activity=str(agent_id),
            attempt=task.attempt,
            fence=task.fence,
        )


def wrapped(pool: ax.Pool) -> ax.Pool:
    """The pool with its handlers wrapped; raises `ConfigurationError` if it has an engine on another server."""
    if pool.engine is not None:
        _require_same_server(pool.engine.url, pool.settings.require_database_url())
    for name, definition in pool.registry.items():
        pool.registry[name] = WrappedDefinition(definition)
    return pool


def _require_same_server(own: URL, url: str) -> None:
    def place(of: URL) -> tuple[object, ...]:
        return of.host or of.query.get("host"), of.port or of.query.get("port"), of.database

    if place(own) != place(make_url(normalised_database_url(url))):
        raise ax.ConfigurationError(
            "The engine of the pool leads to another database than that of the run, which its handlers could change; "
            "make the engine from DATABASE_URL of the environment."
        )


def _pin() -> None:
    settings = load_settings()
    pinned = {name: getattr(settings, name) for name in _PINNED}
    pin_settings(pinned, queue_names={os.environ[ENV_OWN_QUEUE]: settings.queue_name})


if ENV_APPLICATION in os.environ:
    _pin()
    pool = wrapped(own_application())
    # The parent imports this module too, but it runs no tasks.
    if "AGENTEXEC_WORKER_ID" in os.environ:
        body.say_hello()
