"""`harness crashpoints`: strikes at every single command of a task's life, against any target."""

from __future__ import annotations

import json
import shlex
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path

from harness.checkers.base import Verdict
from harness.cli.called import called_as
from harness.command_line import filled_path, job_count, positive
from harness.crashpoints.lane import LaneSettings
from harness.crashpoints.lives import LIVES, lives_of
from harness.crashpoints.points import CommandKind, CrashKind, CrashRow, CrashStrike
from harness.crashpoints.run import OUT_OF_TIME, CrashpointsRun, all_strikes
from harness.crashpoints.table import document, kinds_text, overall, reasons, row_text, summary, table
from harness.environments import make_environment
from harness.errors import EXIT_VALID, UsageError
from harness.history.figures import counted
from harness.history.promises import Promises
from harness.masking import masked, one_line
from harness.progress import Progress, progress_on
from harness.report import claimed_folder
from harness.report.folder import write_whole
from harness.scenario import registry
from harness.targets.adapter import AdapterTarget
from harness.targets.base import Target, TargetSettings
from harness.targets.promised import promised

FILE = "crashpoints.json"

_BACKEND = "embedded"
_SECONDS = 600
_JOBS = 10
_LEASE_SECONDS = 2.0


def add_crashpoints(parser: ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.set_defaults(run=run_crashpoints)
    parser.add_argument(
        "--target",
        default="agentexec",
        metavar="NAME",
        help="target, package.module:NAME, or path of an adapter",
    )
    parser.add_argument(
        "--lives", nargs="+", choices=list(LIVES), default=(), help="default: all that fit the target"
    )
    parser.add_argument(
        "--strikes",
        nargs="+",
        choices=[str(kind) for kind in CrashKind],
        default=(),
        help="default: all",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--only", nargs="+", default=(), metavar="STRIKE", help="these strikes, as the table names them"
    )
    what.add_argument("--list", action="store_true", help="list the commands of each life and strike none")
    parser.add_argument(
        "--jobs", type=job_count, default=_JOBS, metavar="N", help=f"lanes at a time (default {_JOBS})"
    )
    parser.add_argument(
        "--seconds",
        type=positive,
        default=_SECONDS,
        metavar="N",
        help=f"begin no strike later (default {_SECONDS})",
    )
    parser.add_argument("--backend", choices=("embedded", "containers"), default=_BACKEND)
    parser.add_argument(
        "--report",
        type=filled_path,
        metavar="DIR",
        help=f"default: reports/crashpoints-<name>-<time>, for {FILE}",
    )


def run_crashpoints(options: Namespace) -> int:
    """Strike, print the table and write the file; returns 0, 1 or 2 by the verdict over all strikes."""
    registry.require_own_package()
    target = registry.target(options.target)
    only = [CrashStrike.parse(text) for text in options.only]
    for strike in only:
        if strike.point.life not in LIVES:  # that of a first strike is the same
            raise UsageError(f"There is no life {strike.point.life!r}. Choose one of {', '.join(LIVES)}.")
    if only and (options.lives or options.strikes):
        raise UsageError("--only names whole strikes. Leave --lives and --strikes out, or leave --only out.")
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    with (
        claimed_folder(options.report or Path("reports") / f"crashpoints-{target.name}-{stamp}") as folder,
        progress_on() as progress,
    ):
        return _run(options, target, only, folder, progress)


def _run(
    options: Namespace, target: Target, only: list[CrashStrike], folder: Path, progress: Progress
) -> int:
    began = time.monotonic()
    if isinstance(target, AdapterTarget):
        target.install(progress.step)
    progress.step(f"starting the servers ({options.backend})")
    with make_environment(options.backend, needs=getattr(target, "needs", ())) as environment:
        run = CrashpointsRun(
            settings=LaneSettings(target_name=options.target, target=target, lease=_LEASE_SECONDS),
            environment=environment,
            folder=folder / "lanes" / f"{time.time_ns()}",
            jobs=options.jobs,
            deadline=began + options.seconds,
            progress=progress,
            on_row=lambda row: progress.step(f"{run.state()}: {row_text(row)}"),
        )
        with run:
            strikes = only or _listed(options, target, run)
            for name, why in run.unlived.items():
                print(f"UNKNOWN: the life {name} is not struck. {why}")
            rows = [] if options.list else run.strike(strikes)
            if not (options.list or only or options.lives):
                # Without all lives, what another life sends would pass for a repair.
                rows = run.strike_repairs(_kinds(options, _promises(target, run)))
    if options.list:
        for point in run.points:
            print(one_line(f"{point.number or '-':>3}  {point.id}"))
        return EXIT_VALID
    # A part of the lives, or of the strikes, says nothing about what is left out.
    seen = {} if options.only or options.lives or options.strikes else run.seen
    _report(options, target, rows, folder, seen=seen, seconds=time.monotonic() - began)
    unknown = [Verdict.UNKNOWN] if run.unlived else []
    return Verdict.combine([overall(rows), *unknown]).exit_code


def _listed(options: Namespace, target: Target, run: CrashpointsRun) -> list[CrashStrike]:
    promises = _promises(target, run)
    lives = lives_of(target, promises, options.lives)
    if not lives:
        raise UsageError(f"{target.name} can live none of {', '.join(options.lives)}. Choose other --lives.")
    return all_strikes(run.list_points(lives), _kinds(options, promises))


def _promises(target: Target, run: CrashpointsRun) -> Promises:
    settings = TargetSettings(
        queue="", folder=Path(), history=Path(), gate_address="", lease=run.settings.lease
    )
    return promised(target, settings)


def _kinds(options: Namespace, promises: Promises) -> list[CrashKind]:
    # Without fencing tokens nothing could refuse what arrives late.
    kinds = [kind for kind in CrashKind if promises.fences or kind is not CrashKind.KILLED_LATE]
    return [kind for kind in kinds if not options.strikes or kind in options.strikes]


def repeat_command(options: Namespace, strike: CrashStrike) -> str:
    """The command that repeats one strike on the same target and backend."""
    words = called_as(["crashpoints"], getattr(options, "given", None))
    backend = [] if options.backend == _BACKEND else ["--backend", options.backend]
    return shlex.join([*words, "--target", options.target, *backend, "--only", strike.id])


def _report(
    options: Namespace,
    target: Target,
    rows: list[CrashRow],
    folder: Path,
    *,
    seen: Mapping[CommandKind, int],
    seconds: float,
) -> None:
    repeat = partial(repeat_command, options)
    found = document(
        rows, target=target.name, version=target.version(), seconds=seconds, repeat=repeat, seen=seen
    )
    write_whole(folder / FILE, masked(json.dumps(found, indent=2)) + "\n")
    print(table(rows))
    if not_clean := reasons([row for row in rows if row.why != OUT_OF_TIME], repeat):
        print("", *not_clean, sep="\n")
    if late := sum(row.why == OUT_OF_TIME for row in rows):
        print(
            f"\nUNKNOWN: {counted(late, 'strike')} not begun, {OUT_OF_TIME}; give more --seconds or fewer --lives."
        )
    if seen:
        print("", *kinds_text(seen, rows), sep="\n")
    print(
        f"\n{one_line(target.name)}: {overall(rows)}, {summary(rows)}, {seconds:.0f} s\nrows:  {folder / FILE}"
    )
    sys.stdout.flush()
