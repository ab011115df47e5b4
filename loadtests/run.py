"""`python -m loadtests.run`: servers, a pool, Locust, the drain, and the verdict of the service levels.

Exit codes: 0 all met, 1 one breached (an unfinished task breaches one), 2 not measurable, 64 wrong usage, 130 Ctrl-C,
143 SIGTERM. An error is one sentence on stderr. Everything that was started is removed at the end, also if this process
is killed: the environment's reaper does it then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.command_line import report_interrupt, sigterm_raises
from harness.environments.base import Environment
from harness.environments.deadlocks import DeadlockWatch
from harness.errors import HarnessError
from harness.history import History
from harness.masking import masked
from harness.progress import PlainLines, Progress
from harness.report import locked_folder
from loadtests.generator import require_locust, run_locust
from loadtests.measurement import Measurement
from loadtests.request import LoadRequest
from loadtests.slo import evaluate
from loadtests.summary import as_json, table, write_json
from loadtests.system import SystemUnderLoad


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one load test; returns the exit code."""
    with sigterm_raises():
        try:
            request = LoadRequest.parse(list(sys.argv[1:] if arguments is None else arguments))
            require_locust()
            return _run(request, PlainLines())
        except HarnessError as error:
            print(f"loadtests: {masked(str(error))}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt as interrupt:
            return report_interrupt("loadtests", interrupt)


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
    history = _empty(folder / "history")
    html = folder / "locust.html"
    html.unlink(missing_ok=True)  # the report of an earlier run
    watch = DeadlockWatch(environment)
    with closing(SystemUnderLoad(environment, request.queue)) as system:
        system.prepare()
        progress.step(f"starting a pool of {profile.workers} workers, {profile.concurrency} tasks each")
        with system.pool(profile, history):
            planned = profile.planned_in(profile.duration)
            progress.step(
                f"load {profile.name}: {profile.users} users, about {planned:.0f} tasks in {profile.duration:g} s"
            )
            run_locust(
                profile,
                variables=system.variables(),
                folder=environment.folder,
                history=history,
                html=html,
                progress=progress,
            )
            progress.step("comparing what was acknowledged with Postgres")
            statuses = system.statuses()
        measurement = Measurement.of(
            History.load(history), statuses, duration=profile.duration, planned_in=profile.planned_in
        )
    return replace(measurement, deadlocks=watch.found())


def _empty(history: Path) -> Path:
    history.mkdir(parents=True, exist_ok=True)
    for old in (*history.glob("*.jsonl"), *history.glob("*.log")):
        old.unlink()
    return history


def _show(request: LoadRequest, folder: Path, document: dict[str, Any], text: str) -> None:
    if request.json:
        print(json.dumps(document, indent=2))
    out = sys.stderr if request.json else sys.stdout
    print(f"\n{text}\nreport: {folder / 'locust.html'}\n        {folder / 'slo.json'}", file=out, flush=True)


if __name__ == "__main__":
    sys.exit(main())
