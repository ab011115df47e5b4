"""The question that a run asks besides those of the harness: was any task begun a second time?"""

from __future__ import annotations

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History
from harness.history.runs import begun


def begins_once() -> Checker:
    """No handler begins a second time for a task: what it did outside before its first end would happen again.

    agentexec promises less than that: at least once. With good settings, the fault of each run interrupts no task.
    UNKNOWN if no handler began at all.
    """

    def check(history: History) -> CheckResult:
        counts = begun(history)
        again = {task: count for task, count in sorted(counts.items()) if count > 1}
        return CheckResult(
            verdict=Verdict.of(wrong=bool(again), unsure=not counts),
            summary=f"{len(again)} of {len(counts)} tasks began again",
            counterexamples=tuple(
                {"kind": "begun again", "task": task, "times": n} for task, n in again.items()
            ),
        )

    return check
