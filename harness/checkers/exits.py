"""Did every pool that nobody killed end as it should?"""

from __future__ import annotations

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import History
from harness.history.reading import kills, whole, worker


def exits() -> Checker:
    """Every pool that ended without a kill ended with exit code 0.

    That holds for one that a fault or the end of the run told to stop, and for one that ended by itself. Pools whose
    own process a fault killed owe nothing. UNKNOWN where no other pool ended. Does not claim that a pool ended when
    it should: `shutdown` measures that for those told to stop.
    """

    def check(history: History) -> CheckResult:
        killed = kills(history)
        ended = [(op.process, whole(op, "pid"), whole(op, "code")) for op in history.where("exit")]
        own = [(pool, pid, code) for pool, pid, code in ended if worker(pid) not in killed]
        bad = [
            {
                "kind": "exit",
                "pool": pool,
                "pid": pid,
                "code": code,
                "why": f"{pool} (pid {pid}) ended with code {code}",
            }
            for pool, pid, code in own
            if code != 0
        ]
        figures = {"exits": len(ended), "killed": len(ended) - len(own), "bad": len(bad)}
        if not own:
            summary = "no pool ended that was not killed"
            return CheckResult(verdict=Verdict.UNKNOWN, summary=summary, figures=figures)
        if bad:
            summary = f"{len(bad)} of {len(own)} pools ended badly; the first: {bad[0]['why']}"
            return CheckResult(
                verdict=Verdict.INVALID, summary=summary, figures=figures, counterexamples=tuple(bad)
            )
        summary = f"{len(own)} pools ended with code 0, {len(ended) - len(own)} were killed"
        return CheckResult(verdict=Verdict.VALID, summary=summary, figures=figures)

    return check
