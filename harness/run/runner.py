"""The phases of a chaos run: workload under faults, healing, drain, collection of the evidence, verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkers.exits import MARGIN_SECONDS
from harness.environments.base import Environment
from harness.environments.deadlocks import DeadlockWatch
from harness.errors import HarnessError
from harness.faults.nemesis import Nemesis
from harness.history import DEADLOCKS, RUNNER, History, OperationType, Recorder, seal
from harness.history.ending import RunPhase
from harness.history.figures import counted
from harness.history.names import DRAIN, LEFT_OUT, MACHINE, MEMORY
from harness.llm.metering import Metering
from harness.progress import Progress
from harness.run.context import RunContext, RunExtras, open_context
from harness.run.driver import Driver
from harness.run.gauge import MachineGauge
from harness.run.judging import checkers_of, checkers_operation, judge
from harness.run.kept_logs import kept_logs
from harness.run.memory_gauge import MemoryGauge
from harness.run.patience import Movement, Patience
from harness.run.phases import Phases
from harness.run.refusals import StopEvent, WatchedSession
from harness.run.space import require_space
from harness.scenario import Scenario, ScenarioRun
from harness.scenario.run_plan import RunPlan
from harness.scenario.schedule import Schedule
from harness.targets.base import Target

if TYPE_CHECKING:
    from harness.load.load_recorder import LoadRecorder
    from harness.load.planned_load import PlannedLoad

_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """The options of a run.

    seed: decides the schedule.
    tasks: how many tasks are submitted (default: as many as the scenario says).
    queue: the name of the run's own queue (default: by the name of the scenario).
    rate: tasks a second (default: that of the workload, or less if the target promises fewer slots).
    timeout: seconds that bound the run (default: that of the scenario, or more if the rate is lower; on a machine that
        cannot keep up, up to twice as long).
    repeat: the command that repeats the run, for the report.
    stall: the patience of the drain: seconds without any change that end it (default: by the promises of the target).
    load: the times of the tasks instead of those of the workload; it then decides how many `tasks` are submitted.
    metering: the endpoint whose bill belongs to the run.
    faults: the numbers of the faults of the schedule that are injected (default: all).
    target_name: by which other processes find the target; producers that a fault kills need it.
    """

    seed: int
    tasks: int | None = None
    queue: str | None = None
    rate: float | None = None
    timeout: float | None = None
    repeat: str = ""
    stall: float | None = None
    load: PlannedLoad | None = None
    metering: Metering | None = None
    faults: Collection[int] | None = None
    target_name: str | None = None

    def plan(self, scenario: Scenario, target: Target) -> RunPlan:
        """The plan of a run with these options; raises `UsageError` as `RunPlan.of`."""
        tasks = self.tasks or scenario.tasks
        if self.load is not None:
            scenario, tasks = self.load.applied(scenario, self.seed)
        return RunPlan.of(
            scenario,
            target,
            seed=self.seed,
            tasks=tasks,
            rate=self.rate,
            timeout=self.timeout,
            patience=self.stall,
        )


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
    tasks for the faults, or if the workload cannot have the rate.
    """
    began = time.monotonic()
    plan = options.plan(scenario, target)
    scenario = plan.scenario
    for note in plan.notes:
        progress.step(f"{scenario.name}, {note}")
    schedule = Schedule.of(scenario, seed=options.seed, tasks=plan.tasks, faults=options.faults)
    queue = options.queue or f"hx-{scenario.name}"
    with (
        _sealed_if_interrupted(history_folder),
        closing(Recorder(history_folder / f"{RUNNER}.jsonl", process=RUNNER)) as recorder,
    ):
        grace = scenario.timeout if options.timeout is None else 0.0
        recorder.append(
            checkers_operation(
                checkers_of(scenario),
                time=time.monotonic_ns(),
                scenario=scenario.name,
                summary=scenario.summary,
            )
        )
        phases = Phases(deadline=began + scenario.timeout, recorder=recorder, grace=grace)
        with (
            kept_logs(environment, history_folder),
            _gauge(history_folder) as gauge,
            phases.phase(RunPhase.RUN),
        ):
            if plan.left_out:
                kept = len(scenario.faults)
                recorder.record(OperationType.INFO, LEFT_OUT, faults=kept, of=kept + plan.left_out)
            watch = DeadlockWatch(environment)
            billed = None if options.metering is None else options.metering.begin()
            with open_context(
                environment,
                target,
                scenario.pool,
                queue=queue,
                history=history_folder,
                runner=recorder,
                extras=RunExtras.of(scenario, options.target_name),
            ) as context:
                patience, phases.gauge = Patience(plan.patience, gauge), gauge
                with (
                    closing(Recorder(history_folder / f"{MEMORY}.jsonl", process=MEMORY)) as sampled,
                    MemoryGauge(sampled, context.pools),
                    _recording(options.load, scenario, context) as load,
                ):
                    run = ChaosRun(
                        scenario,
                        schedule,
                        context,
                        phases=phases,
                        progress=progress,
                        patience=patience,
                        load=load,
                    )
                    run.execute()
            # Sessions report to the statistics of the server when they end.
            if environment.endpoints.database_url:
                recorder.record(OperationType.INFO, DEADLOCKS, **watch.found().to_value())
            if options.metering is not None and billed is not None:
                options.metering.record(billed, history_folder)
    breakdowns = phases.breakdowns
    history = History.load(history_folder)
    try:
        seal(history_folder)
    except OSError as error:
        breakdowns.append(f"the history could not be sealed: {error}")
    return ScenarioRun(
        scenario=scenario.name,
        summary=scenario.summary,
        backend=environment.name,
        target=target.name,
        target_version=_version(target),
        seed=options.seed,
        tasks=plan.tasks,
        servers=environment.versions,
        history=history,
        results=judge(scenario, history, target),
        seconds=time.monotonic() - began,
        repeat=options.repeat,
        history_path=history_folder,
        error=" ".join(breakdowns) or None,
        notes=plan.notes if options.load is None else (*plan.notes, options.load.note),
    )


