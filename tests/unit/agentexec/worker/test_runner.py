"""The result of a run, whatever its handler does."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentexec.config import Settings, load_settings
from agentexec.context import current_task
from agentexec.errors import AgentexecError
from agentexec.identifiers import new_id
from agentexec.task import encode_payload
from agentexec.text import MAX_MESSAGE
from agentexec.worker.run_result import RunKind
from agentexec.worker.runner import HandlerRun, retry_delay
from tests.support.handler_bench import TOKEN, Bench, Done, Job, on_a_bench


@pytest.fixture
def settings() -> Settings:
    return load_settings(
        max_task_retries=2, retry_base_seconds=1.0, retry_cap_seconds=4.0, worker_concurrency=2
    )


async def succeeds(agent_id: UUID, context: Job) -> Done:
    return Done(number=context.number)


async def returns_nothing(agent_id: UUID, context: Job) -> None:
    return None


async def raises(agent_id: UUID, context: Job) -> None:
    raise ValueError("\0 broke \ud800 " + "x" * 2 * MAX_MESSAGE)


async def exits(agent_id: UUID, context: Job) -> None:
    raise SystemExit(3)


async def times_out(agent_id: UUID, context: Job) -> None:
    raise TimeoutError("the model does not answer")


async def cancels_itself(agent_id: UUID, context: Job) -> None:
    raise asyncio.CancelledError


def test_a_result_is_handed_on_as_json_values(settings: Settings) -> None:
    async def scene(bench: Bench) -> None:
        task = bench.run(succeeds)
        result = await bench.result()
        assert (result.task_id, result.token, result.kind, result.result) == (
            task,
            TOKEN,
            RunKind.COMPLETE,
            {"number": 3},
        )
        bench.run(returns_nothing)
        assert (await bench.result()).result is None

    on_a_bench(settings, scene)


def test_a_task_that_is_canceled_by_other_code_before_it_begins_is_tried_again(settings: Settings) -> None:
    """A handler may cancel all tasks of the event loop."""

    async def scene(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        bench.run(succeeds)
        loop.call_soon(lambda: [t.cancel() for t in asyncio.all_tasks() if "HandlerRunner" in repr(t)])
        result = await bench.result()
        assert (result.kind, result.error) == (RunKind.RETRY, "CancelledError")

    on_a_bench(settings, scene)


def test_runs_that_were_cut_off_use_up_no_retry(settings: Settings) -> None:
    """A shutdown and the death of a worker are no failure of the task, however often they happen."""

    async def scene(bench: Bench) -> None:
        bench.run(raises, attempt=10)
        assert (await bench.result()).kind is RunKind.RETRY

    on_a_bench(settings, scene)


def test_a_handler_that_raises_is_tried_again_until_its_retries_are_used_up(settings: Settings) -> None:
    async def scene(bench: Bench) -> None:
        for failures, ceiling in ((0, 1), (1, 2)):
            bench.run(raises, failures=failures)
            result = await bench.result()
            assert result.kind is RunKind.RETRY
            assert 0 <= result.delay <= ceiling
        bench.run(raises, failures=2)
        result = await bench.result()
        assert result.kind is RunKind.FAILED
        error = result.error or ""
        assert error.startswith("ValueError: \N{REPLACEMENT CHARACTER} broke ?")
        assert len(error) <= MAX_MESSAGE
        error.encode("utf-8")

    on_a_bench(settings, scene)


@pytest.mark.parametrize(
    ("handler", "says"),
    [(exits, "SystemExit: 3"), (cancels_itself, "CancelledError"), (times_out, "TimeoutError: the model")],
)
def test_a_handler_may_raise_anything_and_its_worker_lives_on(
    settings: Settings, handler: Callable[..., object], says: str
) -> None:
    async def scene(bench: Bench) -> None:
        bench.run(handler)
        result = await bench.result()
        assert result.kind is RunKind.RETRY
        assert says in (result.error or "")
        bench.run(succeeds)
        assert (await bench.result()).kind is RunKind.COMPLETE

    on_a_bench(settings, scene)


def test_a_sync_handler_runs_in_a_thread_and_knows_its_task(settings: Settings) -> None:
    seen: list[object] = []

    def in_a_thread(agent_id: UUID, context: Job) -> Done:
        task = current_task()
        task.report("half", 50)
        seen.extend(
            [threading.current_thread() is threading.main_thread(), task.attempt, task.fence, agent_id]
        )
        return Done(number=context.number)

    def leaves(agent_id: UUID, context: Job) -> None:
        raise SystemExit

    async def scene(bench: Bench) -> None:
        task = bench.run(in_a_thread, attempt=2)
        assert (await bench.result()).result == {"number": 3}
        assert seen == [False, 2, TOKEN, task]
        assert bench.entries == [(task, TOKEN, "half", 50)]
        bench.run(leaves)
        assert (await bench.result()).kind is RunKind.RETRY

    on_a_bench(settings, scene)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"not json", "not JSON"),
        (encode_payload("unheard_of", {}), "No handler is registered for 'unheard_of'"),
        (encode_payload("succeeds", {"number": "x"}), "number: "),
    ],
)
def test_what_no_retry_would_help_is_dead_at_once(settings: Settings, payload: bytes, says: str) -> None:
    async def scene(bench: Bench) -> None:
        bench.run(succeeds, payload=payload)
        result = await bench.result()
        assert result.kind is RunKind.FAILED
        assert says in (result.error or "")

    on_a_bench(settings, scene)


@pytest.mark.parametrize(
    "result", ["\0", "\ud800", float("nan"), object(), {"deep": ["\0"]}, {"\udc00": 1}], ids=range(6)
)
def test_a_result_that_the_record_cannot_hold_is_the_handlers_failure(
    settings: Settings, result: object
) -> None:
    """Not the worker's: handed to Postgres, it would end the whole process and every task in it."""

    async def returns_it(agent_id: UUID, context: Job) -> object:
        return result

    async def scene(bench: Bench) -> None:
        bench.run(returns_it, failures=2)
        result = await bench.result()
        assert result.kind is RunKind.FAILED
        assert "result" in (result.error or "")

    on_a_bench(settings, scene)


