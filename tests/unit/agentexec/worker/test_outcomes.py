"""Every way in which a handler can end has its own, true outcome."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from agentexec.config import Settings, load_settings
from agentexec.context import current_task
from agentexec.core import runtime
from agentexec.errors import RegistrationError
from agentexec.task import TaskDefinition
from agentexec.text import MAX_MESSAGE
from agentexec.worker.failures import MAX_TRACEBACK, summary_of, traceback_of
from agentexec.worker.run_result import RunKind, RunResult
from tests.support.handler_bench import Bench, Done, Job, on_a_bench

LONG_AGO = 3600.0  # seconds: longer than any test


class Custom(BaseException):
    """What is no Exception."""


@pytest.fixture
def settings() -> Settings:
    return load_settings(max_task_retries=2, retry_base_seconds=0.001, worker_concurrency=2)


def result_of(settings: Settings, handler: Callable[..., object], **options: Any) -> RunResult:
    results: list[RunResult] = []

    async def scene(bench: Bench) -> None:
        bench.run(handler, **options)
        results.append(await bench.result())

    on_a_bench(settings, scene)
    return results[0]


def raising(error: BaseException, *, sync: bool) -> Callable[..., object]:
    def in_a_thread(agent_id: UUID, context: Job) -> None:
        raise error

    async def on_the_loop(agent_id: UUID, context: Job) -> None:
        raise error

    return in_a_thread if sync else on_the_loop


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("limit", [None, LONG_AGO])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError("mine"), "TimeoutError: mine"),
        (TimeoutError(), "TimeoutError"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit("mine"), "GeneratorExit: mine"),
        (StopAsyncIteration("mine"), "mine"),
        (StopIteration("mine"), "StopIteration"),
        (asyncio.CancelledError("mine"), "CancelledError: mine"),
        (asyncio.CancelledError(), "CancelledError"),
        (asyncio.InvalidStateError("mine"), "InvalidStateError: mine"),
        (Custom("mine"), "Custom: mine"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_a_handler_raises_is_its_error(
    settings: Settings, error: BaseException, says: str, limit: float | None, sync: bool
) -> None:
    result = result_of(settings, raising(error, sync=sync), soft_time_limit=limit)
    assert result.kind is RunKind.RETRY
    assert says in (result.error or "")
    if sync:
        assert (result.error or "").startswith(type(error).__name__)
    assert "Traceback" in (result.traceback or "")


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("error", [TimeoutError("later"), StopIteration(), asyncio.CancelledError(), None])
def test_what_a_handler_decided_itself_is_kept_whatever_it_raises_then(
    settings: Settings, error: BaseException | None, sync: bool
) -> None:
    def in_a_thread(agent_id: UUID, context: Job) -> object:
        current_task().fail("decided")
        if error is not None:
            raise error
        return object()

    async def on_the_loop(agent_id: UUID, context: Job) -> object:
        return in_a_thread(agent_id, context)

    result = result_of(settings, in_a_thread if sync else on_the_loop)
    assert (result.kind, result.error, result.message) == (RunKind.FAILED, "decided", "decided")


def block_the_loop() -> None:
    time.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that another thread makes true."""
    deadline = time.monotonic() + 10
    for _ in iter(condition, True):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def runs_on(agent_id: UUID, context: Job) -> None:
    await asyncio.Event().wait()


async def turns_its_cancel_into_an_error(agent_id: UUID, context: Job) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise TimeoutError("mine") from None


async def has_a_timeout_of_its_own(agent_id: UUID, context: Job) -> None:
    async with asyncio.timeout(0.001):
        await asyncio.Event().wait()


async def has_a_longer_timeout(agent_id: UUID, context: Job) -> None:
    async with asyncio.timeout(LONG_AGO), asyncio.TaskGroup() as group:
        group.create_task(asyncio.Event().wait())


async def has_the_same_timeout(agent_id: UUID, context: Job) -> None:
    async with asyncio.timeout(0.02):
        block_the_loop()  # so that both fire in one round of it
        await asyncio.Event().wait()


async def raises_late_without_a_pause(agent_id: UUID, context: Job) -> None:
    block_the_loop()
    raise TimeoutError("mine")


async def returns_late(agent_id: UUID, context: Job) -> Done:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return Done(number=1)


