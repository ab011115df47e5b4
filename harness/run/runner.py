"""The phases of a chaos run: workload under faults, healing, drain, collection of the evidence, verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.checkers.asked import as_promised
from harness.checkers.base import CheckResult, Verdict, check_all
from harness.checkers.evidence import unreadable
from harness.environments.base import Environment
from harness.errors import HarnessError
from harness.faults.nemesis import Nemesis
from harness.history import BREAKDOWN, RUNNER, History, OperationType, Recorder, seal
from harness.masking import masked
from harness.progress import Progress
from harness.run.context import RunContext, open_context
from harness.run.driver import Driver, drive
from harness.scenario import Scenario, ScenarioRun
from harness.scenario.schedule import Schedule
from harness.targets.base import Target

# A drain ends early if nothing changes for the longer of these two. Its unfinished tasks then count as lost.
STALL_LEASES = 2.0
STALL_SECONDS = 5.0

_POLL_SECONDS = 0.1
_EXIT_MARGIN_SECONDS = 10.0


@dataclass(kw_only=True, slots=True)
class _Phases:
    """The deadline of a run (by `time.monotonic`) and the breakdowns of its phases."""

    deadline: float
    breakdowns: list[str] = field(default_factory=list)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, 0 once it has passed."""
        return max(0.0, self.deadline - time.monotonic())

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """One phase of the run; an error in it is added to `breakdowns`, so that later phases still happen."""
        try:
            yield
        except HarnessError as error:
            self.breakdowns.append(str(error))
        except Exception as error:  # noqa: BLE001 - recorded: it makes the verdict UNKNOWN, and teardown continues
            self.breakdowns.append(f"{name} broke down: {type(error).__name__}: {error}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """The options of a run.

    seed: decides the schedule.
    tasks: how many tasks are submitted.
    queue: the name of the run's own queue (default: by the name of the scenario).
    repeat: the command that repeats the run, for the report.
    stall: seconds without any change that end the drain (default: the longer of `STALL_LEASES` and `STALL_SECONDS`).
    """

    seed: int
    tasks: int
    queue: str | None = None
    repeat: str = ""
    stall: float | None = None


def run_scenario(
    scenario: Scenario,
    environment: Environment,
    target: Target,
    options: RunOptions,
    *,
    history_folder: Path,
    progress: Progress,
) -> ScenarioRun:
    """Run a scenario on a started environment and judge its history. All that it starts has ended when it returns.

    `history_folder` must be empty and receives the history files. A breakdown does not raise: the checkers judge
    the history so far, and `error` makes the verdict UNKNOWN at best. Raises `UsageError` if there are too few
    tasks for the faults.
    """
    began = time.monotonic()
    schedule = Schedule.of(scenario, seed=options.seed, tasks=options.tasks)
    queue = options.queue or f"hx-{scenario.name}"
    stall = max(STALL_LEASES * scenario.pool.lease, STALL_SECONDS) if options.stall is None else options.stall
    phases = _Phases(deadline=began + scenario.timeout)
    with phases.phase("the run"):
        with open_context(environment, target, scenario.pool, queue=queue, history=history_folder) as context:
            ChaosRun(scenario, schedule, context, phases=phases, progress=progress, stall=stall).execute()
    _record_breakdowns(phases.breakdowns, history_folder)
    history = History.load(history_folder)
    with phases.phase("sealing the history"):
        seal(history_folder)
    return ScenarioRun(
        scenario=scenario.name,
        summary=scenario.summary,
        backend=environment.name,
        target=target.name,
        target_version=target.version(),
        seed=options.seed,
        tasks=options.tasks,
        servers=environment.versions,
        history=history,
        results=judge(scenario, history),
        seconds=time.monotonic() - began,
        repeat=options.repeat,
        history_path=history_folder,
        error=" ".join(phases.breakdowns) or None,
    )


def _record_breakdowns(breakdowns: Sequence[str], folder: Path) -> None:
    """Record the breakdowns, so that a later check of the history does not treat it as a complete run."""
    if breakdowns:
        with closing(Recorder(folder / f"{RUNNER}.jsonl", process=RUNNER)) as recorder:
            for why in breakdowns:
                recorder.record(OperationType.INFO, BREAKDOWN, why=masked(why))


def judge(scenario: Scenario, history: History) -> Mapping[str, CheckResult]:
    """The results of all checkers; a checker of the scenario replaces the workload's checker of the same name.

    A checker that asks for what the target does not promise is NOT ASKED.
    A history with unreadable lines never produces INVALID, only UNKNOWN: such a line may be the evidence
    that a checker misses.
    """
    checkers = {**scenario.workload.checkers(), **scenario.checkers}
    results = as_promised(check_all(checkers, history), history)
    gaps = unreadable(history)
    return {name: _downgraded(result, gaps[0]) for name, result in results.items()} if gaps else results


def _downgraded(result: CheckResult, gap: str) -> CheckResult:
    if result.verdict is not Verdict.INVALID:
        return result
    summary = f"not certain, since {gap}: {result.summary}"
    return replace(result, verdict=Verdict.UNKNOWN, summary=summary)


class ChaosRun:
    """One run of a scenario in an open context."""

    def __init__(
        self,
        scenario: Scenario,
        schedule: Schedule,
        context: RunContext,
        *,
        phases: _Phases,
        progress: Progress,
        stall: float,
    ) -> None:
        self._scenario = scenario
        self._stall = stall
        self._schedule = schedule
        self._context = context
        self._phases = phases
        self._progress = progress
        self._client = scenario.workload.client(context.session, context.client)
        self._nemesis = Nemesis(context.faults, context.nemesis, log=self._log)

    def execute(self) -> None:
        """Run every phase; a breakdown is recorded and does not prevent the collection of the evidence."""
        phase = self._phases.phase
        try:
            with phase("starting the pool"):
                self._log("starting the pool")
                self._context.pools.start()
                with phase("the workload under faults"):
                    self._inject_faults()
        finally:  # also on Ctrl-C, which `phase` does not catch
            with phase("healing"):
                self._nemesis.heal_all()
            self._context.gates.open_all()
        with phase("the drain"):
            if not self._phases.breakdowns:
                self._drain()
        with phase("stopping the pools"):
            self._log("stopping the pools")
            self._context.pools.terminate(self._scenario.pool.graceful_shutdown + _EXIT_MARGIN_SECONDS)
        with phase("collecting the evidence"):
            for operation in self._context.session.witnesses():
                self._context.witness.append(operation)

    def _inject_faults(self) -> None:
        arrivals, faults = self._schedule.arrivals, self._schedule.faults
        self._log(f"{len(arrivals) + len(self._schedule.final)} tasks, {len(faults)} faults")
        start = time.monotonic()
        driver = Driver(self._client, arrivals, start=start)
        stop = threading.Event()
        alarm = threading.Timer(self._phases.seconds_left, stop.set)
        alarm.daemon = True
        alarm.start()
        try:
            self._nemesis.run(faults, start=start, stop=stop)
            if not driver.join(self._phases.seconds_left):
                raise HarnessError(
                    f"Not all tasks were submitted within the {self._scenario.timeout:g} s of the scenario. "
                    "Request fewer with --tasks."
                )
        finally:
            alarm.cancel()
            driver.stop()
        for missed in self._nemesis.missed:
            self._log(f"not injected: {missed}")

    def _drain(self) -> None:
        self._log("healed; draining")
        drive(self._client, self._schedule.final, start=time.monotonic(), stop=threading.Event())
        seen: tuple[int, int] | None = None
        changed = time.monotonic()
        while unfinished := self._client.unfinished():
            self._progress.update(f"{unfinished} unfinished")
            if (now := (unfinished, self._context.recorded_bytes())) != seen:
                seen, changed = now, time.monotonic()
            if time.monotonic() - changed > self._stall:
                self._log(f"nothing changed for {self._stall:g} s, {unfinished} tasks are unfinished")
                return
            if not self._phases.seconds_left:
                raise HarnessError(
                    f"{unfinished} tasks were still unfinished after the {self._scenario.timeout:g} s of the "
                    "scenario. Request fewer with --tasks, or give the scenario a longer time-out."
                )
            time.sleep(_POLL_SECONDS)

    def _log(self, text: str) -> None:
        self._progress.step(f"{self._scenario.name}: {text}")
