"""Prices of tokens, and the money that a number of tokens costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Self

from harness.command_line import read_json
from harness.errors import UsageError

_MILLION = 1_000_000
ANY_MODEL = "*"
"""The entry of a price list for all models that it does not name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPrices:
    """The prices of one model per million tokens: `input` (not cached), `cached` input, and `output`."""

    input: Decimal
    cached: Decimal
    output: Decimal

    def money(self, prompt: int, cached: int, completion: int) -> Decimal:
        """What a request costs; `prompt` includes the cached tokens."""
        sum_ = (prompt - cached) * self.input + cached * self.cached + completion * self.output
        return sum_ / _MILLION


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceList:
    """Prices by model; `currency` is only printed. Sums are exact: they are decimals."""

    models: Mapping[str, TokenPrices] = field(default_factory=dict)
    currency: str = "USD"

    @classmethod
    def of_value(cls, value: object) -> Self:
        """A price list from JSON: `{"currency": "USD", "models": {"NAME": {"input", "cached", "output"}}}`."""
        match value:
            case {"models": dict(models), **rest} if set(rest) <= {"currency"}:
                prices = {str(name): _prices(str(name), entry) for name, entry in models.items()}
                return cls(models=prices, currency=str(rest.get("currency", "USD")))
        raise UsageError(
            'This is no price list. Give {"currency": "USD", "models": {"NAME": {"input": 1, "cached": 0.1, '
            '"output": 4}}} with prices per million tokens; the name "*" stands for all other models.'
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a price list from a file."""
        return cls.of_value(read_json(path, "give a price list.", parse_float=Decimal))

    def to_value(self) -> dict[str, Any]:
        """The price list as JSON, exact: its prices are texts."""
        models = {
            name: {key: str(price) for key, price in asdict(one).items()} for name, one in self.models.items()
        }
        return {"currency": self.currency, "models": models}

    def money(self, model: str, prompt: int, cached: int, completion: int) -> Decimal:
        """What a request to a model costs; raises `UsageError` if the list has no price for it."""
        prices = self.models.get(model) or self.models.get(ANY_MODEL)
        if prices is None:
            raise UsageError(
                f'The price list has no model {model[:80]!r}. Add it, or "{ANY_MODEL}" for all others.'
            )
        return prices.money(prompt, cached, completion)


def _prices(name: str, entry: Any) -> TokenPrices:
    names = {"input", "cached", "output"}
    try:
        prices = {key: Decimal(str(entry[key])) for key in names}
        right = set(entry) == names and all(price.is_finite() and price >= 0 for price in prices.values())
    except (KeyError, TypeError, InvalidOperation):
        right = False
    if not right:
        raise UsageError(
            f"The prices of {name[:80]!r} are not complete. Give input, cached and output as numbers of 0 or more."
        )
    return TokenPrices(**prices)
