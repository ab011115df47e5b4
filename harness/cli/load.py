"""`harness load`: load on embedded servers, the removal of what a run left, and traces of one's own arrivals."""

from __future__ import annotations

import os
import secrets
import time
from argparse import ArgumentParser, Namespace
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from harness.command_line import Parser, above_zero, filled_path, positive
from harness.environments import make_environment
from harness.environments.urls import database_name
from harness.errors import EXIT_UNKNOWN, EXIT_VALID, UsageError
from harness.progress import progress_on
from harness.report import locked_folder

_MOST_HOURS = 100_000
_RUN_EPILOG = (
    "Words after -- go to Locust, as in `-- --users 50 --run-time 1m --load-shape Day`. Exit codes: 0 met, 1 breached, "
    "2 not measurable, 64 wrong usage."
)


class WordsParser(Parser):
    """A parser that takes the words after `--` as they are, as `words`: argparse loses them after an option."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the words before `--`."""
        given = list(args or ())
        end = given.index("--") if "--" in given else len(given)
        found, extra = super().parse_known_args(given[:end], namespace)
        found.words = given[end + 1 :]
        return found, extra


def add_load(parser: ArgumentParser, common: ArgumentParser) -> None:
    """Add the actions of the command to its parser."""
    actions: Any = parser.add_subparsers(metavar="ACTION", required=True, parser_class=WordsParser)
    run = actions.add_parser(
        "run",
        help="a locustfile against your pool on embedded servers",
        parents=[common],
        epilog=_RUN_EPILOG,
        usage="%(prog)s FILE --pool MODULE:NAME [OPTION ...] [-- OPTION OF LOCUST ...]",
    )
    run.add_argument("file", type=filled_path, metavar="FILE", help="the locustfile")
    run.add_argument(
        "--pool", required=True, metavar="MODULE:NAME", help="your pool, as `agentexec worker` takes it"
    )
    run.add_argument(
        "--queue", metavar="NAME", help="the queue of a pool that sets its own; default: a new one"
    )
    run.add_argument(
        "--workers", type=positive, default=2, metavar="N", help="worker processes (%(default)s)"
    )
    run.add_argument(
        "--concurrency", type=positive, default=8, metavar="N", help="tasks of each (%(default)s)"
    )
    run.add_argument("--report", type=filled_path, metavar="DIR", help="default: reports/load-<time>")
    run.set_defaults(run=run_load)
    clean = actions.add_parser(
        "clean",
        help="remove the rows, tasks and results of one run",
        parents=[common],
        epilog="Exit codes: 0 removed, 2 tasks of the run still work, 64 nothing of it is there or wrong usage.",
    )
    clean.add_argument("run_id", metavar="RUN", help="the id of the run, or the folder of its report")
    _add_target(clean)
    clean.set_defaults(run=clean_run)

    export = actions.add_parser(
        "export", help="a trace of the arrivals of your own queue, for `replay`", parents=[common]
    )
    export.add_argument("file", type=filled_path, metavar="FILE", help="the CSV file to write")
    export.add_argument("--load-queue", required=True, metavar="NAME", help="the queue of the tasks")
    export.add_argument(
        "--hours", type=above_zero(_MOST_HOURS), default=24.0, metavar="N", help="how far back (%(default)s)"
    )
    _add_target(export)
    export.set_defaults(run=export_arrivals)


def _add_target(parser: ArgumentParser) -> None:
    parser.add_argument("--load-database", metavar="NAME", help="the name of the database of DATABASE_URL")
    parser.add_argument("--host", metavar="URL", help="the URL of Redis, instead of REDIS_URL")
    parser.add_argument(
        "--allow-target", action="append", default=[], metavar="HOST", help="a host that is not this machine"
    )


def run_load(options: Namespace) -> int:
    """Start servers and the pool, run Locust, and return its exit code."""
    # Imported here, because they need the extra `load`.
    from harness.load.generator import LocustCommand, require_locust, run_locust
    from harness.load.system import PoolCommand, SystemUnderLoad

    require_locust()
    if not options.file.is_file():
        raise UsageError(f"There is no locustfile {options.file}; give the path of one.")
    queue = options.queue or f"load-{secrets.token_hex(4)}"
    folder = options.report or Path("reports") / f"load-{time.strftime('%Y%m%d-%H%M%S')}"
    with locked_folder(folder) as report, progress_on() as progress:
        progress.step("starting Postgres and Redis")
        with (
            make_environment("embedded") as environment,
            closing(SystemUnderLoad(environment, queue)) as system,
        ):
            system.prepare()
            progress.step(f"starting the pool {options.pool}")
            pool = PoolCommand(
                pool=options.pool,
                folder=Path.cwd(),
                log=report.absolute() / "pool.log",
                workers=options.workers,
                concurrency=options.concurrency,
            )
            command = LocustCommand(
                file=options.file.absolute(),
                database=database_name(environment.endpoints.database_url),
                queue=queue,
                report=report.absolute(),
                options=options.words,
            )
            with system.pool(pool):
                progress.step("Locust runs")
                code = run_locust(command, variables=system.variables(), folder=Path.cwd(), within=None)
    print((folder / "summary.md").read_text("utf-8"))
    return code


def clean_run(options: Namespace) -> int:
    """Remove what a run left; returns 0, or 2 if some tasks still run. Raises `UsageError` if nothing is there."""
    from harness.load.cleaning import clean
    from harness.load.target import LoadTarget, checked_run

    run = checked_run(options.run_id)
    target = LoadTarget.make(
        database=options.load_database, host=options.host, variables=os.environ, allowed=options.allow_target
    )
    with progress_on() as progress:
        progress.step(f"removing {run}")
        cleaned = clean(target, run)
    if not (cleaned.activities or cleaned.running):
        raise UsageError(
            f"The database {options.load_database!r} has no task of the run {run}; "
            "it was removed before, or its id or the database is another one."
        )
    print(f"{run}: removed {cleaned.activities} tasks with their logs, and {cleaned.results} results.")
    if cleaned.running:
        print(f"{cleaned.running} tasks still run; repeat the command when they have ended.")
        return EXIT_UNKNOWN
    return EXIT_VALID


def export_arrivals(options: Namespace) -> int:
    """Write a trace of the arrivals of a queue; returns 0."""
    from harness.load.exporting import export_trace
    from harness.load.target import LoadTarget

    target = LoadTarget.make(
        database=options.load_database, host=options.host, variables=os.environ, allowed=options.allow_target
    )
    # Not into the file itself, which may have an earlier trace: the servers may not answer.
    device = options.file.exists() and not options.file.is_file()
    part = options.file if device else options.file.with_name(f".{options.file.name}.{os.getpid()}")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            written = export_trace(target, options.load_queue, file, hours=options.hours)
        part.replace(options.file)
    except OSError as error:
        raise UsageError(f"{options.file} cannot be written ({error.strerror}); name another file.") from None
    finally:
        if not device:
            with suppress(OSError):
                part.unlink()
    print(f"{options.file}: {written} arrivals.")
    return EXIT_VALID
