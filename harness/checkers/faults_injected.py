"""Were enough faults injected? A run without faults is no evidence."""

from __future__ import annotations

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.faults import injected_faults, kills
from harness.history.figures import counted


@keeps_settings
def faults_injected(minimum: int = 1, *, minimum_kills: int = 0) -> Checker:
    """At least `minimum` faults were injected and at least `minimum_kills` processes killed, else UNKNOWN.

    A failed fault does not count. A fault that was recorded more than once counts once. `sigterm` is a fault but not a
    kill. Never INVALID: too few faults are no evidence against the system. Does not claim that a fault interrupted any
    work: `recovery` counts that.
    """

    def check(history: History) -> CheckResult:
        found = injected_faults(history)
        killed = kills(history)
        enough = len(found) >= minimum and len(killed) >= minimum_kills
        summary = f"{counted(len(found), 'fault')} injected, {counted(len(killed), 'process')} killed"
        if not enough:
            summary += f"; {minimum} and {minimum_kills} are required"
        return CheckResult(
            verdict=Verdict.VALID if enough else Verdict.UNKNOWN,
            summary=summary,
            figures={
                "faults": len(found),
                "kills": len(killed),
                "minimum_faults": minimum,
                "minimum_kills": minimum_kills,
            },
        )

    return check
