"""Can the evidence be read in full? A verdict over a history with holes in it is worth less than it looks."""

from __future__ import annotations

import re
from collections.abc import Set

from harness.checker import Checker, CheckResult, Verdict
from harness.checkers._reading import kills
from harness.history import History

_CUT_OFF = re.compile(r"(?P<process>worker-\d+)\.jsonl:\d+ is cut off")


def evidence() -> Checker:
    """Every line of the history could be read, except the last line of a worker that the nemesis killed.

    The kernel may cut a write short when its process is killed. The writer did nothing after it, so such a line is one
    that was never written, and each checker already counts with that. Any other problem is UNKNOWN: a missing line can
    make a task look lost, or a bad one look fine.
    """

    def check(history: History) -> CheckResult:
        killed = kills(history)
        cut = [problem for problem in history.problems if _excused(problem, killed.keys())]
        bad = [problem for problem in history.problems if not _excused(problem, killed.keys())]
        return CheckResult(
            verdict=Verdict.UNKNOWN if bad else Verdict.VALID,
            summary=f"{len(bad)} problems with the history; the first: {bad[0]}"
            if bad
            else f"{len(history)} operations, all readable",
            figures={"operations": len(history), "problems": len(bad), "cut_off": len(cut)},
            counterexamples=tuple({"kind": "unreadable", "problem": problem} for problem in bad),
        )

    return check


def _excused(problem: str, killed: Set[str]) -> bool:
    found = _CUT_OFF.match(problem)
    return found is not None and found["process"] in killed
