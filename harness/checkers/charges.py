"""Is a task charged for its failures, and for nothing else?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.failed_runs import failed_runs, recorded_by_worker
from harness.history.fields import optional_whole, task_of
from harness.history.figures import counted
from harness.history.records import Entry, logs, records
from harness.history.runs import Run
from harness.history.statuses import CANCELED, FIRST

_FAILURES = "failures"


@keeps_settings
def charges() -> Checker:
    """The record counts the failures of handlers that were tried again: each one, and nothing else.

    Claims, for each activity with a log and with `failures` in its record: the count is at most the number of runs that
    failed and whose log goes back to queued under their fence, or to canceled, as a cancel was requested meanwhile; a
    kill, a shutdown or a lost lease is no failure. It is at least the number of those that went back to queued and
    whose worker recorded that itself, because no fault struck it, stopped it, or may have cost it the lease.
    (`protocol` compares the attempts.) UNKNOWN if no record has such a count. Does not claim that a task is given up at
    the right number.
    """

    def check(history: History) -> CheckResult:
        failed = failed_runs(history)
        found = {name: count for name, count in _counts(history).items() if name in logs(history)}
        if not found:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no record counts failures")
        examples, certain = [], 0
        for name, count in found.items():
            rows = logs(history)[name]
            again = [run for run in failed.get(name, ()) if _has(run.run, rows, FIRST, CANCELED)]
            own = sum(1 for run in again if _has(run.run, rows, FIRST) and recorded_by_worker(history, run))
            certain += own
            if not own <= count <= len(again):
                expected = str(own) if own == len(again) else f"{own} to {len(again)}"
                why = f"its record counts {counted(count, 'failure')}, {expected} of its handlers failed and ran again"
                kind = "uncharged" if count < own else "charged"
                examples.append(Counterexample(kind=kind, task=task_of(records(history)[name]), why=why))
        total = sum(found.values())
        summary = (
            f"{counted(total, 'failure')} of {counted(len(found), 'activity')}, each of a handler that failed"
        )
        if examples:
            wrong, one = counted(len(examples), "activity"), examples[0]
            summary = f"{wrong} with a wrong count; the first: task {one.task}: {one.why}"
        return CheckResult(
            verdict=Verdict.INVALID if examples else Verdict.VALID,
            summary=summary,
            figures={"failures": total, "certain": certain, "wrong": len(examples)},
            counterexamples=explain(history, examples),
        )

    return check


def recorded_charges(history: History) -> dict[str, Checker]:
    """The checker, for a history whose records count failures and that has a log."""
    counts = any(_FAILURES in op.value for op in history.where("record"))
    return {"charges": charges()} if counts and logs(history) else {}


def _counts(history: History) -> Mapping[str, int]:
    found = {name: optional_whole(op, _FAILURES) for name, op in records(history).items()}
    return {name: count for name, count in found.items() if count is not None}


def _has(run: Run, log: Sequence[Entry], *statuses: str) -> bool:
    """Whether the log has one of the statuses under the fence of the run."""
    return any(row.fence == run.fence and row.status in statuses for row in log)
