"""Run the smoke scenarios again and again beside busy cores; the verdict is never INVALID on the true agentexec.

    python -m tests.support.busy_core                       20 x kill-pool, kill-worker-mid-task and sigterm-drain
    python -m tests.support.busy_core --times 3 --spinners 4 kill-pool

Each run has another seed. Spinning processes want the cores meanwhile; the command starts them and ends them. It prints
one line per run, keeps the reports of runs that are not VALID, and exits with 1 if any verdict was INVALID.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.command_line import positive, report_interrupt, sigterm_raises

SMOKE = ("kill-pool", "kill-worker-mid-task", "sigterm-drain")
TASKS = 60


@dataclass(frozen=True, kw_only=True)
class BusyRun:
    """The verdict of one run, and the sentences of the checkers that are not VALID."""

    scenario: str
    verdict: str
    whys: Sequence[str]


@contextmanager
def busy_cores(spinners: int) -> Iterator[None]:
    """Let `spinners` processes spin meanwhile; each is ended by its own handle."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(spinners)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def run_once(scenario: str, *, seed: int, folder: Path) -> BusyRun:
    """Run a scenario in a process of its own, with its report in `folder`."""
    command = [sys.executable, "-m", "harness", "chaos", "run", scenario]
    command += ["--tasks", str(TASKS), "--seed", str(seed), "--report", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, said = process.communicate()
        except BaseException:  # the run stops its own processes after SIGTERM
            process.terminate()
            raise
    try:
        document = json.loads((folder / "verdict.json").read_text("utf-8"))
    except OSError:
        return BusyRun(scenario=scenario, verdict=f"exit code {process.returncode}", whys=[said.strip()])
    [found] = document["scenarios"]
    whys = [
        f"{one['verdict']} {name}: {one['summary']}"
        for name, one in found["checkers"].items()
        if one["verdict"] in ("INVALID", "UNKNOWN")
    ]
    return BusyRun(scenario=scenario, verdict=found["verdict"], whys=whys)


def run_all(scenarios: Sequence[str], *, times: int, spinners: int, folder: Path) -> Iterator[BusyRun]:
    """Run each scenario `times` times; the reports of VALID runs are removed."""
    with busy_cores(spinners):
        for seed in range(1, times + 1):
            for scenario in scenarios:
                report = folder / f"{scenario}-{seed}"
                yield (found := run_once(scenario, seed=seed, folder=report))
                if found.verdict == "VALID":
                    shutil.rmtree(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = ArgumentParser(prog="python -m tests.support.busy_core", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "scenarios", nargs="*", default=SMOKE, metavar="NAME", help="default: the smoke scenarios"
    )
    parser.add_argument("--times", type=positive, default=20, metavar="N", help="runs of each scenario")
    parser.add_argument(
        "--spinners", type=positive, default=4, metavar="N", help="processes that spin beside them"
    )
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="busy-core-"))
    counts: Counter[str] = Counter()
    for run in run_all(options.scenarios, times=options.times, spinners=options.spinners, folder=folder):
        counts[run.verdict] += 1
        print(f"{run.scenario:<22} {run.verdict:<8} {'; '.join(run.whys)}", flush=True)
    print(
        ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common()), f"(reports: {folder})"
    )
    return int(counts["INVALID"] > 0)


if __name__ == "__main__":
    try:
        with sigterm_raises():
            sys.exit(main())
    except KeyboardInterrupt as interrupt:
        sys.exit(report_interrupt("busy_core", interrupt))
