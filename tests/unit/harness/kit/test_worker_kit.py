"""The worker kit: it records what the shared body records, on its own, in any Python from 3.9 on."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness.kit
from harness.gate import GateKeeper
from harness.history import History, OperationType
from harness.kit.harness_worker import settings, worker
from harness.kit.harness_worker.environment import SettingMissing
from harness.kit.harness_worker.recording import close_files
from harness.targets.adapter import SHIPPED
from harness.targets.body import worker_environment

KIT = Path(harness.kit.__file__).parent
FILES = [*sorted(KIT.rglob("*.py")), *sorted(SHIPPED.rglob("*.py"))]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hx-") as name:
        for variable, value in worker_environment(Path(name), f"{name}/gate").items():
            monkeypatch.setenv(variable, value)
        close_files()
        yield Path(name)
        close_files()


def recorded(folder: Path) -> list[tuple[str, str]]:
    return [(op.f, op.type.value) for op in History.load(folder)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_kit_and_the_shipped_adapters_are_written_in_python_3_9(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("path", sorted(KIT.rglob("*.py")), ids=lambda path: path.name)
def test_the_kit_imports_the_standard_library_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_the_kit_runs_in_a_python_without_any_package(folder: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(KIT)!r})
from harness_worker import worker
worker.hello()
with worker.run(7, activity="a/../b", attempt=2, fence=3):
    pass
"""
    environment = worker_environment(folder, f"{folder}/gate")
    subprocess.run([sys.executable, "-I", "-S", "-c", program], env=environment, check=True)
    assert recorded(folder) == [("hello", "info"), ("run", "invoke"), ("effect", "ok"), ("run", "ok")]


def test_a_run_records_the_same_with_and_async_with(folder: Path) -> None:
    progress: list[int] = []

    async def coroutine() -> None:
        async with worker.run(1, activity="a", attempt=1, fence=2, lock="k", report=progress.append):
            pass

    with worker.run(1, activity="a", attempt=1, fence=1, lock="k", report=progress.append):
        pass
    asyncio.run(coroutine())
    hello, *operations = History.load(folder)
    first, second = operations[:5], operations[5:]
    assert [(op.f, op.type, {**op.value, "fence": 0}) for op in first] == [
        (op.f, op.type, {**op.value, "fence": 0}) for op in second
    ]
    assert [op.f for op in first] == ["run", "report", "effect", "report", "run"]
    assert progress == [10, 90, 10, 90]
    assert hello.value == {"pid": os.getpid()}


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("no"), "fail"), (KeyboardInterrupt(), "info"), (SystemExit(1), "info")],
)
def test_a_run_that_raises_fails_and_one_that_is_interrupted_is_of_unknown_outcome(
    folder: Path, error: BaseException, kind: str
) -> None:
    with pytest.raises(type(error)), worker.run(1, activity="a"):
        raise error
    assert recorded(folder)[-1] == ("run", kind)


def test_a_task_of_the_client_brings_its_gate_lock_and_work(folder: Path) -> None:
    task = {"number": 5, "work": 0.0, "gate": "task-5", "lock": "k", "priority": None}
    with GateKeeper(folder / "gate") as keeper:

        def handler() -> None:
            with worker.run(task, activity="a"):
                pass

        thread = threading.Thread(target=handler)
        thread.start()
        [arrival] = keeper.wait_for("task-5", within=20)
        assert (arrival.task, arrival.pid) == (5, os.getpid())
        assert recorded(folder)[-1] == ("run", "invoke")
        keeper.open("task-5")
        thread.join()
    assert {op.value["lock"] for op in History.load(folder).where("run")} == {"k"}


def test_a_forked_process_records_into_a_file_of_its_own_though_a_thread_recorded_at_the_fork(
    folder: Path,
) -> None:
    program = f"""
import os, sys, threading
sys.path.insert(0, {str(KIT)!r})
from harness_worker import worker
stop = threading.Event()
def record():
    while not stop.is_set():
        with worker.run(1, activity="parent"): pass
thread = threading.Thread(target=record); thread.start()
children = []
for _ in range(20):
    pid = os.fork()
    if not pid:
        with worker.run(2, activity="child"): pass
        os._exit(0)
    children.append(pid)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
stop.set(); thread.join()
"""
    environment = worker_environment(folder, f"{folder}/gate")
    subprocess.run([sys.executable, "-I", "-S", "-c", program], env=environment, check=True, timeout=60)
    history = History.load(folder)
    children = {op.process for op in history.where("run") if op.value["activity"] == "child"}
    parents = {op.process for op in history.where("run") if op.value["activity"] == "parent"}
    assert (len(children), len(parents)) == (20, 1)
    assert not children & parents
    assert {op.process for op in history.where("hello")} == children | parents


def test_threads_share_the_file_of_their_process(folder: Path) -> None:
    def handler(number: int) -> None:
        with worker.run(number, activity=str(number)):
            pass

    threads = [threading.Thread(target=handler, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = History.load(folder)
    assert len(list(history.where("hello"))) == 1
    assert len(list(history.where("run", OperationType.OK))) == 30
    assert not history.problems


def test_a_setting_that_is_missing_or_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HARNESS_QUEUE", "HARNESS_RABBITMQ_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HARNESS_WORKERS", "two")
    with pytest.raises(SettingMissing, match="HARNESS_QUEUE is not set"):
        str(settings.queue)
    with pytest.raises(SettingMissing, match="Add 'rabbitmq' to `needs`"):
        str(settings.rabbitmq_url)
    with pytest.raises(SettingMissing, match="HARNESS_WORKERS is 'two', which is no number"):
        str(settings.workers)
