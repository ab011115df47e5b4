"""The way of one chaos run: workload and faults together, heal everything, drain, collect the evidence, judge."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.checkers.base import CheckResult, Verdict, check_all
from harness.checkers.evidence import unreadable
from harness.environments.base import Environment
from harness.errors import HarnessError
from harness.faults.base import Nemesis
from harness.history import BREAKDOWN, RUNNER, History, OperationType, Recorder, seal
from harness.masking import masked
from harness.progress import Progress
from harness.run.context import RunContext, open_context
from harness.run.driver import Driver, drive
from harness.scenario import Scenario, ScenarioRun
from harness.scenario.schedule import Schedule
from harness.targets.base import Target

STALL_LEASES = 2.0
STALL_SECONDS = 5.0
"""A drain in which nothing moves for so many leases, and seconds at least, is over: what is left is lost."""

_ASK = 0.1
_EXIT_MARGIN = 10.0


@dataclass(kw_only=True, slots=True)
class _Course:
    """How far a run has come: its deadline by `time.monotonic`, and where it broke down."""

    deadline: float
    breakdowns: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds until the deadline, 0 once it has passed."""
        return max(0.0, self.deadline - time.monotonic())

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """One part of the run; what goes wrong in it is noted, so that the parts after it still happen."""
        try:
            yield
        except HarnessError as error:
            self.breakdowns.append(str(error))
        except Exception as error:  # noqa: BLE001 - noted: it makes the verdict UNKNOWN, and teardown goes on
            self.breakdowns.append(f"{name} broke down: {type(error).__name__}: {error}")


def run_scenario(
    scenario: Scenario,
    environment: Environment,
    target: Target,
    *,
    seed: int,
    tasks: int,
    history_folder: Path,
    progress: Progress,
    queue: str | None = None,
    repeat: str = "",
    stall: float | None = None,
) -> ScenarioRun:
    """Run a scenario on a running environment and judge it. Everything it started is gone when it returns or raises.

    `history_folder` has to be empty and keeps the history files. `stall` is how many seconds the drain may see
    nothing move before it gives up, by default as long as `STALL_LEASES` and `STALL_SECONDS` say. A breakdown does
    not raise: the checkers run on what there is, and `error` makes the verdict UNKNOWN at best. Raises `UsageError`
    where `tasks` are too few.
    """
    began = time.monotonic()
    schedule = Schedule.of(scenario, seed=seed, tasks=tasks)
    course = _Course(deadline=began + scenario.timeout)
    with course.part("the run"):
        opened = open_context(
            environment, target, scenario.pool, queue=queue or f"hx-{scenario.name}", history=history_folder
        )
        with opened as stage:
            _Play(scenario, schedule, stage, course, progress, stall).perform()
    _note(course.breakdowns, history_folder)
    history = History.load(history_folder)
    with course.part("sealing the history"):
        seal(history_folder)
    error = " ".join(course.breakdowns)
    return ScenarioRun(
        scenario=scenario.name,
        summary=scenario.summary,
        backend=environment.name,
        target=target.name,
        target_version=target.version(),
        seed=seed,
        tasks=tasks,
        servers=environment.versions,
        history=history,
        results=judge(scenario, history),
        seconds=time.monotonic() - began,
        repeat=repeat,
        history_path=history_folder,
        error=error or None,
    )


def _note(breakdowns: Sequence[str], folder: Path) -> None:
    """Say in the history where the run broke down: whoever judges it again must not take it for a whole one."""
    if breakdowns:
        with closing(Recorder(folder / f"{RUNNER}.jsonl", process=RUNNER)) as recorder:
            for why in breakdowns:
                recorder.record(OperationType.INFO, BREAKDOWN, why=masked(why))


