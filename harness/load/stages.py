"""Stages of a load: how many arrivals are planned until each moment, and at which moment a number of them is reached.

A plan is a list of stages, one after the other. `steps` and `repeat` are lists that may be endless. All durations are
seconds or text ("30s", "1h30m"), all rates are arrivals per second.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path

from harness.errors import UsageError
from harness.load.durations import Duration, duration_text, number_of, seconds_of
from harness.load.traces import TraceRow, read_trace

_BISECTIONS = 60


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """A part of a load. `seconds` is None if it has no end; `text` describes it, such as "hold 20/s for 1m"."""

    seconds: float | None
    text: str = field(compare=False)

    @abstractmethod
    def expected(self, until: float) -> float:
        """The planned number of arrivals in the first `until` seconds of the stage."""

    @abstractmethod
    def time_of(self, number: float) -> float:
        """The inverse of `expected`: the first moment at which it reaches `number`, in seconds of the stage."""

    @property
    def total(self) -> float:
        """The planned number of arrivals of the whole stage, infinite if it has no end."""
        return math.inf if self.seconds is None else self.expected(self.seconds)

    def rows(self) -> Iterator[TraceRow] | None:
        """The arrivals themselves if the stage replays a trace; their times are then not up to the pacing."""
        return None

    def within(self, until: float) -> float:
        """The moment itself, or the nearest one that belongs to the stage."""
        return max(0.0, until if self.seconds is None else min(until, self.seconds))


@dataclass(frozen=True, kw_only=True)
class LinearStage(Stage):
    """The rate changes evenly from `first` to `last`; the stage has no end only if both are equal."""

    first: float
    last: float

    @property
    def _slope(self) -> float:
        return 0.0 if self.seconds is None else (self.last - self.first) / self.seconds

    def expected(self, until: float) -> float:
        until = self.within(until)
        return until * (self.first + self._slope * until / 2)

    def time_of(self, number: float) -> float:
        # The root of first * t + slope * t² / 2 = number, in the form that also holds for a slope of 0.
        root = math.sqrt(max(0.0, self.first**2 + 2 * self._slope * number))
        rates = self.first + root  # 0 also for a number that is too small for a product with it
        return self.within(2 * number / rates) if rates > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class BurstStage(Stage):
    """The rate is `peak` in the first `length` seconds of every `every` seconds, and `rate` in the others."""

    rate: float
    peak: float
    every: float
    length: float

    def expected(self, until: float) -> float:
        cycles, rest = divmod(self.within(until), self.every)
        loud = min(rest, self.length)
        return cycles * self._per_cycle + loud * self.peak + (rest - loud) * self.rate

    def time_of(self, number: float) -> float:
        if number <= 0:
            return 0.0
        cycles, rest = divmod(number, self._per_cycle)
        loud = self.length * self.peak
        if rest <= loud or self.rate == 0:
            within = min(rest / self.peak, self.length)
        else:
            within = self.length + (rest - loud) / self.rate
        return self.within(cycles * self.every + within)

    @property
    def _per_cycle(self) -> float:
        return self.length * self.peak + (self.every - self.length) * self.rate


@dataclass(frozen=True, kw_only=True)
class DiurnalStage(Stage):
    """The rate is a cosine of `period` seconds: it begins at `low`, and is `high` after half of the period."""

    low: float
    high: float
    period: float

    def expected(self, until: float) -> float:
        return self._expected(self.within(until))

    def _expected(self, until: float) -> float:
        angle = 2 * math.pi / self.period
        return self._middle * until - (self.high - self.low) / 2 / angle * math.sin(angle * until)

    def time_of(self, number: float) -> float:
        if number <= 0:
            return 0.0
        cycles, rest = divmod(number, self._middle * self.period)
        low, high = 0.0, self.period
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._expected(middle) < rest else (low, middle)
            if high - low <= 1e-9:
                break
        return self.within(cycles * self.period + high)

    @property
    def _middle(self) -> float:
        return (self.low + self.high) / 2


@dataclass(frozen=True, kw_only=True)
class ReplayStage(Stage):
    """The arrivals of a trace, `speed` times as fast; `arrivals` is their number."""

    path: Path
    speed: float
    arrivals: int

    def rows(self) -> Iterator[TraceRow]:
        """The arrivals with their offsets divided by the speed."""
        return (row._replace(offset=row.offset / self.speed) for row in read_trace(self.path))

    @cached_property
    def _offsets(self) -> array[float]:
        """The offsets of `rows`, read once: a plan asks for hundreds of them."""
        return array("d", (row.offset for row in self.rows()))

    def expected(self, until: float) -> float:
        """The number of arrivals in the first `until` seconds."""
        if self.seconds is not None and until >= self.seconds:
            return self.arrivals
        return bisect_right(self._offsets, until)

    def time_of(self, number: float) -> float:
        """The time of the arrival that makes `expected` reach `number`."""
        place = min(math.ceil(number), self.arrivals)
        return self._offsets[place - 1] if place > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Steps:
    """An ascending or descending list of stages with constant rates; endless if `number` is None."""

    first: float
    step: float
    every: float
    number: int | None

    def __iter__(self) -> Iterator[Stage]:
        for index in count() if self.number is None else range(self.number):
            yield hold(self.first + index * self.step, self.every)


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """The same stages again and again; endless if `times` is None."""

    stages: tuple[Stage, ...]
    times: int | None

    def __iter__(self) -> Iterator[Stage]:
        for _ in count() if self.times is None else range(self.times):
            yield from self.stages


Stages = Stage | Steps | Repeated | Sequence["Stages"]
"""A stage, or a list of such: lists may contain lists."""


def hold(rate: float, duration: Duration | None = None) -> Stage:
    """A constant rate, without end if there is no duration (a soak)."""
    return _constant("hold", rate, duration)


def spike(rate: float, duration: Duration) -> Stage:
    """A sudden high rate: the same as `hold`, under the name that reports show."""
    return _constant("spike", rate, seconds_of(duration))


def ramp(first: float, last: float, duration: Duration) -> Stage:
    """A rate that changes evenly from `first` to `last`."""
    seconds = seconds_of(duration)
    _rate(first, "first rate of the ramp")
    _rate(last, "last rate of the ramp")
    text = f"ramp {first:g} to {last:g}/s in {duration_text(seconds)}"
    return LinearStage(first=first, last=last, seconds=seconds, text=text)


def burst(
    rate: float,
    peak: float,
    duration: Duration | None = None,
    *,
    every: Duration = 10.0,
    length: Duration = 2.0,
) -> Stage:
    """`peak` in the first `length` of every `every`, and `rate` in the rest."""
    _rate(rate, "rate between the bursts")
    _rate(peak, "peak of the bursts", above_zero=True)
    cycle, loud = seconds_of(every, "time between bursts"), seconds_of(length, "length of a burst")
    if loud >= cycle:
        raise UsageError(
            f"A burst of {duration_text(loud)} does not end before the next one, {duration_text(cycle)} later; "
            "give a shorter length, or a longer time between bursts."
        )
    text = f"burst {rate:g}/s, {peak:g}/s in {duration_text(loud)} of every {duration_text(cycle)}"
    end, shown = _end(duration, text)
    return BurstStage(rate=rate, peak=peak, every=cycle, length=loud, seconds=end, text=shown)


def diurnal(low: float, high: float, duration: Duration | None = None, *, period: Duration = "24h") -> Stage:
    """A day: it begins at the lowest rate, which is at night. `period` is the length of a day."""
    _rate(low, "lowest rate of the day")
    _rate(high, "highest rate of the day", above_zero=True)
    if low > high:
        raise UsageError(
            f"The lowest rate of a day, {low:g}/s, is above the highest, {high:g}/s; exchange them."
        )
    day = seconds_of(period, "period of a day")
    text = f"diurnal {low:g} to {high:g}/s, a day of {duration_text(day)}"
    end, shown = _end(duration, text)
    return DiurnalStage(low=low, high=high, period=day, seconds=end, text=shown)


def replay(file: Path | str, speed: float = 1.0) -> Stage:
    """The arrivals of a trace, with their times and sizes. The whole file is checked first."""
    if not 0 < number_of(speed) < math.inf:
        raise UsageError(f"The speed of a replay cannot be {speed!r}; give a number above 0, such as 2.")
    found, last = 0, 0.0
    for row in read_trace(file):
        found, last = found + 1, row.offset
    text = f"replay of {Path(file).name}" + (f" at {speed:g} times its speed" if speed != 1 else "")
    return ReplayStage(path=Path(file), speed=speed, arrivals=found, seconds=last / speed, text=text)


def steps(first: float, step: float, *, every: Duration, number: int | None = None) -> Steps:
    """Constant rates, each `step` above the one before it, each for `every`; endless if there is no `number`."""
    _rate(first, "first rate of the steps")
    if not math.isfinite(number_of(step)) or step == 0:
        raise UsageError(f"A step cannot be {step!r} arrivals a second; give a number, or use hold.")
    _times(number, "number of steps")
    if first + step * ((number or math.inf) - 1) < 0:
        raise UsageError("The steps lead to a rate below 0; give a smaller number of steps.")
    return Steps(first=first, step=step, every=seconds_of(every, "length of a step"), number=number)


def repeat(stages: Stages, times: int | None = None) -> Repeated:
    """The stages again and again, `times` times or without end."""
    _times(times, "number of repetitions")
    if endless(stages):
        raise UsageError("Stages without an end cannot be repeated; give each of them a duration.")
    found = tuple(flattened(stages))
    if not sum(stage.total for stage in found):
        raise UsageError("Stages without an arrival cannot be repeated; give one of them a rate above 0.")
    return Repeated(stages=found, times=times)


def flattened(stages: Stages) -> Iterator[Stage]:
    """The stages in order, without end if one of the lists has none."""
    match stages:
        case Stage():
            yield stages
        case Steps() | Repeated():
            yield from stages
        case list() | tuple():
            for part in stages:
                yield from flattened(part)
        case _:
            raise UsageError(
                f"A load cannot have a stage {stages!r}; make stages with hold, ramp, spike, steps or replay."
            )


def endless(stages: Stages) -> bool:
    """Whether the stages have no end. Raises `UsageError` if stages follow one that has no end."""
    if isinstance(stages, (list, tuple)):
        found = [endless(part) for part in stages]
        if any(found[:-1]):
            raise UsageError(
                f"The stage after number {found.index(True) + 1} never begins, because that has no end; "
                "give it a duration."
            )
        return any(found)
    if isinstance(stages, (Steps, Repeated)):
        return (stages.number if isinstance(stages, Steps) else stages.times) is None
    return next(flattened(stages)).seconds is None


def _constant(name: str, rate: float, duration: Duration | None) -> Stage:
    _rate(rate, f"rate of a {name}", above_zero=duration is None)
    end, shown = _end(duration, f"{name} {rate:g}/s")
    return LinearStage(first=rate, last=rate, seconds=end, text=shown)


def _end(duration: Duration | None, text: str) -> tuple[float | None, str]:
    if duration is None:
        return None, text
    seconds = seconds_of(duration)
    return seconds, f"{text} for {duration_text(seconds)}"


def _rate(rate: float, what: str, *, above_zero: bool = False) -> None:
    if not 0 <= number_of(rate) < math.inf or (above_zero and rate == 0):
        lowest = "above 0" if above_zero else "of 0 or more"
        raise UsageError(f"The {what} cannot be {rate!r}; give a number {lowest} arrivals a second.")


def _times(times: int | None, what: str) -> None:
    number = 1.0 if times is None else number_of(times)
    if not (1 <= number < math.inf and number.is_integer()):
        raise UsageError(f"The {what} cannot be {times!r}; give a whole number of 1 or more.")
