"""The bill of a simulated LLM endpoint as figures of a load: tokens and money of the row ALL, and their thresholds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.errors import HarnessError, UsageError
from harness.llm.costs import RunCosts, costs
from harness.llm.metering import Metering, MeterWindow
from harness.llm.prices import PriceList
from harness.llm.serving import Endpoint
from harness.load.thresholds import BILLED, MONEY, TIMES, Threshold


def spent_figures(found: RunCosts) -> dict[str, float]:
    """The figures of the row ALL, as far as they are exact; money only with a price list."""
    figures: dict[str, float] = {}
    sums = {"": found.total, "_again": found.again}
    for name, spent in sums.items():
        if (found.incomplete if name else found.unbilled) is None:
            figures[f"tokens{name}"] = spent.tokens
            if spent.money is not None:
                figures[f"cost{name}"] = float(spent.money)
    return figures


def require_bill(
    thresholds: Iterable[Threshold], metering: Metering | None, *, meter: str, prices: str
) -> None:
    """Raise `UsageError` for a threshold that nothing bills; `meter` and `prices` are the options that a user lacks."""
    for one in thresholds:
        if one.statistic not in BILLED:
            continue
        if metering is None:
            raise UsageError(
                f"The threshold {one.text!r} needs the endpoint that bills. Give its URL with {meter}."
            )
        if one.statistic not in MONEY:
            continue
        if metering.prices is None:
            raise UsageError(f"The threshold {one.text!r} needs a price list. Give one with {prices}.")
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
        if meter is None and prices is not None:
            raise UsageError("--load-prices needs the endpoint that bills. Give its URL with --load-meter.")
        metering = None
        if meter is not None:
            listed = None if prices is None else PriceList.read(prices)
            metering = Metering(endpoint=Endpoint.at(meter), prices=listed)
        require_bill(thresholds, metering, meter="--load-meter", prices="--load-prices")
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
