"""Every fault at every call of six canonical lives, alone and in pairs: all of them, and none by chance."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from harness.checkers.base import Verdict
from harness.errors import HarnessError
from harness.history.figures import counted
from harness.simulation.jobs import ENDED_EARLY, lines_of_jobs
from harness.simulation.lives import LIVES, strikes
from harness.simulation.plan import Plan, SimulatedFault
from harness.simulation.simulation import SimulationResult, simulate

PROGRESS_SECONDS = 10.0


@dataclass(kw_only=True, slots=True)
class BoundedProof:
    """The runs of each life by their number of faults, and the plans with findings, as JSON, with what was found.

    `seconds` is wall time, `busy` processor time in seconds.
    """

    runs: dict[str, Counter[int]] = field(default_factory=dict)
    failing: list[dict[str, object]] = field(default_factory=list)
    busy: float = 0.0
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """All runs."""
        return sum(map(Counter.total, self.runs.values()))

    def to_json(self) -> dict[str, object]:
        """The counts, and the plans with findings."""
        runs = {life: {str(faults): one[faults] for faults in sorted(one)} for life, one in self.runs.items()}
        return {"runs": runs, "seconds": self.seconds, "busy": self.busy, "failing": self.failing}


def prove(
    lives: Sequence[str], *, faults: int, jobs: int, log: Callable[[str], None], stop_after: int
) -> BoundedProof:
    """Run each of these lives with every combination of up to `faults` faults; ends early after so many findings."""
    began = logged = time.monotonic()
    proof, ended = BoundedProof(), 0
    every = [[str(job), str(jobs), str(faults), *lives] for job in range(jobs)]
    with closing(lines_of_jobs(__name__, every)) as lines:
        for line in lines:
            if "plan" in line:
                proof.failing.append(line)
                log(f"{line['life']}: {line['found']}")
                if len(proof.failing) >= stop_after:
                    break
            elif "ended" in line:
                ended += 1
            else:
                _add(proof, line)
            if time.monotonic() - logged > PROGRESS_SECONDS:
                logged = time.monotonic()
                log(f"{counted(proof.total, 'run')}, {len(proof.failing)} with findings")
        else:
            if ended < jobs:
                raise HarnessError(ENDED_EARLY)
    proof.seconds = time.monotonic() - began
    return proof


def _add(proof: BoundedProof, line: dict[str, object]) -> None:
    life, runs = str(line["life"]), line["runs"]
    assert isinstance(runs, dict), "a job prints its runs by the number of faults"
    counts = proof.runs.setdefault(life, Counter())
    counts.update({int(faults): int(number) for faults, number in runs.items()})
    proof.busy += float(str(line["busy"]))


def work(job: int, jobs: int, faults: int, lives: Sequence[str]) -> None:
    """Simulate every `jobs`-th single fault of each life, with all that can follow it; prints lines of JSON."""
    for life in lives:
        plan = LIVES[life]
        alone = _run(life, plan, ()) if job == 0 else simulate(plan)
        for number, fault in enumerate(strikes(alone.points)):
            if number % jobs == job:
                began, runs = time.process_time(), Counter[int]()
                _explore(life, plan, (fault,), faults, runs)
                spent = time.process_time() - began
                print(json.dumps({"life": life, "runs": runs, "busy": spent}), flush=True)
    print(json.dumps({"ended": job}), flush=True)


def _explore(
    life: str, plan: Plan, struck: tuple[SimulatedFault, ...], most: int, runs: Counter[int]
) -> None:
    """Run the plan with these faults, then with each fault more at any later point of that very run."""
    outcome = _run(life, plan, struck)
    runs[len(struck)] += 1
    if len(struck) < most and not _breaches(outcome):
        last = struck[-1].point
        assert last is not None, "a strike has a point"
        for fault in strikes(outcome.points, since=last + 1):
            _explore(life, plan, (*struck, fault), most, runs)


def _breaches(outcome: SimulationResult) -> list[str]:
    """What is INVALID. A task that never ran leaves some checkers without evidence: that is no finding here."""
    results = outcome.results.items()
    return [f"{name}: {result.summary}" for name, result in results if result.verdict is Verdict.INVALID]


def _run(life: str, plan: Plan, struck: tuple[SimulatedFault, ...]) -> SimulationResult:
    outcome = simulate(replace(plan, faults=(*plan.faults, *struck)))
    if found := _breaches(outcome):
        line = {"life": life, "plan": outcome.plan.to_json(), "found": found}
        print(json.dumps(line), flush=True)
    return outcome


if __name__ == "__main__":
    first, processes, most, *names = sys.argv[1:]
    work(int(first), int(processes), int(most), names)
