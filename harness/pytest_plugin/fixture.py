"""The fixture `chaos`: runs scenarios in a test and turns their verdicts into the outcome of the test."""

from __future__ import annotations

import re
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import pytest

from harness.checkers.base import CheckResult, Verdict
from harness.environments.base import Environment
from harness.environments.topologies import make_topology
from harness.errors import HarnessError, UsageError
from harness.masking import terminal_safe
from harness.progress import PlainLines
from harness.report import prepare_folder, verdict_table, write_reports
from harness.report.headline import verdict_text
from harness.run.asked_load import AskedLoad, write_loads
from harness.run.runner import RunOptions, run_scenario
from harness.scenario import Scenario, ScenarioRun, registry
from harness.scenario.run_plan import require_above_zero, require_time
from harness.scenario.scaling import with_faults
from harness.scenario.topologies import why_no_topology
from harness.targets.adapter import AdapterTarget
from harness.targets.base import Target

if TYPE_CHECKING:
    from harness.load.planned_load import PlannedLoad

_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ChaosOptions:
    """The arguments of the marker and of `chaos(...)`, beside the scenario. Times are seconds.

    kills: how many faults are injected (default: those of the scenario).
    tasks: how many tasks are submitted (default: as many as the scenario says).
    load: the tasks arrive at its times instead: a text as of `harness chaos run --load`, or stages of `harness.load`.
    thresholds: how the load is judged: texts such as "TASK p95 < 2s", one or several, or texts by row.
    load_lateness, load_baseline: as in `harness chaos run`.
    seed: decides the schedule (default: --chaos-seed, else a random one, which a failure names).
    rate, timeout, patience: as in `harness chaos run`.
    target: the system under test, by name, import path or value (default: the fixture `chaos_target`).
    app: an application of `harness.testing`, by import path or value, in place of `target`.
    unknown: "skip" skips the test at the verdict UNKNOWN instead of failing it.
    """

    kills: int | None = None
    tasks: int | None = None
    load: Any = None
    thresholds: str | Sequence[str] | Mapping[str, str] = ()
    load_lateness: float | None = None
    load_baseline: str | Path | None = None
    seed: int | None = None
    rate: float | None = None
    timeout: float | None = None
    patience: float | None = None
    target: str | Target | None = None
    app: str | Target | None = None
    unknown: Literal["fail", "skip"] = "fail"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The given arguments; raises `UsageError` for unknown ones and for those that contradict each other."""
        known = [one.name for one in fields(cls)]
        if strange := sorted(given.keys() - set(known)):
            raise UsageError(f"chaos has no argument {strange[0]!r}. Give some of {', '.join(known)}.")
        options = cls(**given)
        if options.unknown not in ("fail", "skip"):
            raise UsageError(f"unknown={options.unknown!r} has no meaning. Write 'fail' or 'skip'.")
        if options.target is not None and options.app is not None:
            raise UsageError("target= and app= both name what is tested. Give one.")
        options._require_load()
        require_above_zero(patience=options.patience, load_lateness=options.load_lateness)
        for name, number, least in (("tasks", options.tasks, 1), ("seed", options.seed, None)):
            if number is not None and (type(number) is not int or (least is not None and number < least)):
                raise UsageError(
                    f"{name}={number!r} is no whole number{' above 0' if least else ''}. Give one."
                )
        return options

    def _require_load(self) -> None:
        for name in ("thresholds", "load_lateness", "load_baseline") if self.load is None else ():
            if getattr(self, name):
                raise UsageError(f"{name}= judges a load. Give one with load=, or leave it out.")
        for name in () if self.load is None else ("tasks", "rate"):
            if getattr(self, name) is not None:
                raise UsageError(f"load= decides when tasks arrive and how many. Leave {name}= out.")

    def planned_load(self, seed: int, target: Target, scenario: str) -> PlannedLoad | None:
        """The load of a run, None without one; raises `UsageError`."""
        if self.load is None:
            return None
        asked = AskedLoad(
            load=self.load,
            thresholds=self.thresholds,
            lateness=self.load_lateness,
            baseline=None if self.load_baseline is None else Path(self.load_baseline),
        )
        return asked.planned(seed, target, [scenario])

    def chosen_target(self, default: Callable[[], str | Target]) -> Target:
        """The system under test; raises `UsageError`."""
        registry.require_own_package()
        if isinstance(self.app, str):
            return registry.application(self.app)
        named = self.app if self.target is None else self.target
        return registry.target(default() if named is None else named)

    def target_name(self, default: Callable[[], str | Target]) -> str | None:
        """The name by which other processes find the system under test; None if they cannot."""
        if self.app is not None:
            return None
        named = default() if self.target is None else self.target
        return named if isinstance(named, str) else None


class ChaosFixture:
    """Runs scenarios for one test; `runs` are those that ended VALID, in their order."""

    def __init__(self, request: pytest.FixtureRequest, *, reports: Path) -> None:
        self.runs: list[ScenarioRun] = []
        self._request = request
        self._reports = reports

    def __call__(self, scenario: str | Scenario, **options: Any) -> ScenarioRun:
        """Run a scenario, by its name, `package.module:NAME` or value, and return the run if its verdict is VALID.

        The options are the fields of `ChaosOptions`. Otherwise fails the test with the story of the first lost task and
        the path of the report. A wrong argument and an environment that does not start fail it with one sentence.
        """
        try:
            chosen = ChaosOptions.of(options)
            run, report = self._run(scenario, chosen)
        except HarnessError as error:
            raise failed(str(error)) from None
        self._judge(run, report, chosen.unknown)
        self.runs.append(run)
        return run

    def run_marker(self, marker: pytest.Mark) -> None:
        """Run the scenario of a marker, with its arguments."""
        if len(marker.args) + ("scenario" in marker.kwargs) != 1:
            raise failed(
                "The marker chaos takes one scenario. Write for example @pytest.mark.chaos('kill-pool')."
            )
        self(*marker.args, **marker.kwargs)

    def _run(self, named: str | Scenario, options: ChaosOptions) -> tuple[ScenarioRun, Path]:
        scenario = registry.scenario(named) if isinstance(named, str) else named
        if options.kills is not None:
            scenario = with_faults(scenario, options.kills)
        target = options.chosen_target(self._default_target)
        settings = self._settings(scenario, target, options)
        require_time([settings.plan(scenario, target)])
        progress = PlainLines(sys.stderr)
        if isinstance(target, AdapterTarget):
            target.install(progress.step)
        with self._environment(scenario, target) as environment:
            folder = _new_folder(self._reports, self._node)
            history = folder / "history" / scenario.name
            history.mkdir(parents=True)
            run = run_scenario(
                scenario, environment, target, settings, history_folder=history, progress=progress
            )
        write_loads(settings.load, [run], folder)
        return run, write_reports([run], folder).html

    def _environment(self, scenario: Scenario, target: Target) -> AbstractContextManager[Environment]:
        """The servers of the tests, or own ones in the topology of the scenario; raises `UsageError`."""
        if scenario.topology is None:
            return nullcontext(self._request.getfixturevalue("harness_environment"))
        if why := why_no_topology(scenario, "embedded", target):
            raise UsageError(f"{scenario.name} {why}. Choose another scenario.")
        return make_topology(scenario.topology, needs=getattr(target, "needs", ()))

    def _settings(self, scenario: Scenario, target: Target, options: ChaosOptions) -> RunOptions:
        wanted = self._request.config.getoption("--chaos-seed") if options.seed is None else options.seed
        seed = secrets.randbelow(2**32) if wanted is None else wanted
        return RunOptions(
            seed=seed,
            tasks=options.tasks,
            load=options.planned_load(seed, target, scenario.name),
            rate=options.rate,
            timeout=options.timeout,
            stall=options.patience,
            queue=f"hx-{secrets.token_hex(4)}-{scenario.name}",
            repeat=shlex.join(["pytest", self._node, f"--chaos-seed={seed}"]),
            target_name=options.target_name(self._default_target),
        )

    def _default_target(self) -> str | Target:
        found: str | Target = self._request.getfixturevalue("chaos_target")
        return found

    def _judge(self, run: ScenarioRun, report: Path, unknown: str) -> None:
        self._request.node.user_properties.append(
            (f"chaos {run.scenario}", f"{verdict_text([run])}, {report}")
        )
        print(verdict_table([run]))
        if run.verdict is Verdict.VALID:
            return
        text = "\n".join([*_lines(run), f"report:  {report}", f"repeat:  {run.repeat}"])
        if run.verdict is Verdict.UNKNOWN and unknown == "skip":
            pytest.skip(terminal_safe(text))
        raise failed(text)

    @property
    def _node(self) -> str:
        return str(self._request.node.nodeid)


def failed(text: str) -> BaseException:
    """The failure of a test with this text only, without secrets."""
    return pytest.fail.Exception(terminal_safe(text), pytrace=False)


def _new_folder(parent: Path, node: str) -> Path:
    """A new folder named by a test and a number: a test may run twice, and two tests may have the same name."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", node)[-_LONGEST_NAME:].strip("-")
    prepare_folder(parent)
    for number in count(1):
        with suppress(FileExistsError):
            (folder := parent / f"{name}-{number}").mkdir()
            return folder
    raise AssertionError


