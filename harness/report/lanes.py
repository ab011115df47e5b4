"""The lanes of the timeline: a lane per worker of the pools, a row per slot, whatever process fills it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.picture_data import Bar, WorkerLane


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """A worker of the pools: `workers` are its processes, each the replacement of the one before.

    `slots` are its concurrent runs: a row per slot, in which no bar overlaps another. A process begins with the first
    slot and uses as many as it runs at the same time.
    """

    workers: tuple[WorkerLane, ...]
    slots: tuple[tuple[Bar, ...], ...]


def lanes(workers: Sequence[WorkerLane], runs: Sequence[Bar]) -> tuple[Lane, ...]:
    """The lanes from top to bottom, by the start of their first process.

    A new process continues the lane whose process ended first, of those that ended before it began.
    """
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
        Lane(workers=tuple(group), slots=_slots([own[w.process] for w in group])) for group in groups
    )


def _slots(by_process: Sequence[Sequence[Bar]]) -> tuple[tuple[Bar, ...], ...]:
    packed = [pack(bars) for bars in by_process]
    return tuple(
        tuple(bar for slots in packed if len(slots) > number for bar in slots[number])
        for number in range(max(map(len, packed)))
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
