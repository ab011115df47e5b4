"""Was anything hurt at all? A system that survives nothing has shown nothing."""

from __future__ import annotations

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History
from harness.history.reading import injections, kills


def faults_injected(minimum: int = 1, *, minimum_kills: int = 0) -> Checker:
    """At least `minimum` faults were injected and at least `minimum_kills` processes killed, else UNKNOWN.

    A fault that `fail`ed counts for nothing, one that was logged more than once counts once, and `sigterm` is a fault
    but no kill. Never INVALID: too few faults say nothing about the system. Does not claim that a fault met work;
    `recovery` asks that.
    """

    def check(history: History) -> CheckResult:
        found = {op.value.get("fault", f"at {op.time}") for op in injections(history)}
        killed = kills(history)
        enough = len(found) >= minimum and len(killed) >= minimum_kills
        summary = f"{len(found)} faults injected, {len(killed)} processes killed"
        if not enough:
            summary += f"; {minimum} and {minimum_kills} are needed to say anything"
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
