"""The scenarios of one call, one after another on the same servers; what was not run is kept with the reason."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from harness.checkers.asked import ASKED, left_out
from harness.checkers.base import Verdict
from harness.cli.fault_shrinking import FaultShrinker, shrunk_note, write_replay
from harness.cli.request import RunRequest, environment_of
from harness.environments.base import Environment, ServerVersions, Topology
from harness.errors import HarnessError, describe_error
from harness.history import History
from harness.history.figures import counted
from harness.history.files import SEAL
from harness.history.unrecorded import MARK
from harness.progress import Progress
from harness.run.runner import run_scenario
from harness.scenario import Scenario, ScenarioRun
from harness.scenario.run_plan import RunPlan
from harness.targets.adapter import AdapterTarget


@dataclass(kw_only=True)
class ScenarioSeries:
    """Runs the scenarios of a request in order; `ended` is called with each result as soon as it is there.

    `runs` are the results so far, `missing` the reasons by scenario. With `max_seconds` no scenario begins that cannot
    end in time, and one that did begin breaks down at the limit.
    """

    request: RunRequest
    folder: Path
    ended: Callable[[ScenarioRun], None]
    stop_early: bool = False
    max_seconds: float = math.inf
    began: float = field(default_factory=lambda: time.monotonic())
    runs: list[ScenarioRun] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    current: Scenario | None = None

    def run(self, progress: Progress) -> None:
        """Start the servers and run each scenario, unless `-x` or the time limit forbids it."""
        request = self.request
        too_long = [self._too_long(plan) for plan in request.plans]
        if all(too_long):
            return
        if isinstance(request.target, AdapterTarget):
            request.target.install(progress.step)
        progress.step(f"seed {request.seed}; starting Postgres and Redis ({request.options.backend})")
        for scenario, why in request.left_out:
            progress.step(f"{scenario.name}: left out, it {why}")
        planned = zip(request.scenarios, request.plans, strict=True)
        for topology, found in groupby(planned, key=lambda one: one[0].topology):
            self._run_on(topology, list(found), progress)

    def _run_on(
        self, topology: Topology | None, planned: Sequence[tuple[Scenario, RunPlan]], progress: Progress
    ) -> None:
        """Run scenarios of one topology, one after another on the same servers."""
        if all(self._stopped(scenario) or self._too_long(plan) for scenario, plan in planned):
            return
        if topology is not None:
            progress.step(f"starting the servers of the topology {topology}")
        request = self.request
        with environment_of(request.options, request.target, topology) as environment:
            for scenario, plan in planned:
                if not (self._stopped(scenario) or self._too_long(plan)):
                    self._run(scenario, plan, environment, progress)
            progress.step("taking the servers down")

    def interrupted(self, error: BaseException) -> None:
        """Note why no further scenario runs."""
        why = str(error) if isinstance(error, HarnessError) else describe_error(error)
        if isinstance(error, KeyboardInterrupt):
            why = "the run was interrupted"
        for scenario in self.request.scenarios:
            if scenario.name not in {run.scenario for run in self.runs}:
                when = "stopped half way" if scenario is self.current else "not run"
                self.missing.setdefault(scenario.name, f"{when}: {why}")

    def results(self) -> list[ScenarioRun]:
        """The result of each scenario in the order of the request; one that was not run has an error and is UNKNOWN.

        Those that are left out come last and are skipped.
        """
        found = {run.scenario: run for run in self.runs}
        skipped = [
            replace(self._without_result(one, None), skipped=True, results={ASKED: left_out(why)})
            for one, why in self.request.left_out
        ]
        return [*self._results(found), *skipped]

    def _results(self, found: dict[str, ScenarioRun]) -> Iterator[ScenarioRun]:
        for scenario in self.request.scenarios:
            if scenario.name in found:
                yield found[scenario.name]
            elif scenario.name in self.missing:
                yield self._without_result(scenario, self.missing[scenario.name])

    def _stopped(self, scenario: Scenario) -> bool:
        bad = [run for run in self.runs if run.verdict is not Verdict.VALID] if self.stop_early else []
        if bad:
            self.missing[scenario.name] = f"not run: {bad[0].scenario} was {bad[0].verdict}, and -x was given"
        return bool(bad)

    def _too_long(self, plan: RunPlan) -> bool:
        left, name = self._seconds_left(), plan.scenario.name
        if plan.seconds <= left:
            self.missing.pop(name, None)
            return False
        self.missing[name] = (
            f"not run: it takes {plan.seconds:.0f} s or more, and {max(0.0, left):.0f} s were left of "
            f"--max-seconds {self.max_seconds:g}"
        )
        return True

    def _seconds_left(self) -> float:
        return self.max_seconds - (time.monotonic() - self.began)

    def _run(self, scenario: Scenario, plan: RunPlan, environment: Environment, progress: Progress) -> None:
        self.current = scenario
        run = self._once(scenario, plan, environment, progress)
        self.current = None
        self.runs.append(run)
        try:
            if self.request.options.shrink and run.verdict is Verdict.INVALID:
                self.runs[-1] = self._shrunk(run, scenario, plan, environment, progress)
        finally:
            self.ended(self.runs[-1])

    def _once(
        self,
        scenario: Scenario,
        plan: RunPlan,
        environment: Environment,
        progress: Progress,
        *,
        faults: Collection[int] | None = None,
        tries: int = 0,
    ) -> ScenarioRun:
        """Run a scenario, with `faults` of its schedule only; the history of a try has a folder of its own."""
        request, options = self.request, self.request.options
        limited = min(plan.scenario.timeout, self._seconds_left())
        suffix = f"-try-{tries}" if tries else ""
        return run_scenario(
            scenario,
            environment,
            request.target,
            replace(
                request.asked,
                timeout=options.timeout if math.isinf(self.max_seconds) else limited,
                queue=f"hx-{request.session}-{scenario.name}{suffix}",
                repeat=request.repeat([scenario]),
                faults=request.asked.faults if faults is None else faults,
            ),
            history_folder=_empty_folder(self.folder / "history" / f"{scenario.name}{suffix}"),
            progress=progress,
        )

    def _shrunk(
        self,
        run: ScenarioRun,
        scenario: Scenario,
        plan: RunPlan,
        environment: Environment,
        progress: Progress,
    ) -> ScenarioRun:
        """The run with a note about the fewest faults that still break the same promise."""

        def again(faults: Collection[int]) -> ScenarioRun | None:
            if plan.seconds > self._seconds_left():
                return None
            progress.step(f"{scenario.name}, again with {counted(len(faults), 'fault')}")
            return self._once(scenario, plan, environment, progress, faults=faults, tries=shrinker.tries + 1)

        shrinker = FaultShrinker(run, again)
        left = shrinker.shrink()
        file = self.folder / f"replay-{scenario.name}.json"
        write_replay(file, self.request.arguments([scenario], left))
        note = shrunk_note(left, shrinker.tries, file)
        progress.step(f"{scenario.name}, {note}")
        return replace(run, notes=(*run.notes, note))

    def _without_result(self, scenario: Scenario, why: str | None) -> ScenarioRun:
        request = self.request
        folder = self.folder / "history" / scenario.name
        half_way = scenario is self.current and folder.is_dir()
        version = "of unknown version"
        with suppress(Exception):  # the code of the target must not prevent the report
            version = request.target.version()
        return ScenarioRun(
            scenario=scenario.name,
            summary=scenario.summary,
            backend=request.options.backend,
            target=request.target.name,
            target_version=version,
            seed=request.seed,
            tasks=0,
            servers=ServerVersions(postgres="Postgres", redis="Redis"),
            history=History.load(folder) if half_way else History.of([]),
            results={},
            seconds=0.0,
            repeat=request.repeat([scenario]),
            history_path=folder if half_way else None,
            error=why,
        )


def _empty_folder(history: Path) -> Path:
    """An empty folder for the history; removes the files of an earlier run with the same report folder."""
    history.mkdir(parents=True, exist_ok=True)
    for old in (*history.glob("*.jsonl"), *history.glob("*.log"), *history.glob(SEAL), *history.glob(MARK)):
        old.unlink()
    return history
