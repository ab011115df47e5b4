"""`harness simulate`: simulate many seeds, one seed or a stored plan; failing plans are shrunk and stored."""

from __future__ import annotations

import json
import random
import sys
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.simulate_again import simulate_again
from harness.cli.simulate_bounded import MOST_FAULTS, bounded
from harness.cli.written import keep_evidence, write_text
from harness.command_line import filled_path, job_count, positive, read_json, whole
from harness.environments.urls import checked_url, plain_url
from harness.errors import EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID, UsageError
from harness.history import History
from harness.history.figures import counted
from harness.progress import Progress, progress_on
from harness.report import locked_folder
from harness.targets.reference import require_reference

if TYPE_CHECKING:
    from harness.simulation.campaign import Campaign
    from harness.simulation.plan import Plan
    from harness.simulation.simulation import SimulationResult

SEEDS = 1000
# With --until-saturated: the runs without a new group of cells that end a campaign, and the most runs.
QUIET_RUNS, MOST_SEEDS = 2000, 100_000
# Options of a campaign only.
OF_CAMPAIGN = ("first", "until-saturated", "minutes")
# A campaign ends early after this number of failing seeds.
STOP_AFTER = 5
_REMEDY = "name a file that a failing run wrote."


def add_simulate(parser: ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--seeds", type=positive, metavar="N", help=f"simulate N seeds (default {SEEDS})")
    what.add_argument("--seed", type=whole, metavar="S", help="simulate one seed")
    what.add_argument(
        "--replay", type=filled_path, metavar="FILE", help="run a schedule that was written to a file"
    )
    what.add_argument(
        "--bounded",
        nargs="*",
        metavar="LIFE",
        help="every fault at every call of six lives of a task, alone and in pairs (default: all six)",
    )
    parser.add_argument(
        "--faults",
        type=positive,
        metavar="N",
        help=f"with --bounded: at most so many (default {MOST_FAULTS})",
    )
    parser.add_argument(
        "--first", type=whole, metavar="S", help="with --seeds: the first (default: random, and printed)"
    )
    parser.add_argument(
        "--until-saturated",
        type=positive,
        nargs="?",
        const=QUIET_RUNS,
        metavar="N",
        help=f"end once N runs (default {QUIET_RUNS}) reached no new group of cells, or after --seeds (default "
        f"{MOST_SEEDS})",
    )
    parser.add_argument(
        "--minutes",
        type=positive,
        metavar="N",
        help="with --until-saturated: end after N minutes at the latest",
    )
    parser.add_argument(
        "--jobs",
        type=job_count,
        metavar="N",
        help="with --seeds or --bounded: processes (default: one per processor)",
    )
    parser.add_argument(
        "--postgres",
        nargs="?",
        const="",
        metavar="URL",
        help="the statements run on a real Postgres: a private one, or the database at the URL, which is made for this",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print a run as a readable timeline, and the nearest run that passes",
    )
    parser.add_argument("--no-shrink", action="store_true", help="do not shrink failing schedules")
    parser.add_argument(
        "--report",
        type=filled_path,
        default=Path("reports/simulation"),
        metavar="DIR",
        help="folder for failing schedules and the counts of a campaign",
    )
    parser.add_argument(
        "--history",
        type=filled_path,
        metavar="FILE",
        help="with --seed or --replay: write the history to this file",
    )
    parser.add_argument(
        "--html",
        type=filled_path,
        metavar="DIR",
        help="with --seed or --replay: write the three reports to this folder",
    )
    parser.set_defaults(run=simulate_command)


def simulate_command(options: Namespace) -> int:
    """Run the simulation.

    Returns 0 without findings, 1 with findings, 2 if no run took place or a campaign missed a required event.
    """
    require_reference("The simulation")
    if find_spec("greenlet") is None:
        raise UsageError("The simulation needs the package greenlet. Install agentexec-harness[simulation].")
    from harness.simulation.postgres.driven import on_postgres

    if options.postgres:
        checked_url("postgres", options.postgres, option="--postgres")
    with nullcontext() if options.postgres is None else on_postgres(plain_url(options.postgres)):
        return _run(options)


def _run(options: Namespace) -> int:
    if options.bounded is not None:
        _refuse(options, "--seeds", *OF_CAMPAIGN)
        _refuse_pages(options)
        return bounded(options)
    if options.seed is None and options.replay is None:
        _refuse(options, "--bounded", "faults")
        _refuse_pages(options)
        if options.until_saturated is None:
            _refuse(options, "--until-saturated", "minutes")
        with locked_folder(options.report):
            return _campaign(options)
    _refuse(options, "--seeds", *OF_CAMPAIGN, "jobs")
    _refuse(options, "--bounded", "faults")
    return _one(options)


def _campaign(options: Namespace) -> int:
    from harness.simulation.campaign import Limits, jobs_by_default, run_campaign
    from harness.simulation.power import Power
    from harness.simulation.simulation import simulate

    quiet: int | None = options.until_saturated
    count = options.seeds or (SEEDS if quiet is None else MOST_SEEDS)
    limits = Limits(failing=STOP_AFTER, quiet=quiet, seconds=options.minutes and 60 * options.minutes)
    first = random.SystemRandom().randrange(1_000_000_000) if options.first is None else options.first
    jobs = options.jobs or jobs_by_default()
    with progress_on() as progress:
        progress.step(f"{counted(count, 'seed')} from {first} on, {jobs} at a time")
        done = run_campaign(first, count, jobs=jobs, log=progress.step, limits=limits)
        for seed in sorted(done.failing):
            _keep(simulate(seed), options, progress)
    print(
        f"{counted(done.runs, 'simulated run')}, {counted(done.tasks, 'task')}, {counted(done.injected, 'fault')} "
        f"(at least {done.fewest or 0} in each), {len(done.failing)} with findings; "
        f"{done.seconds:.1f} s, {done.per_minute_and_core:.0f} runs per minute and core"
    )
    until = [] if quiet is None else ["--until-saturated", str(quiet)]
    again = simulate_again(options, "--seeds", str(count), "--first", str(first), *until)
    print(f"reach:   {done.reach.line}")
    print(f"cells:   {done.saturation.line}")
    print(f"groups:  {done.groups.line}")
    if done.runs and not done.failing:
        print(f"worth:   {Power.of(done.runs).line}")
    written = _write_campaign(done, options.report)
    print(f"repeat:  {again}")
    if quiet is not None:
        print(f"ended:   {done.ended}")
    if done.failing:
        return EXIT_INVALID
    return EXIT_VALID if written and done.runs and not done.reach.missing else EXIT_UNKNOWN


def _write_campaign(campaign: Campaign, folder: Path) -> bool:
    """Write the counts of a campaign, the curves of its cells and the table of named events; False if that fails."""
    from harness.simulation.saturation_curve import saturation_curve

    path = folder / "campaign.md"
    try:
        write_text(folder / "campaign.json", json.dumps(campaign.to_json(), indent=1) + "\n")
        write_text(path, campaign.reach.text())
        write_text(folder / "coverage.svg", saturation_curve(campaign.saturation))
        write_text(folder / "groups.svg", saturation_curve(campaign.groups))
    except UsageError as error:  # the findings stay
        print(f"harness: {error}", file=sys.stderr)
        return False
    print(f"report:  {path}")
    return True


def _one(options: Namespace) -> int:
    from harness.report import prepare_folder, write_reports
    from harness.report.markdown import check_file
    from harness.simulation.explain import timeline
    from harness.simulation.neighbor import nearest_passing
    from harness.simulation.picture import as_run
    from harness.simulation.simulation import simulate

    plan = _plan(options)
    if options.history:
        if options.replay is not None:
            keep_evidence(options.history, options.replay, "--history")
        check_file(options.history, "history")
    if options.html:
        prepare_folder(options.html)
    outcome = simulate(plan, trace=options.explain)
    if options.history:
        _write_history(outcome, options.history)
    if options.html:
        written = write_reports([as_run(outcome, repeat=_repeat(options))], options.html)
        print(f"report:  {written.html}")
    if options.explain:
        print(timeline(outcome))
        if outcome.findings and (neighbor := nearest_passing(outcome)) is not None:
            print(neighbor.text)
    else:
        for finding in outcome.findings:
            print(f"{finding.checker}: {finding.summary}")
            for example in finding.counterexamples:
                print(f"    {json.dumps(dict(example), default=str)}")
    if not outcome.findings:
        print(
            f"{counted(len(outcome.plan.tasks), 'task')}, {counted(outcome.injected, 'fault')}, no findings"
        )
        return EXIT_VALID
    if options.replay is None:
        with progress_on() as progress:
            _keep(outcome, options, progress)
    return EXIT_INVALID


def _repeat(options: Namespace) -> str:
    plan = ["--replay", str(options.replay)] if options.replay is not None else ["--seed", str(options.seed)]
    return simulate_again(options, *plan)


def _plan(options: Namespace) -> Plan:
    from harness.simulation.plan import Plan
    from harness.simulation.plan_generator import plan_of

    if options.replay is None:
        return plan_of(options.seed)
    document = read_json(options.replay, _REMEDY)
    try:
        return Plan.from_json(document)
    except UsageError as error:
        raise UsageError(f"{options.replay} cannot be replayed; {_REMEDY} {error}") from None


def _keep(outcome: SimulationResult, options: Namespace, progress: Progress) -> None:
    """Shrink the plan of a failing run and write it to a file, if that is possible."""
    from harness.simulation.shrinker import Shrinker

    small = outcome
    if not options.no_shrink:
        progress.step(f"shrinking seed {outcome.plan.seed}")
        small = Shrinker(outcome, log=progress.update).shrink()
    path: Path = options.report / f"seed-{outcome.plan.seed}.json"
    # The key of the stored plans is `judge`.
    found = [{"judge": finding.checker, "summary": finding.summary} for finding in small.findings]
    try:
        write_text(path, json.dumps(small.plan.to_json() | {"found": found}, indent=1) + "\n")
    except UsageError as error:  # the finding stays
        progress.step(str(error))
        return
    progress.step(
        f"seed {outcome.plan.seed}: {len(small.plan.faults)} of {counted(len(outcome.plan.faults), 'fault')} and "
        f"{len(small.plan.tasks)} of {counted(len(outcome.plan.tasks), 'task')} are enough for "
        f"{outcome.findings[0].checker}: "
        f"{simulate_again(options, '--replay', str(path), '--explain')}"
    )


def _write_history(outcome: SimulationResult, path: Path) -> None:
    from harness.run.judging import checkers_operation
    from harness.simulation.picture import as_run
    from harness.simulation.simulation import checkers_of

    checkers, run = checkers_of(outcome.plan), as_run(outcome, repeat="")
    found = {name: result for name, result in outcome.results.items() if name not in checkers}
    carried = checkers_operation(checkers, time=0, scenario=run.scenario, summary=run.summary, found=found)
    try:
        History.of([carried, *outcome.history]).save(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}. Name another --history file."
        ) from None


def _refuse_pages(options: Namespace) -> None:
    if options.explain or options.history or options.html:
        raise UsageError("--explain, --history and --html are for one run. Name it with --seed or --replay.")


def _refuse(options: Namespace, owner: str, *names: str) -> None:
    for name in names:
        if getattr(options, name.replace("-", "_")) is not None:
            raise UsageError(f"--{name} is for {owner}. Leave it out.")
