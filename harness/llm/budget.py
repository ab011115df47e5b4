"""A budget as a threshold: what a run and its faults may cost."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from harness.errors import UsageError
from harness.llm.costs import RunCosts

_FIGURES: Mapping[str, Callable[[RunCosts], Decimal | float | None]] = {
    "again": lambda costs: costs.share_again,
    "money": lambda costs: costs.total.money,
    "money again": lambda costs: costs.again.money,
    "tokens": lambda costs: costs.total.tokens,
    "tokens again": lambda costs: costs.again.tokens,
    "requests again": lambda costs: costs.again.requests,
    "steps again": lambda costs: costs.steps_again,
    "tool runs again": lambda costs: costs.tool_runs_again,
    "unlabelled": lambda costs: costs.unlabelled.requests,
}
_WHOLE = ("money", "tokens")
"""Figures for which no step has to be known."""
_COMPARISONS: Mapping[str, Callable[[Decimal, Decimal], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}
_TERM = re.compile(r"([a-z ]+?)\s*(<=|<|=)\s*(\d{1,15}(?:\.\d{1,15})?)\s*(%?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetTerm:
    """One limit: a figure, a comparison, and the most that it may be."""

    figure: str
    comparison: str
    limit: Decimal
    text: str

    def measured(self, costs: RunCosts) -> Decimal | None:
        """The figure, None if it cannot be measured: money without a price list."""
        found = _FIGURES[self.figure](costs)
        return None if found is None else Decimal(found)

    def met(self, costs: RunCosts) -> bool | None:
        """Whether the costs are within the limit; None if that cannot be measured."""
        found = self.measured(costs)
        if found is None or costs.why_inexact(again=self.figure not in _WHOLE) is not None:
            return None
        return _COMPARISONS[self.comparison](found, self.limit)


@dataclass(frozen=True, slots=True)
class Budget:
    """All limits of a run."""

    terms: tuple[BudgetTerm, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """A budget from a text such as `again < 5%, money < 2.50, tool runs again = 0`."""
        return cls(tuple(map(_term, text.split(","))))

    def met(self, costs: RunCosts) -> bool | None:
        """Whether the costs are within all limits; None if none is exceeded and one cannot be measured."""
        found = [term.met(costs) for term in self.terms]
        if False in found:
            return False
        return None if None in found else True


def _term(text: str) -> BudgetTerm:
    match = _TERM.fullmatch(text.strip())
    if match is None or match[1] not in _FIGURES or (match[4] and match[1] != "again"):
        raise UsageError(
            f"{text.strip()[:60]!r} is no limit of a budget. Write one as in 'again < 5%' or 'money < 2.50', "
            f"with one of {', '.join(_FIGURES)}."
        )
    limit = Decimal(match[3]) / (100 if match[4] else 1)
    return BudgetTerm(figure=match[1], comparison=match[2], limit=limit, text=text.strip())
