"""The bill of a simulated LLM endpoint as figures of a load: tokens and money of the row ALL, and their thresholds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.errors import HarnessError, UsageError
from harness.llm.costs import RunCosts, costs
from harness.llm.metering import Metering, MeterWindow
from harness.load.thresholds import BILLED, MONEY, TIMES, Threshold

# The begin of the names of Locust's options.
_OPTIONS = "--load-"


def spent_figures(found: RunCosts) -> dict[str, float]:
    """The figures of the row ALL, as far as they are exact; money only with a price list."""
    figures: dict[str, float] = {}
    for suffix, spent, inexact in (
        ("", found.total, found.unbilled),
        ("_again", found.again, found.incomplete),
    ):
        if inexact is None:
            figures[f"tokens{suffix}"] = spent.tokens
            if spent.money is not None:
                figures[f"cost{suffix}"] = float(spent.money)
    return figures


def require_bill(thresholds: Iterable[Threshold], metering: Metering | None, *, options: str = "--") -> None:
    """Raise `UsageError` for a threshold that nothing bills; `options` is that of `Metering.of`."""
    for one in thresholds:
        if one.statistic not in BILLED:
            continue
        if metering is None:
            raise UsageError(
                f"The threshold {one.text!r} needs the endpoint that bills. Give its URL with {options}meter."
            )
        if one.statistic not in MONEY:
            continue
        if metering.prices is None:
            raise UsageError(f"The threshold {one.text!r} needs a price list. Give one with {options}prices.")
        if one.unit not in ("", TIMES, metering.prices.currency):
            raise UsageError(
                f"The threshold {one.text!r} is not in the currency of the price list, {metering.prices.currency}. "
                "Give both in the same currency."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadBill:
    """What a load costs from its begin on; without an endpoint it has no figures."""

    metering: Metering | None
    window: MeterWindow | None

    @classmethod
    def begin(cls, meter: str | None, prices: Path | None, thresholds: Iterable[Threshold]) -> Self:
        """Begin the bill of a load; raises `UsageError`, and `EnvironmentUnavailable` if the endpoint is away."""
        metering = Metering.of(meter, prices, options=_OPTIONS)
        require_bill(thresholds, metering, options=_OPTIONS)
        return cls(metering=metering, window=None if metering is None else metering.begin())

    def figures(self, gaps: list[str]) -> dict[str, float]:
        """The figures so far. If the endpoint does not answer there are none, and `gaps` gets the reason."""
        if self.metering is None or self.window is None:
            return {}
        try:
            found = costs(self.window.records(), self.metering.prices)
        except HarnessError as error:
            gaps.append(f"what the load cost is not known: {error}")
            return {}
        if found.unbilled is not None:
            gaps.append(f"what the load cost is not known: {found.unbilled}")
        return spent_figures(found)
