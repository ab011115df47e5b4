"""Did every pool that was not killed end with exit code 0?"""

from __future__ import annotations

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History
from harness.history.faults import kills
from harness.history.names import worker_name
from harness.history.workers import pool_exits


def exits() -> Checker:
    """Every pool that ended without a kill ended with exit code 0.

    This holds for a pool that a fault or the end of the run stopped, and for one that ended by itself. Pools whose own
    process a fault killed are not judged. UNKNOWN if no other pool ended. Does not claim that a pool ended in time:
    `shutdown` measures that for pools that were stopped by a fault.
    """

    def check(history: History) -> CheckResult:
        killed = kills(history)
        ended = pool_exits(history)
        own = [one for one in ended if worker_name(one.pid) not in killed]
        bad = [
            {
                "kind": "exit",
                "pool": one.pool,
                "pid": one.pid,
                "code": one.code,
                "why": f"{one.pool} (pid {one.pid}) ended with code {one.code}",
            }
            for one in own
            if one.code != 0
        ]
        figures = {"exits": len(ended), "killed": len(ended) - len(own), "bad": len(bad)}
        if not own:
            summary = "no pool ended without a kill"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary, figures=figures)
        if bad:
            summary = f"{len(bad)} of {len(own)} pools did not end with code 0; the first: {bad[0]['why']}"
            return CheckResult(
                verdict=Verdict.INVALID, summary=summary, figures=figures, counterexamples=tuple(bad)
            )
        summary = f"{len(own)} pools ended with code 0, {len(ended) - len(own)} were killed"
        return CheckResult(verdict=Verdict.VALID, summary=summary, figures=figures)

    return check
