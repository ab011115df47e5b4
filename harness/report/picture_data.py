"""The readings of a history in the units of pictures: seconds since the start of the run.

The rules are those of `harness.history`, by which the checkers judge: this module only converts times. A run without an
outcome ends with its worker if the worker is known to have ended, else at the end of the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from harness.history import History, Operation, OperationType
from harness.history.faults import FaultWindow, fault_windows
from harness.history.fields import activity_of, optional_whole, task_of
from harness.history.figures import quantiles, seconds
from harness.history.interruptions import Interruption, interruptions
from harness.history.machine import machine_samples
from harness.history.memory import largest_sizes
from harness.history.names import SERVERS
from harness.history.runs import Run, runs
from harness.history.submissions import RecordedSubmission, submissions
from harness.history.workers import WorkerLife, pool_exits, worker_lives
from harness.scenario import ScenarioRun


class BarOutcome(StrEnum):
    """How a run or a submission ended: it took effect, it certainly did not, or the outcome is unknown."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


MACHINE = ("load", "spin", "delay")
"""The gauges of the machine that are drawn: fields of `MachineSample`."""

_OUTCOMES = {OperationType.OK: BarOutcome.OK, OperationType.FAIL: BarOutcome.FAIL}


@dataclass(frozen=True, kw_only=True, slots=True)
class InterruptedTask:
    """A task that a fault cut off, from an `Interruption` of the readings.

    `seconds` is None if the task never began again. `stuck` is True if the task did not end in another way either.
    """

    task: int
    seconds: float | None
    stuck: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultRow:
    """One fault; times are seconds since the start, `end` is None if no heal is recorded.

    `pids` are the processes that it hit and the pool's own, `pool` is their pool if it is recorded. A fault
    that `failed` injected nothing.
    """

    number: int | None
    name: str
    kind: str
    start: float
    end: float | None = None
    pids: tuple[int, ...] = ()
    pool: str | None = None
    failed: bool = False
    interrupted: tuple[InterruptedTask, ...] = ()

    @property
    def stuck(self) -> tuple[int, ...]:
        """Tasks that it cut off, and that neither began again nor ended otherwise."""
        return tuple(one.task for one in self.interrupted if one.stuck)

    @property
    def slowest(self) -> float | None:
        """The longest time until a task that it cut off began again; None if none did."""
        return max((one.seconds for one in self.interrupted if one.seconds is not None), default=None)

    @property
    def label(self) -> str:
        """How texts refer to it, as in `fault 3`."""
        return self.name if self.number is None else f"fault {self.number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One `run` of a task in a worker, or one submission by the client; times are seconds since the start.

    `recorded` is False if no outcome was recorded; `killed_by` is then the fault that cut it off, if any. `intended` is
    the time at which a submission was due, if the client recorded it.
    """

    process: str
    task: int
    start: float
    end: float
    outcome: BarOutcome
    recorded: bool = True
    killed_by: FaultRow | None = None
    activity: str | None = None
    attempt: int | None = None
    fence: int | None = None
    intended: float | None = None

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLane:
    """The life of one worker process, from its first to its last operation, in seconds since the start.

    `gone` is True if it is known to have ended, killed by the fault `killed_by` or together with its pool.
    """

    process: str
    first_seen: float
    ended: float
    gone: bool = False
    killed_by: FaultRow | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExitMark:
    """The end of a pool's own process; `code` is negative for a signal."""

    pool: str
    at: float
    code: int
    pid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureData:
    """Everything that the pictures and tables of one run show; `seconds` is the right edge of the time axis.

    `resumptions` are pairs of a run that was cut off and the run that began the task again, `recovery` the quantiles of
    the recovery times. `machine` is the load of the machine: by gauge, pairs of time and value. `memory` are such pairs
    of the largest process of the pools (bytes). `problem` says why the history cannot be shown; everything else is then
    empty.
    """

    seconds: float
    runs: tuple[Bar, ...] = ()
    submissions: tuple[Bar, ...] = ()
    workers: tuple[WorkerLane, ...] = ()
    faults: tuple[FaultRow, ...] = ()
    exits: tuple[ExitMark, ...] = ()
    resumptions: tuple[tuple[Bar, Bar], ...] = ()
    recovery: Mapping[str, float | None]
    machine: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    memory: Sequence[tuple[float, float]] = ()
    problem: str | None = None


def picture_data(history: History, *, from_last_kill: bool = False) -> PictureData:
    """The data of all pictures. `from_last_kill` is the clock of the recovery checker that judged the history.

    If an operation lacks a field that its `f` requires, the result has only a `problem`. The report is still written.
    """
    try:
        deque(map(task_of, history.where("record")), maxlen=0)  # the list of tasks shows them
        return _Conversion(history).data(interruptions(history, from_last_kill=from_last_kill))
    except ValueError as error:
        return PictureData(seconds=_SHORTEST, recovery=quantiles(()), problem=str(error))


