"""Did a delayed task begin before it was due?"""

from __future__ import annotations

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.counterexample import Counterexample, explain
from harness.checkers.settings import keeps_settings
from harness.history import History, InjectionKind
from harness.history.faults import injected_faults
from harness.history.fields import optional_seconds
from harness.history.figures import NANOSECONDS, counted, quantile, seconds
from harness.history.runs import runs
from harness.history.submissions import submissions

EARLY_SECONDS = 0.05
"""How early a delayed task may begin: the servers that count the delay have clocks of their own."""


@keeps_settings
def delays() -> Checker:
    """No task begins before its delay has passed since its first submission.

    Claims that the first run of each task with a `delay` begins no earlier than that many seconds after the client
    began to submit it, whatever faults there were. `late_p99` and `late_max` are figures without a bound: faults and a
    full pool delay tasks further. UNKNOWN if no task had a delay, if none of those began, or if a fault changed a
    clock. Does not claim anything about the pauses between attempts.
    """

    def check(history: History) -> CheckResult:
        due = _due(history)
        if not due:
            return CheckResult(verdict=Verdict.UNKNOWN, summary="no task had a delay")
        if _clock_changed(history):
            summary = f"{counted(len(due), 'task')} had a delay, which is not judged: a fault changed a clock"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary)
        first: dict[int, int] = {}
        for run in runs(history):
            if run.task in due:
                first.setdefault(run.task, run.begun.time)
        if not first:
            return CheckResult(verdict=Verdict.UNKNOWN, summary=f"none of {len(due)} delayed tasks began")
        late = {task: seconds(time - due[task]) for task, time in first.items()}
        early = {task: -one for task, one in late.items() if one < -EARLY_SECONDS}
        examples = [
            Counterexample(
                kind="early", task=task, why=f"began {by:.3f} s before it was due", more={"seconds": by}
            )
            for task, by in sorted(early.items())
        ]
        summary = f"{counted(len(due), 'task')} had a delay, none began before it was due"
        if examples:
            first_one = examples[0]
            summary = (
                f"{len(examples)} delayed tasks began early; the first: task {first_one.task} {first_one.why}"
            )
        return CheckResult(
            verdict=Verdict.INVALID if examples else Verdict.VALID,
            summary=summary,
            figures={
                "delayed": len(due),
                "early": len(early),
                "late_p99": quantile(late.values(), 0.99),
                "late_max": max(late.values(), default=None),
            },
            counterexamples=explain(history, examples),
        )

    return check


def recorded_delays(history: History) -> dict[str, Checker]:
    """The checker, for a history with delayed tasks and without a fault that changed a clock."""
    return {"delays": delays()} if _due(history) and not _clock_changed(history) else {}


def _clock_changed(history: History) -> bool:
    return any(fault.kind is InjectionKind.CLOCK for fault in injected_faults(history))


def _due(history: History) -> dict[int, int]:
    """By delayed task, when it may begin at the earliest (nanoseconds)."""
    return history.derive(_due_times)


def _due_times(history: History) -> dict[int, int]:
    found: dict[int, int] = {}
    for one in submissions(history):
        delay = optional_seconds(one.request, "delay") or 0.0
        if delay > 0:
            found.setdefault(one.task, one.request.time + round(delay * NANOSECONDS))
    return found
