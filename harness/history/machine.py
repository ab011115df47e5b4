"""The gauge of the machine: whether it could keep up while a time was measured.

A bound of time is a claim about the system under test, measured on a machine that other programs share. The runner
samples the machine during each run (`harness.run.gauge`). A checker that finds a bound exceeded asks here how much of
that time the machine took away.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from harness.history.figures import seconds
from harness.history.history import History
from harness.history.names import MACHINE

QUIET_DELAY_SECONDS = 0.05
"""A sleep that wakes at most so late is usual on a quiet machine."""

QUIET_SPIN = 1.5
"""Fixed work that takes at most so many times its best time is usual on a quiet machine."""

SHARE = 0.5
"""The share of an excess that the machine has to explain, so that the excess is not judged."""

MOST_GIVEN = 3.0
"""A system that got more than so many times its bound from the machine exceeds it, however slow the machine was."""

_SAMPLED_SECONDS = 0.5


class MachineSample(NamedTuple):
    """One sample at `time` (nanoseconds), about the time since the previous one.

    `load` is the load average over one minute, `spin` how many times longer than its best time a fixed amount of work
    took, and `delay` how late a short sleep woke, in seconds.
    """

    time: int
    load: float
    spin: float
    delay: float


class Slowness(NamedTuple):
    """What the machine took away from a window of time.

    `lost` is in seconds; `spin`, `delay` and `load` are the highest values of the samples.
    """

    lost: float
    spin: float
    delay: float
    load: float


def machine_samples(history: History) -> Sequence[MachineSample]:
    """Every sample of the gauge, in order; empty for a history without one."""
    return history.derive(_samples)


def slowness(history: History, start: int, end: int) -> Slowness | None:
    """What the machine took away between two times (nanoseconds); None without a sample of that time."""
    found = machine_samples(history)
    first = bisect_left(found, start, key=lambda one: one.time)
    # The first sample at or after the end covers the last part of the window.
    last = min(bisect_left(found, end, key=lambda one: one.time), len(found) - 1)
    lost, used = 0.0, []
    for index in range(first, last + 1):
        sample = found[index]
        since = found[index - 1].time if index else start
        covered = seconds(min(sample.time, end) - max(since, start))
        if covered <= 0:
            continue
        used.append(sample)
        lost += lost_seconds(spin=sample.spin, delay=sample.delay, covered=covered)
    if not used:
        return None
    return Slowness(
        lost=lost,
        spin=max(one.spin for one in used),
        delay=max(one.delay for one in used),
        load=max(one.load for one in used),
    )


def lost_to_machine(history: History, start: int, end: int, *, excess: float) -> str | None:
    """Why a time between `start` and `end` (nanoseconds) that is `excess` seconds too long is not judged.

    One sentence with the figures if the machine took away a time of the order of the excess, else None. Without a gauge
    in the history it is None, so that the bound is judged.
    """
    found = slowness(history, start, end)
    if found is None or found.lost <= 0 or found.lost < SHARE * excess:
        return None
    return _sentence(found, start, end)


def bound_lost_to_machine(history: History, start: int, end: int, *, bound: float) -> str | None:
    """Why a time between `start` and `end` (nanoseconds) that exceeds its bound (seconds) is not judged.

    As `lost_to_machine`, and None if the machine gave the system several times its bound: a machine that is busy all
    the time takes a part of any time away, however long that is.
    """
    found, took = slowness(history, start, end), seconds(end - start)
    if found is not None and took - found.lost > MOST_GIVEN * max(bound, _SAMPLED_SECONDS):
        return None
    return lost_to_machine(history, start, end, excess=took - bound)


def too_little_time(history: History, start: int, end: int, *, needed: float) -> str | None:
    """Why the system did not have the `needed` seconds between `start` and `end` (nanoseconds) on this machine.

    None if it had at least the share `SHARE` of them, and without a gauge in the history.
    """
    found = slowness(history, start, end)
    if found is None or found.lost <= 0 or seconds(end - start) - found.lost >= SHARE * needed:
        return None
    return _sentence(found, start, end)


def lost_seconds(*, spin: float, delay: float, covered: float) -> float:
    """How many of the `covered` seconds the machine took away, by one sample of them."""
    slowed = covered * (1 - 1 / spin) if spin > QUIET_SPIN else 0.0
    return min(covered, slowed + (delay if delay > QUIET_DELAY_SECONDS else 0.0))


def _sentence(found: Slowness, start: int, end: int) -> str:
    return (
        f"this machine took away about {found.lost:.1f} s of {seconds(end - start):.1f} s (work up to {found.spin:.1f} "
        f"times slower, sleeps up to {found.delay * 1e3:.0f} ms late, load {found.load:.1f})"
    )


def _samples(history: History) -> Sequence[MachineSample]:
    return [
        MachineSample(
            op.time, _number(op.value.get("load")), _number(op.value.get("spin"), 1.0), _number(delay)
        )
        for op in history.where(MACHINE)
        if op.process == MACHINE
        for delay in (op.value.get("delay"),)
    ]


def _number(found: object, default: float = 0.0) -> float:
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else default
