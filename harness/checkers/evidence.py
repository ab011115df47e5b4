"""Is the history complete? Missing operations can hide a breach or look like one."""

from __future__ import annotations

import re
from collections.abc import Set

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.history import BREAKDOWN, History
from harness.history.faults import kills

_CUT_OFF = re.compile(r"(?P<process>worker-\d+)\.jsonl:\d+ is cut off")


def evidence() -> Checker:
    """Every line of the history could be read, except the last of a killed worker, and the run did not break down.

    The kernel may cut a write short when its process is killed. The writer did nothing after that line, so each checker
    treats the line as not written. Any other problem is UNKNOWN: a missing line can make a task look lost, or hide that
    it is. A `breakdown` that the runner recorded is UNKNOWN too: such a run is not the run of the scenario.
    """

    def check(history: History) -> CheckResult:
        bad = unreadable(history)
        broken = [str(op.value.get("why")) for op in history.where(BREAKDOWN)]
        wrong = [*broken, *bad]
        return CheckResult(
            verdict=Verdict.UNKNOWN if wrong else Verdict.VALID,
            summary=f"{len(wrong)} problems with the run or its history; the first: {wrong[0]}"
            if wrong
            else f"{len(history)} operations, all readable",
            figures={
                "operations": len(history),
                "problems": len(wrong),
                "cut_off": len(history.problems) - len(bad),
            },
            counterexamples=(
                *({"kind": "breakdown", "problem": why} for why in broken),
                *({"kind": "unreadable", "problem": problem} for problem in bad),
            ),
        )

    return check


def unreadable(history: History) -> list[str]:
    """The problems of a history that no kill excuses, each with its file and line."""
    killed = kills(history).keys()
    return [problem for problem in history.problems if not _excused(problem, killed)]


def _excused(problem: str, killed: Set[str]) -> bool:
    found = _CUT_OFF.match(problem)
    return found is not None and found["process"] in killed
