"""Runs handlers on an event loop and turns whatever they do into results. No I/O of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from pydantic import BaseModel

from agentexec.config import Settings
from agentexec.context import CurrentTask, HandlerVerdict, current
from agentexec.core import runtime
from agentexec.errors import InvalidTask, TimeLimitExceeded
from agentexec.queue.protocol import Claim
from agentexec.task import Registry, TaskDefinition, decode_payload
from agentexec.text import checked_json, storable_text
from agentexec.worker.run_result import RunKind, RunResult

_logger = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True, slots=True)
class HandlerRun:
    """A started task and the state of its run in this process."""

    claim: Claim
    attempt: int
    failures: int = 0
    verdict: HandlerVerdict = field(default_factory=HandlerVerdict)
    task: asyncio.Task[RunResult] | None = None
    task_name: str = ""
    began: float | None = None  # monotonic seconds, until its result is made
    hard_limit: float | None = None  # seconds
    stopped: RunKind | None = None  # why it was stopped


class ResultSink(Protocol):
    """Receives results and progress. Both methods may be called from any thread."""

    def ended(self, result: RunResult) -> None:
        """Take the result of a run."""

    def progress(self, task_id: UUID, token: int, message: str, percentage: int | None) -> None:
        """Take progress that a handler reported."""


class HandlerRunner:
    """The handlers of one worker process."""

    def __init__(
        self, registry: Registry, settings: Settings, loop: asyncio.AbstractEventLoop, sink: ResultSink
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._loop = loop
        self._sink = sink
        self._runs: dict[UUID, HandlerRun] = {}  # the latest of each task
        self._limited: set[HandlerRun] = set()  # those with a hard time limit
        self._threads = ThreadPoolExecutor(
            settings.worker_concurrency, thread_name_prefix="agentexec-handler"
        )

    def begin(self, runs: Sequence[HandlerRun]) -> None:
        """Start handlers; from any thread."""
        self._loop.call_soon_threadsafe(self._begin, runs)

    def stop(self, task_ids: Mapping[UUID, RunKind]) -> None:
        """Cancel handlers; the kind of each becomes that of its result. From any thread."""
        self._loop.call_soon_threadsafe(self._stop, task_ids)

    def running(self) -> set[UUID]:
        """The tasks whose handlers run; from any thread."""
        running = list(self._runs)  # at once: the event loop changes it
        return set(running)

    def overdue(self) -> list[RunResult]:
        """The runs past their hard time limit, as the failures they are; from any thread."""
        now, results = runtime.current().monotonic(), []
        for run in list(self._limited):
            began, limit = run.began, run.hard_limit
            if began is not None and limit is not None and now >= began + limit:
                error = TimeLimitExceeded(f"ran longer than its time limit of {limit:g} s")
                results.append(self._failure(run, error))
        return results

    def _begin(self, runs: Sequence[HandlerRun]) -> None:
        for run in runs:
            # This worker may itself claim a task again that it lost while it was frozen.
            self._stop({run.claim.task_id: RunKind.LOST})
            run.task = self._loop.create_task(self._run(run))
            self._runs[run.claim.task_id] = run
            run.task.add_done_callback(partial(self._end, run))

    def _stop(self, task_ids: Mapping[UUID, RunKind]) -> None:
        for task_id, kind in task_ids.items():
            run = self._runs.get(task_id)
            # Once: a second cancel would interrupt what the handler does because of the first.
            if run is not None and run.task is not None and not run.task.done() and run.stopped is None:
                run.stopped = kind
                run.task.cancel()

    def _end(self, run: HandlerRun, task: asyncio.Task[RunResult]) -> None:
        if self._runs.get(run.claim.task_id) is run:
            del self._runs[run.claim.task_id]
        # A task that is canceled before its first step has run none of this code and has no result.
        if task.cancelled():
            result = self._canceled(run)
        elif (error := task.exception()) is not None:  # a defect of this code; the slot must not stay taken
            result = self._failure(run, error)
        else:
            result = task.result()
        self._sink.ended(result)

    async def _run(self, run: HandlerRun) -> RunResult:
        try:
            name, raw = decode_payload(run.claim.payload)
            definition = self._registry.get(name)
            if definition is None:
                raise InvalidTask(
                    f"No handler is registered for {name!r}; no live pool has known it for "
                    f"{self._settings.unknown_task_seconds:g} s. Start a pool that does, then requeue the task with "
                    f"`agentexec dlq requeue`. This pool knows {sorted(self._registry)}."
                )
            run.task_name, run.began = name, runtime.current().monotonic()
            context = definition.validate(raw)
        except InvalidTask as error:
            return self._result(run, RunKind.FAILED, error=storable_text(str(error)))
        settings = self._settings
        soft_limit = definition.soft_time_limit or settings.task_soft_time_limit or None
        run.hard_limit = definition.time_limit or settings.task_time_limit or None
        if run.hard_limit is not None:
            self._limited.add(run)
        soft = asyncio.timeout(soft_limit if definition.is_async else None)  # a thread cannot be stopped
        try:
            async with soft:
                result = _storable(await self._call(definition, run, context))
        except asyncio.CancelledError:
            return self._canceled(run)
        except BaseException as error:  # a handler may raise anything, and its worker lives on
            _logger.info("task %s failed", run.claim.task_id, exc_info=True)
            if isinstance(error, TimeoutError) and soft.expired():
                error = TimeLimitExceeded(f"ran longer than its soft time limit of {soft_limit:g} s")
            return self._decided(run) or self._failure(run, error)
        if decided := self._decided(run):
            return decided
        message = None if run.verdict.completed is None else storable_text(run.verdict.completed)
        return self._result(run, RunKind.COMPLETE, result=result, message=message)

    async def _call(self, definition: TaskDefinition, run: HandlerRun, context: BaseModel) -> Any:
        claim = run.claim

        def report(message: str, percentage: int | None) -> None:
            self._sink.progress(claim.task_id, claim.token, storable_text(message), percentage)

        current.set(
            CurrentTask(
                agent_id=claim.task_id,
                task_name=definition.name,
                attempt=run.attempt,
                fence=claim.token,
                _report=report,
                _verdict=run.verdict,
            )
        )
        if definition.is_async:
            return await definition.handler(agent_id=claim.task_id, context=context)  # type: ignore[misc]  # is_async says so
        scope = contextvars.copy_context()
        return await self._loop.run_in_executor(
            self._threads, lambda: scope.run(definition.handler, agent_id=claim.task_id, context=context)
        )

    def _canceled(self, run: HandlerRun) -> RunResult:
        if run.stopped is None:  # the handler canceled itself
            error = RuntimeError("the handler raised CancelledError")
            return self._decided(run) or self._failure(run, error)
        canceled = run.stopped is RunKind.CANCELED
        return self._result(run, run.stopped, error="Canceled on request." if canceled else None)

    def _decided(self, run: HandlerRun) -> RunResult | None:
        """FAILED if the handler decided that it failed for good."""
        if run.verdict.failed is None:
            return None
        text = storable_text(run.verdict.failed)
        return self._result(run, RunKind.FAILED, error=text, message=text)

    def _failure(self, run: HandlerRun, error: BaseException) -> RunResult:
        """RETRY with a delay, or FAILED without a retry left."""
        text = storable_text(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        settings, failures = self._settings, run.failures + 1
        if failures > settings.max_task_retries:
            return self._result(run, RunKind.FAILED, error=text)
        delay = retry_delay(failures, base=settings.retry_base_seconds, cap=settings.retry_cap_seconds)
        return self._result(run, RunKind.RETRY, error=text, delay=delay)

    def _result(self, run: HandlerRun, kind: RunKind, **details: Any) -> RunResult:
        self._limited.discard(run)
        began, run.began = run.began, None  # a second result of the run has no duration
        return RunResult(
            task_id=run.claim.task_id,
            token=run.claim.token,
            kind=kind,
            task_name="" if began is None else run.task_name,
            seconds=None if began is None else runtime.current().monotonic() - began,
            **details,
        )


def retry_delay(attempt: int, *, base: float, cap: float) -> float:
    """Seconds to wait before the next try after failed attempt number `attempt` (from 1): full jitter.

    Uniform in [0, min(cap, base * 2^(attempt-1))]; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return runtime.current().uniform(0, min(cap, base * 2 ** min(attempt - 1, 60)))


def _storable(result: Any) -> Any:
    """The JSON value of a handler's result; raises `InvalidTask` for one that the record cannot hold."""
    value = result.model_dump(mode="json") if isinstance(result, BaseModel) else result
    checked_json(value, "The handler's result", "return a pydantic model or None")
    return value