def judge(scenario: Scenario, history: History) -> Mapping[str, CheckResult]:
    """What the checkers say: those of the workload, and those of the scenario, which replace them by name.

    Of a history with unreadable lines nothing is INVALID, only UNKNOWN: what is missing may be what was missed.
    """
    results = check_all({**scenario.workload.checkers(), **scenario.checkers}, history)
    holes = unreadable(history)
    return {name: _doubted(result, holes[0]) for name, result in results.items()} if holes else results


def _doubted(result: CheckResult, hole: str) -> CheckResult:
    if result.verdict is not Verdict.INVALID:
        return result
    summary = f"not certain, since {hole}: {result.summary}"
    return replace(result, verdict=Verdict.UNKNOWN, summary=summary)


class _Play:
    """One run on its stage, part by part."""

    def __init__(
        self,
        scenario: Scenario,
        schedule: Schedule,
        stage: RunContext,
        course: _Course,
        progress: Progress,
        stall: float | None,
    ) -> None:
        self._scenario = scenario
        self._stall = max(STALL_LEASES * scenario.pool.lease, STALL_SECONDS) if stall is None else stall
        self._schedule = schedule
        self._stage = stage
        self._course = course
        self._progress = progress
        self._client = scenario.workload.client(stage.session, stage.client)
        self._nemesis = Nemesis(stage.world, stage.nemesis, tell=self._tell)

    def perform(self) -> None:
        """All parts; a broken one is noted and does not keep the evidence from being collected."""
        part = self._course.part
        try:
            with part("starting the pool"):
                self._tell("starting the pool")
                self._stage.pools.start()
                with part("the workload under faults"):
                    self._hurt()
        finally:  # also for Ctrl-C, which no part takes
            with part("healing"):
                self._nemesis.heal_all()
            self._stage.gates.open_all()
        with part("the drain"):
            if not self._course.breakdowns:
                self._drain()
        with part("stopping the pools"):
            self._tell("stopping the pools")
            self._stage.pools.terminate(self._scenario.pool.graceful_shutdown + _EXIT_MARGIN)
        with part("collecting the evidence"):
            for operation in self._stage.session.witnesses():
                self._stage.witness.append(operation)

    def _hurt(self) -> None:
        arrivals, faults = self._schedule.arrivals, self._schedule.faults
        self._tell(f"{len(arrivals) + len(self._schedule.final)} tasks, {len(faults)} faults")
        start = time.monotonic()
        driver = Driver(self._client, arrivals, start=start)
        stop = threading.Event()
        alarm = threading.Timer(self._course.left, stop.set)
        alarm.daemon = True
        alarm.start()
        try:
            self._nemesis.run(faults, start=start, stop=stop)
            if not driver.join(self._course.left):
                raise HarnessError(
                    f"The tasks were not all submitted within the {self._scenario.timeout:g} s of the scenario. "
                    "Ask for fewer with --tasks."
                )
        finally:
            alarm.cancel()
            driver.stop()
        for missed in self._nemesis.missed:
            self._tell(f"not injected: {missed}")

    def _drain(self) -> None:
        self._tell("healed; draining")
        drive(self._client, self._schedule.final, start=time.monotonic(), stop=threading.Event())
        seen: tuple[int, int] | None = None
        moved = time.monotonic()
        pause = threading.Event()
        while unfinished := self._client.unfinished():
            self._progress.update(f"{unfinished} unfinished")
            if (now := (unfinished, self._stage.recorded())) != seen:
                seen, moved = now, time.monotonic()
            if time.monotonic() - moved > self._stall:
                self._tell(f"nothing moved for {self._stall:g} s, {unfinished} tasks are unfinished")
                return
            if not self._course.left:
                raise HarnessError(
                    f"{unfinished} tasks were still being worked off after the {self._scenario.timeout:g} s of the "
                    "scenario. Ask for fewer with --tasks, or give the scenario a longer time-out."
                )
            pause.wait(_ASK)

    def _tell(self, text: str) -> None:
        self._progress.step(f"{self._scenario.name}: {text}")
