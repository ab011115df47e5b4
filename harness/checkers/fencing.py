"""Does the store hold the work of the one execution that had the last word?

A worker that was paused between its claim and its handler may begin late, and a zombie may finish late; both are legal
as long as nothing of theirs counts. So the order of beginnings proves nothing, and these four claims are what remains
true of every correct run, whatever was paused for however long:

1. No fence is given out twice: no two runs of one activity share a fence.
2. What is complete was executed under that very fence: each `complete`, in the log or in the record, has a run of the
   same activity and the same fence whose handler returned.
3. The store forgets no fence: the record's fence is not below the fence of any run. A counter that restarts, a terminal
   activity that is started again, and a zombie that overwrites the record all break this one.
4. There is one winner: at most one fence completes an activity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.history import History
from harness.history.reading import runs, whole
from harness.history.records import completions, logs, records, tasks


@dataclass(kw_only=True, slots=True)
class _Subject:
    """One activity: when its runs began and under which fences, and what the store says of it."""

    task: int
    begun: list[tuple[int, int]] = field(default_factory=list)
    finished: set[int] = field(default_factory=set)
    completed: frozenset[int] = frozenset()
    recorded: int | None = None


def fencing() -> Checker:
    """The four claims of this module, for every activity.

    `overtaken` counts runs that began after one with a higher fence had begun: legal for a worker that was held up
    after its claim, and worth a look where nothing was paused. UNKNOWN where no run, or nothing in the store, has a
    fence.
    """

    def check(history: History) -> CheckResult:
        all_runs = [run for run in runs(history) if run.fence is not None]
        shown = logs(history) or any(op.value.get("fence") is not None for op in history.where("record"))
        if not all_runs or not shown:
            whose = "the store shows" if all_runs else "the workers recorded"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=f"{whose} no fences")
        subjects = _subjects(history)
        looked_at = [subject for subject in subjects.values() if not _ran_once_and_well(subject)]
        findings = [finding for subject in looked_at for finding in _faults(subject)]
        overtaken = [finding for subject in looked_at for finding in _overtaken(subject)]
        summary = f"{len(all_runs)} runs of {len(subjects)} activities, each under its own fence"
        if findings:
            summary = (
                f"{len(findings)} breaches of fencing; the first: task {findings[0].task}: {findings[0].why}"
            )
        return CheckResult(
            verdict=Verdict.INVALID if findings else Verdict.VALID,
            summary=summary,
            figures={"runs": len(all_runs), "breaches": len(findings), "overtaken": len(overtaken)},
            counterexamples=explain(history, [*findings, *overtaken]),
        )

    return check


def _subjects(history: History) -> Mapping[str, _Subject]:
    subjects: dict[str, _Subject] = {}
    for run in runs(history):
        if run.fence is not None:
            subject = subjects.get(run.subject)
            if subject is None:
                subject = subjects[run.subject] = _Subject(task=run.task)
            subject.begun.append((run.begun.time, run.fence))
            if run.finished:
                subject.finished.add(run.fence)
    known = tasks(history)
    for name, fences in completions(history).items():
        if name not in subjects:
            subjects[name] = _Subject(task=known[name])
        subjects[name].completed = fences
    for name, record in records(history).items():
        if name in subjects and record.value.get("fence") is not None:
            subjects[name].recorded = whole(record, "fence")
    return subjects


def _ran_once_and_well(subject: _Subject) -> bool:
    """What is true of nearly every activity, seen at a glance: one run, complete and recorded under its fence."""
    if len(subject.begun) != 1:
        return False
    fence = subject.begun[0][1]
    return subject.recorded == fence and subject.finished == subject.completed == {fence}


def _faults(subject: _Subject) -> Iterator[Counterexample]:
    times = {fence for _, fence in subject.begun}
    if len(times) < len(subject.begun):
        for fence, often in Counter(fence for _, fence in subject.begun).items():
            if often > 1:
                yield _finding("shared", subject, f"{often} runs had the same fence {fence}")
    for fence in sorted(subject.completed - subject.finished):
        yield _finding("unearned", subject, f"complete under fence {fence}, but no handler finished under it")
    if len(subject.completed) > 1:
        fences = ", ".join(map(str, sorted(subject.completed)))
        yield _finding("two winners", subject, f"complete under the fences {fences}")
    highest = max(times, default=0)
    if subject.recorded is not None and subject.recorded < highest:
        why = f"a run had fence {highest}, but the record has fence {subject.recorded}"
        yield _finding("forgotten", subject, why)


def _overtaken(subject: _Subject) -> Iterator[Counterexample]:
    if len(subject.begun) < 2:
        return
    highest: int | None = None
    for _, fence in sorted(subject.begun):  # of those that began at one moment, none overtook the other
        if highest is not None and fence < highest:
            yield _finding(
                "overtaken", subject, f"the run under fence {fence} began after that under {highest}"
            )
        highest = fence if highest is None else max(highest, fence)


def _finding(kind: str, subject: _Subject, why: str) -> Counterexample:
    return Counterexample(kind=kind, task=subject.task, why=why)