def _lines(run: ScenarioRun) -> list[str]:
    """The verdict, the checkers behind it with what they found, and the story of the first task."""
    lines = [f"{run.scenario} is {run.verdict} for {run.target} {run.target_version} (seed {run.seed})"]
    if run.error is not None:
        lines.append(f"the run broke down: {run.error}")
    wrong = {name: result for name, result in run.results.items() if result.verdict is run.verdict}
    lines += [f"{name}: {result.summary}" for name, result in wrong.items()]
    example = _first_example(wrong)
    return lines if example is None else [*lines, *_story(example)]


def _first_example(results: Mapping[str, CheckResult]) -> Mapping[str, Any] | None:
    """The counterexample of a lost task if there is one, else any."""
    examples = [example for result in results.values() for example in result.counterexamples]
    lost = (example for example in examples if example.get("kind") == "lost")
    return next(lost, next(iter(examples), None))


def _story(example: Mapping[str, Any]) -> list[str]:
    if "task" not in example:
        return [f"  {name}: {value}" for name, value in example.items()]
    kind, why = example.get("kind", "wrong"), example.get("why", "")
    events = str(example.get("operations", "")).split("; ")
    return [
        f"task {example['task']} ({example.get('activity')}), {kind}: {why}",
        *(f"  {event}" for event in events if event),
    ]
