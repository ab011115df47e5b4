"""The means that find planted defects: two state machines, the simulation, and chaos runs with the checkers.

Each checks the implementation of this process with its own budget and seed, and without any information on the defect.
It must find nothing in the implementation without a defect.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.checkers.base import Verdict
from harness.environments.base import Environment
from harness.errors import HarnessError
from harness.progress import Quiet
from harness.run.runner import RunOptions, run_scenario
from harness.simulation import simulate
from tests.planted import in_force
from tests.planted.chaos_runs import CHAOS_RUNS
from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, SIMULATION, TEST, Defect
from tests.planted.target import PlantedTarget
from tests.properties.finders import FINDERS

SEED = 1
SIMULATED = 120
STALL = 5.0  # seconds without any movement after which a drain is given up
EXAMPLES = {QUEUE_MACHINE: 40, ACTIVITY_MACHINE: 80}


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """The result of one search.

    `found`: what showed the defect; None where nothing did. `tries`: examples or tasks up to that, or all of them, and
    all schedules. `hits`: how many schedules showed it. `seconds`: wall time.
    """

    means: str
    found: str | None
    tries: int
    seconds: float
    hits: int = 0


def machine(means: str) -> Search:
    """The queue machine or the activity machine, in this process."""
    began = time.monotonic()
    finding = FINDERS[means](EXAMPLES[means], SEED, shrink=False)
    seconds = time.monotonic() - began
    if finding is None:
        return Search(means=means, found=None, tries=EXAMPLES[means], seconds=seconds)
    return Search(means=means, found=_first_line(finding.error), tries=finding.examples, seconds=seconds)


def simulation() -> Search:
    """Simulated schedules in this process, one seed after another; what shows the defect most often is named."""
    began, kinds, hits = time.monotonic(), Counter[str](), 0
    for seed in range(SIMULATED):
        findings = simulate(seed).findings
        hits += bool(findings)
        kinds.update({f"{one.checker}: {one.kind}" for one in findings})
    found = min(kinds, key=lambda kind: ("UNKNOWN" in kind, -kinds[kind], kind)) if kinds else None
    seconds = time.monotonic() - began
    return Search(means=SIMULATION, found=found, tries=SIMULATED, seconds=seconds, hits=hits)


def named_test(defect: Defect) -> Search:
    """The test that has to fail, in a process of its own; raises `HarnessError` where it does not run."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-p", in_force.__name__]
    done = subprocess.run(
        [*command, defect.test],
        env=os.environ | {in_force.VARIABLE: defect.name},
        capture_output=True,
        text=True,
    )
    if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise HarnessError(f"{defect.test} does not run: {(done.stdout + done.stderr)[-500:]}")
    failed = done.returncode == pytest.ExitCode.TESTS_FAILED
    name = defect.test.partition("::test_")[2].partition("[")[0]
    return Search(means=TEST, found=name if failed else None, tries=1, seconds=time.monotonic() - began)


def chaos(run_name: str, defect: Defect | None, environment: Environment) -> Search:
    """One run of real processes on a running environment. Raises `HarnessError` where it shows nothing either way."""
    chaos_run = CHAOS_RUNS[run_name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as history:
        run = run_scenario(
            chaos_run.scenario,
            environment,
            PlantedTarget(defect=defect, variation=chaos_run.variation),
            RunOptions(seed=SEED, tasks=chaos_run.tasks, queue=f"planted-{time.monotonic_ns()}", stall=STALL),
            history_folder=Path(history),
            progress=Quiet(),
        )
    seconds = time.monotonic() - began
    breaches = [name for name, result in run.results.items() if result.verdict is Verdict.INVALID]
    if not breaches and run.verdict is not Verdict.VALID:
        unknown = [f"{n}: {r.summary}" for n, r in run.results.items() if r.verdict is not Verdict.VALID]
        raise HarnessError(f"{run_name} shows nothing either way: {run.error or '; '.join(unknown)}")
    return Search(
        means=CHAOS, found=", ".join(sorted(breaches)) or None, tries=chaos_run.tasks, seconds=seconds
    )


def inside(means: str) -> Callable[[], Search]:
    """The search of a means that needs no servers."""
    return simulation if means == SIMULATION else lambda: machine(means)


def _first_line(error: str) -> str:
    """The text of an assertion without its values."""
    said = error.strip().splitlines()[0].removeprefix("AssertionError:")
    return re.split(r": [^a-z]|: row|\|", said)[0].strip(" :") or "an assertion"
