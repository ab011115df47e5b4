"""The bill of a simulated LLM endpoint as figures of a load: tokens and money of the row ALL, and their thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from harness.errors import HarnessError, UsageError
from harness.llm.costs import RunCosts, costs
from harness.llm.endpoint_process import EndpointProcess
from harness.llm.metering import Metering, MeterWindow
from harness.load.thresholds import BILLED, MONEY, TIMES, Threshold

# The begin of the names of Locust's options.
_OPTIONS = "--load-"


@dataclass(frozen=True, kw_only=True, slots=True)
class SpentFigures:
    """The figures of the row ALL, as far as they are exact; money only with a price list.

    `unknown` is why what was billed is not known, as a sentence.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    unknown: str | None = None

    @classmethod
    def of(cls, found: RunCosts) -> Self:
        """The figures of the costs of a run."""
        figures: dict[str, float] = {}
        for suffix, spent in (("", found.total), ("_again", found.again)):
            if found.why_inexact(again=bool(suffix)) is None:
                figures[f"tokens{suffix}"] = spent.tokens
                if spent.money is not None:
                    figures[f"cost{suffix}"] = float(spent.money)
        return cls(figures=figures, unknown=found.why_inexact(again=False))


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

    @property
    def endpoint(self) -> EndpointProcess | None:
        """The process of the endpoint, None without one."""
        return None if self.window is None else self.window.process

    def figures(self) -> SpentFigures:
        """The figures so far; if the endpoint does not answer there are none."""
        if self.metering is None or self.window is None:
            return SpentFigures()
        try:
            return SpentFigures.of(costs(self.window.records(), self.metering.prices))
        except HarnessError as error:
            return SpentFigures(unknown=str(error))
