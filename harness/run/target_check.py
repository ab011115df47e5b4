"""Does a target work at all? A dozen tasks without faults, one aimed kill, a drain and a stop.

This is no verdict about the system under test. It finds the mistakes that a new adapter has, each with what to do.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.environments.base import Environment
from harness.errors import GateError, HarnessError
from harness.history import RUNNER, History, OperationType, Recorder
from harness.history.figures import counted
from harness.history.promises import Loss, Promises
from harness.history.runs import Run, runs
from harness.history.statuses import COMPLETE
from harness.run.context import RunContext, open_context
from harness.scenario import PoolNeeds
from harness.targets.base import Target, TaskSpec
from harness.targets.pools import RunningPool

TASKS = 10
PATIENCE_SECONDS = 20.0

_GATED, _KILLED = TASKS + 1, TASKS + 2
_POLL_SECONDS = 0.05
_EXIT_MARGIN_SECONDS = 10.0
_NEEDS = PoolNeeds(workers=2, concurrency=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedPart:
    """One part of a target: `note` says what was seen; `problem`, if there is one, what is wrong and what to do."""

    name: str
    note: str = ""
    problem: str | None = None


class _Wrong(HarnessError):
    """A part of the target does not work."""


def check_target(
    environment: Environment, target: Target, *, history: Path, patience: float = PATIENCE_SECONDS
) -> Iterator[CheckedPart]:
    """Check the parts of a target in order, on a started environment; ends after a part that the next ones need.

    `history` is an empty folder for the history files and logs. `patience` is how many seconds a task may take; a
    longer recovery that the target promises is waited for.
    """
    queue = f"check-{os.getpid()}"
    part = "client"
    try:
        with (
            closing(Recorder(history / f"{RUNNER}.jsonl", process=RUNNER)) as runner,
            open_context(environment, target, _NEEDS, queue=queue, history=history, runner=runner) as context,
        ):
            yield CheckedPart(name=part, note=f"{target.name} {target.version()}")
            check = _Check(context, history, patience)
            for part, step in check.steps().items():
                try:
                    yield CheckedPart(name=part, note=step())
                except HarnessError as error:
                    yield CheckedPart(name=part, problem=str(error))
                    if part in ("pool", "submit", "runs"):
                        return
            part = "close"
    except HarnessError as error:
        yield CheckedPart(name=part, problem=str(error))
    else:
        yield CheckedPart(name=part, note="the client ended")


class _Check:
    """The steps of a check; each returns what it saw, or raises an error that says what is wrong."""

    def __init__(self, context: RunContext, history: Path, patience: float) -> None:
        self._context = context
        self._session = context.session
        self._history = history
        self._patience = patience
        self._promises: Promises = context.faults.promises
        self._activities: dict[int, str] = {}
        self._pool: RunningPool | None = None

    def steps(self) -> Mapping[str, Callable[[], str]]:
        """Every step by the name of its part."""
        return {
            "pool": self._start_pool,
            "submit": self._submit_all,
            "runs": self._see_runs,
            "gate": self._pass_gate,
            "kill": self._kill_worker,
            "drain": self._drain,
            "evidence": self._read_evidence,
            "stop": self._stop_pool,
        }

    def _start_pool(self) -> str:
        pool = self._pool = self._context.pools.start()
        return f"{counted(len(pool.worker_pids()), 'worker')} below pid {pool.pid}"

    def _submit_all(self) -> str:
        for number in range(1, TASKS + 1):
            self._submit(number)
        if len(set(self._activities.values())) < TASKS:
            raise _Wrong(
                f"submit returned the same id for several tasks: {sorted(self._activities.values())}. "
                "Return the id of each task in the system under test."
            )
        return f"{counted(TASKS, 'task')} acknowledged, such as {self._activities[1]}"

    def _submit(self, number: int, gate: str | None = None) -> None:
        task = TaskSpec(number=number, work=0.02, gate=gate, lock=None, priority=None)
        [outcome] = self._session.submit([task])
        if outcome.activity is None:
            raise _Wrong(
                f"task {number} was not acknowledged: {outcome.error}. See client.log; without faults, every "
                "submission has to return an id."
            )
        self._activities[number] = outcome.activity

    def _see_runs(self) -> str:
        self._await_end()
        seen = self._runs()
        ended = Counter(run.task for run in seen if run.finished)
        missing = [number for number in range(1, TASKS + 1) if not ended[number]]
        if missing:
            raise _Wrong(
                f"unfinished is 0, but no worker recorded that it ran {_listed(missing)}. Run the body of each task "
                "in `worker.run`, and let `unfinished` count tasks that wait and tasks that run."
            )
        twice = [number for number, count in Counter(run.task for run in seen).items() if count > 1]
        if twice:
            raise _Wrong(f"{_listed(twice)} ran more than once without a fault. See the logs of the pool.")
        for run in seen:
            if run.activity != self._activities[run.task]:
                raise _Wrong(
                    f"submit returned {self._activities[run.task]} for task {run.task}, and its run recorded "
                    f"{run.activity}. Give `worker.run` the id that submit returns, as a text."
                )
        return f"{counted(TASKS, 'task')} ran once, under the ids of submit"

    def _pass_gate(self) -> str:
        pid = self._arrive(_GATED, "checked-gate")
        unfinished = self._session.unfinished()
        self._context.gates.open("checked-gate")
        if not unfinished:
            raise _Wrong(
                "unfinished is 0 while a task runs. Let it count tasks that run, not only tasks that wait."
            )
        if not self._until(lambda: not self._session.unfinished(), self._patience):
            raise _Wrong(
                f"task {_GATED} is unfinished {self._patience:g} s after its gate opened. Let the handler go on as soon"
                " as it has read `open`; the harness does not close the connection. See the logs of the pool."
            )
        return f"the handler waited in pid {pid} until its gate opened"

    def _kill_worker(self) -> str:
        pid = self._arrive(_KILLED, "checked-kill")
        strength = len(self._running_pool().worker_pids())
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self._context.gates.open("checked-kill")
        recovered = self._until(lambda: self._second_run(killed) is not None, self._longest_recovery())
        promised = Loss.WORKER_KILLED in self._promises.survives
        if not recovered and promised:
            raise _Wrong(
                f"the task of the killed worker did not begin again within {self._longest_recovery():g} s, though "
                "worker-killed is in `survives`. Correct the promise or the settings, or give --patience."
            )
        if not recovered:
            return f"the task of the killed pid {pid} did not begin again; that is not promised"
        seconds = self._second_run(killed) or 0.0
        replaced = self._until(
            lambda: len(self._running_pool().worker_pids()) >= min(strength, _NEEDS.workers), 5.0
        )
        proposed = math.ceil(3 * seconds + 1)
        unreplaced = "" if replaced else "; the pool did not replace the worker"
        return f"the task began again after {seconds:.2f} s{unreplaced}; proposed: recovers_within = {proposed}.0"

    def _drain(self) -> str:
        if not self._context.pools.running():
            self._start_pool()
        if Loss.WORKER_KILLED in self._promises.survives:
            self._await_end()
        return f"{counted(self._session.unfinished(), 'task')} unfinished"

    def _read_evidence(self) -> str:
        found = list(self._session.witnesses())
        records = {op.value.get("activity"): op.value for op in found if op.f == "record"}
        queues = [op for op in found if op.f == "queue"]
        if not self._promises.records and not self._promises.queue:
            return f"{counted(len(records), 'record')}, {len(queues)} of the queue; neither is promised"
        expected = [number for number in self._activities if number != _KILLED]
        for number in expected if self._promises.records else ():
            value = records.get(self._activities[number])
            if value is None or value["task"] != number or value["status"] != COMPLETE:
                raise _Wrong(
                    f"task {number} ran, and its record is {value}. Write a record with its id, its number and the "
                    f"status {COMPLETE} for it; keep results longer than a run."
                )
        if self._promises.queue and len(queues) != 1:
            raise _Wrong(
                f"evidence has {counted(len(queues), 'operation')} `queue`. Write one, or leave `queue` out of the "
                "promises."
            )
        return f"{counted(len(records), 'record')}, {dict(queues[0].value) if queues else 'no report of the queue'}"

    def _stop_pool(self) -> str:
        pool = self._running_pool()
        began = time.monotonic()
        self._context.pools.terminate(_NEEDS.graceful_shutdown + _EXIT_MARGIN_SECONDS)
        if pool.code not in self._promises.exit_codes:
            raise _Wrong(
                f"the pool ended with code {pool.code} after SIGTERM. If that is documented, "
                f"write exit_codes = [0, {pool.code}] in [promises]; otherwise see its log."
            )
        return f"the pool ended {time.monotonic() - began:.1f} s after SIGTERM, with code {pool.code}"

    def _arrive(self, number: int, gate: str) -> int:
        """Submit a task with a gate and wait until a worker of the pool is at the gate; its process id."""
        self._submit(number, gate)
        try:
            [arrival] = self._context.gates.wait_for(gate, within=self._patience)
        except GateError:
            raise _Wrong(
                f"the handler of task {number} did not come to its gate within {self._patience:g} s. Give "
                "`worker.run` the whole task, or its `gate`; see the logs of the pool."
            ) from None
        workers = self._running_pool().worker_pids()
        if arrival.pid not in workers:
            self._context.gates.open(gate)
            raise _Wrong(
                f"the handler ran in pid {arrival.pid}, and the workers of the pool are {workers}. A worker has to "
                "descend from the process of the pool command, and to have recorded `hello` itself."
            )
        return arrival.pid

    def _await_end(self) -> None:
        if not self._until(lambda: not self._session.unfinished(), self._patience):
            raise _Wrong(
                f"{counted(self._session.unfinished(), 'task', 'are')} unfinished after {self._patience:g} s. See "
                "the logs of the pool; check the statuses that `unfinished` counts, or give --patience."
            )

    def _second_run(self, killed: float) -> float | None:
        """Seconds from the kill until the killed task began again; None if it did not."""
        began = [run.begun.time / 1e9 - killed for run in self._runs() if run.task == _KILLED]
        return next((seconds for seconds in began if seconds > 0), None)

    def _longest_recovery(self) -> float:
        return max(self._patience, self._promises.slowest_recovery or 0.0)

    def _runs(self) -> list[Run]:
        return [run for run in runs(History.load(self._history)) if run.begun.type is OperationType.INVOKE]

    def _running_pool(self) -> RunningPool:
        assert self._pool is not None
        return self._pool

    @staticmethod
    def _until(condition: Callable[[], bool], within: float) -> bool:
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def _listed(numbers: list[int]) -> str:
    return f"task{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