def test_a_result_with_an_escaped_backslash_is_held_as_it_is(settings: Settings) -> None:
    async def returns_text(agent_id: UUID, context: Job) -> object:
        return {"text": r"\u0000"}

    async def scene(bench: Bench) -> None:
        bench.run(returns_text)
        assert (await bench.result()).result == {"text": r"\u0000"}

    on_a_bench(settings, scene)


@pytest.mark.parametrize("reason", [RunKind.CANCELED, RunKind.RELEASED, RunKind.LOST])
def test_the_reason_of_a_stop_decides_the_result(settings: Settings, reason: RunKind) -> None:
    async def scene(bench: Bench) -> None:
        async def waits(agent_id: UUID, context: Job) -> None:
            bench.begun.set()
            await asyncio.Event().wait()

        task = bench.run(waits)
        await bench.begun.wait()
        bench.runner.stop({task: reason, new_id(): RunKind.LOST})
        bench.runner.stop({task: RunKind.LOST})
        result = await bench.result()
        assert (result.task_id, result.kind) == (task, reason), "the first reason counts"

    on_a_bench(settings, scene)


def test_a_run_that_ended_is_kept_nowhere(settings: Settings) -> None:
    token = 9_001  # of no other run in this process

    async def scene(bench: Bench) -> None:
        for handler in (succeeds, raises):
            bench.run(handler, token=token)
            await bench.result()
        gc.collect()
        runs = [one for one in gc.get_objects() if isinstance(one, HandlerRun)]
        assert not [run for run in runs if run.claim.token == token]

    on_a_bench(settings, scene)


