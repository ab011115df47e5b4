"""The handler body of every target: it records its run, waits at its gate, performs its effect, and works.

from harness_worker import worker

worker.hello()                                    # in each worker process, once it accepts tasks

with worker.run(task, activity=job_id):           # in the handler; `async with` in a coroutine
    ...
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Optional, Union

from .effects import take_effect
from .environment import SETTINGS
from .gates import pass_gate, pass_gate_blocking
from .model import ask, served_endpoint
from .recording import WorkerFile, worker_file

Task = Union[int, Mapping[str, Any]]
"""The number of a task, or the whole task as the client received it in `submit`."""
Report = Optional[Callable[[int], None]]
"""The target's function for progress in percent."""

_BEGUN, _NEARLY_DONE = 10, 90  # percent


def hello() -> None:
    """Record `hello` for this process: it has imported its handlers and accepts tasks.

    A pool is up once as many processes as it has workers have recorded it. A process forked from a worker records
    `hello` of its own with its first run, so the harness knows its process id.
    """
    worker_file()


def run(
    task: Task,
    *,
    activity: str,
    attempt: int | None = None,
    fence: int | None = None,
    gate: str | None = None,
    lock: str | None = None,
    work: float = 0.0,
    report: Report = None,
) -> TaskRun:
    """One run of a task, as a context manager for `with` and `async with`.

    The beginning records `run` as `invoke`, waits at `gate`, takes one outside effect per (activity, `fence`), asks the
    LLM endpoint of the run if it has one, and then works for `work` seconds. The end records `ok`, `fail` if the block
    raised, or `info` if it was interrupted from outside (canceled, SystemExit, KeyboardInterrupt): such a run may have
    had its effect.

    `task` is the number of the task, or the task as `submit` of the client received it: its gate, lock key and work are
    then used. `activity` is the id that `submit` returned. `attempt` and `fence` are those of the system under test,
    None if it has none. Progress in percent goes to `report` and into the history. What the handler is going to return
    may be set as `result` of the run, as JSON: the end then records it.
    """
    if isinstance(task, Mapping):
        gate, lock, work = task.get("gate"), task.get("lock"), float(task.get("work") or 0.0)
        task = int(task["number"])
    value = {"task": task, "activity": activity, "attempt": attempt, "fence": fence, "pid": os.getpid()}
    if lock is not None:
        value["lock"] = lock
    return TaskRun(value, gate=gate, work=work, report=report)


class TaskRun:
    """A run of a task, made by `run`; records into the history file of the process that enters it."""

    def __init__(self, value: dict[str, Any], *, gate: str | None, work: float, report: Report) -> None:
        self._value = value
        self._key = {name: value[name] for name in ("task", "activity", "fence")}
        self._gate = gate
        self._work = work
        self._report = report
        self.result: Any = None
        self._file: WorkerFile = worker_file()

    def progress(self, percentage: int) -> None:
        """Record progress and report it to the target; does nothing without the target's `report`."""
        if self._report is not None:
            self._file.record("info", "report", {**self._key, "percentage": percentage})
            self._report(percentage)

    def __enter__(self) -> TaskRun:
        self._file.record("invoke", "run", self._value)
        try:
            self.progress(_BEGUN)
            if self._gate is not None:
                pass_gate_blocking(SETTINGS.gate, self._gate, self._value["task"])
            self._take_effect()
            if (endpoint := served_endpoint()) is not None:
                ask(endpoint, self._value["task"], self._value["activity"])
            time.sleep(self._work)
        except BaseException as error:
            self._ended_by(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()
        else:
            self._ended_by(error)

    async def __aenter__(self) -> TaskRun:
        import asyncio

        self._file.record("invoke", "run", self._value)
        try:
            self.progress(_BEGUN)
            if self._gate is not None:
                await pass_gate(SETTINGS.gate, self._gate, self._value["task"])
            self._take_effect()
            if (endpoint := served_endpoint()) is not None:
                question = (endpoint, self._value["task"], self._value["activity"])
                await asyncio.get_running_loop().run_in_executor(None, ask, *question)
            await asyncio.sleep(self._work)
        except BaseException as error:
            self._ended_by(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _take_effect(self) -> None:
        fence = self._value["fence"]
        if fence is not None:
            # The store is in the run's working folder, beside the socket of the gates.
            store = Path(SETTINGS.gate).parent / "effects"
            taken = take_effect(store, activity=self._value["activity"], fence=fence)
            self._file.record("ok" if taken else "fail", "effect", self._key)

    def _finish(self) -> None:
        try:
            self.progress(_NEARLY_DONE)
        except BaseException as error:
            self._ended_by(error)
            raise
        returned = {} if self.result is None else {"result": self.result}
        self._file.record("ok", "run", {**self._value, **returned})

    def _ended_by(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._file.record("fail", "run", {**self._value, "error": f"{type(error).__name__}: {error}"})
        else:
            self._file.record("info", "run", self._value)