@pytest.mark.parametrize(
    ("handler", "limit", "says"),
    [
        (runs_on, 0.01, "TimeLimitExceeded: ran longer than its soft time limit of 0.01 s"),
        (turns_its_cancel_into_an_error, 0.01, "TimeoutError: mine"),
        (has_a_timeout_of_its_own, LONG_AGO, "TimeoutError"),
        (has_a_longer_timeout, 0.01, "TimeLimitExceeded: ran longer than its soft time limit of 0.01 s"),
        (has_the_same_timeout, 0.02, "T"),
        (raises_late_without_a_pause, 0.01, "TimeoutError: mine"),
    ],
)
def test_a_soft_limit_and_a_timeout_of_the_handler_are_told_apart(
    settings: Settings, handler: Callable[..., object], limit: float, says: str
) -> None:
    result = result_of(settings, handler, soft_time_limit=limit)
    assert result.kind is RunKind.RETRY
    assert (result.error or "").startswith(says)


def test_a_handler_that_ends_well_past_its_soft_limit_is_complete(settings: Settings) -> None:
    assert result_of(settings, returns_late, soft_time_limit=0.01).kind is RunKind.COMPLETE


class _Unreadable(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")


class _Long(Exception):
    def __str__(self) -> str:
        return "\0\ud800" + "x" * 5_000_000


def _noted() -> Exception:
    error = ValueError("broke")
    error.add_note("in the third document")
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (_Unreadable(), "_Unreadable: (its text cannot be read: SystemExit)"),
        (_Long(), "_Long: \N{REPLACEMENT CHARACTER}?xxx"),
        (_noted(), "ValueError: broke\nin the third document"),
        (
            ExceptionGroup("two", [ValueError("a"), ExceptionGroup("one", [KeyError("b")])]),
            "ExceptionGroup: two (2 sub-exceptions) [ValueError: a; "
            "ExceptionGroup: one (1 sub-exception) [KeyError: 'b']]",
        ),
        (
            BaseExceptionGroup("one", [SystemExit(3)]),
            "BaseExceptionGroup: one (1 sub-exception) [SystemExit: 3]",
        ),
        (ConnectionError("postgresql://me:s3cret@db/x"), "ConnectionError: postgresql://me:***@db/x"),
    ],
    ids=range(6),
)
def test_the_summary_of_an_error_says_what_is_inside(
    settings: Settings, error: BaseException, says: str
) -> None:
    result = result_of(settings, raising(error, sync=False))
    assert result.kind is RunKind.RETRY
    assert (result.error or "").startswith(says)
    assert len(result.error or "") <= MAX_MESSAGE
    assert "s3cret" not in f"{result.error}{result.traceback}"
    (result.traceback or "").encode()


def test_a_group_of_many_exceptions_has_a_short_summary() -> None:
    group: Exception = ValueError("leaf")
    for _ in range(6):
        group = ExceptionGroup("many", [group] * 20)
    assert len(summary_of(group)) <= MAX_MESSAGE


def test_a_traceback_begins_in_the_handler_and_keeps_its_end(settings: Settings) -> None:
    def recursive(depth: int) -> None:
        if depth:
            other(depth - 1)
        raise ValueError("the reason", "password=hunter2")

    def other(depth: int) -> None:
        recursive(depth)

    async def deep(agent_id: UUID, context: Job) -> None:
        try:
            raise KeyError("the cause")
        except KeyError:
            recursive(context.number)

    text = result_of(settings, deep).traceback or ""
    assert text.index("the cause") < text.index("in recursive") < text.index("the reason")
    assert "runner.py" not in text
    assert "hunter2" not in text

    async def deeper(agent_id: UUID, context: Job) -> None:
        recursive(400)

    text = result_of(settings, deeper).traceback or ""
    assert len(text) <= MAX_TRACEBACK + 10
    assert text.endswith("ValueError: ('the reason', 'password=***')") or "the reason" in text[-100:]


def test_an_exception_that_refuses_everything_has_a_traceback() -> None:
    class Hostile(Exception):
        def __getattribute__(self, name: str) -> Any:
            if name in {"__cause__", "__notes__", "__context__"}:
                raise SystemExit
            return super().__getattribute__(name)

    assert "Hostile" in traceback_of(Hostile("x"))


async def _later(context: Job) -> Done:
    await asyncio.sleep(0)
    return Done(number=context.number)


def returns_a_coroutine(agent_id: UUID, context: Job) -> Any:
    return _later(context)


def returns_a_future(agent_id: UUID, context: Job) -> Awaitable[Done]:
    return asyncio.gather(_later(context))  # type: ignore[return-value]  # needs the running loop


