"""What a simulated endpoint does: its latencies, sizes, limits and faults, as one value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from harness.command_line import read_json
from harness.errors import UsageError
from harness.llm.distribution import LognormalDistribution
from harness.llm.disturbances import Disturbance


class Billing(StrEnum):
    """What the client pays for an answer that it did not wait for."""

    GENERATED = "generated"
    WHOLE = "whole"


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointProfile:
    """The behaviour of an endpoint; times are simulated seconds, of which `time_scale` pass in a real one.

    The same `seed` gives the same answers, latencies and faults for the same order of requests per API key. A request
    that names its activity and step gets the answer of that step, however often it is sent.

    `models` and `keys` are the accepted ones; empty accepts all. `first_token` is the time to the first token,
    `per_token` the time of each further one, and an event of a stream has `tokens_per_event` tokens. A conversation
    with tools has `tool_rounds` answers with `tool_calls` calls each before its text. `tool_time` is how long a
    simulated tool runs. `abandoned` says what a client that disconnects pays: the tokens generated until then, or the
    whole answer. `loris_interval` is the time between two bytes of an answer that comes byte by byte.
    """

    seed: int = 1
    time_scale: float = 1.0
    models: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    first_token: LognormalDistribution = field(default=LognormalDistribution(0.6, 5))
    per_token: LognormalDistribution = field(default=LognormalDistribution(0.02, 0.06))
    output_tokens: LognormalDistribution = field(default=LognormalDistribution(200, 2_000))
    tokens_per_event: int = 1
    tool_rounds: LognormalDistribution = field(default=LognormalDistribution(2, 30))
    tool_calls: LognormalDistribution = field(default=LognormalDistribution(1, 3))
    tool_time: LognormalDistribution = field(default=LognormalDistribution(0.1, 10))
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    disturbances: tuple[Disturbance, ...] = ()
    abandoned: Billing = Billing.GENERATED
    loris_interval: float = 1.0

    def __post_init__(self) -> None:
        for name in ("time_scale", "loris_interval"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} cannot be {getattr(self, name)!r}. Give a number above 0.")
        for name in ("tokens_per_event", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UsageError(f"{name} cannot be {value!r}. Give a whole number of 1 or more.")
        for name in _DISTRIBUTIONS:
            if not isinstance(getattr(self, name), LognormalDistribution):
                raise UsageError(f"{name} cannot be {getattr(self, name)!r}. Give a LognormalDistribution.")

    @classmethod
    def of_value(cls, value: Mapping[str, Any]) -> Self:
        """A profile from JSON: the names of the fields; a distribution is a number or a text such as `0.4..3`."""
        readers = {each.name: _READERS.get(each.name, _distribution) for each in fields(cls)}
        unknown = sorted(set(value) - set(readers))
        if unknown:
            raise UsageError(
                f"An endpoint has no setting {unknown[0][:40]!r}. It has {', '.join(sorted(readers))}."
            )
        return cls(**{name: readers[name](name, given) for name, given in value.items()})

    @classmethod
    def read(cls, path: Path) -> Mapping[str, Any]:
        """The settings in a file of JSON, for `of_value`."""
        value = read_json(path, "give a profile.")
        if not isinstance(value, dict):
            raise UsageError(f"The profile {path} is no JSON object. Give one with the settings as names.")
        return value


_DISTRIBUTIONS = ("first_token", "per_token", "output_tokens", "tool_rounds", "tool_calls", "tool_time")


def _distribution(_name: str, given: object) -> LognormalDistribution:
    return LognormalDistribution.of(given)


def _whole(name: str, given: object) -> int | None:
    if given is None and name.endswith("_per_minute"):
        return None
    if type(given) is int:
        return given
    raise UsageError(f"{name} cannot be {str(given)[:40]!r}. Give a whole number.")


def _number(name: str, given: object) -> float:
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    raise UsageError(f"{name} cannot be {str(given)[:40]!r}. Give a number.")


def _names(name: str, given: object) -> tuple[str, ...]:
    if isinstance(given, list | tuple) and all(isinstance(each, str) for each in given):
        return tuple(given)
    raise UsageError(f'{name} is no list of names. Give one, as in ["a", "b"].')


def _disturbances(name: str, given: object) -> tuple[Disturbance, ...]:
    if not isinstance(given, list | tuple):
        raise UsageError(f'{name} is no list. Give one, as in ["429 share=0.9 every=60 lasting=10"].')
    return tuple(
        Disturbance.parse(each) if isinstance(each, str) else Disturbance.of_value(each) for each in given
    )


def _billing(name: str, given: object) -> Billing:
    if given in tuple(Billing):
        return Billing(str(given))
    raise UsageError(f"{name} cannot be {str(given)[:40]!r}. Choose {' or '.join(Billing)}.")


_READERS: Mapping[str, Any] = {
    "seed": _whole,
    "time_scale": _number,
    "models": _names,
    "keys": _names,
    "tokens_per_event": _whole,
    "requests_per_minute": _whole,
    "tokens_per_minute": _whole,
    "disturbances": _disturbances,
    "abandoned": _billing,
    "loris_interval": _number,
}
