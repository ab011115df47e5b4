"""`python -m loadtests.run`: servers, a pool, Locust, the drain, and the verdict of the service levels.

Exit codes: 0 all met, 1 one breached (an unfinished task breaches one), 2 not measurable, 64 wrong usage, 130 Ctrl-C,
143 SIGTERM. An error is one sentence on stderr. Everything that was started is removed at the end, also if this process
is killed: the environment's reaper does it then.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import loadtests
from harness.command_line import exit_code_of
from harness.environments.base import Environment
from harness.environments.deadlocks import DeadlockWatch
from harness.environments.log_errors import LogWatch
from harness.environments.urls import database_name
from harness.history import History
from harness.load.generator import LocustCommand, require_locust, run_locust
from harness.load.system import PoolCommand, SystemUnderLoad
from harness.load.task_log import ENV_FOLDER, counted
from harness.progress import PlainLines, Progress
from harness.report import locked_folder
from harness.targets.body import ENV_HISTORY
from loadtests.measurement import Generator, Measurement
from loadtests.request import LoadRequest
from loadtests.slo import evaluate
from loadtests.summary import as_json, table, write_json

_LOCUSTFILE = Path(loadtests.__file__).with_name("locustfile.py")
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one load test; returns the exit code."""
    return exit_code_of("loadtests", lambda: _load_test(arguments))


def _load_test(arguments: Sequence[str] | None) -> int:
    request = LoadRequest.parse(list(sys.argv[1:] if arguments is None else arguments))
    require_locust()
    return _run(request, PlainLines())


def _run(request: LoadRequest, progress: Progress) -> int:
    with locked_folder(request.report) as folder:
        return _run_in(folder, request, progress)


def _run_in(folder: Path, request: LoadRequest, progress: Progress) -> int:
    profile = request.profile
    progress.step(f"starting Postgres and Redis ({request.environment.name})")
    with request.environment as environment:
        measurement = _measure(request, environment, folder, progress)
        report = evaluate(request.slo, measurement)
        document = as_json(profile, environment.versions, measurement, report)
        progress.step("taking everything down")
    write_json(document, folder / "slo.json")
    _show(request, folder, document, table(measurement, report))
    return report.exit_code


def _measure(request: LoadRequest, environment: Environment, folder: Path, progress: Progress) -> Measurement:
    profile = request.profile
    history = history_folder(folder)
    watch, logs = DeadlockWatch(environment), LogWatch.of(environment)
    with closing(SystemUnderLoad(environment, request.queue)) as system:
        system.prepare()
        progress.step(f"starting a pool of {profile.workers} workers, {profile.concurrency} tasks each")
        with system.pool(_pool(request, environment, history)):
            planned = profile.planned_in(profile.duration)
            progress.step(
                f"load {profile.name}: {profile.users} users, about {planned:.0f} tasks in {profile.duration:g} s"
            )
            run_locust(
                locust_command(request, database_name(environment.endpoints.database_url), folder),
                variables=system.variables() | {ENV_FOLDER: str(history)},
                folder=environment.folder,
                within=_START_SECONDS + profile.duration + profile.slo.drain_seconds + _STOP_SECONDS,
                progress=lambda: progress.step(
                    f"{counted(history, 'enqueue')} tasks acknowledged, {counted(history, 'complete')} finished"
                ),
            )
            progress.step("comparing what was acknowledged with Postgres")
            statuses = system.statuses()
        measurement = Measurement.of(
            History.load(history),
            statuses,
            Generator.read(folder / "verdict.json"),
            duration=profile.duration,
            planned_in=profile.planned_in,
        )
    return replace(measurement, deadlocks=watch.found(), logs=tuple(logs.found()))


def _pool(request: LoadRequest, environment: Environment, history: Path) -> PoolCommand:
    return PoolCommand(
        pool="loadtests.app:pool",
        folder=environment.folder,
        log=history / "pool.log",
        workers=request.profile.workers,
        concurrency=request.profile.concurrency,
        variables={ENV_HISTORY: str(history)},
    )


def locust_command(request: LoadRequest, database: str, folder: Path) -> LocustCommand:
    """The command of Locust for a database of this name; its reports go to the folder."""
    profile = request.profile
    values = {
        "--load-profile": profile.name,
        "--load-users": profile.users,
        "--load-drain": f"{profile.slo.drain_seconds:g}",
        "--load-producers": profile.producers,
        "--load-lateness": 0.5,  # a small, noisy CI machine
        "--load-canary": 0,  # without workers, the run names the tasks that did not end
        "--run-time": f"{profile.duration:g}s",
        "--profile": profile.name,  # shown in Locust's report
    }
    return LocustCommand(
        file=_LOCUSTFILE,
        database=database,
        queue=request.queue,
        report=folder,
        options=[str(word) for pair in values.items() for word in pair],
    )


def history_folder(folder: Path) -> Path:
    """The folder of the history: what an earlier run or somebody else wrote stays as it is."""
    first = folder / "history"
    if not first.exists():
        first.mkdir(parents=True)
        return first
    return Path(tempfile.mkdtemp(prefix="history-", dir=folder))


def _show(request: LoadRequest, folder: Path, document: dict[str, Any], text: str) -> None:
    if request.json:
        print(json.dumps(document, indent=2))
    out = sys.stderr if request.json else sys.stdout
    print(f"\n{text}\nreport: {folder / 'locust.html'}\n        {folder / 'slo.json'}", file=out, flush=True)


if __name__ == "__main__":
    sys.exit(main())
