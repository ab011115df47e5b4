"""Did every activity pass only through legal statuses to a terminal one?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, Operation
from harness.history.activity_model import follows
from harness.history.ending import open_end
from harness.history.fields import whole
from harness.history.figures import counted
from harness.history.records import Entry, logs, records, tasks
from harness.history.statuses import FIRST, TERMINAL

_Logs = Mapping[str, Sequence[Entry]]

AT_THE_END = frozenset({"unfinished", "record"})
"""The kinds of breaches that depend on the end of the run."""


@keeps_settings
def transitions(*, allow_queued: bool = False) -> Checker:
    """Every activity's log, in the order of (fence, n), is a legal path to a terminal status.

    Claims, for every activity with a log or a record in the store: the log begins with `queued`; each row follows the
    one before by the statuses of the model (`follows`); a row that repeats the status under the same fence is a
    progress entry, except after a terminal status, which nothing follows; n counts 0, 1, 2... under each fence; the
    last status is terminal (or `queued`, if `allow_queued`). If the history has `record` operations, the record agrees
    with the last row and has no fence below it. UNKNOWN without any `transition`, and if the run ended too early
    (`open_end`) and all breaches are of a kind in `AT_THE_END`. Does not claim that the log is correct: `fencing`,
    `delivery` and `protocol` compare the store's evidence with that of the workers.
    """

    def check(history: History) -> CheckResult:
        found = logs(history)
        if not found:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="the store has no log of any transition")
        known = tasks(history)
        examples = [
            Counterexample(kind=kind, task=known[subject], why=why, more=_more(subject, found))
            for subject, rows in found.items()
            for kind, why in _breaches(rows, allow_queued)
        ]
        examples += [
            Counterexample(kind="record", task=known[subject], why=why, more=_more(subject, found))
            for subject, why in _disagreements(found, records(history))
        ]
        return _result(history, found, len(known), examples)

    return check


def illegal_paths(history: History) -> list[Counterexample]:
    """The breaches of a store that was read while tasks run: those of `transitions` but that a task has not ended."""
    found, known = logs(history), tasks(history)
    breaches = [
        *((subject, kind, why) for subject, rows in found.items() for kind, why in _breaches(rows, True)),
        *((subject, "record", why) for subject, why in _disagreements(found, records(history))),
    ]
    return [
        Counterexample(kind=kind, task=known[subject], why=why, more=_more(subject, found))
        for subject, kind, why in breaches
        if kind != "unfinished"
    ]


def _result(history: History, found: _Logs, activities: int, examples: list[Counterexample]) -> CheckResult:
    rows = sum(map(len, found.values()))
    illegal = len({example.more["activity"] for example in examples})
    figures = {"activities": activities, "transitions": rows, "illegal": illegal}
    why = open_end(history)
    if examples and why is not None and all(example.kind in AT_THE_END for example in examples):
        return CheckResult(
            verdict=Verdict.UNKNOWN,
            summary=f"{illegal} of {counted(activities, 'activity')} had not ended, which is not judged: {why}",
            figures=figures | {"illegal": 0},
            counterexamples=explain(history, examples),
        )
    if examples:
        summary = f"{illegal} of {counted(activities, 'activity')} took an illegal path; the first: {examples[0].why}"
        return CheckResult(
            verdict=Verdict.INVALID,
            summary=summary,
            figures=figures,
            counterexamples=explain(history, examples),
        )
    summary = f"{counted(rows, 'transition')} of {counted(activities, 'activity')}, all legal"
    return CheckResult(verdict=Verdict.VALID, summary=summary, figures=figures)


def _breaches(rows: Sequence[Entry], allow_queued: bool) -> Iterator[tuple[str, str]]:
    first, last = rows[0], rows[-1]
    if first.status != FIRST:
        yield "first", f"the log begins with {first.status}, not with {FIRST}"
    if first.n != 0:
        yield "gap", f"the log under fence {first.fence} begins with row {first.n}, not with row 0"
    for before, after in pairwise(rows):
        same_fence = before.fence == after.fence
        if after.n != (before.n + 1 if same_fence else 0) or not _legal(before, after):
            yield from _step(before, after)
    if last.status not in TERMINAL and not (allow_queued and last.status == FIRST):
        yield "unfinished", f"the log ends with {last.status}"


def _step(before: Entry, after: Entry) -> Iterator[tuple[str, str]]:
    same_fence = before.fence == after.fence
    expected = before.n + 1 if same_fence else 0
    if same_fence and after.n == before.n:
        yield "repeated", f"row {after.n} under fence {after.fence} exists twice"
    elif after.n != expected:
        yield "gap", f"the log under fence {after.fence} has row {after.n} where row {expected} belongs"
    if not _legal(before, after):
        yield (
            "illegal",
            f"{before.status} (fence {before.fence}) was followed by {after.status} (fence {after.fence})",
        )


def _legal(before: Entry, after: Entry) -> bool:
    return follows(before.status, before.fence, after.status, after.fence)


def _disagreements(found: _Logs, recorded: Mapping[str, Operation]) -> Iterator[tuple[str, str]]:
    if not recorded:
        return
    for subject, rows in found.items():
        record, last = recorded.get(subject), rows[-1]
        if record is None:
            yield subject, f"the log ends with {last.status}, but the store has no record"
        elif record.value.get("status") != last.status:
            yield subject, f"the record says {record.value.get('status')}, its log ends with {last.status}"
        elif record.value.get("fence") is not None and whole(record, "fence") < last.fence:
            yield subject, f"the record's fence fell to {record.value['fence']}, its log reached {last.fence}"
    for subject, record in recorded.items():
        if subject not in found:
            yield subject, f"the record says {record.value.get('status')}, but it has no log at all"


def _more(subject: str, found: _Logs) -> Mapping[str, object]:
    log = [f"{row.status} ({row.fence}, {row.n})" for row in found.get(subject, ())]
    return {"activity": subject, "log": log}