@contextmanager
def _recording(
    load: PlannedLoad | None, scenario: Scenario, context: RunContext
) -> Iterator[LoadRecorder | None]:
    if load is None:
        yield None
        return
    from harness.load.load_recorder import LoadRecorder  # it needs the extra `load`

    queue = getattr(context.session, "agentexec_queue", None)
    found = LoadRecorder(load, scenario.name, context.runner, context=context.faults, queue=queue)
    with closing(found):
        yield found


def _version(target: Target) -> str:
    try:
        return target.version()
    except Exception:  # noqa: BLE001 - the code of a target may raise anything, and the run has its verdict
        return "of unknown version"


@contextmanager
def _sealed_if_interrupted(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:  # Ctrl-C: all writers have ended, and the history says why it is cut short
        with suppress(OSError):
            seal(folder)
        raise


@contextmanager
def _gauge(folder: Path) -> Iterator[MachineGauge]:
    with closing(Recorder(folder / f"{MACHINE}.jsonl", process=MACHINE)) as recorder:
        with MachineGauge(recorder) as gauge:
            yield gauge


class ChaosRun:
    """One run of a scenario in an open context."""

    def __init__(
        self,
        scenario: Scenario,
        schedule: Schedule,
        context: RunContext,
        *,
        phases: Phases,
        progress: Progress,
        patience: Patience,
        load: LoadRecorder | None = None,
    ) -> None:
        self._scenario = scenario
        self._patience = patience
        self._load = load
        self._schedule = schedule
        self._context = context
        self._phases = phases
        self._progress = progress
        self._session = WatchedSession(context.session, context.gates)
        self._client = scenario.workload.client(self._session, context.client)
        self._nemesis = Nemesis(context.faults, context.nemesis, log=self._log)

    def execute(self) -> None:
        """Run every phase; a breakdown is recorded and does not prevent the collection of the evidence."""
        phase = self._phases.phase
        try:
            with phase(RunPhase.STARTING):
                self._log("starting the pool")
                self._context.pools.start()
            if not self._phases.breakdowns:
                with phase(RunPhase.WORKLOAD):
                    self._inject_faults()
                    self._require_space()
        finally:  # also on Ctrl-C, which `phase` does not catch
            with phase(RunPhase.HEALING):
                self._nemesis.heal_all()
            self._context.gates.open_all()
        if not self._phases.breakdowns:
            with phase(RunPhase.DRAIN):
                self._drain()
                self._require_space()
        if self._load is not None:
            self._load.drained()
        with phase(RunPhase.STOPPING):
            self._stop_pools()
        with phase(RunPhase.COLLECTING):
            for operation in self._context.session.witnesses():
                self._context.witness.append(operation)

    def _require_space(self) -> None:
        environment = self._context.faults.environment
        require_space(self._context.history, *([] if environment is None else [environment.folder]))

    def _stop_pools(self) -> None:
        self._log("stopping the pools")
        try:
            self._context.pools.terminate(self._scenario.pool.graceful_shutdown + MARGIN_SECONDS)
        except HarnessError:
            self._context.pools.kill()  # else the evidence would be that of a system which still works
            raise

    def _inject_faults(self) -> None:
        arrivals, faults = self._schedule.arrivals, self._schedule.faults
        self._log(
            f"{counted(len(arrivals) + len(self._schedule.final), 'task')}, {counted(len(faults), 'fault')}"
        )
        start = time.monotonic()
        stop = StopEvent(self._context.gates)
        self._session.stop = stop.set
        noticed = None
        if self._load is not None:
            self._load.begin(start)
            noticed = self._load.notice
        driver = Driver(self._client, arrivals, start=start, failed=stop, noticed=noticed)
        threading.Thread(target=self._phases.stop_in_time, args=(stop,), name="alarm", daemon=True).start()
        try:
            self._nemesis.run(faults, start=start, stop=stop)
            if self._session.none_taken is None:
                self._await_answers(driver)
                self._session.check()
                if self._load is not None:
                    self._load.end()
        finally:
            stop.set()
            driver.stop()
        if self._session.none_taken is not None:
            raise HarnessError(self._session.none_taken)
        for missed in self._nemesis.missed:
            self._log(f"not injected: {missed}")

    def _await_answers(self, driver: Driver) -> None:
        if not driver.join(self._phases.seconds_left):
            raise HarnessError(
                f"Not all tasks were submitted and answered within the {self._scenario.timeout:g} s of the scenario. "
                "Request fewer with --tasks, or allow more time with --timeout."
            )

    def _drain(self) -> None:
        self._log("healed; draining")
        final = Driver(self._client, self._schedule.final, start=time.monotonic())
        try:
            self._await_answers(final)
        finally:
            final.stop()
        moved = Movement(self._context.history)
        self._patience.begin(longest_work=self._longest_work)
        while unfinished := self._unfinished():
            self._progress.update(f"{unfinished} unfinished")
            self._patience.look((unfinished, moved.operations(), self._context.movement()))
            if self._patience.is_over:
                self._log(
                    f"nothing changed for {self._patience.quiet:.1f} s, {counted(unfinished, 'task', 'are')} unfinished"
                )
                break
            if not self._phases.seconds_left:
                raise HarnessError(
                    f"{counted(unfinished, 'task', 'were')} still unfinished after the "
                    f"{self._scenario.timeout:g} s of the scenario. "
                    "Request fewer with --tasks, or allow more time with --timeout."
                )
            time.sleep(_POLL_SECONDS)
        self._context.runner.record(
            OperationType.INFO,
            DRAIN,
            unfinished=unfinished,
            patience=self._patience.seconds,
            quiet=round(self._patience.quiet, 3),
        )

    def _unfinished(self) -> int:
        """How many tasks have not ended. None has to be seen twice.

        A queue on Redis pops a message and notes it in two steps, so a task may be in no store for a moment.
        """
        found = self._client.unfinished()
        if not found:
            time.sleep(_POLL_SECONDS)
            found = self._client.unfinished()
        return found

    @property
    def _longest_work(self) -> float:
        arrivals = (*self._schedule.arrivals, *self._schedule.final)
        return max((arrival.task.work for arrival in arrivals), default=0.0)

    def _log(self, text: str) -> None:
        self._progress.step(f"{self._scenario.name}, {text}")
