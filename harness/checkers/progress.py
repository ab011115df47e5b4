"""Does the store's log hold the progress that the handlers reported, in order?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from harness.checker import Checker, CheckResult, Verdict
from harness.checkers._reading import completions, subject_of, task_of, whole
from harness.checkers._story import Finding, tell
from harness.history import History

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
        logged, tasks = _logged(history)
        if len(logged) < minimum:
            summary = f"{len(logged)} attempts show a percentage, {minimum} are needed to say anything"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary)
        reported = _reported(history, tasks)
        findings = [
            Finding(
                kind=kind, task=tasks[key[0]], why=why, more={"fence": key[1], "log": logged.get(key, [])}
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
            counterexamples=tell(history, findings),
        )

    return check


def _logged(history: History) -> tuple[Mapping[Key, list[tuple[int, int, str]]], dict[str, int]]:
    """Per attempt its entries with a percentage as (n, percentage, status), in the order of n."""
    found: dict[Key, list[tuple[int, int, str]]] = {}
    tasks: dict[str, int] = {}
    for operation in history.where("transition"):
        if operation.value.get("percentage") is not None:
            name, fence = subject_of(operation), whole(operation, "fence")
            entry = (
                whole(operation, "n"),
                whole(operation, "percentage"),
                str(operation.value.get("status")),
            )
            found.setdefault((name, fence), []).append(entry)
            tasks[name] = task_of(operation)
    for entries in found.values():
        entries.sort()
    return found, tasks


def _reported(history: History, tasks: dict[str, int]) -> Mapping[Key, list[int]]:
    found: dict[Key, list[int]] = {}
    for operation in history.where("report"):
        name = subject_of(operation)
        found.setdefault((name, whole(operation, "fence")), []).append(whole(operation, "percentage"))
        tasks.setdefault(name, task_of(operation))
    return found


def _faults(
    logged: Mapping[Key, Sequence[tuple[int, int, str]]],
    reported: Mapping[Key, Sequence[int]],
    completed: Mapping[str, frozenset[int]],
) -> Iterator[tuple[Key, str, str]]:
    for key, entries in logged.items():
        for (_, before, _), (n, after, _) in pairwise(entries):
            if after < before:
                yield key, "falling", f"row {n} under fence {key[1]} says {after} % after {before} %"
        for n, percentage, _ in entries:
            if not 0 <= percentage <= 100:
                yield key, "outside", f"row {n} under fence {key[1]} says {percentage} %"
    for key, made in reported.items():
        kept, complete = _mine(logged.get(key, ())), key[1] in completed.get(key[0], ())
        if kept != list(made[: len(kept)]):
            yield key, "garbled", f"the log under fence {key[1]} has {kept} of the reports {list(made)}"
        elif complete and len(kept) < len(made):
            yield key, "missing", f"complete under fence {key[1]} with {kept} of the reports {list(made)}"


def _mine(entries: Sequence[tuple[int, int, str]]) -> list[int]:
    """The percentages that a handler reported: neither that of the beginning, which is row 0, nor that of the end."""
    return [percentage for n, percentage, status in entries if n > 0 and status == "running"]
