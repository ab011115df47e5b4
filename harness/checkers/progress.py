"""Does the store's log hold the progress that the handlers reported, in order?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.history import History
from harness.history.reading import subject_of, whole
from harness.history.records import Entry, completions, logs, tasks

Key = tuple[str, int]
"""An activity and the fence of one attempt of it."""


def progress(*, minimum: int = 1) -> Checker:
    """Percentages only rise, and what a handler reported is in the log, up to a suffix that its death may cost.

    Claims, for each attempt (activity, fence) in the store's own log: percentages are between 0 and 100 and never fall;
    and where handlers recorded their reports, the log has them in the order in which they were made, from the first on,
    none skipped and none added; of an attempt that completed it has all of them. (That n counts from 0 without a gap is
    the claim of `transitions`.) UNKNOWN where fewer than `minimum` attempts have a percentage. Does not claim that a
    handler reported what it did.
    """

    def check(history: History) -> CheckResult:
        logged = _logged(history)
        if len(logged) < minimum:
            summary = f"{len(logged)} attempts show a percentage, {minimum} are needed to say anything"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary)
        reported, known = _reported(history), tasks(history)
        findings = [
            Counterexample(
                kind=kind, task=known[key[0]], why=why, more={"fence": key[1], "log": logged.get(key, [])}
            )
            for key, kind, why in _faults(logged, reported, completions(history))
        ]
        entries = sum(map(len, logged.values()))
        summary = f"{entries} percentages of {len(logged)} attempts, none falls and none is missing"
        if not logged:
            summary = "no attempt has a percentage"
        if findings:
            summary = (
                f"{len(findings)} breaches of progress; the first: task {findings[0].task}: {findings[0].why}"
            )
        lost = sum(len(made) - len(_mine(logged.get(key, ()))) for key, made in reported.items())
        return CheckResult(
            verdict=Verdict.INVALID if findings else Verdict.VALID,
            summary=summary,
            figures={
                "percentages": entries,
                "reports": sum(map(len, reported.values())),
                "reports_lost": lost,
            },
            counterexamples=explain(history, findings),
        )

    return check


def _logged(history: History) -> Mapping[Key, Sequence[Entry]]:
    """Per attempt its entries with a percentage, in their order."""
    found: dict[Key, list[Entry]] = {}
    for subject, entries in logs(history).items():
        for entry in entries:
            if entry.percentage is not None:
                found.setdefault((subject, entry.fence), []).append(entry)
    return found


def _reported(history: History) -> Mapping[Key, list[int]]:
    """Per attempt what its handler reported; of what the store has never heard `witnesses` speaks."""
    found: dict[Key, list[int]] = {}
    known = tasks(history)
    for operation in history.where("report"):
        if (subject := subject_of(operation)) in known:
            key = (subject, whole(operation, "fence"))
            found.setdefault(key, []).append(whole(operation, "percentage"))
    return found


def _faults(
    logged: Mapping[Key, Sequence[Entry]],
    reported: Mapping[Key, list[int]],
    completed: Mapping[str, frozenset[int]],
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
    # Handlers that record what they report record all of it: entries of an attempt that recorded none are made up.
    for key in {**reported, **logged} if reported else ():
        made = reported.get(key, [])
        kept, complete = _mine(logged.get(key, ())), key[1] in completed.get(key[0], ())
        if kept == made:
            continue
        if kept != made[: len(kept)]:
            yield key, "garbled", f"the log under fence {key[1]} has {kept} of the reports {made}"
        elif complete:
            yield key, "missing", f"complete under fence {key[1]} with {kept} of the reports {made}"


def _mine(entries: Sequence[Entry]) -> list[int]:
    """The percentages that a handler reported: neither that of the beginning, which is row 0, nor that of the end."""
    return [
        percentage
        for _, n, status, percentage in entries
        if n and status == "running" and percentage is not None
    ]
