"""Faults of the endpoint: what can go wrong, and the seeded windows in which it does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from random import Random
from typing import Any, Self

from harness.draws import seeded
from harness.errors import UsageError


class EndpointFault(StrEnum):
    """What the endpoint does wrong to one request."""

    RATE_LIMITED = "429"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    OVERLOADED = "529"
    SLOW = "slow"
    CUT = "cut"
    STREAM_ERROR = "stream-error"
    SLOW_LORIS = "slow-loris"
    HANG = "hang"
    NOT_JSON = "not-json"
    MALFORMED = "malformed"
    EMPTY = "empty"
    UNKNOWN_TOOL = "unknown-tool"
    BAD_ARGUMENTS = "bad-arguments"
    CONTENT_FILTER = "content-filter"

    @classmethod
    def of(cls, text: str) -> Self:
        """The fault with this name; raises `UsageError` that lists the names."""
        try:
            return cls(text)
        except ValueError:
            raise UsageError(
                f"There is no fault {text[:40]!r} of the endpoint. Choose one of {', '.join(cls)}."
            ) from None


_OPTIONAL = ("lasting", "every", "retry_after")

STATUS_FAULTS = frozenset(
    {
        EndpointFault.RATE_LIMITED,
        EndpointFault.SERVER_ERROR,
        EndpointFault.BAD_GATEWAY,
        EndpointFault.UNAVAILABLE,
        EndpointFault.OVERLOADED,
    }
)
"""Faults that refuse the request with their number as the HTTP status."""


SLOWDOWN = 10.0
"""The factor of all latencies of the fault `slow`, if no other is given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disturbance:
    """A fault that hits a `share` of all requests within its windows; times are simulated seconds.

    The first window begins `after` seconds from the start and lasts `lasting` seconds (None: until the end). With
    `every`, windows follow each other: their starts are `every` seconds apart in the mean, and gaps and lengths are
    drawn from the seed. All keys and connections see the same windows, so the faults are correlated. `slowdown`
    multiplies all latencies of every request in a window: with a `fault` of 503 that is a brown-out. With the fault
    `slow` it hits the share only, and is 10 if it is not given. `retry_after` is what a 429 asks for; None asks for
    the rest of the window.
    """

    fault: EndpointFault
    share: float = 1.0
    after: float = 0.0
    lasting: float | None = None
    every: float | None = None
    slowdown: float = 1.0
    retry_after: float | None = None

    def __post_init__(self) -> None:
        wrong = (
            not 0 <= self.share <= 1
            or not 0 <= self.after < math.inf
            or not 1 <= self.slowdown < math.inf
            or any(
                value is not None and not 0 < value < math.inf
                for value in (self.lasting, self.every, self.retry_after)
            )
        )
        if wrong:
            raise UsageError(
                f"The disturbance {self.fault} cannot be planned. share is between 0 and 1, slowdown at least 1, and "
                "after, lasting, every and retry_after are seconds."
            )
        if self.every is not None and (self.lasting is None or self.lasting >= self.every):
            raise UsageError(
                f"The disturbance {self.fault} has no gaps between its windows. Give a lasting below every."
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """A disturbance from a text such as `429 share=0.9 every=60 lasting=10`."""
        name, *settings = text.split() or [""]
        pairs = [setting.partition("=") for setting in settings]
        return cls.of_value({"fault": name, **{key: value for key, _, value in pairs}})

    @classmethod
    def of_value(cls, value: Mapping[str, Any]) -> Self:
        """A disturbance from JSON; raises `UsageError` for an unknown or wrong setting."""
        names = {each.name for each in fields(cls)} - {"fault"}
        settings = {key: given for key, given in value.items() if key != "fault"}
        for name, given in settings.items():
            if name not in names:
                raise UsageError(
                    f"A disturbance has no setting {name[:40]!r}. It has {', '.join(sorted(names))}."
                )
            try:
                settings[name] = None if given is None and name in _OPTIONAL else float(given)
            except (TypeError, ValueError):
                raise UsageError(
                    f"{name} of a disturbance cannot be {str(given)[:40]!r}; give a number."
                ) from None
        return cls(fault=EndpointFault.of(str(value.get("fault", ""))), **settings)

    @property
    def factor(self) -> float:
        """The factor of the latencies that it hits."""
        return SLOWDOWN if self.fault is EndpointFault.SLOW and self.slowdown == 1 else self.slowdown

    def windows(self, rng: Random) -> Iterator[tuple[float, float]]:
        """The begin and end of each window, in order."""
        begin = self.after
        while True:
            if self.every is None or self.lasting is None:
                yield begin, begin + (self.lasting or math.inf)
                return
            length = rng.uniform(0.5, 1.5) * self.lasting
            yield begin, begin + length
            # Drawn together, length and gap have the mean `every`.
            begin += length + rng.expovariate(1 / (self.every - self.lasting))


@dataclass(slots=True)
class _Windows:
    disturbance: Disturbance
    coming: Iterator[tuple[float, float]]
    current: tuple[float, float] = (-math.inf, -math.inf)

    def end(self, now: float) -> float | None:
        """The end of the window that is open now, None if none is. `now` never decreases between calls."""
        while self.current[1] <= now:
            following = next(self.coming, None)
            if following is None:
                return None
            self.current = following
        return self.current[1] if self.current[0] <= now else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """What hits one request: a fault or none, the factor of its latencies, and the seconds that a 429 asks for."""

    fault: EndpointFault | None = None
    slowdown: float = 1.0
    retry_after: float = 1.0


@dataclass(slots=True)
class DisturbanceSchedule:
    """All disturbances of an endpoint, those added while it runs included."""

    seed: int
    _windows: list[_Windows] = field(default_factory=list)

    def add(self, disturbances: Sequence[Disturbance], now: float = 0.0) -> None:
        """Add disturbances; their `after` counts from `now`."""
        for disturbance in disturbances:
            windows = disturbance.windows(seeded(self.seed, "windows", len(self._windows)))
            moved = ((now + begin, now + end) for begin, end in windows)
            self._windows.append(_Windows(disturbance, moved))

    def clear(self) -> None:
        """End all disturbances."""
        self._windows.clear()

    def trouble(self, now: float, rng: Random) -> Trouble:
        """What hits a request that arrives now: the first fault that its draws choose, and every slowdown."""
        slowdown, fault, retry_after = 1.0, None, 1.0
        for windows in self._windows:
            disturbance, end = windows.disturbance, windows.end(now)
            if end is None:
                continue
            # Drawn also if another fault was chosen: a request's draws do not depend on each other.
            hit = rng.random() < disturbance.share
            if hit or disturbance.fault is not EndpointFault.SLOW:
                slowdown *= disturbance.factor
            if hit and fault is None:
                fault = disturbance.fault
                retry_after = disturbance.retry_after or (end - now if end < math.inf else 1.0)
        return Trouble(fault=fault, slowdown=slowdown, retry_after=retry_after)
