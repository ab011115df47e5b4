"""The verdict of a load under Locust: it is judged by the `thresholds` of the locustfiles, shown, and written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.errors import EXIT_UNKNOWN, FOREIGN_ERRORS, UsageError, describe_error
from harness.load.baseline import Baseline
from harness.load.bill import SpentFigures
from harness.load.evidence import evidence_of
from harness.load.figures import KINDS, Figures, merged
from harness.load.files import LoadCourse, load_table, write_load
from harness.load.gauge_sources import ENV_SLOTS
from harness.load.locust_test import LoadPlan
from harness.load.page import stages_within
from harness.load.resources import Sampled
from harness.load.rows import LoadRow
from harness.load.thresholds import Threshold, parse_all, thresholds_in
from harness.load.verdict import LoadEvidence, judge
from harness.masking import masked, one_line


@dataclass(frozen=True, kw_only=True)
class EndedLoad:
    """A load that has ended, and what is missing of it: `parts` are the figures and the seconds of each process.

    `workers_lost` names the load workers that did not report, `gaps` are sentences, and `sampled` are the gauges of
    servers and workers. `deadlocks` is their number in the database, None if it is not known. `lateness` is the bound
    of the generator's own p99, in seconds. `runner` is that of Locust, with errors of the users' code and other
    requests. `joined` has the second at which a process came to the load. `baseline` is an earlier load. `bill` has
    tokens and money of an LLM endpoint.
    """

    run: str
    parts: Sequence[tuple[Figures, float]]
    plan: LoadPlan
    workers_lost: Sequence[str]
    gaps: Sequence[str]
    sampled: Sampled
    deadlocks: int | None
    lateness: float
    processes: int
    runner: Any
    joined: Mapping[str, float] = field(default_factory=dict)
    baseline: Baseline | None = None
    bill: SpentFigures = field(default_factory=SpentFigures)

    @cached_property
    def whole(self) -> Figures:
        """The figures of all processes together, with the gauges of servers and workers."""
        whole = merged(figures for figures, _ in self.parts)
        whole.series.merge(self.sampled.series)
        return whole

    @property
    def seconds(self) -> float:
        """How long the load lasted: processes that are stopped do not end together, and share each second equally."""
        return fmean(seconds for _, seconds in self.parts) if self.parts else 0.0


def thresholds_of(environment: Any) -> tuple[Threshold, ...]:
    """The `thresholds` of the locustfiles, also several for one row; raises `UsageError`."""
    files: dict[str, str] = {}
    found: list[Threshold] = []
    for path in environment.parsed_locustfiles or ():
        # Locust imports each file under its name, and this one under another, so as not to hide its own package.
        name = "locustfile" if Path(path).stem == "locust" else Path(path).stem
        if files.setdefault(name, path) != path:
            raise UsageError(
                f"The locustfiles {files[name]} and {path} have one name, so Locust keeps only one; rename one of them."
            )
        found += parse_all(thresholds_in(sys.modules.get(name), path))
    return tuple(dict.fromkeys(found))


def ended_evidence(judged: EndedLoad) -> LoadEvidence:
    """All that the load left to be judged."""
    figures = judged.whole
    gaps = [*judged.gaps, *figures.gaps]
    planned = None
    try:
        planned = judged.plan.planned(judged.seconds)
    except FOREIGN_ERRORS as error:  # the schedule may be a file that has changed, or code of the user
        gaps.append(f"the planned arrivals cannot be counted: {describe_error(error)}")
    if planned is None:  # a closed model has no plan: it sends what it can
        planned = float(figures.accounting.due)
    evidence = evidence_of(
        figures,
        judged.sampled,
        planned=planned,
        seconds=judged.seconds,
        tasks=figures.accounting.acknowledged,
        of_all={"deadlocks": judged.deadlocks, **judged.bill.figures},
        lateness=judged.lateness,
    )
    return replace(
        evidence,
        rows={**evidence.rows, **_other_requests(judged.runner)},
        workers_lost=judged.workers_lost,
        gaps=gaps,
        unbilled=judged.bill.unknown,
        raised=list(_raised(judged.runner)),
        facts=dict(_facts(judged)),
    )


def _raised(runner: Any) -> Iterator[str]:
    for error in runner.exceptions.values():
        yield f"the users' own code raised {error['count']} times: {one_line(error['msg'])}"


def _other_requests(runner: Any) -> dict[str, LoadRow]:
    """The rows of requests that are not of a queue, such as those of `ApiUser`; Locust has no exact latencies."""
    return {
        f"{kind} {name}": LoadRow(count=entry.num_requests, errors=entry.num_failures)
        for (name, kind), entry in runner.stats.entries.items()
        if kind not in KINDS
    }


def conclude(judged: EndedLoad, thresholds: Sequence[Threshold], folder: Path | None) -> int:
    """Judge a load, print the verdict and write it into a folder; returns the exit code 0, 1 or 2."""
    baseline = judged.baseline
    verdict = judge(ended_evidence(judged), thresholds, None if baseline is None else baseline.rows)
    print(f"\n{load_table(verdict)}", flush=True)
    if folder is not None:
        try:
            earlier = None if baseline is None else baseline.document
            paths = write_load(verdict, folder, course=_course(judged), baseline=earlier)
        except UsageError as error:
            print(f"load: {masked(str(error))}", file=sys.stderr, flush=True)
            return EXIT_UNKNOWN
        print(f"report: {paths.html}\n        {paths.json}", flush=True)
    return verdict.exit_code


def _course(judged: EndedLoad) -> LoadCourse:
    schedule = judged.plan.schedule
    stages = [] if schedule is None else stages_within(schedule.placed(), judged.seconds)
    return LoadCourse(series=judged.whole.series, stages=stages)


def _facts(judged: EndedLoad) -> Iterator[tuple[str, str]]:
    yield "run", judged.run
    yield "model", "closed" if judged.plan.schedule is None else "open"
    yield "load processes", str(judged.processes)
    if judged.joined:
        yield (
            "joined",
            ", ".join(f"{label} in second {second:.1f}" for label, second in judged.joined.items()),
        )
    if slots := os.environ.get(ENV_SLOTS):
        yield "slots", slots
    if judged.plan.schedule is not None:
        yield "seed", str(judged.plan.schedule.seed)
    if judged.baseline is not None:
        yield "baseline", judged.baseline.run
