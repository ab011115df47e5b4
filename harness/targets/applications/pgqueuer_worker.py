"""One worker process of a PgQueuer application under test: its own entrypoints, wrapped, in the schema of the run.

It runs `pgqueuer.run`, the documented function behind `pgq run`, whose options an application does not have: they are
those of the shipped adapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import wraps
from inspect import signature
from typing import Any

from harness.kit.harness_worker import settings
from harness.targets import body
from harness.targets.application_reference import own_application
from harness.targets.applications.base import imported
from harness.targets.applications.postgres_schema import schema_of
from harness.targets.wrapped_handler import LABEL, WrappedRun, label_of_child, run_of_schedule

_DEQUEUE_SECONDS = 2.0


@asynccontextmanager
async def application() -> AsyncIterator[Any]:
    """What the application's own function makes, with wrapped entrypoints; raises `SystemExit` on another database."""
    entered = imported("pgqueuer.factories").validate_factory_result(own_application()())
    async with entered as manager:
        queues = getattr(manager, "qm", manager)
        await _require_schema(queues.queries.driver)
        for name, executor in queues.entrypoint_registry.items():
            executor.execute = wrapped_execute(str(name), executor)
        for one in getattr(getattr(manager, "sm", None), "registry", {}).values():
            one.execute = scheduled_execute(one)
        label_children(imported("pgqueuer.queries").Queries)
        body.say_hello()
        yield manager


async def _require_schema(driver: Any) -> None:
    schema = schema_of(settings.queue)
    [row] = await driver.fetch("SELECT to_regnamespace($1) IS NOT NULL AS found", schema)
    if not row["found"]:
        raise SystemExit(
            "The application connects to another database than that of the run. "
            "Take the address from the environment, such as DATABASE_URL."
        )


def wrapped_execute(name: str, executor: Any) -> Callable[[Any, Any], Any]:
    """The `execute` of an entrypoint's executor, which records each run of a job and hides its label."""
    own = executor.execute

    async def execute(job: Any, context: Any) -> Any:
        headers = dict(job.headers or {})
        run = WrappedRun.of(
            headers.pop(LABEL, None), name=name, activity=str(job.id), attempt=job.attempts + 1
        )
        plain = job.model_copy(update={"headers": headers or None})
        return await run.call_async(lambda: own(plain, context))

    return execute


def scheduled_execute(executor: Any) -> Callable[..., Any]:
    """The `execute` of a schedule's executor, whose jobs are those of a schedule; its runs are no jobs."""
    own = executor.execute

    async def execute(*args: Any) -> Any:
        with run_of_schedule():
            return await own(*args)

    return execute


def label_children(queries: Any) -> None:
    """Let each job that a run of a schedule enqueues carry its label in its headers."""
    own = queries.enqueue

    @wraps(own)
    async def enqueue(self: Any, entrypoint: Any, *args: Any, **given: Any) -> Any:
        if (label := label_of_child()) is not None:
            bound = signature(own).bind(self, entrypoint, *args, **given).arguments
            headers = bound.pop("headers", None)
            if isinstance(entrypoint, list):
                mine = [{LABEL: label, **(one or {})} for one in headers or [None] * len(entrypoint)]
                return await own(**bound, headers=mine)
            return await own(**bound, headers={LABEL: label, **(headers or {})})
        return await own(self, entrypoint, *args, **given)

    queries.enqueue = enqueue


def main() -> None:
    """Run one worker until SIGTERM."""
    batch = max(1, settings.concurrency // 2)
    asyncio.run(
        imported("pgqueuer").run(
            application,
            heartbeat_timeout=timedelta(seconds=settings.lease),
            dequeue_timeout=timedelta(seconds=_DEQUEUE_SECONDS),
            batch_size=batch,
            max_concurrent_tasks=2 * batch,
        )
    )


if __name__ == "__main__":
    main()
