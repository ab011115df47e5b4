"""Verdicts, and how checkers are put together.

A checker is a pure function of a history. It answers VALID, INVALID or UNKNOWN; a checker that crashes, and one that
had nothing to look at, is UNKNOWN, because a verdict over nothing is worth nothing.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from harness.errors import EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID
from harness.history import History, uncollected


class Verdict(StrEnum):
    """The answer of a checker, worst last when combined: one INVALID outweighs everything, then UNKNOWN."""

    VALID = "VALID"
    INVALID = "INVALID"
    UNKNOWN = "UNKNOWN"

    @property
    def exit_code(self) -> int:
        """0 for VALID, 1 for INVALID, 2 for UNKNOWN."""
        return {Verdict.VALID: EXIT_VALID, Verdict.INVALID: EXIT_INVALID, Verdict.UNKNOWN: EXIT_UNKNOWN}[self]

    @staticmethod
    def combine(verdicts: Iterable[Verdict]) -> Verdict:
        """INVALID if any is, else UNKNOWN if any is or there is none, else VALID."""
        seen = set(verdicts)
        if Verdict.INVALID in seen:
            return Verdict.INVALID
        if Verdict.UNKNOWN in seen or not seen:
            return Verdict.UNKNOWN
        return Verdict.VALID


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """What one checker found.

    `summary` is one sentence for people. `figures` are numbers for the table and for verdict.json (seconds for times).
    `counterexamples` are the members behind the counts, each a JSON object that names the task and says what happened.
    """

    verdict: Verdict
    summary: str
    figures: Mapping[str, float | int | None] = field(default_factory=dict)
    counterexamples: tuple[Mapping[str, Any], ...] = ()


Checker = Callable[[History], CheckResult]


def check_safe(checker: Checker, history: History) -> CheckResult:
    """Run a checker; its crash is UNKNOWN with the traceback as the counterexample, never a crash of the run."""
    try:
        return checker(history)
    except Exception as error:  # noqa: BLE001 - whatever a checker raises, the run still needs a verdict
        return CheckResult(
            verdict=Verdict.UNKNOWN,
            summary=f"the checker itself failed: {type(error).__name__}: {error}",
            counterexamples=({"traceback": traceback.format_exc()},),
        )


def check_all(checkers: Mapping[str, Checker], history: History) -> dict[str, CheckResult]:
    """Run every checker over the history; the results keep the order of the checkers."""
    with uncollected():
        return {name: check_safe(checker, history) for name, checker in checkers.items()}
