"""`python -m loadtests.bench`: measures, prints a table and writes the figures to a JSON file."""

from __future__ import annotations

import json
import os
import platform
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.command_line import Parser, above_zero, exit_code_of, filled_path, positive
from harness.environments import make_environment
from harness.environments.deadlocks import Deadlocks, DeadlockWatch
from harness.errors import EXIT_INVALID, EXIT_VALID
from harness.report import locked_folder
from harness.report.folder import write_whole
from loadtests.bench import (
    arrivals,
    claims,
    endurance,
    generator_rate,
    history,
    killing,
    lateness,
    recording,
    resting,
    scale,
    starting,
    stored,
    through_wire,
    throughput,
    timing,
)
from loadtests.bench.bench import FINISHED, MINUTES, QUEUED, BenchEnvironment, BenchResult, Figure

SCHEMA_VERSION = 1

BENCHMARKS: Mapping[str, Callable[[BenchEnvironment, int], BenchResult | list[BenchResult]]] = {
    "drain": throughput.drain,
    "enqueue": throughput.enqueue_alone,
    "enqueue-together": throughput.enqueue_together,
    "enqueue-many": throughput.enqueue_many,
    "pick-up": timing.pick_up,
    "start": starting.start,
    "recording": recording.recording,
    "recovery": timing.recovery,
    "worker-recovery": killing.worker_recovery,
    "stop": timing.stop,
    "idle": resting.idle,
    "claims": claims.claims,
    "stored": stored.stored,
    "history": history.judge,
    "schedule": arrivals.schedule,
    "lateness": lateness.lateness,
    "generator-rate": generator_rate.generator_rate,
    "scale": scale.scale,
    "endurance": endurance.endurance,
    "wire": through_wire.wire,
}
# Not run unless they are named.
LONG = ("scale", "endurance")
MOST_MINUTES = 1_440


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen benchmarks on fresh servers; returns the exit code, 1 after a deadlock in Postgres."""
    return exit_code_of("bench", lambda: _in_folder(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> Namespace:
    parser = Parser(prog="python -m loadtests.bench", description="Measure agentexec beside its floor.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(BENCHMARKS)}")
    parser.add_argument(
        "--repeats", type=positive, default=5, help="counted measurements of each, after a warm-up"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the tasks, for a first look")
    parser.add_argument(
        "--report", type=filled_path, default=Path("reports/bench"), help="folder for bench.json"
    )
    parser.add_argument("--finished", type=positive, default=FINISHED, help="scale: finished activities")
    parser.add_argument("--queued", type=positive, default=QUEUED, help="scale: queued activities")
    parser.add_argument(
        "--minutes", type=above_zero(MOST_MINUTES), default=MINUTES, help="endurance: its length"
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    options.names = options.names or [name for name in BENCHMARKS if name not in LONG]
    return options


def _in_folder(options: Namespace) -> int:
    with locked_folder(options.report) as folder:
        return _run(options, folder / "bench.json")


def _run(options: Namespace, path: Path) -> int:
    results: dict[str, list[BenchResult]] = {}
    servers: dict[str, str] = {}
    deadlocks: dict[str, Deadlocks] = {}
    for name in options.names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        # Fresh servers for each benchmark, so that it does not pay for the vacuum or flush of another.
        with make_environment("embedded") as environment:
            servers = {"postgres": environment.versions.postgres, "redis": environment.versions.redis}
            measured = BenchEnvironment(
                endpoints=environment.endpoints,
                folder=environment.folder,
                quick=options.quick,
                finished=options.finished,
                queued=options.queued,
                minutes=options.minutes,
            )
            watch = DeadlockWatch(environment)
            found = BENCHMARKS[name](measured, options.repeats)
            deadlocks[name] = watch.found()
        results[name] = found if isinstance(found, list) else [found]
        for result in results[name]:
            print(_line(result), flush=True)
        document = _document(results, servers) | {
            "deadlocks": {name: one.to_value() for name, one in deadlocks.items()}
        }
        write_whole(path, json.dumps(document, indent=2) + "\n")  # now: the next one may be interrupted
    print(f"figures: {path}")
    bad = {name: one for name, one in deadlocks.items() if one.count != 0}
    for name, one in bad.items():
        print(f"bench: {name}: {one.count} deadlocks {one.why}", *one.details, sep="\n", file=sys.stderr)
    return EXIT_INVALID if bad else EXIT_VALID


def _line(result: BenchResult) -> str:
    figure = result.figure
    low, high = figure.spread
    text = f"{figure.name:52} {figure.median:10,.4g} {figure.unit:8} ({low:,.4g} to {high:,.4g})"
    if result.floor is not None and result.ratio is not None:
        text += f"   {result.ratio:.0%} of {result.beside}, {result.floor.median:,.4g}"
        text += f" ({min(result.ratios):.0%} to {max(result.ratios):.0%})"
    if result.wanted is not None:
        bound = "at least" if figure.higher_is_better else "at most"
        text += f"   {bound} {result.wanted:.0%} wanted"
    return text + (f"   {result.note}" if result.note else "")


def _document(results: Mapping[str, Sequence[BenchResult]], servers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "servers": dict(servers),
        "results": {
            name: [
                {
                    **_figure(result.figure),
                    "floor": None if result.floor is None else _figure(result.floor),
                    "ratio": result.ratio,
                    "ratios": list(result.ratios),
                    "wanted": result.wanted,
                    "note": result.note,
                }
                for result in found
            ]
            for name, found in results.items()
        },
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": figure.median,
        "values": list(figure.values),
        "higher_is_better": figure.higher_is_better,
    }


if __name__ == "__main__":
    sys.exit(main())
