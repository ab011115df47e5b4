"""`harness chaos list` and `harness chaos run`: the fault scenarios."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _ArgumentGroup
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TextIO

from harness.checkers.base import Verdict
from harness.cli.ci_options import add_ci
from harness.cli.cost_options import add_costs
from harness.cli.dry_run import plan_text
from harness.cli.fault_shrinking import replayed
from harness.cli.load_options import add_load
from harness.cli.request import RunRequest
from harness.cli.series import ScenarioSeries
from harness.cli.verdict_lines import annotation, in_github, show_verdict
from harness.command_line import Parser, above_zero, filled_path, positive, whole
from harness.environments import BACKENDS
from harness.errors import EXIT_UNKNOWN, HarnessError
from harness.masking import masked, one_line
from harness.progress import is_animated, progress_on
from harness.report import claimed_folder, verdict_table, write_reports
from harness.report.markdown import check_file, write_markdown, write_step_summary
from harness.run.asked_load import write_loads
from harness.scenario import ScenarioRun, registry
from harness.scenario.run_plan import MOST_TIMEOUT

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
    _add_run(run)
    replay = actions.add_parser("replay", help="run the faults that a --shrink has left", parents=[common])
    replay.add_argument(
        "file", type=filled_path, metavar="FILE", help="replay-NAME.json in the folder of a report"
    )
    replay.set_defaults(run=replay_run)


def _add_run(run: ArgumentParser) -> None:
    run.add_argument("scenarios", nargs="*", metavar="NAME", help="scenarios, or package.module:NAME")
    run.add_argument("--all", action="store_true", help="every known scenario but the soaks")
    run.add_argument("--tag", metavar="TAG", help="every scenario with this tag: smoke, release, soak")
    run.add_argument("--dry-run", action="store_true", help="print the plan, and start nothing")
    run.add_argument(
        "--faults", type=_numbers, metavar="N,N", help="only these faults of the schedule, by number, or none"
    )
    run.add_argument(
        "--shrink",
        action="store_true",
        help="after INVALID: search for the fewest faults that still break it",
    )
    run.add_argument(
        "--seed", type=whole, metavar="N", help="repeat a schedule (default: random, and printed)"
    )
    run.add_argument(
        "--tasks",
        type=positive,
        metavar="N",
        help="tasks to submit (default: the scenario's, or those of --load)",
    )
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
    run.add_argument(
        "--workload",
        metavar="NAME",
        help="tasks of another kind, or package.module:NAME (default: the scenario's)",
    )
    run.add_argument("--app", metavar="MODULE:NAME", help="an application of your own as the target")
    run.add_argument("--report", type=filled_path, metavar="DIR", help="default: reports/<time>-<seed>")
    run.add_argument("--json", action="store_true", help="print verdict.json on stdout, the rest on stderr")
    add_load(run.add_argument_group("load in the same run"))
    add_costs(run.add_argument_group("costs of agents"))
    add_ci(run.add_argument_group("for CI"))
    _add_servers(run.add_argument_group("servers"))


def _add_servers(run: _ArgumentGroup) -> None:
    run.add_argument("--backend", choices=BACKENDS, default="embedded", help="the servers of the run")
    run.add_argument(
        "--postgres-bin", type=filled_path, metavar="DIR", help="embedded: an installed Postgres instead"
    )
    run.add_argument(
        "--redis-server", type=filled_path, metavar="PATH", help="embedded: an installed server instead"
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
    run.add_argument("--watch", action="store_true", help="external: start no pool, the workers are yours")
    run.add_argument(
        "--read-only", action="store_true", help="with --watch: submit nothing, the tasks are yours as well"
    )
    run.add_argument("--queue", metavar="NAME", help="with --watch: the queue of your workers")
    run.add_argument(
        "--kill-command",
        metavar="COMMAND",
        help="with --watch: what kills one of your workers, such as 'kubectl delete pod {pod}'",
    )
    run.add_argument(
        "--kill-victims",
        metavar="COMMAND",
        help="with --kill-command: what prints those there are, one of which {pod} or {pid} is",
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
                "tags": list(one.tags),
            }
            for one in known.values()
        ]
        print(json.dumps({"scenarios": listed}, indent=2))
        return 0
    width = max(map(len, known), default=0)
    for name, one in known.items():
        print(f"{name:<{width}}  {one_line(one.summary)} [{', '.join(one.tags)}]")
    return 0


def _numbers(text: str) -> frozenset[int]:
    words = [] if text == "none" else text.split(",")
    if not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", word) for word in words):
        raise ArgumentTypeError(f"{text[:40]!r} is no list of numbers such as 2,5, and not the word none")
    return frozenset(map(int, words))


def replay_run(options: Namespace) -> int:
    """Run what `--shrink` has left, as its file says; returns the exit code."""
    parser = Parser(prog="harness chaos run")
    _add_run(parser)
    words = replayed(options.file)
    given = Namespace(given=["chaos", "run", *words], debug=options.debug)
    return run_scenarios(parser.parse_args(words, given))


def run_scenarios(options: Namespace) -> int:
    """Run scenarios on one environment, write the reports and print the verdicts; returns the exit code.

    The verdicts so far are reported also if the run is interrupted or breaks down.
    """
    request = RunRequest.of(options)
    out = sys.stderr if options.json else sys.stdout
    if options.dry_run:
        print(plan_text(request), file=out)
        return 0
    if options.markdown:
        check_file(options.markdown)
    with claimed_folder(request.report) as folder:
        series = ScenarioSeries(
            request=request,
            folder=folder,
            ended=partial(show_verdict, out=out),
            stop_early=options.exitfirst,
            max_seconds=options.max_seconds,
        )
        try:
            with progress_on() as progress:
                series.run(progress)
        except BaseException as error:
            if series.runs or series.current:
                series.interrupted(error)
                with suppress(OSError):  # what stopped the run is reported after this
                    _report(series, folder, out)
            raise
        return _report(series, folder, out)


def _report(series: ScenarioSeries, folder: Path, out: TextIO) -> int:
    """Print the verdicts and write the reports; returns the exit code, UNKNOWN for VALID without its reports."""
    runs = series.results()
    code = Verdict.combine(run.verdict for run in runs).exit_code
    print(f"\n{verdict_table(runs, colour=is_animated(out))}", file=out)
    for line in _violations(runs):
        print(line, file=out)
    for run in runs if in_github() else ():
        if run.scenario in series.missing:
            print(annotation(run), file=out)
    try:
        _write(series, runs, folder, out)
    except HarnessError as error:  # the verdicts stay
        print(f"harness: {one_line(error)}", file=sys.stderr)
        return code or EXIT_UNKNOWN
    return code


def _write(series: ScenarioSeries, runs: Sequence[ScenarioRun], folder: Path, out: TextIO) -> None:
    options = series.request.options
    write_loads(series.request.asked.load, runs, folder)
    paths = write_reports(runs, folder)
    if options.json:
        print(paths.json.read_text(encoding="utf-8"), end="")
    again = series.request.repeat(series.request.scenarios)
    print(f"report:  {paths.html}\nrepeat:  {masked(again)}", file=out)
    if options.markdown:
        write_markdown(runs, options.markdown)
    write_step_summary(runs)


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
                yield one_line(f"{run.scenario}, {name}: {kind} {listed}{more}")
