"""Is the result that anybody can read the one of the accepted run?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation
from harness.history.fields import optional_whole, subject_of, task_of
from harness.history.figures import counted
from harness.history.names import RESULT
from harness.history.promises import promises
from harness.history.records import records
from harness.history.runs import runs
from harness.history.statuses import COMPLETE

_RESULT = "result"


@keeps_settings
def results() -> Checker:
    """The record of a complete activity, and each other place that shows its result, has that of the accepted run.

    Claims: the result in a complete record is what the handler returned under the fence of that record. A record with
    any other status has none. Each `result` operation (a result that a caller can read elsewhere, as in the queue)
    belongs to a complete activity and is the same. UNKNOWN if no run recorded what it returned, or if neither a record
    nor another place shows a result. Does not claim that a result can be read at all outside of the record: it may have
    expired.
    """

    def check(history: History) -> CheckResult:
        returned = _returned(history)
        if not returned:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no run recorded what it returned")
        recorded = records(history)
        shown = list(history.where(RESULT))
        examples = [*_of_records(recorded, returned), *_elsewhere(shown, recorded, returned)]
        showing = [one for one in recorded.values() if _RESULT in one.value]
        if not showing and not shown:
            return CheckResult(
                verdict=Verdict.UNKNOWN, summary="neither a record nor another place shows a result"
            )
        complete = sum(1 for one in showing if one.value.get("status") == COMPLETE)
        summary = f"{counted(complete, 'record')} and {len(shown)} shown results, each of the accepted run"
        if examples:
            wrong, one = counted(len(examples), "result"), examples[0]
            summary = f"{wrong} of no accepted run; the first: task {one.task}: {one.why}"
        return CheckResult(
            verdict=Verdict.INVALID if examples else Verdict.VALID,
            summary=summary,
            figures={
                "returned": len(returned),
                "complete": complete,
                "shown": len(shown),
                "wrong": len(examples),
            },
            counterexamples=explain(history, examples),
        )

    return check


def recorded_results(history: History) -> dict[str, Checker]:
    """The checker, for a history whose runs say what they returned, of a system that promises or shows results."""
    if not any(_RESULT in op.value for op in history.where("run")):
        return {}
    made = promises(history)
    promised = made is not None and made.results
    shown = any(_RESULT in op.value for op in history.where("record")) or any(history.where(RESULT))
    return {"results": results()} if promised or shown else {}


def _returned(history: History) -> Mapping[tuple[str, int | None], Any]:
    """By activity and fence, what the handler returned."""
    return {
        (run.subject, run.fence): run.ended.value[_RESULT]
        for run in runs(history)
        if run.finished and run.ended is not None and _RESULT in run.ended.value
    }


def _of_records(
    recorded: Mapping[str, Operation], returned: Mapping[tuple[str, int | None], Any]
) -> Iterator[Counterexample]:
    for subject, record in recorded.items():
        if _RESULT not in record.value:
            continue
        found, status = record.value[_RESULT], record.value.get("status")
        fence = optional_whole(record, "fence")
        if status != COMPLETE and found is not None:
            why = f"its record says {status} and has the result {found!r}"
            yield Counterexample(kind="kept", task=task_of(record), why=why)
        elif status == COMPLETE and (subject, fence) in returned and found != returned[subject, fence]:
            why = f"complete under fence {fence}, whose run returned {returned[subject, fence]!r}, but it has {found!r}"
            yield Counterexample(kind="wrong", task=task_of(record), why=why)


def _elsewhere(
    shown: list[Operation],
    recorded: Mapping[str, Operation],
    returned: Mapping[tuple[str, int | None], Any],
) -> Iterator[Counterexample]:
    for one in shown:
        subject, found = subject_of(one), one.value.get(_RESULT)
        record = recorded.get(subject)
        if record is None:
            continue  # `delivery` and `witnesses` judge activities without a record
        status, fence = record.value.get("status"), optional_whole(record, "fence")
        if status != COMPLETE:
            why = f"a caller reads the result {found!r}, but its record says {status}"
            yield Counterexample(kind="early", task=task_of(record), why=why)
        elif (subject, fence) in returned and found != returned[subject, fence]:
            why = (
                f"a caller reads the result {found!r}, but it is complete under fence {fence}, whose run returned "
                f"{returned[subject, fence]!r}"
            )
            yield Counterexample(kind="refused", task=task_of(record), why=why)
