"""What happened to one task, in sentences: the same bars, faults and records that the pictures show.

A task that several checkers name is described once; every counterexample refers to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.history import History, OperationType
from harness.history.fields import task_of
from harness.history.figures import counted
from harness.history.names import worker_name
from harness.report.picture_data import Bar, BarOutcome, FaultRow, PictureData
from harness.scenario import ScenarioRun

LONGEST = 12
"""The most runs in the story of one task; of more runs those in the middle are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """The story of one task.

    `named_by` are the checkers whose counterexamples name the task, each with the kind of the counterexample.
    `times` are the moments of the story in seconds since the start.
    """

    task: int
    activity: str | None
    sentences: tuple[str, ...]
    named_by: tuple[tuple[str, str], ...]
    times: tuple[float, ...]
    processes: tuple[str, ...]

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join(self.sentences)


def stories(run: ScenarioRun, data: PictureData) -> Mapping[int, Story]:
    """By task, the story of each task that a counterexample names, in the order of the checkers.

    A task without any operation in the history has none.
    """
    named: dict[int, list[tuple[str, str]]] = {}
    for checker, result in run.results.items():
        for member in result.counterexamples:
            if type(task := member.get("task")) is int:
                entry = (checker, str(member.get("kind") or ""))
                if entry not in named.setdefault(task, []):
                    named[task].append(entry)
    return {story.task: story for story in _stories(run.history, data, named)}


def story_of(run: ScenarioRun, data: PictureData, task: int) -> Story | None:
    """The story of any task, named or not; None if the history has no operation of it."""
    return next(_stories(run.history, data, {task: []}), None)


def _stories(
    history: History, data: PictureData, named: Mapping[int, Sequence[tuple[str, str]]]
) -> Iterator[Story]:
    if not named or data.problem is not None:
        return
    submitted, ran = _by_task(data.submissions, named), _by_task(data.runs, named)
    endings = _endings(history, named)
    for task, by in named.items():
        bars, runs = submitted.get(task, []), ran.get(task, [])
        if not bars and not runs and task not in endings:
            continue
        yield Story(
            task=task,
            activity=next((bar.activity for bar in (*bars, *runs) if bar.activity is not None), None),
            sentences=(
                *map(_submission, bars),
                *_runs(runs, data.faults),
                *([] if runs else ["It never started."]),
                *endings.get(task, ["The store has no record of it."] if _has_records(history) else []),
            ),
            named_by=tuple(by),
            times=tuple(sorted({time for bar in (*bars, *_shown(runs)) for time in (bar.start, bar.end)})),
            processes=tuple(dict.fromkeys(bar.process for bar in runs)),
        )


def _by_task(bars: Sequence[Bar], tasks: Collection[int]) -> dict[int, list[Bar]]:
    found: dict[int, list[Bar]] = {}
    for bar in bars:
        if bar.task in tasks:
            found.setdefault(bar.task, []).append(bar)
    return found


def _submission(bar: Bar) -> str:
    at = f"The client submitted it at {_at(bar.start)}"
    if not bar.recorded:
        return f"{at}; no answer is recorded."
    activity = "" if bar.activity is None else f" as activity {bar.activity}"
    how = {BarOutcome.OK: f"it was acknowledged{activity}", BarOutcome.FAIL: "it was refused"}
    return f"{at}; {how.get(bar.outcome, 'the outcome is unknown')} at {_at(bar.end)}."


def _shown(runs: Sequence[Bar]) -> Sequence[Bar]:
    half = LONGEST // 2
    return runs if len(runs) <= LONGEST else (*runs[:half], *runs[-half:])


def _runs(runs: Sequence[Bar], faults: Sequence[FaultRow]) -> Iterator[str]:
    for number, bar in enumerate(_shown(runs)):
        if number == LONGEST // 2 and len(runs) > LONGEST:
            yield f"{len(runs) - LONGEST} more runs are left out here."
        yield _run(bar, [fault for fault in faults if _hit(fault, bar)])
    if runs and not any(bar.recorded for bar in runs[-1:]):
        yield "It did not start again."


def _run(bar: Bar, hit: Sequence[FaultRow]) -> str:
    marks = [
        f"{word} {value}"
        for word, value in (("attempt", bar.attempt), ("fencing token", bar.fence))
        if value is not None
    ]
    begin = f"{bar.process} started it at {_at(bar.start)}"
    begin += f" ({', '.join(marks)})" if marks else ""
    faults = "".join(f"; {_named(fault)} hit the worker at {_at(fault.start)}" for fault in hit)
    if bar.recorded:
        how = {BarOutcome.OK: "the handler returned", BarOutcome.FAIL: "the handler failed"}
        return f"{begin}{faults}; {how.get(bar.outcome, 'the run ended with an unknown outcome')} at {_at(bar.end)}."
    if bar.killed_by is not None:
        return f"{begin}; {_named(bar.killed_by)} killed the worker at {_at(bar.killed_by.start)}."
    return f"{begin}{faults}; no end of the run is recorded."


def _hit(fault: FaultRow, bar: Bar) -> bool:
    return (
        fault is not bar.killed_by
        and not fault.failed
        and bar.start <= fault.start <= bar.end
        and any(worker_name(pid) == bar.process for pid in fault.pids)
    )


def _named(fault: FaultRow) -> str:
    return fault.name if fault.number is None else f"{fault.name} (fault {fault.number})"


def _at(time: float) -> str:
    return f"+{time:.3f} s"


def _has_records(history: History) -> bool:
    return next(history.where("record"), None) is not None


def _endings(history: History, tasks: Collection[int]) -> Mapping[int, list[str]]:
    """By task, sentences about its effects and its records in the store."""
    found: dict[int, list[str]] = {}
    taken: dict[int, dict[OperationType, int]] = {}
    for op in history.where("effect"):
        if (task := task_of(op)) in tasks:
            counts = taken.setdefault(task, {})
            counts[op.type] = counts.get(op.type, 0) + 1
    for task, counts in taken.items():
        for kind, word in ((OperationType.OK, "took"), (OperationType.FAIL, "refused")):
            if counts.get(kind):
                found.setdefault(task, []).append(
                    f"The outside store {word} {counted(counts[kind], 'effect')} of it."
                )
    for op in history.where("record"):
        if (task := task_of(op)) in tasks:
            found.setdefault(task, []).append(f"The store's final record says {op.value.get('status')}.")
    return found
