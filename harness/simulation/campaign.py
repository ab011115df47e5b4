"""Simulates many seeds in several processes; findings and progress are reported as they occur."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import cast

from harness.errors import HarnessError
from harness.history.figures import counted
from harness.simulation.jobs import ENDED_EARLY, lines_of_jobs
from harness.simulation.power import Power
from harness.simulation.reach import Reach
from harness.simulation.saturation import Saturation
from harness.simulation.simulation import simulate

PROGRESS_SECONDS = 5.0
# A job reports its counts after this number of runs.
RUNS_PER_REPORT = 20


@dataclass(kw_only=True, slots=True)
class Campaign:
    """The result of many seeds.

    `failing` has the findings by seed. `tasks` and `injected` (faults) count over all runs; `fewest` is the number of
    faults in the run with the fewest. `seconds` is wall time, `busy` processor time in seconds. `reach` has the named
    events, `saturation` the cells, `groups` the groups of them. `ended` says why it ended.
    """

    runs: int = 0
    tasks: int = 0
    injected: int = 0
    fewest: int | None = None
    busy: float = 0.0
    seconds: float = 0.0
    failing: dict[int, list[str]] = field(default_factory=dict)
    reach: Reach = field(default_factory=Reach)
    saturation: Saturation = field(default_factory=Saturation)
    groups: Saturation = field(default_factory=lambda: Saturation(noun="group", of="cells"))
    ended: str = ""

    def add(self, line: dict[str, object]) -> None:
        """Add the counts that a job reported."""
        counts = {name: line[name] for name in ("runs", "tasks", "injected", "fewest")}
        runs, tasks, injected, fewest = (int(str(count)) for count in counts.values())
        self.runs += runs
        self.tasks += tasks
        self.injected += injected
        self.fewest = fewest if self.fewest is None else min(self.fewest, fewest)
        self.busy += float(str(line["busy"]))
        self.reach.add(runs, cast(Mapping[str, int], line["reached"]))
        self.saturation.add(runs, cast(Mapping[str, int], line["cells"]))
        self.groups.add(runs, cast(Mapping[str, int], line["groups"]))

    def fail(self, line: dict[str, object]) -> str:
        """Add a run with findings that a job reported; returns them in one line."""
        seed, found = int(str(line["seed"])), cast(Sequence[str], line["found"])
        self.failing[seed] = list(found)
        return f"seed {seed}: {'; '.join(found)}"

    def to_json(self) -> dict[str, object]:
        """The counts and the table of named events, the rarest first."""
        names = ("runs", "tasks", "injected", "fewest", "seconds", "busy")
        counts: dict[str, object] = {name: getattr(self, name) for name in names}
        missing, failing = list(self.reach.missing), sorted(self.failing)
        worth = Power.of(self.runs).to_json() if self.runs and not failing else None
        return {
            **counts,
            "failing": failing,
            "worth": worth,
            "not reached": missing,
            "reach": list(self.reach.table()),
            "coverage": self.saturation.to_json(),
            "groups": self.groups.to_json(),
        }

    @property
    def per_minute_and_core(self) -> float:
        """Simulated runs per minute of processor time."""
        return 60 * self.runs / self.busy if self.busy else 0.0


def jobs_by_default() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """When a campaign ends before its last run: after so many failing seeds, runs without a new group, or seconds."""

    failing: int
    quiet: int | None = None
    seconds: float | None = None

    def reached(self, campaign: Campaign, seconds: float) -> str:
        """Why it ends now; empty if it does not."""
        quiet = campaign.groups.quiet
        if self.quiet is not None and quiet >= self.quiet:
            return f"saturated: the last {counted(quiet, 'run')} reached no new group"
        if self.seconds is not None and seconds >= self.seconds:
            return f"not saturated: {self.seconds / 60:g} min are over, {quiet} runs after the last new group"
        return f"{len(campaign.failing)} with findings" if len(campaign.failing) >= self.failing else ""


def run_campaign(
    first: int, count: int, *, jobs: int, log: Callable[[str], None], limits: Limits
) -> Campaign:
    """Simulate `count` seeds from `first` on in `jobs` processes, unless one of the `limits` ends it earlier."""
    began = time.monotonic()
    campaign = Campaign()
    logged = began
    every = [map(str, (first + job, first + count, jobs)) for job in range(min(jobs, count))]
    with closing(lines_of_jobs(__name__, every)) as lines:
        for line in lines:
            if "seed" in line:
                log(campaign.fail(line))
            else:
                campaign.add(line)
            campaign.ended = limits.reached(campaign, time.monotonic() - began)
            if campaign.ended:
                break
            if time.monotonic() - logged > PROGRESS_SECONDS:
                logged = time.monotonic()
                log(f"{campaign.runs} of {counted(count, 'run')}, {len(campaign.failing)} with findings")
        else:
            if campaign.runs < count:
                raise HarnessError(ENDED_EARLY)
            campaign.ended = (
                f"not saturated: all runs are made, {campaign.groups.quiet} after the last new group"
            )
    campaign.seconds = time.monotonic() - began
    return campaign


def work(first: int, end: int, step: int) -> None:
    """Simulate the seeds of one job; prints findings and counts as lines of JSON."""
    runs = tasks = injected = 0
    fewest: int | None = None
    reached, cells, groups = Counter[str](), Counter[str](), Counter[str]()
    began = time.process_time()
    for seed in range(first, end, step):
        outcome = simulate(seed)
        if seed == first:
            gc.freeze()  # collections need not visit what was imported, the last of it by the first run
        runs, tasks, injected = runs + 1, tasks + len(outcome.plan.tasks), injected + outcome.injected
        fewest = outcome.injected if fewest is None else min(fewest, outcome.injected)
        reached.update(outcome.reached)
        cells.update(outcome.cells)
        groups.update(outcome.groups)
        if outcome.findings:
            found = [f"{finding.checker}: {finding.summary}" for finding in outcome.findings]
            print(json.dumps({"seed": seed, "found": found}), flush=True)
        if runs == RUNS_PER_REPORT or seed + step >= end:
            busy, began = time.process_time() - began, time.process_time()
            line = {"runs": runs, "tasks": tasks, "injected": injected, "fewest": fewest, "busy": busy}
            print(json.dumps({**line, "reached": reached, "cells": cells, "groups": groups}), flush=True)
            for counts in (reached, cells, groups):
                counts.clear()
            runs = tasks = injected = 0
            fewest = None


if __name__ == "__main__":
    work(*map(int, sys.argv[1:]))
