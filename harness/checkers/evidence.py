"""Is the history complete? Missing operations can hide a breach or look like one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from difflib import get_close_matches
from typing import Any

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.settings import keeps_settings
from harness.history import BREAKDOWN, History, Operation
from harness.history.ending import cut_short
from harness.history.faults import kills
from harness.history.figures import counted
from harness.history.names import VOCABULARY

# The most writers that a sentence names.
_SHOWN = 3
_CUT_OFF = re.compile(r"(?P<process>worker-\d+)\.jsonl:\d+ is cut off")


@keeps_settings
def evidence() -> Checker:
    """Every line of the history could be read, except the last of a killed worker, and the run did not break down.

    The kernel may cut a write short when its process is killed. The writer did nothing after that line, so each checker
    treats the line as not written. Any other problem is UNKNOWN: a missing line can make a task look lost, or hide that
    it is. A `breakdown` that the runner recorded is UNKNOWN too, and so is a run that ended before its drain was
    complete: such a run is not the run of the scenario. So is an operation with an unknown `f`, because no checker
    reads it: it may be a misspelled one. A checker that reads operations of its own declares them with `reads`.
    """

    def check(history: History) -> CheckResult:
        bad = unreadable(history)
        broken = [str(op.value.get("why")) for op in history.where(BREAKDOWN)]
        if (
            not broken and (why := cut_short(history)) is not None
        ):  # the runner was killed and could not record it
            broken.append(why)
        strange = [_strange(f, found) for f, found in history.undeclared().items()]
        wrong = [*broken, *bad, *(str(one["problem"]) for one in strange)]
        return CheckResult(
            verdict=Verdict.UNKNOWN if wrong else Verdict.VALID,
            summary=f"{counted(len(wrong), 'problem')} with the run or its history; the first: {wrong[0]}"
            if wrong
            else f"{counted(len(history), 'operation')}, all readable",
            figures={
                "operations": len(history),
                "problems": len(wrong),
                "cut_off": len(history.problems) - len(bad),
                **({"unknown_names": len(strange)} if strange else {}),
            },
            counterexamples=(
                *({"kind": "breakdown", "problem": why} for why in broken),
                *({"kind": "unreadable", "problem": problem} for problem in bad),
                *strange,
            ),
        )

    return check


def _strange(f: str, found: Sequence[Operation]) -> Mapping[str, Any]:
    writers = sorted({op.process for op in found})
    by = ", ".join(writers[:_SHOWN]) + (f" and {len(writers) - _SHOWN} more" if len(writers) > _SHOWN else "")
    near = get_close_matches(f, VOCABULARY, n=1)
    problem = (
        f"{counted(len(found), 'operation')} of {by} have the unknown f {f!r}, which no checker reads; "
        + (f"did you mean {near[0]!r}? " if near else "")
        + "Correct the name, or declare it with harness.checkers.reads."
    )
    return {"kind": "unknown operation", "f": f, "count": len(found), "writers": writers, "problem": problem}


def unreadable(history: History) -> list[str]:
    """The problems of a history that no kill excuses, each with its file and line."""
    killed = kills(history).keys()
    return [problem for problem in history.problems if not _excused(problem, killed)]


def _excused(problem: str, killed: Set[str]) -> bool:
    found = _CUT_OFF.match(problem)
    return found is not None and found["process"] in killed