def data_of(run: ScenarioRun) -> PictureData:
    """The data of the pictures of a run, with the clock by which its recovery checker judged."""
    result = run.results.get("recovery")
    return picture_data(
        run.history, from_last_kill=result is not None and bool(result.figure("from_last_kill"))
    )


_SHORTEST = 1e-3


class _Conversion:
    """From readings in nanoseconds to seconds since the first operation of the run."""

    def __init__(self, history: History) -> None:
        live = [op for op in history if op.process not in SERVERS]
        self._history = history
        self._begin = live[0].time if live else 0
        self._end = self._at(live[-1].time) if live else 0.0

    def data(self, found: Sequence[Interruption]) -> PictureData:
        by_fault: dict[int, list[InterruptedTask]] = {}
        for one in found:
            task = InterruptedTask(task=one.task, seconds=one.waited, stuck=one.is_stuck)
            by_fault.setdefault(id(one.fault), []).append(task)
        rows = {
            id(fault): self._fault(fault, by_fault.get(id(fault), []))
            for fault in fault_windows(self._history)
        }
        lives = {life.process: life for life in worker_lives(self._history)}
        bars = {id(run): self._run(run, lives.get(run.process), rows) for run in runs(self._history)}
        return PictureData(
            seconds=max(self._end, _SHORTEST),
            runs=tuple(bars.values()),
            submissions=tuple(map(self._submission, submissions(self._history))),
            workers=tuple(self._worker(life, rows) for life in lives.values()),
            faults=tuple(rows.values()),
            exits=tuple(self._exits()),
            # A run that did not begin, because of a kill after its recorded start, has no bar.
            resumptions=tuple(
                (bars[id(one.run)], bars[id(one.again)])
                for one in found
                if one.again is not None and id(one.run) in bars
            ),
            recovery=quantiles(one.waited for one in found if one.waited is not None),
            machine=self._machine(),
            memory=[(self._at(time), size) for time, size in largest_sizes(self._history).items()],
        )

    def _at(self, time: int) -> float:
        return seconds(time - self._begin)

    def _fault(self, fault: FaultWindow, interrupted: list[InterruptedTask]) -> FaultRow:
        parent = () if fault.parent is None else (fault.parent,)
        return FaultRow(
            number=fault.number,
            name=fault.name,
            kind=fault.kind.value,
            start=self._at(fault.start),
            end=None if fault.end is None else self._at(fault.end),
            pids=tuple(dict.fromkeys((*fault.pids, *parent))),
            pool=fault.pool,
            failed=fault.failed,
            interrupted=tuple(interrupted),
        )

    def _run(self, run: Run, life: WorkerLife | None, rows: Mapping[int, FaultRow]) -> Bar:
        start = self._at(run.begun.time)
        end, killed_by = self._end, None
        if run.ended is not None:
            end = self._at(run.ended.time)
        elif life is not None and life.ended is not None:
            end = self._at(life.ended)
            killed_by = None if life.killed_by is None else rows[id(life.killed_by)]
        return Bar(
            process=run.process,
            task=run.task,
            start=start,
            end=max(start, end),
            outcome=_outcome(run.ended),
            recorded=run.ended is not None,
            killed_by=killed_by,
            activity=run.activity,
            attempt=run.attempt,
            fence=run.fence,
        )

    def _submission(self, one: RecordedSubmission) -> Bar:
        return Bar(
            process=one.request.process,
            task=one.task,
            start=self._at(one.request.time),
            end=self._end if one.answer is None else self._at(one.answer.time),
            outcome=_outcome(one.answer),
            recorded=one.answer is not None,
            activity=None if one.answer is None else activity_of(one.answer),
            intended=None if (due := optional_whole(one.request, "intended")) is None else self._at(due),
        )

    def _worker(self, life: WorkerLife, rows: Mapping[int, FaultRow]) -> WorkerLane:
        return WorkerLane(
            process=life.process,
            first_seen=self._at(life.first),
            ended=self._at(life.last if life.ended is None else life.ended),
            gone=life.ended is not None,
            killed_by=None if life.killed_by is None else rows[id(life.killed_by)],
        )

    def _machine(self) -> Mapping[str, Sequence[tuple[float, float]]]:
        samples = machine_samples(self._history)
        return {
            gauge: [(self._at(one.time), getattr(one, gauge)) for one in samples]
            for gauge in (MACHINE if samples else ())
        }

    def _exits(self) -> Iterator[ExitMark]:
        for one in pool_exits(self._history):
            yield ExitMark(pool=one.pool, at=self._at(one.time), code=one.code, pid=one.pid)


def _outcome(ended: Operation | None) -> BarOutcome:
    return BarOutcome.UNKNOWN if ended is None else _OUTCOMES.get(ended.type, BarOutcome.UNKNOWN)
