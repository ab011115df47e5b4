"""The fixture `chaos`: runs scenarios in a test and turns their verdicts into the outcome of the test."""

from __future__ import annotations

import re
import secrets
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from inspect import signature
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest

from harness.checkers.base import CheckResult, Verdict
from harness.errors import HarnessError, UsageError
from harness.masking import masked
from harness.progress import PlainLines
from harness.report import prepare_folder, verdict_table, write_reports
from harness.run.runner import RunOptions, run_scenario
from harness.scenario import Scenario, ScenarioRun, registry
from harness.scenario.scaling import with_faults
from harness.targets.base import Target

_TASKS = 240
_LONGEST_NAME = 100


class ChaosFixture:
    """Runs scenarios for one test; `runs` are those that ended VALID, in their order."""

    def __init__(self, request: pytest.FixtureRequest, *, reports: Path) -> None:
        self.runs: list[ScenarioRun] = []
        self._request = request
        self._reports = reports

    def __call__(
        self,
        scenario: str | Scenario,
        *,
        kills: int | None = None,
        tasks: int = _TASKS,
        seed: int | None = None,
        target: str | Target | None = None,
        app: str | Target | None = None,
        unknown: Literal["fail", "skip"] = "fail",
    ) -> ScenarioRun:
        """Run a scenario, by its name, `package.module:NAME` or value, and return the run if its verdict is VALID.

        kills: how many faults it injects, if not its own number.
        tasks: how many tasks are submitted.
        seed: decides the schedule (default: --chaos-seed, else a random one, which a failure names).
        target: the system under test (default: the fixture `chaos_target`); `app` is an application as a target.
        unknown: "skip" skips the test at the verdict UNKNOWN instead of failing it.

        Fails the test with the story of the first lost task and the path of the report. A wrong argument and an
        environment that does not start fail it with one sentence.
        """
        try:
            if unknown not in ("fail", "skip"):
                raise UsageError(
                    f"unknown={unknown!r} has no meaning. Write unknown='fail' or unknown='skip'."
                )
            chosen = registry.scenario(scenario) if isinstance(scenario, str) else scenario
            chosen = chosen if kills is None else with_faults(chosen, kills)
            run, report = self._run(chosen, self._target(target, app), self._options(chosen, seed, tasks))
        except HarnessError as error:
            raise failed(str(error)) from None
        self._judge(run, report, unknown)
        self.runs.append(run)
        return run

    def run_marker(self, marker: pytest.Mark) -> None:
        """Run the scenario of a marker; its arguments are those of a call."""
        try:
            signature(self.__call__).bind(*marker.args, **marker.kwargs)
        except TypeError as error:
            raise failed(f"@pytest.mark.chaos: {error}; see `pytest --markers` for its arguments.") from None
        self(*marker.args, **marker.kwargs)

    def _target(self, target: str | Target | None, app: str | Target | None) -> Target:
        if target is not None and app is not None:
            raise UsageError("target= and app= were given. Give one: an application is a target.")
        named = next((one for one in (target, app) if one is not None), None)
        if named is None:
            named = self._request.getfixturevalue("chaos_target")
        return registry.target(named)

    def _options(self, scenario: Scenario, seed: int | None, tasks: int) -> RunOptions:
        wanted = self._request.config.getoption("--chaos-seed") if seed is None else seed
        chosen = secrets.randbelow(2**32) if wanted is None else wanted
        return RunOptions(
            seed=chosen,
            tasks=tasks,
            queue=f"hx-{secrets.token_hex(4)}-{scenario.name}",
            repeat=shlex.join(["pytest", self._node, f"--chaos-seed={chosen}"]),
        )

    def _run(self, scenario: Scenario, target: Target, options: RunOptions) -> tuple[ScenarioRun, Path]:
        environment = self._request.getfixturevalue("harness_environment")
        folder = _new_folder(
            self._reports / re.sub(r"[^A-Za-z0-9]+", "-", self._node)[-_LONGEST_NAME:].strip("-")
        )
        history = folder / "history" / scenario.name
        history.mkdir(parents=True)
        run = run_scenario(
            scenario, environment, target, options, history_folder=history, progress=PlainLines(sys.stderr)
        )
        return run, write_reports([run], folder).html

    def _judge(self, run: ScenarioRun, report: Path, unknown: str) -> None:
        self._request.node.user_properties.append((f"chaos {run.scenario}", f"{run.verdict}, {report}"))
        print(verdict_table([run]))
        if run.verdict is Verdict.VALID:
            return
        text = "\n".join([*_lines(run), f"report:  {report}", f"repeat:  {run.repeat}"])
        if run.verdict is Verdict.UNKNOWN and unknown == "skip":
            pytest.skip(masked(text))
        raise failed(text)

    @property
    def _node(self) -> str:
        return str(self._request.node.nodeid)


def failed(text: str) -> BaseException:
    """The failure of a test with this text only, without secrets."""
    return pytest.fail.Exception(masked(text), pytrace=False)


def _new_folder(wanted: Path) -> Path:
    """A new folder with the wanted name and a number: a test may run twice, and two tests may have the same name."""
    prepare_folder(wanted.parent)
    for number in count(1):
        with suppress(FileExistsError):
            (folder := wanted.with_name(f"{wanted.name}-{number}")).mkdir()
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
