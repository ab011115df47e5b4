"""Runs handlers on an event loop, and turns whatever they do into outcomes. No I/O of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from pydantic import BaseModel

from agentexec.config import Settings
from agentexec.context import CurrentTask, HandlerVerdict, current
from agentexec.core import runtime
from agentexec.errors import InvalidTask, TimeLimitExceeded
from agentexec.queue.protocol import Claim
from agentexec.task import Registry, TaskDefinition, decode_payload, retry_delay, storable_json
from agentexec.text import storable_text
from agentexec.worker.limits import HardLimits, Limits

_logger = logging.getLogger(__name__)


class End(StrEnum):
    """How a run ended, from the handler's point of view."""

    COMPLETE = "complete"
    RETRY = "retry"
    DEAD = "dead"  # failed for good: no retry left, or none would help
    CANCELED = "canceled"
    RELEASED = "released"  # stopped by a shutdown; runs again elsewhere, uncharged
    LOST = "lost"  # the lease is gone; nothing may be written


@dataclass(frozen=True, kw_only=True, slots=True)
class HandlerRun:
    """A started task on its way to its handler."""

    claim: Claim
    attempt: int
    failures: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The end of a run. `delay` (seconds) belongs to RETRY, `result` to COMPLETE, `error` to the failures.

    `message` is the handler's own wording for the log, None for the configured one. `seconds` is how long it
    ran, None where that is not known, and `task_name` then empty.
    """

    task_id: UUID
    token: int
    end: End
    result: Any = None
    error: str | None = None
    delay: float = 0.0
    message: str | None = None
    task_name: str = ""
    seconds: float | None = None


class Sink(Protocol):
    """Where outcomes and progress go; both may be called from any thread."""

    def ended(self, outcome: Ended) -> None:
        """A run is over."""
        ...

    def progress(self, task_id: UUID, token: int, message: str, percentage: int | None) -> None:
        """A handler reported progress."""
        ...


class HandlerRunner:
    """The handlers of one worker process."""

    def __init__(self, registry: Registry, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._registry = registry
        self._settings = settings
        self._loop = loop
        self._runs: dict[UUID, tuple[int, asyncio.Task[Ended]]] = {}  # with the token of each
        self._why: dict[int, End] = {}  # token -> why its run was stopped
        self._began: dict[int, tuple[str, float]] = {}  # token -> task name, monotonic time
        self._hard_limits: HardLimits[HandlerRun] = HardLimits()
        self._threads = ThreadPoolExecutor(
            settings.worker_concurrency, thread_name_prefix="agentexec-handler"
        )
        self._sink: Sink | None = None

    def connect(self, sink: Sink) -> None:
        """Say where outcomes go; once, before the first run."""
        self._sink = sink

    def begin(self, runs: Sequence[HandlerRun]) -> None:
        """Start handlers; from any thread."""
        self._loop.call_soon_threadsafe(self._begin, runs)

    def stop(self, task_ids: Mapping[UUID, End]) -> None:
        """Cancel handlers, each for a reason that decides its outcome; from any thread."""
        self._loop.call_soon_threadsafe(self._stop, task_ids)

    def overdue(self) -> list[Ended]:
        """The runs past their hard time limit, as the failures they are; from any thread."""
        return [
            self._failed(
                run, TimeLimitExceeded(f"ran longer than its time limit of {limit:g} s"), HandlerVerdict()
            )
            for run, limit in self._hard_limits.overdue()
        ]

    def _begin(self, runs: Sequence[HandlerRun]) -> None:
        for run in runs:
            # We may be the ones who claim what we lost while we stood still.
            self._stop({run.claim.task_id: End.LOST})
            task = self._loop.create_task(self._outcome(run))
            self._runs[run.claim.task_id] = run.claim.token, task
            task.add_done_callback(partial(self._end, run))

    def _stop(self, task_ids: Mapping[UUID, End]) -> None:
        for task_id, reason in task_ids.items():
            token, task = self._runs.get(task_id, (0, None))
            if task is not None and not task.done():
                self._why.setdefault(token, reason)
                task.cancel()

    def _end(self, run: HandlerRun, task: asyncio.Task[Ended]) -> None:
        # Canceled before its first step, a task has run none of our code: its outcome is made here.
        if task.cancelled():
            outcome = self._canceled(run, HandlerVerdict())
        elif (error := task.exception()) is not None:  # nothing of ours took it; the slot must not stay taken
            outcome = self._failed(run, error, HandlerVerdict())
        else:
            outcome = task.result()
        claim = run.claim
        if self._runs.get(claim.task_id, (0, task))[0] == claim.token:
            del self._runs[claim.task_id]
        self._why.pop(claim.token, None)
        self._require_sink().ended(outcome)

    async def _outcome(self, run: HandlerRun) -> Ended:
        try:
            name, raw = decode_payload(run.claim.payload)
            definition = self._registry.get(name)
            if definition is None:
                raise InvalidTask(
                    f"No handler is registered for {name!r} in this pool; it knows {sorted(self._registry)}."
                )
            self._began[run.claim.token] = name, runtime.current().monotonic()
            context = definition.validate(raw)
        except InvalidTask as error:
            return self._ended(run, End.DEAD, error=storable_text(str(error)))
        words = HandlerVerdict()
        limits = Limits.of(definition, self._settings)
        self._hard_limits.begin(run.claim.token, limits.hard, run)
        soft = asyncio.timeout(limits.soft if definition.is_async else None)  # a thread cannot be stopped
        try:
            async with soft:
                result = _storable(await self._call(definition, run, context, words))
        except asyncio.CancelledError:
            return self._canceled(run, words)
        except TimeoutError as error:
            late = TimeLimitExceeded(f"ran longer than its soft time limit of {limits.soft:g} s")
            return self._failed(run, late if soft.expired() else error, words)
        except BaseException as error:  # a handler may raise anything, and its worker lives on
            _logger.info("task %s failed", run.claim.task_id, exc_info=True)
            return self._failed(run, error, words)
        if words.failed is not None:
            return self._given_up(run, words.failed)
        message = None if words.completed is None else storable_text(words.completed)
        return self._ended(run, End.COMPLETE, result=result, message=message)

    async def _call(
        self, definition: TaskDefinition, run: HandlerRun, context: BaseModel, words: HandlerVerdict
    ) -> Any:
        claim = run.claim
        report: Callable[[str, int | None], None] = lambda message, percentage: self._require_sink().progress(  # noqa: E731
            claim.task_id, claim.token, storable_text(message), percentage
        )
        current.set(
            CurrentTask(
                agent_id=claim.task_id,
                task_name=definition.name,
                attempt=run.attempt,
                fence=claim.token,
                _report=report,
                _words=words,
            )
        )
        if definition.is_async:
            return await definition.handler(agent_id=claim.task_id, context=context)  # type: ignore[misc]  # is_async says so
        scope = contextvars.copy_context()
        return await self._loop.run_in_executor(
            self._threads, lambda: scope.run(definition.handler, agent_id=claim.task_id, context=context)
        )

    def _canceled(self, run: HandlerRun, words: HandlerVerdict) -> Ended:
        reason = self._why.get(run.claim.token)
        if reason is None:  # the handler canceled itself
            return self._failed(run, RuntimeError("the handler raised CancelledError"), words)
        return self._ended(run, reason, error="Canceled on request." if reason is End.CANCELED else None)

    def _given_up(self, run: HandlerRun, message: str) -> Ended:
        return self._ended(run, End.DEAD, error=storable_text(message), message=storable_text(message))

    def _failed(self, run: HandlerRun, error: BaseException, words: HandlerVerdict) -> Ended:
        if words.failed is not None:
            return self._given_up(run, words.failed)
        text = storable_text(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        settings = self._settings
        failures = run.failures + 1
        if failures > settings.max_task_retries:
            return self._ended(run, End.DEAD, error=text)
        delay = retry_delay(failures, base=settings.retry_base_seconds, cap=settings.retry_cap_seconds)
        return self._ended(run, End.RETRY, error=text, delay=delay)

    def _ended(
        self,
        run: HandlerRun,
        end: End,
        *,
        result: Any = None,
        error: str | None = None,
        delay: float = 0.0,
        message: str | None = None,
    ) -> Ended:
        self._hard_limits.end(run.claim.token)
        name, began = self._began.pop(run.claim.token, ("", None))
        return Ended(
            task_id=run.claim.task_id,
            token=run.claim.token,
            end=end,
            result=result,
            error=error,
            delay=delay,
            message=message,
            task_name=name,
            seconds=None if began is None else runtime.current().monotonic() - began,
        )

    def _require_sink(self) -> Sink:
        if self._sink is None:
            raise RuntimeError("connect() a sink before the first run")
        return self._sink


def _storable(result: Any) -> Any:
    """The JSON value of a handler's result; raises `InvalidTask` for one that the record cannot hold."""
    value = result.model_dump(mode="json") if isinstance(result, BaseModel) else result
    try:
        storable_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTask(
            f"The handler's result cannot be written as JSON ({error}); return a pydantic model or None."
        ) from None
    return value
