"""Trace validation: is what the store and the workers recorded a run of the model of the protocol?

The state machines of the tests predict with the same model (`harness.history.activity_model`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation
from harness.history.activity_model import ActivityModel
from harness.history.ending import open_end
from harness.history.fields import optional_whole
from harness.history.figures import NANOSECONDS, counted
from harness.history.lost_leases import lease_seconds
from harness.history.promises import restorations
from harness.history.records import Entry, logs, records, tasks
from harness.history.runs import Run, runs
from harness.history.statuses import FIRST, RUNNING

_SHOWN = 20
"""The most rows of a log that a counterexample shows."""


class _Forbidden(NamedTuple):
    """The first step of an activity that the model forbids, the state before it, and why."""

    step: str
    state: str
    why: str
    at_the_end: bool = False


@keeps_settings
def protocol(*, attempts: bool = False) -> Checker:
    """The log of each activity is a trace of the model, and the runs of workers and the final record fit into it.

    Claims, for each activity with a log: the model allows each row, in the order of (fence, n), in the state that the
    rows before it leave. Each run is under a fence that the log started, and the attempt that its worker recorded is
    the one that the model counts. The record has the status and the fence of the last state, and its attempt, if the
    workers recorded theirs or `attempts` is set; no record is without a log. A counterexample is the first step of an
    activity that is forbidden, with the `state` before it. UNKNOWN without any log, and if the run ended too early
    (`open_end`) and only records differ. A run that began while the record was set back to a backup, or at most one
    lease later, may lack its start. Does not claim that an activity ended (`transitions`), and nothing about the order
    of activities among each other.
    """

    def check(history: History) -> CheckResult:
        found = logs(history)
        if not found:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the store has no log to replay")
        wrong = dict(_replayed(history, attempts=attempts))
        known = tasks(history)
        steps = sum(map(len, found.values())) + len(runs(history)) + len(records(history))
        figures = {"activities": len(known), "steps": steps, "forbidden": len(wrong)}
        summary = f"{counted(steps, 'step')} of {counted(len(known), 'activity')}, as the model of the protocol allows"
        why = open_end(history) if wrong and all(one.at_the_end for one in wrong.values()) else None
        if wrong:
            first = next(iter(wrong.values()))
            summary = (
                f"the model of the protocol forbids a step of {counted(len(wrong), 'activity')}; the first: "
                f"{first.step} in the state {first.state}: {first.why}"
            )
            summary += "" if why is None else f", which is not judged: {why}"
        examples = [
            Counterexample(
                kind="forbidden",
                task=known[subject],
                why=f"{one.step} in the state {one.state}: {one.why}",
                more={"step": one.step, "state": one.state, "log": _shown(found.get(subject, ()))},
            )
            for subject, one in wrong.items()
        ]
        return CheckResult(
            verdict=Verdict.of(wrong=bool(wrong) and why is None, unsure=bool(wrong)),
            summary=summary,
            figures=figures,
            counterexamples=explain(history, examples),
        )

    return check


def _replayed(history: History, *, attempts: bool) -> Iterator[tuple[str, _Forbidden]]:
    """By activity, the first forbidden step."""
    began: dict[str, list[Run]] = {}
    set_back = _set_back(history)
    for run in runs(history):
        if run.fence is not None and not _lost_its_start(history, run, set_back):
            began.setdefault(run.subject, []).append(run)
    recorded = records(history)
    for subject, rows in logs(history).items():
        found = _first_forbidden(rows, began.get(subject, ()), recorded.get(subject), attempts=attempts)
        if found is not None:
            yield subject, found
    for subject in recorded.keys() - logs(history).keys():
        step = f"the record, {recorded[subject].value.get('status')}"
        yield subject, _Forbidden(step, "not enqueued", "it has no log", at_the_end=True)


def _set_back(history: History) -> Sequence[tuple[int, int]]:
    """The spans of time in which a start could be recorded that a restored backup lacks (nanoseconds)."""
    margin = round(lease_seconds(history) * NANOSECONDS)
    return [(fault.start, fault.until + margin) for fault in restorations(history)]


def _lost_its_start(history: History, run: Run, set_back: Sequence[tuple[int, int]]) -> bool:
    if not any(start <= run.begun.time <= end for start, end in set_back):
        return False
    return not _is_started(logs(history).get(run.subject, ()), run.fence)


def _is_started(rows: Iterable[Entry], fence: int | None) -> bool:
    return any(row.status == RUNNING and row.fence == fence for row in rows)


def _first_forbidden(
    rows: Sequence[Entry], began: Sequence[Run], record: Operation | None, *, attempts: bool
) -> _Forbidden | None:
    first = rows[0]
    if first.status != FIRST or first.n:
        return _Forbidden(_row(first), "not enqueued", f"a log begins with {FIRST}, row 0")
    model = ActivityModel(fence=first.fence)
    states = {first.fence: (0, str(model))} if began else {}
    for entry in rows[1:]:
        before = str(model) if began else ""
        if (why := model.replay(entry)) is not None:
            return _Forbidden(_row(entry), before or str(model), why)
        if began and entry.status == RUNNING:
            states.setdefault(entry.fence, (model.attempt, before))
    counts = attempts
    for run in began:
        if (found := _wrong_run(run, rows, states)) is not None:
            return found
        counts = counts or run.attempt is not None
    return None if record is None else _wrong_record(record, model, counts=counts)


def _wrong_run(run: Run, rows: Iterable[Entry], states: Mapping[int, tuple[int, str]]) -> _Forbidden | None:
    """What is wrong with the beginning of a run; its state is that of the rows up to its fence."""
    fence, step = run.fence or 0, f"the run of {run.process} under fence {run.fence}"
    if not _is_started(rows, fence):
        model = ActivityModel()
        for row in rows:
            if row.fence <= fence and (row.fence, row.n) != (0, 0):
                model.replay(row)
        return _Forbidden(step, str(model), "no start was recorded under this fence")
    attempt, state = states[fence]
    if run.attempt is not None and run.attempt != attempt and fence:
        return _Forbidden(step, state, f"it is attempt {attempt}, and its worker recorded {run.attempt}")
    return None


def _wrong_record(record: Operation, model: ActivityModel, *, counts: bool) -> _Forbidden | None:
    """How the final record differs from the last state."""
    status, fence = record.value.get("status"), optional_whole(record, "fence")
    if status != model.status or fence not in (None, model.fence):
        return _Forbidden(
            f"the record, {status} under fence {fence}", str(model), "it is another state", True
        )
    attempt = optional_whole(record, "attempt") if counts and model.fence else None
    if attempt not in (None, model.attempt):
        return _Forbidden(f"the record, with attempt {attempt}", str(model), "it counts other starts", True)
    return None


def _row(entry: Entry) -> str:
    return f"{entry.status} under fence {entry.fence}, row {entry.n},"


def _shown(rows: Sequence[Entry]) -> list[str]:
    shown = [f"{row.status} ({row.fence}, {row.n})" for row in rows[:_SHOWN]]
    return [*shown, f"... {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else shown