def test_a_task_stopped_before_its_first_step_has_a_result_too(settings: Settings) -> None:
    async def scene(bench: Bench) -> None:
        task = bench.run(succeeds)
        bench.runner.stop({task: RunKind.RELEASED})
        assert (await bench.result()).kind in (RunKind.RELEASED, RunKind.COMPLETE)

    on_a_bench(settings, scene)


def test_a_newer_run_of_a_task_ends_the_older_one_and_can_itself_be_stopped(settings: Settings) -> None:
    """A worker that was frozen past its lease may be the one that claims the task again."""

    async def scene(bench: Bench) -> None:
        async def waits(agent_id: UUID, context: Job) -> None:
            bench.begun.set()
            await asyncio.Event().wait()

        task = bench.run(waits, token=1)
        await bench.begun.wait()
        bench.begun.clear()
        bench.run(waits, task=task, token=2)
        old = await bench.result()
        assert (old.token, old.kind) == (1, RunKind.LOST)
        await asyncio.wait_for(bench.begun.wait(), 10)
        bench.runner.stop({task: RunKind.CANCELED})
        new = await bench.result()
        assert (new.token, new.kind) == (2, RunKind.CANCELED)

    on_a_bench(settings, scene)


def test_progress_is_cleaned_and_its_percentage_is_whole(settings: Settings) -> None:
    async def reports(agent_id: UUID, context: Job) -> None:
        current_task().report("\0 half \ud800", 33.4)  # type: ignore[arg-type]  # what untyped handlers pass
        for wrong in (-1, 101, float("nan")):
            with pytest.raises(ValueError, match="between 0 and 100"):
                current_task().report("no", wrong)  # type: ignore[arg-type]  # what untyped handlers pass

    async def scene(bench: Bench) -> None:
        task = bench.run(reports)
        assert (await bench.result()).kind is RunKind.COMPLETE
        assert bench.entries == [(task, TOKEN, "\N{REPLACEMENT CHARACTER} half ?", 33)]
        assert isinstance(bench.entries[0][3], int)

    on_a_bench(settings, scene)


def test_there_is_no_current_task_outside_of_a_handler() -> None:
    with pytest.raises(AgentexecError, match="no task is running here"):
        current_task()


class _Panic(BaseException):
    """What a Rust extension raises when it panics: no Exception."""


async def panics(agent_id: UUID, context: Job) -> None:
    raise _Panic("the extension panicked")


def test_a_handler_that_raises_what_is_no_exception_ends_all_the_same(settings: Settings) -> None:
    """Else its slot and its lease stay taken for ever without a message."""

    async def scene(bench: Bench) -> None:
        bench.run(panics)
        result = await bench.result()
        assert result.kind is RunKind.RETRY
        assert result.error == "_Panic: the extension panicked"

    on_a_bench(settings, scene)


def test_the_soft_limit_leaves_a_handler_alone_that_runs_in_a_thread(settings: Settings) -> None:
    """Nothing stops a thread: to call its attempt failed would start the next one beside it."""
    limited = settings.model_copy(update={"task_soft_time_limit": 0.01})

    def slow(agent_id: UUID, context: Job) -> None:
        threading.Event().wait(0.2)

    async def scene(bench: Bench) -> None:
        bench.run(slow)
        assert (await bench.result()).kind is RunKind.COMPLETE

    on_a_bench(limited, scene)


@given(attempt=st.integers(1, 10_000), base=st.floats(0.001, 1e6), cap=st.floats(0.001, 1e6))
def test_a_retry_waits_between_nothing_and_its_cap(attempt: int, base: float, cap: float) -> None:
    delay = retry_delay(attempt, base=base, cap=cap)
    assert 0 <= delay <= min(cap, base * 2 ** min(attempt - 1, 1000))


def test_retries_spread_over_the_whole_of_a_growing_interval() -> None:
    for attempt, ceiling in ((1, 1), (2, 2), (3, 4), (8, 100), (9, 100)):
        delays = [retry_delay(attempt, base=1, cap=100) for _ in range(2_000)]
        assert min(delays) < 0.02 * ceiling
        assert 0.98 * ceiling < max(delays) <= ceiling
