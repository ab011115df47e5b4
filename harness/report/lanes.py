"""The order of workers in the timeline: a lane per process, a replacement right below the worker it replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.picture_data import Bar, WorkerLane


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One worker with its bars in rows without overlap; workers of one `group` replaced each other in turn."""

    worker: WorkerLane
    group: int
    rows: tuple[tuple[Bar, ...], ...]


def lanes(workers: Sequence[WorkerLane], runs: Sequence[Bar]) -> tuple[Lane, ...]:
    """The lanes from top to bottom: by the start of the first worker of a group, then by start within the group."""
    groups: list[list[WorkerLane]] = []
    for worker in sorted(workers, key=lambda w: w.first_seen):
        vacant = [g for g in groups if g[-1].gone and g[-1].ended <= worker.first_seen]
        if vacant:
            min(vacant, key=lambda g: g[-1].ended).append(worker)
        else:
            groups.append([worker])
    own: dict[str, list[Bar]] = {worker.process: [] for worker in workers}
    for bar in runs:
        own[bar.process].append(bar)
    return tuple(
        Lane(worker=worker, group=n, rows=pack(own[worker.process]))
        for n, group in enumerate(groups)
        for worker in group
    )


def pack(bars: Sequence[Bar]) -> tuple[tuple[Bar, ...], ...]:
    """Put bars into as few rows as needed so that none overlaps another, each into the first free row."""
    rows: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda b: b.start):
        free = next((row for row in rows if row[-1].end <= bar.start), None)
        if free is None:
            rows.append([bar])
        else:
            free.append(bar)
    return tuple(tuple(row) for row in rows) or ((),)


def place(spans: Sequence[tuple[float, float]], rows: int, gap: float = 4.0) -> list[int | None]:
    """A row for each label `(left, right)` so that labels keep `gap` pixels apart; None if all rows are full."""
    ends = [float("-inf")] * rows
    placed: list[int | None] = []
    for left, right in spans:
        row = next((i for i, end in enumerate(ends) if end + gap <= left), None)
        if row is not None:
            ends[row] = right
        placed.append(row)
    return placed
