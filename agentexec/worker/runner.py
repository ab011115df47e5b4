"""Runs handlers on an event loop or in threads, and makes a result of whatever they do. No I/O of its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from agentexec.config import Settings
from agentexec.context import CurrentTask, HandlerVerdict, current
from agentexec.core import runtime
from agentexec.errors import InvalidTask, TimeLimitExceeded
from agentexec.queue.protocol import Claim
from agentexec.task import Registry, TaskDefinition, decode_payload
from agentexec.text import MAX_SUMMARY, storable_text
from agentexec.worker.failures import summary_of, traceback_of
from agentexec.worker.run_result import RunKind, RunResult, json_result

MAX_CANCELS = 2  # per run: one for each of two different reasons


def _limit_traceback(line: logging.LogRecord) -> bool:
    """Write the traceback before any formatter does: limited, and without secrets."""
    if line.exc_info and line.exc_info[1] is not None:
        line.exc_text = traceback_of(line.exc_info[1])
    return True


_logger = logging.getLogger(__name__)
_logger.addFilter(_limit_traceback)


class Outcome(NamedTuple):
    """What a handler returned or raised. An exception is a value here: asyncio treats some of them specially."""

    value: Any = None
    error: BaseException | None = None


@dataclass(eq=False, kw_only=True, slots=True)
class HandlerRun:
    """A started task and the state of its run in this process."""

    claim: Claim
    attempt: int
    failures: int = 0
    verdict: HandlerVerdict = field(default_factory=HandlerVerdict)
    task: asyncio.Task[RunResult] | None = None
    definition: TaskDefinition | None = None
    began: float | None = None  # monotonic seconds, when the handler began
    hard_limit: float | None = None  # seconds
    measured: bool = False  # whether a result has the duration
    expired: bool = False  # whether its soft limit canceled it
    stopped: list[RunKind] = field(default_factory=list)  # why it was canceled, the first reason first


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
        self._left_behind: set[HandlerRun] = set()  # those that ended while their thread runs on

    def begin(self, runs: Sequence[HandlerRun]) -> None:
        """Start handlers; from any thread."""
        self._loop.call_soon_threadsafe(self._begin, runs)

    @property
    def threads_left_behind(self) -> int:
        """The number of threads that run on after the end of their run."""
        return len(self._left_behind)

    def stop(self, task_ids: Mapping[UUID, RunKind]) -> None:
        """Cancel handlers; the first kind of each becomes that of its result. From any thread.

        A repetition changes nothing, so that a handler can clean up; a second kind cancels it once more.
        """
        self._loop.call_soon_threadsafe(self._stop, task_ids)

    def running(self) -> set[UUID]:
        """The tasks whose handlers run; from any thread."""
        return set(self._runs.copy())  # at once: the event loop changes it

    def overdue(self) -> list[RunResult]:
        """The runs past their hard time limit, as the failures they are; from any thread."""
        now, results = runtime.current().monotonic(), []
        for run in list(self._limited):
            began, limit = run.began, run.hard_limit
            if began is not None and limit is not None and now >= began + limit:
                # For a run that has a result already, as its thread was left behind, the worker loop ignores this one.
                error = TimeLimitExceeded(f"ran longer than its time limit of {limit:g} s")
                results.append(self._failure(run, error))
        return results

    def _begin(self, runs: Sequence[HandlerRun]) -> None:
        for run in runs:
            self._stop({run.claim.task_id: RunKind.LOST})  # an older run, of a lease that this worker lost
            run.task = self._loop.create_task(self._run(run))
            self._runs[run.claim.task_id] = run
            run.task.add_done_callback(partial(self._end, run))

    def _stop(self, task_ids: Mapping[UUID, RunKind]) -> None:
        for task_id, kind in task_ids.items():
            run = self._runs.get(task_id)
            if run is None or run.task is None or run.task.done():
                continue
            if kind not in run.stopped and len(run.stopped) < MAX_CANCELS:
                run.stopped.append(kind)
                run.task.cancel()

    def _expire(self, run: HandlerRun) -> None:
        if run.task is not None and not run.stopped:
            run.expired = True
            run.task.cancel()

    def _end(self, run: HandlerRun, task: asyncio.Task[RunResult]) -> None:
        if self._runs.get(run.claim.task_id) is run:
            del self._runs[run.claim.task_id]
        # A task that is canceled before its first step, be it by code of a handler, has run none of this code and has
        # no result. Another error is a defect of this code; the slot must not stay taken.
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._sink.ended(task.result() if error is None else self._failed(run, error))

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
            run.definition = definition
            context = definition.validate(raw)
        except InvalidTask as error:
            return self._invalid(run, error)
        self._introduce(run, definition)
        call = partial(definition.handler, agent_id=run.claim.task_id, context=context)
        outcome = await self._outcome(run, definition, call)
        if outcome.error is not None:
            return self._failed(run, outcome.error)
        if decided := self._decided(run):
            return decided
        try:
            result, encoded = json_result(outcome.value, self._settings.max_result_bytes)
        except InvalidTask as error:
            return self._invalid(run, error)
        message = None if run.verdict.completed is None else storable_text(run.verdict.completed)
        return self._result(run, RunKind.COMPLETE, result=result, encoded=encoded, message=message)

    def _introduce(self, run: HandlerRun, definition: TaskDefinition) -> None:
        """Make the task known to its handler, and to the log lines that follow."""
        claim = run.claim

        def report(message: str, percentage: int | None) -> None:
            self._sink.progress(claim.task_id, claim.token, storable_text(message), percentage)

        task = CurrentTask(
            agent_id=claim.task_id,
            task_name=definition.name,
            attempt=run.attempt,
            fence=claim.token,
            _report=report,
            _verdict=run.verdict,
        )
        current.set(task)

    async def _outcome(self, run: HandlerRun, definition: TaskDefinition, call: Callable[[], Any]) -> Outcome:
        """Call the handler, and await what it returns if that is an awaitable."""
        if definition.is_async:
            self._start_clock(run, definition)
            outcome = attempted(call)
        else:
            try:
                outcome = await self._in_thread(run, definition, call)
            except BaseException as error:  # noqa: BLE001 - it was canceled, or there is no thread left
                return Outcome(error=error)
        if not inspect.isawaitable(outcome.value):
            return outcome
        timer = self._soft_timer(run, definition)
        try:
            return Outcome(await _awaited(outcome.value))
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything, and its worker lives on
            return Outcome(error=error)
        finally:
            if timer is not None:
                timer.cancel()

    def _soft_timer(self, run: HandlerRun, definition: TaskDefinition) -> asyncio.TimerHandle | None:
        """Cancel a run past its soft limit; a thread cannot be stopped, so this is for coroutines only."""
        limit = self._soft_limit(definition)
        if limit is None or run.began is None:
            return None
        left = run.began + limit - runtime.current().monotonic()
        return self._loop.call_later(max(0.0, left), self._expire, run)

    async def _in_thread(
        self, run: HandlerRun, definition: TaskDefinition, call: Callable[[], Any]
    ) -> Outcome:
        """The outcome of a call in a thread of its own: no handler waits for the threads of others."""
        ended: asyncio.Future[Outcome] = self._loop.create_future()
        scope = contextvars.copy_context()

        def work() -> None:
            self._start_clock(run, definition)
            outcome = scope.run(attempted, call)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(end, outcome)

        def end(outcome: Outcome) -> None:
            if run in self._left_behind:
                self._left_behind.discard(run)
                self._limited.discard(run)
            elif not ended.done():
                ended.set_result(outcome)

        runtime.current().spawn(work, name="agentexec-handler")
        try:
            return await ended
        except asyncio.CancelledError:
            if not ended.done() or ended.cancelled():
                self._left_behind.add(run)
                message = "the thread of task %s runs on after its run was stopped; %d such thread(s)"
                _logger.warning(message, run.claim.task_id, len(self._left_behind))
            raise

    def _start_clock(self, run: HandlerRun, definition: TaskDefinition) -> None:
        run.began = runtime.current().monotonic()
        run.hard_limit = definition.time_limit or self._settings.task_time_limit or None
        if run.hard_limit is not None:
            self._limited.add(run)

    def _soft_limit(self, definition: TaskDefinition) -> float | None:
        return definition.soft_time_limit or self._settings.task_soft_time_limit or None

    def _failed(self, run: HandlerRun, error: BaseException) -> RunResult:
        """The result of a handler that raised: why it was stopped, what it decided itself, or its error."""
        canceled = isinstance(error, asyncio.CancelledError)
        if run.stopped:
            if not canceled:
                self._log(run, error, f"raised while it was stopped ({run.stopped[0]})")
            return self._result(run, run.stopped[0])
        if canceled and run.expired and run.definition is not None:
            limit = self._soft_limit(run.definition)
            exceeded = TimeLimitExceeded(f"ran longer than its soft time limit of {limit:g} s")
            exceeded.__cause__ = error
            error = exceeded
        if decided := self._decided(run):
            self._log(run, error, "failed as it decided itself")
            return decided
        return self._failure(run, error)

    def _decided(self, run: HandlerRun) -> RunResult | None:
        """FAILED if the handler decided that it failed for good."""
        if run.verdict.failed is None:
            return None
        text = storable_text(run.verdict.failed)
        return self._result(run, RunKind.FAILED, error=text, message=text)

    def _invalid(self, run: HandlerRun, error: InvalidTask) -> RunResult:
        """FAILED for what no retry would help."""
        text = storable_text(str(error))
        _logger.error("task %s failed for good: %s", run.claim.task_id, text)
        return self._result(run, RunKind.FAILED, error=text)

    def _failure(self, run: HandlerRun, error: BaseException) -> RunResult:
        """RETRY with a delay, or FAILED without a retry left."""
        settings, definition, failures = self._settings, run.definition, run.failures + 1
        retries = settings.max_task_retries
        if definition is not None and definition.max_retries is not None:
            retries = definition.max_retries
        details = {"error": summary_of(error), "traceback": traceback_of(error)}
        if failures > retries or (definition is not None and not definition.may_retry(error)):
            self._log(run, error, "failed for good")
            return self._result(run, RunKind.FAILED, **details)
        delay = retry_delay(failures, base=settings.retry_base_seconds, cap=settings.retry_cap_seconds)
        self._log(run, error, f"failed and runs again in {delay:.1f} s")
        return self._result(run, RunKind.RETRY, delay=delay, **details)

    def _log(self, run: HandlerRun, error: BaseException, what: str) -> None:
        """One line for a run that failed, with its traceback."""
        name = "" if run.definition is None else run.definition.name
        message = "task %s (%s) %s, attempt %d: %s"
        why = summary_of(error)[:MAX_SUMMARY]
        _logger.error(message, name, run.claim.task_id, what, run.attempt, why, exc_info=error)

    def _result(self, run: HandlerRun, kind: RunKind, **details: Any) -> RunResult:
        if run not in self._left_behind:
            self._limited.discard(run)
        began = None if run.measured else run.began
        run.measured = True  # a second result of the run has no duration
        if kind is RunKind.CANCELED:
            details = {"error": "Canceled on request."}
        return RunResult(
            task_id=run.claim.task_id,
            token=run.claim.token,
            kind=kind,
            task_name="" if began is None or run.definition is None else run.definition.name,
            seconds=None if began is None else runtime.current().monotonic() - began,
            **details,
        )


async def _awaited(value: Awaitable[Any]) -> Any:
    """The value behind an awaitable, and behind an awaitable that it gives."""
    awaited = await value
    while awaited is not None and inspect.isawaitable(awaited):
        awaited = await awaited
    return awaited


def attempted(call: Callable[[], Any]) -> Outcome:
    """Call; an exception is a value of the outcome."""
    try:
        return Outcome(call())
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, and its worker lives on
        return Outcome(error=error)


def retry_delay(attempt: int, *, base: float, cap: float) -> float:
    """Seconds to wait before the next try after failed attempt number `attempt` (from 1): full jitter.

    Uniform in [0, min(cap, base * 2^(attempt-1))]; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return runtime.current().uniform(0, min(cap, base * 2 ** min(attempt - 1, 60)))
