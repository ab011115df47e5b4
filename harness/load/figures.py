"""The figures of a load: latencies by the rows of Locust's statistics, and what became of each arrival.

Rows are named by a kind and a task name, such as "TASK answer". A row without a task name has all tasks of its kind.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Self

from harness.errors import HarnessError
from harness.load.accounting import Accounting
from harness.load.rows import LoadRow
from harness.load.series import LoadSeries
from harness.load.verdict import WorstTask

MOST_WORST = 10
"""How many of the slowest tasks are kept by name."""

ENQUEUE, TASK, WAIT, RUN, LATE = KINDS = ("ENQUEUE", "TASK", "WAIT", "RUN", "LATE")


class Figures:
    """The figures of one process, or of several after `merge`. Times are in seconds."""

    def __init__(self) -> None:
        self.accounting = Accounting()
        self.rows: dict[str, LoadRow] = {}
        self.series = LoadSeries()
        self.worst: list[WorstTask] = []
        """The slowest tasks, the slowest first."""
        self.gaps: list[str] = []
        """What is missing in these figures, as sentences."""

    def note_worst(self, task: WorstTask) -> None:
        """Keep a task if it is one of the slowest."""
        if len(self.worst) < MOST_WORST or task.seconds > self.worst[-1].seconds:
            self.worst = sorted([*self.worst, task], key=lambda one: -one.seconds)[:MOST_WORST]

    def note_course(self, task: WorstTask, *, complete: bool) -> None:
        """Note how a task went on that is over or lost: its latency and its stages over time."""
        self.note_worst(task)
        intended = max(0.0, task.intended)
        self.series.latency(intended, task.seconds if complete else math.inf)
        for name, seconds in task.stages.items():
            self.series.stage(intended, name, seconds)

    def record(self, kind: str, name: str, seconds: float, *, failed: bool = False) -> None:
        """Count a request of a row; a failed one is infinite."""
        key = f"{kind} {name}"
        # Not `setdefault`: a histogram costs more than all the rest of a record.
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = LoadRow()
        row.record(math.inf if failed else seconds)

    def lose(self, name: str) -> None:
        """Count a task that is not terminal at the end, with an infinite latency."""
        self.record(TASK, name, math.inf)
        self.note_lost(name)

    def note_lost(self, name: str) -> None:
        """Count such a task whose latency is recorded apart."""
        self.accounting.lost += 1
        figures = self.rows.setdefault(f"{TASK} {name}", LoadRow()).figures
        figures["lost"] = figures.get("lost", 0) + 1

    def merge(self, other: Figures) -> None:
        """Add the figures of another process."""
        self.accounting.merge(other.accounting)
        for name, row in other.rows.items():
            self.rows.setdefault(name, LoadRow()).merge(row)
        self.series.merge(other.series)
        for task in other.worst:
            self.note_worst(task)
        self.gaps += other.gaps

    def all_rows(self, *, planned: float, seconds: float) -> dict[str, LoadRow]:
        """All rows, also those of all tasks of a kind.

        The plan of a task name is its share of the whole plan, as that of the name in all that was sent.
        """
        found = dict(self.rows)
        for kind in KINDS:
            found[kind] = whole = LoadRow()
            for name, row in self.rows.items():
                if name.startswith(f"{kind} "):
                    whole.merge(row)
        counts = self.accounting
        found[LATE].figures = {"late": counts.late, "dropped": counts.dropped}
        for name, row in found.items():
            task = name.partition(" ")[2]
            share = found[f"{LATE} {task}"].count / found[LATE].count if task else 1.0
            row.planned, row.seconds = planned * share, seconds
            if name.startswith(TASK):
                row.figures.setdefault("lost", 0)
        return found

    def to_value(self) -> dict[str, Any]:
        """As JSON, for messages between processes."""
        rows = {name: row.to_value() for name, row in self.rows.items()}
        worst = [asdict(task) for task in self.worst]
        accounting, series = self.accounting.to_value(), self.series.to_value()
        return {"accounting": accounting, "rows": rows, "series": series, "worst": worst, "gaps": self.gaps}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """The figures that `to_value` gave; raises `HarnessError` if they are none."""
        found = cls()
        try:
            found.accounting = Accounting.from_value(value["accounting"])
            found.rows = {str(name): LoadRow.from_value(row) for name, row in value["rows"].items()}
            found.series = LoadSeries.from_value(value["series"])
            found.worst = [WorstTask(**task) for task in value["worst"]]
            found.gaps = [str(gap) for gap in value["gaps"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise HarnessError(
                f"A message has no figures that can be read ({type(error).__name__}); "
                "run the same version in all load processes."
            ) from None
        return found


class RecentFigures:
    """The rows of the last `seconds`, up to twice as long, for a condition that ends a load."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._since = clock()
        self._before, self._now = Figures(), Figures()

    def record(self, kind: str, name: str, seconds: float, *, failed: bool = False) -> None:
        """Count a request of a row, as `Figures.record` does."""
        self._turn()
        self._now.record(kind, name, seconds, failed=failed)

    def figures(self) -> Figures:
        """The figures of these seconds."""
        self._turn()
        return merged((self._before, self._now))

    def _turn(self) -> None:
        now = self._clock()
        if now - self._since > self._seconds:
            self._before, self._now, self._since = self._now, Figures(), now


def merged(parts: Iterable[Figures]) -> Figures:
    """The figures of several processes together."""
    found = Figures()
    for part in parts:
        found.merge(part)
    return found
