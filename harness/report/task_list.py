"""The list of all tasks, as text that the page's script searches, filters and renders row by row.

It is one line a task with tabs between the columns, so that a page with many tasks stays small and opens at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.history import History
from harness.history.fields import task_of
from harness.history.figures import counted
from harness.report.picture_data import Bar, BarOutcome, PictureData
from harness.report.stories import Story
from harness.report.text import clean

MAX_TASKS = 20_000
MAX_WORKERS = 30
"""The most processes that a row lists; `MORE` stands for the others."""

MORE = "…"

COLUMNS = ("task", "status", "found", "activity", "runs", "submitted", "started", "completed", "workers")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskList:
    """The rows as text: `shown` of the `count` tasks. Tasks that a checker names are the last to be left out."""

    rows: str
    shown: int
    count: int

    @property
    def caption(self) -> str:
        """How many tasks there are, and how many of them are listed."""
        left = "" if self.shown == self.count else f" ({self.shown:,} of them listed)"
        return f"{counted(self.count, 'task')}{left}"


@dataclass(kw_only=True, slots=True)
class _Task:
    """What is known of one task; `record` is the status in the store, `named` are the kinds of counterexamples."""

    submitted: Bar | None = None
    runs: list[Bar] = field(default_factory=list)
    record: str | None = None
    named: tuple[str, ...] = ()

    def cells(self, number: int) -> tuple[str, ...]:
        bars = self.runs if self.submitted is None else [self.submitted, *self.runs]
        processes = list(dict.fromkeys(bar.process for bar in self.runs))
        return (
            str(number),
            self.record or self.status(),
            ", ".join(self.named),
            next((bar.activity for bar in bars if bar.activity is not None), ""),
            str(len(self.runs)),
            _time(None if self.submitted is None else self.submitted.start),
            _time(min((bar.start for bar in self.runs), default=None)),
            _time(min((bar.end for bar in self.runs if bar.outcome is BarOutcome.OK), default=None)),
            ", ".join([*processes[:MAX_WORKERS], *([MORE] if len(processes) > MAX_WORKERS else [])]),
        )

    def status(self) -> str:
        """How a task without a record in the store ended."""
        if self.runs:
            last = self.runs[-1]
            complete = any(bar.outcome is BarOutcome.OK for bar in self.runs)
            return "complete" if complete else _ENDS[last.outcome] if last.recorded else "cut off"
        if self.submitted is None or not self.submitted.recorded:
            return _ENDS[BarOutcome.UNKNOWN]
        return _ANSWERS[self.submitted.outcome]


_ENDS = {BarOutcome.OK: "complete", BarOutcome.FAIL: "failed", BarOutcome.UNKNOWN: "unknown"}
_ANSWERS = {BarOutcome.OK: "never started", BarOutcome.FAIL: "refused", BarOutcome.UNKNOWN: "unknown"}


def task_list(
    history: History, data: PictureData, described: Mapping[int, Story], limit: int = MAX_TASKS
) -> TaskList:
    """The list of the tasks of a run; `described` are the stories of those that a counterexample names."""
    tasks: defaultdict[int, _Task] = defaultdict(_Task)
    for bar in data.submissions:
        tasks[bar.task].submitted = tasks[bar.task].submitted or bar
    for bar in data.runs:
        tasks[bar.task].runs.append(bar)
    for op in history.where("record") if data.problem is None else ():
        tasks[task_of(op)].record = str(op.value.get("status")).lower()
    for task, story in described.items():
        tasks[task].named = tuple(dict.fromkeys(kind or checker for checker, kind in story.named_by))
    kept = sorted(sorted(tasks, key=lambda task: (task not in described, task))[:limit])
    rows = (clean("\t".join(" ".join(cell.split()) for cell in tasks[task].cells(task))) for task in kept)
    return TaskList(rows="\n".join(rows), shown=len(kept), count=len(tasks))


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"
