"""The handler body that all targets share."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.gate import GateKeeper
from harness.history import History, OperationType
from harness.kit.harness_worker import GateClosed, SettingMissing
from harness.kit.harness_worker.recording import close_files
from harness.targets import body


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hx-") as name:
        for variable, value in body.worker_environment(Path(name), f"{name}/gate").items():
            monkeypatch.setenv(variable, value)
        close_files()
        yield Path(name)
        close_files()


def run(number: int = 3, *, work: float = 0.0, gate: str | None = None) -> None:
    asyncio.run(body.perform(number, activity="a-3", attempt=2, fence=17, work=work, gate=gate))


def test_a_finished_handler_leaves_hello_invoke_its_effect_and_ok(folder: Path) -> None:
    run()
    history = History.load(folder)
    assert [(op.f, op.type) for op in history] == [
        ("hello", OperationType.INFO),
        ("run", OperationType.INVOKE),
        ("effect", OperationType.OK),
        ("run", OperationType.OK),
    ]
    assert [op.value for op in history.where("effect")] == [{"task": 3, "activity": "a-3", "fence": 17}]
    expected = {"task": 3, "activity": "a-3", "attempt": 2, "fence": 17, "pid": os.getpid()}
    assert [op.value for op in history.where("run")] == [expected, expected | {"result": "of fence 17"}]
    assert {op.process for op in history} == {f"worker-{os.getpid()}"}


def test_the_effect_of_a_lower_fence_is_refused_and_the_handler_goes_on(folder: Path) -> None:
    for fence in (18, 17, 18):
        asyncio.run(body.perform(3, activity="a", attempt=1, fence=fence, work=0.0))
    outcomes = [(op.value["fence"], op.type.value) for op in History.load(folder).where("effect")]
    assert outcomes == [(18, "ok"), (17, "fail"), (18, "fail")]
    assert len(list(History.load(folder).where("run", OperationType.OK))) == 3


def test_a_target_without_fences_takes_no_effect(folder: Path) -> None:
    asyncio.run(body.perform(3, activity="a", attempt=1, fence=None, work=0.0))
    assert {op.f for op in History.load(folder)} == {"hello", "run"}


def test_progress_is_recorded_before_it_is_reported_and_the_lock_key_with_the_run(folder: Path) -> None:
    seen: list[list[int]] = []

    def report(percentage: int) -> None:
        seen.append([op.value["percentage"] for op in History.load(folder).where("report")])
        assert seen[-1][-1] == percentage

    asyncio.run(body.perform(3, activity="a", attempt=1, fence=1, work=0.0, lock="k", report=report))
    assert seen == [[10], [10, 90]]
    assert {op.value["lock"] for op in History.load(folder).where("run")} == {"k"}


def test_a_handler_begins_before_its_gate_and_ends_after_it(folder: Path) -> None:
    async def pass_when_told(keeper: GateKeeper) -> None:
        handler = asyncio.create_task(
            body.perform(3, activity="a", attempt=1, fence=1, work=0.0, gate="task-3")
        )
        [arrival] = await asyncio.to_thread(keeper.wait_for, "task-3", within=20)
        assert arrival.task == 3
        assert [op.type for op in History.load(folder).where("run")] == [OperationType.INVOKE]
        keeper.open("task-3")
        await handler

    with GateKeeper(folder / "gate") as keeper:
        asyncio.run(pass_when_told(keeper))
    assert [op.type for op in History.load(folder).where("run")] == [OperationType.INVOKE, OperationType.OK]


def test_a_canceled_handler_is_of_unknown_outcome_and_stays_canceled(folder: Path) -> None:
    async def cancel(keeper: GateKeeper) -> None:
        handler = asyncio.create_task(
            body.perform(3, activity="a", attempt=1, fence=1, work=0.0, gate="task-3")
        )
        await asyncio.to_thread(keeper.wait_for, "task-3", within=20)
        handler.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handler

    with GateKeeper(folder / "gate") as keeper:
        asyncio.run(cancel(keeper))
    assert [op.type for op in History.load(folder).where("run")] == [OperationType.INVOKE, OperationType.INFO]


def test_a_handler_that_cannot_reach_its_gate_fails_with_the_reason(folder: Path) -> None:
    with pytest.raises(GateClosed):
        run(gate="task-3")
    [failed] = History.load(folder).where("run", OperationType.FAIL)
    assert "cannot be reached" in failed.value["error"]


def test_a_forked_worker_records_into_its_own_file(folder: Path) -> None:
    run()
    child = multiprocessing.get_context("spawn").Process(target=run)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert {path.name for path in folder.glob("*.jsonl")} == {
        f"worker-{os.getpid()}.jsonl",
        f"worker-{child.pid}.jsonl",
    }


def test_a_worker_without_its_environment_fails_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(body.ENV_HISTORY, raising=False)
    close_files()
    with pytest.raises(SettingMissing, match="HARNESS_HISTORY is not set"):
        run()
