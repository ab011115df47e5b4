"""Does the store hold the result of one execution, the one with the accepted fencing token?

A worker that was paused between its claim and its handler may begin late, and a worker whose lease expired may finish
late. Both are legal as long as the store refuses what they write. So the order in which runs begin proves nothing. Four
claims hold for every correct run, however long any process was paused:

1. No fence is given out twice: no two runs of one activity share a fence.
2. A completed activity was executed under the completing fence: each `complete`, in the log or in the record, has a run
   of the same activity and the same fence whose handler returned.
3. The store never loses a fence: the record's fence is not below the fence of any run. A counter that restarts, a
   terminal activity that is started again, and an expired worker that overwrites the record all break this claim.
4. At most one fence completes an activity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.fields import optional_whole
from harness.history.figures import counted
from harness.history.records import completions, logs, records, tasks
from harness.history.runs import runs


@dataclass(kw_only=True, slots=True)
class _Subject:
    """One activity: its runs with their fences, and the store's evidence of it."""

    task: int
    begun: list[tuple[int, int]] = field(default_factory=list)
    finished: set[int] = field(default_factory=set)
    completed: frozenset[int] = frozenset()
    recorded: int | None = None


@keeps_settings
def fencing() -> Checker:
    """The four claims of this module, for every activity.

    `overtaken` counts runs that began after a run with a higher fence: legal for a worker that was delayed after its
    claim, and suspicious if nothing was paused. UNKNOWN if no run has a fence, or nothing in the store has one.
    """

    def check(history: History) -> CheckResult:
        all_runs = [run for run in runs(history) if run.fence is not None]
        shown = logs(history) or any(op.value.get("fence") is not None for op in history.where("record"))
        if not all_runs or not shown:
            where = "the store shows" if all_runs else "the workers recorded"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=f"{where} no fences")
        subjects = _subjects(history)
        looked_at = [subject for subject in subjects.values() if not _is_one_complete_run(subject)]
        examples = [example for subject in looked_at for example in _breaches(subject)]
        overtaken = [example for subject in looked_at for example in _overtaken(subject)]
        summary = f"{counted(len(all_runs), 'run')} of {counted(len(subjects), 'activity')}, each under its own fence"
        if examples:
            summary = (
                f"{len(examples)} breaches of fencing; the first: task {examples[0].task}: {examples[0].why}"
            )
        return CheckResult(
            verdict=Verdict.INVALID if examples else Verdict.VALID,
            summary=summary,
            figures={"runs": len(all_runs), "breaches": len(examples), "overtaken": len(overtaken)},
            counterexamples=explain(history, [*examples, *overtaken]),
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
        if name in subjects:
            subjects[name].recorded = optional_whole(record, "fence")
    return subjects


def _is_one_complete_run(subject: _Subject) -> bool:
    """The usual case, decided quickly: one run, complete and recorded under its fence."""
    if len(subject.begun) != 1:
        return False
    fence = subject.begun[0][1]
    return subject.recorded == fence and subject.finished == subject.completed == {fence}


def _breaches(subject: _Subject) -> Iterator[Counterexample]:
    times = {fence for _, fence in subject.begun}
    if len(times) < len(subject.begun):
        for fence, often in Counter(fence for _, fence in subject.begun).items():
            if often > 1:
                yield _example("shared", subject, f"{counted(often, 'run')} had the same fence {fence}")
    for fence in sorted(subject.completed - subject.finished):
        yield _example("unearned", subject, f"complete under fence {fence}, but no handler finished under it")
    if len(subject.completed) > 1:
        fences = ", ".join(map(str, sorted(subject.completed)))
        yield _example("two winners", subject, f"complete under the fences {fences}")
    highest = max(times, default=0)
    if subject.recorded is not None and subject.recorded < highest:
        why = f"a run had fence {highest}, but the record has fence {subject.recorded}"
        yield _example("forgotten", subject, why)


def _overtaken(subject: _Subject) -> Iterator[Counterexample]:
    if len(subject.begun) < 2:
        return
    highest: int | None = None
    for _, fence in sorted(subject.begun):  # runs that began at the same time did not overtake each other
        if highest is not None and fence < highest:
            yield _example(
                "overtaken", subject, f"the run under fence {fence} began after that under {highest}"
            )
        highest = fence if highest is None else max(highest, fence)


def _example(kind: str, subject: _Subject, why: str) -> Counterexample:
    return Counterexample(kind=kind, task=subject.task, why=why)
