"""The means by which planted defects are found: two state machines, the simulation, and chaos runs under the checkers.

Each looks for anything wrong in the implementation as it is in this process, with a budget and a seed of its own, and
knows nothing of the defect. What it may find in the defective implementation, it must not find in the true one.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.checkers.base import Verdict
from harness.environments.base import Environment
from harness.errors import HarnessError
from harness.progress import Quiet
from harness.run.runner import RunOptions, run_scenario
from harness.simulation import simulate
from tests.planted.courses import COURSES
from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, QUEUE_MACHINE, SIMULATION, Defect
from tests.planted.target import PlantedTarget
from tests.properties.finders import FINDERS

SEED = 1
SIMULATED = 80
STALL = 5.0  # seconds without any movement after which a drain is given up
EXAMPLES = {QUEUE_MACHINE: 40, ACTIVITY_MACHINE: 80}


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One look. `found` says what gave the defect away, None where nothing did; `tries` counts examples, schedules or
    tasks up to it, or all of them; `seconds` is wall time.
    """

    means: str
    found: str | None
    tries: int
    seconds: float


def machine(means: str) -> Look:
    """The queue machine or the activity machine, in this process."""
    began = time.monotonic()
    finding = FINDERS[means](EXAMPLES[means], SEED, shrink=False)
    seconds = time.monotonic() - began
    if finding is None:
        return Look(means=means, found=None, tries=EXAMPLES[means], seconds=seconds)
    return Look(means=means, found=_first_line(finding.error), tries=finding.examples, seconds=seconds)


def simulation() -> Look:
    """Simulated schedules in this process, one seed after another."""
    began = time.monotonic()
    for seed in range(SIMULATED):
        findings = simulate(seed).findings
        if findings:
            first = findings[0]
            found = f"{first.checker}: {first.kind}"
            return Look(means=SIMULATION, found=found, tries=seed + 1, seconds=time.monotonic() - began)
    return Look(means=SIMULATION, found=None, tries=SIMULATED, seconds=time.monotonic() - began)


def chaos(course_name: str, defect: Defect | None, environment: Environment) -> Look:
    """One run of real processes on a running environment. Raises `HarnessError` where it shows nothing either way."""
    course = COURSES[course_name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as history:
        run = run_scenario(
            course.scenario,
            environment,
            PlantedTarget(defect=defect, variation=course.variation),
            RunOptions(seed=SEED, tasks=course.tasks, queue=f"planted-{time.monotonic_ns()}", stall=STALL),
            history_folder=Path(history),
            progress=Quiet(),
        )
    seconds = time.monotonic() - began
    breaches = [name for name, result in run.results.items() if result.verdict is Verdict.INVALID]
    if not breaches and run.verdict is not Verdict.VALID:
        unknown = [f"{n}: {r.summary}" for n, r in run.results.items() if r.verdict is not Verdict.VALID]
        raise HarnessError(f"{course_name} shows nothing either way: {run.error or '; '.join(unknown)}")
    return Look(means=CHAOS, found=", ".join(sorted(breaches)) or None, tries=course.tasks, seconds=seconds)


def inside(means: str) -> Callable[[], Look]:
    """The look of a means that needs no servers."""
    return simulation if means == SIMULATION else lambda: machine(means)


def _first_line(error: str) -> str:
    """What an assertion says, without the values that it shows."""
    said = error.strip().splitlines()[0].removeprefix("AssertionError:")
    return re.split(r": [^a-z]|: row|\|", said)[0].strip(" :") or "an assertion"
