"""How long until a task that a fault had cut off was running again: a dot per task, a row per fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from harness.report.evidence import Bar, BarOutcome, Evidence
from harness.report.faults import FaultWindow
from harness.report.frame import LEFT, RIGHT, picture, time_axis
from harness.report.scales import Scale, quantile, seconds_text
from harness.report.svg import path, tag

ROW = 18.0
MAX_ROWS = 30
TOP = 22.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """One task that a fault cut off; `seconds` from the fault to its next start, None where there was none."""

    fault: int
    task: int | None
    seconds: float | None


def recoveries(evidence: Evidence) -> tuple[Recovery, ...]:
    """Every run that a fault cut off, with the time from the fault until its task ran in another process.

    It is 0 where the task ran elsewhere already; a task that had been completed before needs no recovery.
    """
    starts = {fault.number: fault.start for fault in evidence.faults}
    by_task: dict[int | None, list[Bar]] = {}
    for bar in evidence.runs:
        by_task.setdefault(bar.task, []).append(bar)
    found: list[Recovery] = []
    for bar in evidence.runs:
        if bar.killed_by is None:
            continue
        others = [other for other in by_task[bar.task] if other.process != bar.process]
        again = next((other.start for other in others if other.start >= bar.start), None)
        if again is not None:
            seconds = max(again - starts[bar.killed_by], 0.0)
            found.append(Recovery(fault=bar.killed_by, task=bar.task, seconds=seconds))
        elif not any(other.outcome is BarOutcome.OK for other in by_task[bar.task]):
            found.append(Recovery(fault=bar.killed_by, task=bar.task, seconds=None))
    return tuple(found)


def recovery_plot(evidence: Evidence) -> Markup | None:
    """The plot, or None where no fault cut any run off."""
    found = recoveries(evidence)
    times = [r.seconds for r in found if r.seconds is not None]
    faults = [f for f in evidence.faults if any(r.fault == f.number for r in found)]
    if not faults:
        return None
    scale = Scale(low=0.0, high=max(times, default=1.0) * 1.08 or 1.0, start=LEFT, stop=RIGHT - 90)
    rows = _rows(faults)
    bottom = TOP + len(rows) * ROW + 4
    return picture(
        bottom + 24,
        "Recovery time of every task that a fault cut off",
        f"{len(found)} tasks, {len(found) - len(times)} of them never started again.",
        time_axis(scale, TOP - 4, bottom),
        *(_row(name, members, found, scale, TOP + i * ROW) for i, (name, members) in enumerate(rows)),
        *_marks(times, scale, bottom),
    )


def _rows(faults: Sequence[FaultWindow]) -> list[tuple[str, set[int]]]:
    if len(faults) <= MAX_ROWS:
        return [(f"{fault.number} {fault.name}", {fault.number}) for fault in faults]
    names = dict.fromkeys(fault.name for fault in faults)
    return [(f"all {name}", {f.number for f in faults if f.name == name}) for name in names]


def _row(name: str, members: set[int], found: Sequence[Recovery], scale: Scale, top: float) -> Markup:
    middle = top + ROW / 2
    short = name if len(name) <= 19 else name[:18] + "…"
    parts = [
        tag("text", tag("title", name), short, x=LEFT - 10, y=middle + 4, class_="lane-name end"),
        tag("path", d=path(("M", LEFT, middle), ("L", scale.stop, middle)), class_="base"),
    ]
    lost = [r for r in found if r.fault in members and r.seconds is None]
    parts += [_dot(r, scale, middle) for r in found if r.fault in members and r.seconds is not None]
    if lost:
        tasks = ", ".join(str(r.task) for r in lost)
        parts.append(
            tag(
                "text",
                tag("title", f"never started again: {tasks}"),
                f"✕ {len(lost)} never again",
                x=RIGHT,
                y=middle + 4,
                class_="never end",
            )
        )
    return tag("g", *parts)


def _dot(recovery: Recovery, scale: Scale, middle: float) -> Markup:
    title = (
        f"task {recovery.task}: running again {seconds_text(recovery.seconds)} after fault {recovery.fault}"
    )
    return tag(
        "g",
        tag("title", title),
        tag("circle", cx=scale(recovery.seconds or 0.0), cy=middle, r=4, class_="dot"),
        class_="recovery",
        data_task=recovery.task,
    )


def _marks(times: Sequence[float], scale: Scale, bottom: float) -> list[Markup]:
    p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
    if p50 is None or p99 is None:
        return []
    close = scale(p99) - scale(p50) < 150
    marks = [("p50", p50, "end" if close else "mid"), ("p99", p99, "begin" if close else "mid")]
    return [
        tag(
            "g",
            tag(
                "path",
                d=path(("M", scale(value), 16), ("L", scale(value), bottom)),
                class_=f"quantile {name}",
            ),
            tag("text", f"{name} {seconds_text(value)}", x=scale(value), y=11, class_=f"tick strong {side}"),
        )
        for name, value, side in marks
    ]