def _keeping(handler: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(handler)(lambda **arguments: handler(**arguments))


@_keeping
async def decorated(agent_id: UUID, context: Job) -> Done:
    return await _later(context)


class Callable_:
    async def __call__(self, agent_id: UUID, context: Job) -> Done:
        return await _later(context)


class SyncCallable:
    def __call__(self, agent_id: UUID, context: Job) -> Done:
        return Done(number=context.number)


async def with_more(more: str, agent_id: UUID, context: Job) -> Done:
    return await _later(context)


async def returns_its_own_coroutine(agent_id: UUID, context: Job) -> Any:
    return _later(context)


@pytest.mark.parametrize(
    "handler",
    [
        returns_a_coroutine,
        decorated,
        Callable_(),
        Callable_().__call__,
        SyncCallable(),
        functools.partial(with_more, "more"),
        functools.partial(functools.partial(Callable_())),
        returns_its_own_coroutine,
    ],
    ids=range(8),
)
def test_the_body_of_whatever_returns_an_awaitable_runs(
    settings: Settings, handler: Callable[..., object]
) -> None:
    result = result_of(settings, handler)
    assert (result.kind, result.result) == (RunKind.COMPLETE, {"number": 3})


def test_a_function_that_is_annotated_to_return_an_awaitable_runs_on_the_loop(settings: Settings) -> None:
    result = result_of(settings, returns_a_future)
    assert (result.kind, result.result) == (RunKind.COMPLETE, [{"number": 3}])


def test_the_soft_limit_counts_for_the_coroutine_of_a_plain_function(settings: Settings) -> None:
    def plain(agent_id: UUID, context: Job) -> Any:
        return runs_on(agent_id, context)

    result = result_of(settings, plain, soft_time_limit=0.01)
    assert "soft time limit" in (result.error or "")


def _yields(agent_id: UUID, context: Job) -> Iterator[int]:
    yield 1


async def _yields_later(agent_id: UUID, context: Job) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("handler", [_yields, _yields_later, functools.partial(_yields)], ids=range(3))
def test_a_generator_is_refused_at_its_registration(handler: Any) -> None:
    with pytest.raises(RegistrationError, match="is a generator"):
        TaskDefinition("task", handler)


@pytest.mark.parametrize("handler", [None, 5, "work", print, int], ids=range(5))
def test_what_is_no_handler_is_refused_at_its_registration(handler: Any) -> None:
    with pytest.raises(RegistrationError):
        TaskDefinition("task", handler)


def canceled_results(settings: Settings, handler: Callable[..., object], *kinds: RunKind) -> list[Any]:
    seen: list[Any] = []

    async def scene(bench: Bench) -> None:
        async def tells(agent_id: UUID, context: Job) -> None:
            bench.begun.set()
            await handler(seen)  # type: ignore[misc]  # a coroutine function

        task = bench.run(tells)
        await bench.begun.wait()
        for kind in kinds:
            bench.runner.stop({task: kind})
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        seen.append((await bench.result()).kind)

    on_a_bench(settings, scene)
    return seen


async def _cleans_up(seen: list[Any]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        for step in range(20):
            await asyncio.sleep(0)
            seen.append(step)


def test_a_request_that_is_repeated_does_not_interrupt_the_clean_up(settings: Settings) -> None:
    seen = canceled_results(settings, _cleans_up, *[RunKind.CANCELED] * 5)
    assert seen == [*range(20), RunKind.CANCELED]


def test_a_handler_is_canceled_for_two_reasons_at_most(settings: Settings) -> None:
    async def stubborn(seen: list[Any]) -> None:
        while len(seen) < 3:
            try:
                await asyncio.wait_for(asyncio.Event().wait(), 0.05)
            except asyncio.CancelledError:
                seen.append("canceled")
            except TimeoutError:
                return

    kinds = [RunKind.CANCELED, RunKind.CANCELED, RunKind.RELEASED, RunKind.LOST, RunKind.LOST]
    seen = canceled_results(settings, stubborn, *kinds)
    assert seen == ["canceled", "canceled", RunKind.COMPLETE], "it returned, so it is complete"


def test_the_soft_limit_does_not_interrupt_the_clean_up_of_a_canceled_handler(settings: Settings) -> None:
    async def scene(bench: Bench) -> None:
        async def slow(agent_id: UUID, context: Job) -> None:
            bench.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.1)
                bench.entries.append((agent_id, 0, "cleaned up", None))

        task = bench.run(slow, soft_time_limit=0.05)
        await bench.begun.wait()
        bench.runner.stop({task: RunKind.CANCELED})
        assert (await bench.result()).kind is RunKind.CANCELED
        assert len(bench.entries) == 1

    on_a_bench(settings, scene)


@pytest.mark.parametrize("kind", [RunKind.CANCELED, RunKind.RELEASED])
def test_an_error_of_the_clean_up_does_not_hide_why_the_handler_was_stopped(
    settings: Settings, kind: RunKind
) -> None:
    async def breaks(seen: list[Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in the clean-up")

    assert canceled_results(settings, breaks, kind) == [kind]


class Hung:
    """A sync handler that hangs until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()

    def __call__(self, agent_id: UUID, context: Job) -> None:
        self.begun.release()
        self.let_go.wait(30)


def test_hung_threads_take_no_thread_from_other_tasks_and_keep_their_hard_limit(settings: Settings) -> None:
    hung = Hung()

    def quick(agent_id: UUID, context: Job) -> Done:
        return Done(number=context.number)

    async def scene(bench: Bench) -> None:
        try:
            tasks = [bench.run(hung, time_limit=0.2) for _ in range(3)]
            for _ in tasks:
                assert await asyncio.to_thread(hung.begun.acquire, timeout=10)
            bench.runner.stop(dict.fromkeys(tasks, RunKind.CANCELED))
            assert [(await bench.result()).kind for _ in tasks] == [RunKind.CANCELED] * 3
            assert bench.runner.threads_left_behind == 3
            bench.run(quick)
            assert (await bench.result()).kind is RunKind.COMPLETE
            await until(lambda: {result.task_id for result in bench.runner.overdue()} == set(tasks))
        finally:
            hung.let_go.set()
        await until(lambda: bench.runner.threads_left_behind == 0)
        assert bench.runner.overdue() == []

    on_a_bench(settings, scene)


def test_the_clock_of_a_limit_starts_in_the_thread(settings: Settings) -> None:
    """A task that has no thread yet has used up nothing of its limit."""
    threads: list[Callable[[], None]] = []

    class SlowThreads(runtime.SystemRuntime):
        def spawn(self, work: Callable[[], None], *, name: str) -> runtime.Thread:
            threads.append(work)
            return threading.current_thread()

    def quick(agent_id: UUID, context: Job) -> None: ...

    async def scene(bench: Bench) -> None:
        bench.run(quick, time_limit=0.001)
        await until(lambda: bool(threads))
        await asyncio.sleep(0.01)
        assert bench.runner.overdue() == []
        await asyncio.to_thread(threads[0])
        assert (await bench.result()).kind is RunKind.COMPLETE

    with runtime.use(SlowThreads()):
        on_a_bench(settings, scene)


@pytest.mark.parametrize(
    ("error", "options", "kind"),
    [
        (ValueError("x"), {"max_retries": 0}, RunKind.FAILED),
        (ValueError("x"), {"max_retries": 1}, RunKind.RETRY),
        (ValueError("x"), {"retry_on": ConnectionError}, RunKind.FAILED),
        (ConnectionResetError("x"), {"retry_on": ConnectionError}, RunKind.RETRY),
        (ConnectionResetError("x"), {"retry_on": (KeyError, ConnectionError)}, RunKind.RETRY),
        (ValueError("x"), {"retry_on": ()}, RunKind.FAILED),
        (ExceptionGroup("g", [ConnectionError()]), {"retry_on": ConnectionError}, RunKind.RETRY),
        (
            ExceptionGroup("g", [ConnectionError(), ValueError()]),
            {"retry_on": ConnectionError},
            RunKind.FAILED,
        ),
        (ExceptionGroup("g", [ValueError()]), {"retry_on": ExceptionGroup}, RunKind.RETRY),
    ],
    ids=range(9),
)
def test_a_task_has_its_own_retries(
    settings: Settings, error: BaseException, options: dict[str, Any], kind: RunKind
) -> None:
    assert result_of(settings, raising(error, sync=False), **options).kind is kind


@pytest.mark.parametrize(("failures", "kind"), [(4, RunKind.RETRY), (5, RunKind.FAILED)])
def test_a_task_may_have_more_retries_than_its_pool(settings: Settings, failures: int, kind: RunKind) -> None:
    handler = raising(ValueError("x"), sync=False)
    assert result_of(settings, handler, failures=failures, max_retries=5).kind is kind


@pytest.mark.parametrize(("retry_on", "kind"), [(ValueError, RunKind.FAILED), (TimeoutError, RunKind.RETRY)])
def test_a_time_limit_is_a_timeout_for_retry_on(
    settings: Settings, retry_on: type[Exception], kind: RunKind
) -> None:
    assert result_of(settings, runs_on, soft_time_limit=0.01, retry_on=retry_on).kind is kind


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"max_retries": "3"},
        {"max_retries": True},
        {"max_retries": float("nan")},
        {"retry_on": "ValueError"},
        {"retry_on": ValueError("x")},
        {"retry_on": [ValueError]},
        {"retry_on": (ValueError, 5)},
        {"time_limit": 0},
        {"time_limit": -1.0},
        {"time_limit": float("nan")},
        {"time_limit": float("inf")},
        {"soft_time_limit": 1e12},
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_at_registration(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(RegistrationError, match=f"^The {name} .* is wrong; give "):
        TaskDefinition("task", runs_on, **options)
