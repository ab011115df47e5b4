"""The verdict of a load: met (exit 0), breached (1), or not measurable (2), with the reasons.

A run whose own generator failed says nothing about the system: it is not measurable, whatever its thresholds came to.
The generator failed if it fell behind its schedule, reached its cap, lost one of its processes, or left a gap in the
evidence. Arrivals that were never sent because no user was free are failures of the run: it is never met, and breached
if a threshold says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from harness.checkers.base import Verdict
from harness.environments.log_errors import LoggedErrors
from harness.history.statuses import COMPLETE
from harness.load.accounting import Accounting
from harness.load.resources import Resource
from harness.load.rows import LoadRow
from harness.load.thresholds import (
    Threshold,
    ThresholdOutcome,
    ThresholdResult,
    evaluate,
    parse_all,
    shown_time,
)

ALL = "ALL"
"""The row of the whole run."""

_ERRORS = "errors < 1%"
DEFAULTS = {ALL: f"lost = 0, deadlocks = 0, {_ERRORS}"}
"""The thresholds of every run, unless it has its own: deadlocks where they are known, errors if no row has them."""


class DoubtKind(StrEnum):
    """Why a run may say nothing about the system."""

    GENERATOR_LATE = "generator-late"
    CAP_REACHED = "cap-reached"
    WORKER_LOST = "load-worker-lost"
    GAP = "evidence-gap"
    NOTHING_DUE = "nothing-due"
    UNBILLED = "unbilled"
    NEVER_SENT = "never-sent"
    USER_RAISED = "user-raised"

    @property
    def decides(self) -> bool:
        """Whether the run is not measurable even if a threshold is breached."""
        return self not in (DoubtKind.UNBILLED, DoubtKind.NEVER_SENT, DoubtKind.USER_RAISED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """One reason why a run is not measurable, as a sentence without its full stop."""

    kind: DoubtKind
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadBounds:
    """What the generator may do: the p99 and the maximum of its own lateness, in seconds."""

    lateness_p99: float = 0.05
    lateness_max: float = 1.0

    @classmethod
    def of(cls, lateness_p99: float) -> Self:
        """The bounds of a p99: that of the maximum is 20 times as much, at least 1 s."""
        return cls(lateness_p99=lateness_p99, lateness_max=max(1.0, 20 * lateness_p99))


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstTask:
    """One of the slowest tasks: infinite `seconds` if it never completed. `stages` are seconds by name."""

    row: str
    activity: str
    intended: float
    seconds: float
    status: str | None = None
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LoadEvidence:
    """All that a load left to be judged.

    `rows` are the measured rows by name. Of the row of the whole run they have at most figures that no process counts:
    deadlocks, write-ahead log, tokens, cost. `planned` is the number of arrivals that the schedule promises for the
    `seconds` of the load: a mean, if they are random. Thresholds are judged by what was due. `cap` is the cap of tasks
    if it was reached. `workers_lost` names load processes that did not report, `gaps` what is missing in the evidence,
    `unbilled` why it is not known what an LLM endpoint billed, `raised` the errors of the users' own code as sentences.
    `facts` are shown: the run, the shape, the seed, the versions. `resources` are the gauges, and `logs` the errors in
    the logs of the servers.
    """

    accounting: Accounting
    planned: float
    seconds: float
    rows: Mapping[str, LoadRow] = field(default_factory=dict)
    bounds: LoadBounds = field(default_factory=LoadBounds)
    cap: int | None = None
    workers_lost: Sequence[str] = ()
    gaps: Sequence[str] = ()
    unbilled: str | None = None
    raised: Sequence[str] = ()
    worst: Sequence[WorstTask] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    resources: Sequence[Resource] = ()
    logs: Sequence[LoggedErrors] = ()

    def all_rows(self) -> dict[str, LoadRow]:
        """The rows with the one of the whole run, which counts each arrival that was due."""
        counts = self.accounting
        failed = sum(count for status, count in counts.terminal.items() if status.lower() != COMPLETE)
        figures: dict[str, float] = {"lost": counts.lost, "dropped": counts.dropped, "late": counts.late}
        whole = LoadRow(
            count=counts.due,
            errors=counts.dropped + counts.refused + counts.unknown + counts.lost + failed,
            planned=counts.due,
            seconds=self.seconds,
            figures=figures,
        )
        if (given := self.rows.get(ALL)) is not None:
            whole.latencies.merge(given.latencies)
            whole.figures = {**given.figures, **figures}
        return {**self.rows, ALL: whole}


@dataclass(frozen=True, kw_only=True)
class LoadVerdict:
    """The verdict with the results of all thresholds, and the doubts."""

    evidence: LoadEvidence
    results: tuple[ThresholdResult, ...]
    doubts: tuple[Doubt, ...]

    @property
    def verdict(self) -> Verdict:
        """INVALID, VALID or UNKNOWN, as of any run of the harness."""
        if any(doubt.kind.decides for doubt in self.doubts):
            return Verdict.UNKNOWN
        doubts = [Verdict.UNKNOWN for _ in self.doubts]
        return Verdict.combine([*doubts, *(result.outcome.verdict for result in self.results)])

    @property
    def outcome(self) -> ThresholdOutcome:
        """Met, breached, or not measurable."""
        return ThresholdOutcome.of(self.verdict)

    @property
    def exit_code(self) -> int:
        """0 met, 1 breached, 2 not measurable."""
        return self.verdict.exit_code

    @property
    def summary(self) -> str:
        """One sentence with the reason."""
        tasks = f"{self.evidence.accounting.due} arrivals"
        of_outcome = [result.text for result in self.results if result.outcome is self.outcome]
        if self.outcome is ThresholdOutcome.MET:
            return f"All {len(of_outcome)} thresholds are met, over {tasks}."
        if self.outcome is ThresholdOutcome.NOT_MEASURABLE and self.doubts:
            return f"Not measurable, over {tasks}: {'; '.join(doubt.text for doubt in self.doubts)}."
        share = f"{len(of_outcome)} of {len(self.results)} thresholds"
        return f"{share} {self.outcome}, over {tasks}. {of_outcome[0]}"


def judge(
    evidence: LoadEvidence,
    thresholds: Mapping[str, str] | Sequence[Threshold],
    baseline: Mapping[str, LoadRow] | None = None,
    *,
    defaults: bool = True,
) -> LoadVerdict:
    """Judge a run by the thresholds of its rows, and by those that every run has (`defaults`); raises `UsageError`.

    `baseline` has the rows of an earlier load, for thresholds that compare with it.
    """
    given = parse_all(thresholds) if isinstance(thresholds, Mapping) else thresholds
    rows = evidence.all_rows()
    return LoadVerdict(
        evidence=evidence,
        results=evaluate(with_defaults(given, rows) if defaults else given, rows, baseline),
        doubts=tuple(_doubts(evidence)),
    )


def with_defaults(thresholds: Iterable[Threshold], rows: Mapping[str, LoadRow]) -> tuple[Threshold, ...]:
    """The thresholds with those of every run that they do not replace; `rows` include the row of the whole run."""
    given = tuple(thresholds)
    own = {one.statistic for one in given if one.row == ALL} | ({"errors"} & {one.statistic for one in given})
    own |= {"deadlocks"} - rows[ALL].figures.keys()
    rest = dict.fromkeys(_unjudged(given, rows), _ERRORS)
    return (*given, *(one for one in parse_all(DEFAULTS) if one.statistic not in own), *parse_all(rest))


def _unjudged(given: Sequence[Threshold], rows: Mapping[str, LoadRow]) -> Iterator[str]:
    """The rows with errors that no threshold of errors sees: ALL has those of arrivals, which have a plan."""
    judged = {one.row for one in given if one.statistic == "errors"}
    for name, row in sorted(rows.items()):
        kind, _, task = name.partition(" ")
        seen = row.planned is not None and (not judged or ALL in judged)
        if task and row.errors and not seen and not {name, kind} & judged:
            yield name


def _doubts(evidence: LoadEvidence) -> Iterator[Doubt]:
    counts = evidence.accounting
    if not counts.due:
        yield Doubt(kind=DoubtKind.NOTHING_DUE, text="no arrival was due")
    if (late := _generator_late(evidence)) is not None:
        yield Doubt(kind=DoubtKind.GENERATOR_LATE, text=late)
    if evidence.cap is not None:
        yield Doubt(kind=DoubtKind.CAP_REACHED, text=f"the cap of {evidence.cap} tasks was reached")
    for name in evidence.workers_lost:
        yield Doubt(kind=DoubtKind.WORKER_LOST, text=f"the load worker {name} was lost")
    for gap in (*counts.gaps(), *evidence.gaps):
        yield Doubt(kind=DoubtKind.GAP, text=f"the evidence has a gap: {gap.rstrip('.')}")
    if evidence.unbilled is not None:
        text = f"what the load cost is not known: {evidence.unbilled.rstrip('.')}"
        yield Doubt(kind=DoubtKind.UNBILLED, text=text)
    if counts.dropped:
        yield Doubt(kind=DoubtKind.NEVER_SENT, text=f"{counts.dropped} arrivals were due and never sent")
    for text in evidence.raised:
        yield Doubt(kind=DoubtKind.USER_RAISED, text=text.rstrip("."))


def _generator_late(evidence: LoadEvidence) -> str | None:
    lateness, bounds = evidence.accounting.noticed, evidence.bounds
    for name, found, bound in (
        ("p99", lateness.quantile(99), bounds.lateness_p99),
        ("maximum", lateness.most, bounds.lateness_max),
    ):
        if found is not None and found > bound:
            late = "infinite" if math.isinf(found) else shown_time(found)
            return f"the generator fell behind: the {name} of its lateness was {late}, its bound is {shown_time(bound)}"
    return None
