"""Verdicts, results, and how checkers are run.

A checker is a pure function of a history. It answers VALID, INVALID or UNKNOWN. A checker that crashes, or that has
nothing to judge, is UNKNOWN: a verdict over no operations is no evidence.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from harness.errors import EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID, FOREIGN_ERRORS, HarnessError
from harness.history import History, uncollected
from harness.history.promises import Quote


class Verdict(StrEnum):
    """The verdict of a checker. Of several verdicts INVALID takes precedence, then UNKNOWN.

    NOT_ASKED: the checker asks for what the system under test does not promise; it counts for nothing.
    """

    VALID = "VALID"
    INVALID = "INVALID"
    UNKNOWN = "UNKNOWN"
    NOT_ASKED = "NOT ASKED"

    @property
    def exit_code(self) -> int:
        """0 for VALID, 1 for INVALID, 2 for UNKNOWN and for NOT ASKED."""
        return {Verdict.VALID: EXIT_VALID, Verdict.INVALID: EXIT_INVALID}.get(self, EXIT_UNKNOWN)

    @classmethod
    def of(cls, *, wrong: bool, unsure: bool) -> Verdict:
        """INVALID for a certain breach, else UNKNOWN if something could not be judged, else VALID."""
        return cls.INVALID if wrong else cls.UNKNOWN if unsure else cls.VALID

    @staticmethod
    def combine(verdicts: Iterable[Verdict]) -> Verdict:
        """INVALID if any is, else UNKNOWN if any is, else VALID if any is, else UNKNOWN."""
        seen = set(verdicts) - {Verdict.NOT_ASKED}
        return Verdict.of(wrong=Verdict.INVALID in seen, unsure=Verdict.UNKNOWN in seen or not seen)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """What one checker found.

    `summary` is one sentence for people. `figures` are numbers for the table and for verdict.json: times in seconds,
    None if there was nothing to measure. `counterexamples` are the tasks behind the counts, each a JSON object with the
    task and its events. `promise` is what an INVALID result breaks, in the words of the system's documentation.
    """

    verdict: Verdict
    summary: str
    figures: Mapping[str, float | int | None] = field(default_factory=dict)
    counterexamples: tuple[Mapping[str, Any], ...] = ()
    promise: Quote | None = None

    def figure(self, name: str) -> float | int | None:
        """One of the figures; None if there was nothing to measure, or the verdict is UNKNOWN.

        Raises `HarnessError` if a checker that reached a verdict did not produce the figure.
        """
        if name not in self.figures and self.verdict in (Verdict.VALID, Verdict.INVALID):
            raise HarnessError(
                f"a checker gave {self.verdict} without the figure {name!r}, which reports show of it; "
                "add the figure, None if there is nothing to measure, or give the checker a name of its own."
            )
        return self.figures.get(name)

    def doubted(self, why: str) -> CheckResult:
        """The result as UNKNOWN with the reason, if it is INVALID; else the result itself."""
        if self.verdict is not Verdict.INVALID:
            return self
        return replace(self, verdict=Verdict.UNKNOWN, summary=f"not certain, {why}: {self.summary}")


Checker = Callable[[History], CheckResult]

_READS = "harness_reads"
"""The attribute of a checker that holds the names given to `reads`."""


def reads(*names: str) -> Callable[[Checker], Checker]:
    """Declare operations (`f`) of a workload's own that a checker reads.

    The checker `evidence` of the same run then does not report them as unknown.
    """

    def declared(checker: Checker) -> Checker:
        setattr(checker, _READS, frozenset(names))
        return checker

    return declared


REPORTED: Mapping[str, tuple[str, ...]] = {
    "delivery": ("lost", "duplicated"),
    "transitions": ("illegal",),
    "recovery": ("p50", "p99", "from_last_kill"),
}
"""The figures that reports show, by the name of the checker that has to produce them."""


def check_safe(checker: Checker, history: History, *, required: Iterable[str] = ()) -> CheckResult:
    """Run a checker that must produce the figures in `required`.

    A checker that raises is UNKNOWN, with the traceback as the counterexample; so is a verdict without those figures.
    """
    try:
        result = checker(history)
        for name in required:
            result.figure(name)
        return result
    except FOREIGN_ERRORS as error:  # the run still needs a verdict
        return CheckResult(
            verdict=Verdict.UNKNOWN,
            summary=f"the checker itself failed: {type(error).__name__}: {error}",
            counterexamples=({"traceback": traceback.format_exc()},),
        )


def check_all(checkers: Mapping[str, Checker], history: History) -> dict[str, CheckResult]:
    """Run every checker over the history; the results keep the order of the checkers."""
    declared: frozenset[str] = frozenset().union(
        *(getattr(checker, _READS, ()) for checker in checkers.values())
    )
    if declared:
        history = replace(history, declared=history.declared | declared)
    with uncollected():
        return {
            name: check_safe(checker, history, required=REPORTED.get(name, ()))
            for name, checker in checkers.items()
        }
