"""What the command line does, command by command; each returns an exit code and raises `HarnessError`."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.checkers.base import CheckResult, Verdict
from harness.cli.request import RunRequest
from harness.cli.request import environment as make
from harness.environments.base import Environment
from harness.errors import UsageError
from harness.history import History
from harness.history.files import SEAL
from harness.masking import masked
from harness.progress import Progress, progress_on
from harness.report import prepare_folder, verdict_table, write_reports
from harness.report.compare import Change, compare, comparison_table
from harness.run.runner import judge, run_scenario
from harness.scenario import Scenario, ScenarioRun, registry

_NAMED = 60
_SHOWN = 20
"""Counterexamples that `check` prints of each checker; --json has all of them."""


def list_scenarios(options: Namespace) -> int:
    """Print the known scenarios, one a line, or as JSON."""
    known = registry.scenarios()
    if options.json:
        listed = [
            {
                "name": one.name,
                "summary": one.summary,
                "faults": len(one.faults),
                "workload": one.workload.name,
            }
            for one in known.values()
        ]
        print(json.dumps({"scenarios": listed}, indent=2))
        return 0
    width = max(map(len, known), default=0)
    for name, one in known.items():
        print(f"{name:<{width}}  {one.summary}")
    return 0


def compare_figures(options: Namespace) -> int:
    """Print two files of benchmark figures side by side; 1 where one became worse by more than its spread."""
    comparison = compare(options.before, options.after)
    print(comparison_table(comparison))
    return int(any(row.change is Change.WORSE for row in comparison.rows))


def build_images(options: Namespace) -> int:
    """Build the images of the container backend and print their names."""
    from harness.environments import images  # with the Docker SDK, which only this command needs here

    with progress_on() as progress:
        names = images.build_images(progress.step, force=options.force)
    print("\n".join(names))
    return 0


def check_history(options: Namespace) -> int:
    """Judge a recorded history by a scenario's checkers."""
    scenario = registry.scenario(options.scenario)
    if not options.history.exists():
        raise UsageError(f"There is no history at {options.history}. Name a .jsonl file or a folder of them.")
    history = History.load(options.history)
    results = judge(scenario, history)
    verdict = Verdict.combine(result.verdict for result in results.values())
    if options.json:
        print(json.dumps(_as_json(scenario, history, results, verdict), indent=2))
        return verdict.exit_code
    for name, result in results.items():
        print(f"{result.verdict:<8} {name}: {masked(result.summary)}")
        for example in result.counterexamples[:_SHOWN] if result.verdict is not Verdict.VALID else ():
            print(f"         {masked(json.dumps(dict(example), default=str))}")
    print(f"\nverdict: {verdict}")
    return verdict.exit_code


def run_scenarios(options: Namespace) -> int:
    """Run scenarios on one environment, write the reports, and print the verdicts."""
    request = RunRequest.of(options)
    folder = prepare_folder(request.report)
    with progress_on() as progress:
        progress.step(f"seed {request.seed}; starting Postgres and Redis ({options.backend})")
        with make(options) as environment:
            runs = [_run(request, scenario, environment, folder, progress) for scenario in request.scenarios]
            progress.step("taking the servers down")
        progress.step("writing the report")
        paths = write_reports(runs, folder)
    verdict = Verdict.combine(run.verdict for run in runs)
    if options.json:
        print(paths.json.read_text(encoding="utf-8"), end="")
    out = sys.stderr if options.json else sys.stdout
    print(f"\n{verdict_table(runs, colour=_in_colour(out.isatty()))}", file=out)
    for line in _members(runs):
        print(line, file=out)
    print(f"report:  {paths.html}\nrepeat:  {masked(request.repeat(request.scenarios))}", file=out)
    return verdict.exit_code


def _members(runs: Sequence[ScenarioRun]) -> Iterator[str]:
    """The tasks behind the counts of every INVALID checker: a lost task is named, not only counted."""
    for run in runs:
        for name, result in run.results.items():
            if result.verdict is not Verdict.INVALID:
                continue
            kinds: dict[str, list[int]] = {}
            for example in result.counterexamples:
                if isinstance(example.get("task"), int):
                    kinds.setdefault(str(example.get("kind", "wrong")), []).append(example["task"])
            for kind, tasks in kinds.items():
                listed = ", ".join(map(str, tasks[:_NAMED]))
                more = f", and {len(tasks) - _NAMED} more in the report" if len(tasks) > _NAMED else ""
                yield f"{run.scenario}, {name}: {kind} {listed}{more}"


def _run(
    request: RunRequest, scenario: Scenario, environment: Environment, folder: Path, progress: Progress
) -> ScenarioRun:
    return run_scenario(
        scenario,
        environment,
        request.target,
        seed=request.seed,
        tasks=request.options.tasks,
        history_folder=_history_folder(folder, scenario.name),
        progress=progress,
        queue=f"hx-{request.session}-{scenario.name}",
        repeat=request.repeat([scenario]),
    )


def _history_folder(folder: Path, scenario: str) -> Path:
    """An empty folder for the histories; those of an earlier run into the same report folder would mix with ours."""
    history = folder / "history" / scenario
    history.mkdir(parents=True, exist_ok=True)
    for old in (*history.glob("*.jsonl"), *history.glob("*.log"), *history.glob(SEAL)):
        old.unlink()
    return history


def _in_colour(terminal: bool) -> bool:
    return terminal and not os.environ.get("NO_COLOR")


def _as_json(
    scenario: Scenario, history: History, results: Mapping[str, CheckResult], verdict: Verdict
) -> dict[str, object]:
    return {
        "scenario": scenario.name,
        "verdict": verdict,
        "operations": len(history),
        "checkers": {
            name: {
                "verdict": result.verdict,
                "summary": result.summary,
                "figures": dict(result.figures),
                "counterexamples": [dict(example) for example in result.counterexamples],
            }
            for name, result in results.items()
        },
    }
