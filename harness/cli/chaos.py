"""`harness chaos list` and `harness chaos run`: the fault scenarios."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace, _ArgumentGroup
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.checkers.base import Verdict
from harness.cli.request import RunRequest, environment_of
from harness.command_line import above_zero, positive
from harness.environments import BACKENDS
from harness.environments.base import Environment
from harness.history.files import SEAL
from harness.masking import masked
from harness.progress import Progress, progress_on
from harness.report import prepare_folder, verdict_table, write_reports
from harness.run.runner import RunOptions, run_scenario
from harness.scenario import Scenario, ScenarioRun, registry
from harness.scenario.run_plan import MOST_TIMEOUT
from harness.targets.adapter import AdapterTarget

# The highest --rate, in tasks a second.
MOST_RATE = 10_000

# The most tasks that are listed of each kind of counterexample.
_LISTED = 60


def add_chaos(parser: ArgumentParser, common: ArgumentParser) -> None:
    """Add the actions of the command to its parser."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the scenarios", parents=[common])
    listing.add_argument("--json", action="store_true", help="print one JSON document")
    listing.set_defaults(run=list_scenarios)
    run = actions.add_parser("run", help="run scenarios", parents=[common])
    run.set_defaults(run=run_scenarios)
    run.add_argument("scenarios", nargs="*", metavar="NAME", help="scenarios, or package.module:NAME")
    run.add_argument("--all", action="store_true", help="every known scenario")
    run.add_argument("--seed", type=int, metavar="N", help="repeat a schedule (default: random, and printed)")
    run.add_argument("--tasks", type=positive, default=240, metavar="N", help="tasks to submit (default 240)")
    run.add_argument(
        "--target",
        metavar="NAME",
        help="target, package.module:NAME, or an adapter's path (default agentexec)",
    )
    run.add_argument(
        "--patience",
        type=above_zero(MOST_TIMEOUT),
        metavar="SECONDS",
        help="without any change until an unfinished task is stuck (default: by the target's promises)",
    )
    run.add_argument(
        "--rate",
        type=above_zero(MOST_RATE),
        metavar="PER_SECOND",
        help="tasks a second (default: the scenario's, or less if the target has fewer slots)",
    )
    run.add_argument(
        "--timeout",
        type=above_zero(MOST_TIMEOUT),
        metavar="SECONDS",
        help="the most that a scenario may take (default: the scenario's)",
    )
    run.add_argument("--app", metavar="MODULE:NAME", help="an application of your own as the target")
    run.add_argument("--report", type=Path, metavar="DIR", help="default: reports/<time>-<seed>")
    run.add_argument("--json", action="store_true", help="print verdict.json on stdout, the rest on stderr")
    _add_servers(run.add_argument_group("servers"))


def _add_servers(run: _ArgumentGroup) -> None:
    run.add_argument("--backend", choices=BACKENDS, default="embedded", help="the servers of the run")
    run.add_argument(
        "--postgres-bin", type=Path, metavar="DIR", help="embedded: an installed Postgres instead"
    )
    run.add_argument(
        "--redis-server", type=Path, metavar="PATH", help="embedded: an installed server instead"
    )
    run.add_argument("--postgres-image", metavar="IMAGE", help="containers: another image")
    run.add_argument("--redis-image", metavar="IMAGE", help="containers: another image")
    run.add_argument("--database-url", metavar="URL", help="external: Postgres (or HARNESS_DATABASE_URL)")
    run.add_argument("--redis-url", metavar="URL", help="external: Redis (or HARNESS_REDIS_URL)")
    run.add_argument(
        "--allow-destructive",
        metavar="DATABASE",
        help="external: run destructive scenarios against the database of this name",
    )


def list_scenarios(options: Namespace) -> int:
    """Print the known scenarios, one per line or as JSON; returns 0."""
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


def run_scenarios(options: Namespace) -> int:
    """Run scenarios on one environment, write the reports and print the verdicts; returns the exit code."""
    request = RunRequest.of(options)
    folder = prepare_folder(request.report)
    with progress_on() as progress:
        if isinstance(request.target, AdapterTarget):
            request.target.install(progress.step)
        progress.step(f"seed {request.seed}; starting Postgres and Redis ({options.backend})")
        with environment_of(options, request.target) as environment:
            runs = [_run(request, scenario, environment, folder, progress) for scenario in request.scenarios]
            progress.step("taking the servers down")
        progress.step("writing the report")
        paths = write_reports(runs, folder)
    verdict = Verdict.combine(run.verdict for run in runs)
    if options.json:
        print(paths.json.read_text(encoding="utf-8"), end="")
    out = sys.stderr if options.json else sys.stdout
    print(f"\n{verdict_table(runs, colour=_in_colour(out.isatty()))}", file=out)
    for line in _violations(runs):
        print(line, file=out)
    print(f"report:  {paths.html}\nrepeat:  {masked(request.repeat(request.scenarios))}", file=out)
    return verdict.exit_code


def _violations(runs: Sequence[ScenarioRun]) -> Iterator[str]:
    """One line for each kind of counterexample of an INVALID checker, with the numbers of its tasks."""
    for run in runs:
        for name, result in run.results.items():
            if result.verdict is not Verdict.INVALID:
                continue
            kinds: dict[str, list[int]] = {}
            for example in result.counterexamples:
                if isinstance(example.get("task"), int):
                    kinds.setdefault(str(example.get("kind", "wrong")), []).append(example["task"])
            for kind, tasks in kinds.items():
                listed = ", ".join(map(str, tasks[:_LISTED]))
                more = f", and {len(tasks) - _LISTED} more in the report" if len(tasks) > _LISTED else ""
                yield f"{run.scenario}, {name}: {kind} {listed}{more}"


def _run(
    request: RunRequest, scenario: Scenario, environment: Environment, folder: Path, progress: Progress
) -> ScenarioRun:
    return run_scenario(
        scenario,
        environment,
        request.target,
        RunOptions(
            seed=request.seed,
            tasks=request.options.tasks,
            rate=request.options.rate,
            timeout=request.options.timeout,
            queue=f"hx-{request.session}-{scenario.name}",
            repeat=request.repeat([scenario]),
            stall=request.options.patience,
        ),
        history_folder=_history_folder(folder, scenario.name),
        progress=progress,
    )


def _history_folder(folder: Path, scenario: str) -> Path:
    """An empty folder for the history; removes the files of an earlier run with the same report folder."""
    history = folder / "history" / scenario
    history.mkdir(parents=True, exist_ok=True)
    for old in (*history.glob("*.jsonl"), *history.glob("*.log"), *history.glob(SEAL)):
        old.unlink()
    return history


def _in_colour(terminal: bool) -> bool:
    return terminal and not os.environ.get("NO_COLOR")
