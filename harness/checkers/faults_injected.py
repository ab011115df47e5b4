"""Were enough faults injected? A run without faults is no evidence."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.settings import keeps_settings
from harness.history import History
from harness.history.faults import injected_faults, kills
from harness.history.figures import counted
from harness.history.names import LEFT_OUT


@keeps_settings
def faults_injected(minimum: int = 1, *, minimum_kills: int = 0) -> Checker:
    """At least `minimum` faults were injected and at least `minimum_kills` processes killed, else UNKNOWN.

    A failed fault does not count. A fault that was recorded more than once counts once. `sigterm` is a fault but not a
    kill. If the run left out faults that cannot strike its target, both minima are lower in proportion. Never INVALID:
    too few faults are no evidence against the system. Does not claim that a fault interrupted any work: `recovery`
    counts that.
    """

    def check(history: History) -> CheckResult:
        found = injected_faults(history)
        killed = kills(history)
        share = _share(history)
        faults_required, kills_required = ceil(minimum * share), ceil(minimum_kills * share)
        enough = len(found) >= faults_required and len(killed) >= kills_required
        summary = f"{counted(len(found), 'fault')} injected, {counted(len(killed), 'process')} killed"
        if not enough:
            summary += f"; {faults_required} and {kills_required} are required"
        return CheckResult(
            verdict=Verdict.VALID if enough else Verdict.UNKNOWN,
            summary=summary,
            figures={
                "faults": len(found),
                "kills": len(killed),
                "minimum_faults": faults_required,
                "minimum_kills": kills_required,
            },
        )

    return check


def _share(history: History) -> Fraction:
    """The faults that can strike the target, as a share of those of the scenario."""
    recorded = list(history.where(LEFT_OUT))
    return Fraction(recorded[-1].value["faults"], recorded[-1].value["of"]) if recorded else Fraction(1)
