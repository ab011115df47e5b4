"""Does the store's log hold the progress that handlers reported, in order?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.failed_runs import failed_runs, recorded_by_worker
from harness.history.fields import subject_of, whole
from harness.history.figures import counted
from harness.history.records import Entry, completions, logs, tasks
from harness.history.statuses import COMPLETE, ERROR, FIRST

Key = tuple[str, int]
"""An activity and the fence of one attempt of it."""


@keeps_settings
def progress(*, minimum: int = 1) -> Checker:
    """Percentages never fall, and the log has what a handler reported, except for a suffix that a crash may lose.

    Claims, for each attempt (activity, fence) in the store's own log: percentages are between 0 and 100 and never
    fall. If handlers recorded their reports, the log has them in the order in which they were made, from the first
    on, none skipped and none added. It has all of them for an attempt that completed, and for one whose handler
    failed and whose worker recorded that itself, because no fault struck it or may have cost it the lease.
    (`transitions` claims that n counts from 0 without a gap.) UNKNOWN if fewer than `minimum` attempts have a
    percentage. Does not claim that the reports of a handler are correct.
    """

    def check(history: History) -> CheckResult:
        logged = _logged(history)
        if len(logged) < minimum:
            summary = f"{counted(len(logged), 'attempt', 'show')} a percentage, {minimum} are required"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary)
        reported, known = _reported(history), tasks(history)
        examples = [
            Counterexample(
                kind=kind, task=known[key[0]], why=why, more={"fence": key[1], "log": logged.get(key, [])}
            )
            for key, kind, why in _breaches(logged, reported, _ended(history))
        ]
        entries = sum(map(len, logged.values()))
        attempts = counted(len(logged), "attempt")
        summary = f"{counted(entries, 'percentage')} of {attempts}, none falls and none is missing"
        if not logged:
            summary = "no attempt has a percentage"
        if examples:
            summary = (
                f"{len(examples)} breaches of progress; the first: task {examples[0].task}: {examples[0].why}"
            )
        lost = sum(len(made) - len(_of_handler(logged.get(key, ()))) for key, made in reported.items())
        return CheckResult(
            verdict=Verdict.INVALID if examples else Verdict.VALID,
            summary=summary,
            figures={
                "percentages": entries,
                "reports": sum(map(len, reported.values())),
                "reports_lost": lost,
            },
            counterexamples=explain(history, examples),
        )

    return check


def _logged(history: History) -> Mapping[Key, Sequence[Entry]]:
    """By attempt, its entries with a percentage, in order."""
    found: dict[Key, list[Entry]] = {}
    for subject, entries in logs(history).items():
        for entry in entries:
            if entry.percentage is not None:
                found.setdefault((subject, entry.fence), []).append(entry)
    return found


def _reported(history: History) -> Mapping[Key, list[int]]:
    """By attempt, the reports of its handler, without activities that the store lacks: `witnesses` judges those."""
    found: dict[Key, list[int]] = {}
    known = tasks(history)
    for operation in history.where("report"):
        if (subject := subject_of(operation)) in known:
            key = (subject, whole(operation, "fence"))
            found.setdefault(key, []).append(whole(operation, "percentage"))
    return found


def _ended(history: History) -> Mapping[Key, str]:
    """By attempt that its own worker recorded as ended, how it ended."""
    found = {(name, fence): COMPLETE for name, fences in completions(history).items() for fence in fences}
    for name, failed in failed_runs(history).items():
        rows = {(row.fence, row.status) for row in logs(history).get(name, ())}
        for one in failed:
            fence = one.run.fence
            ended = {(fence, FIRST), (fence, ERROR)} & rows
            if fence is not None and ended and recorded_by_worker(history, one):
                found[name, fence] = "failed"
    return found


def _breaches(
    logged: Mapping[Key, Sequence[Entry]], reported: Mapping[Key, list[int]], ended: Mapping[Key, str]
) -> Iterator[tuple[Key, str, str]]:
    for key, entries in logged.items():
        highest = 0
        for _, n, _, percentage in entries:
            if percentage is None or not 0 <= percentage <= 100:
                yield key, "outside", f"row {n} under fence {key[1]} says {percentage} %"
            elif percentage < highest:
                yield key, "falling", f"row {n} under fence {key[1]} says {percentage} % after {highest} %"
            else:
                highest = percentage
    # Handlers that record their reports record all of them: entries of an attempt without any report are invented.
    for key in {**reported, **logged} if reported else ():
        made = reported.get(key, [])
        kept = _of_handler(logged.get(key, ()))
        if kept == made:
            continue
        if kept != made[: len(kept)]:
            yield key, "garbled", f"the log under fence {key[1]} has {kept} of the reports {made}"
        elif key in ended:
            yield key, "missing", f"{ended[key]} under fence {key[1]} with {kept} of the reports {made}"


def _of_handler(entries: Sequence[Entry]) -> list[int]:
    """The percentages that the handler reported, without those of the beginning (row 0) and of the end."""
    return [
        percentage
        for _, n, status, percentage in entries
        if n and status == "running" and percentage is not None
    ]
