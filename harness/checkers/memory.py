"""Does the memory of a process of a pool stay the same while it lives?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from harness.checkers.base import Checker, CheckResult, Verdict
from harness.checkers.settings import keeps_settings
from harness.history import History, InjectionKind
from harness.history.faults import injected_faults
from harness.history.figures import counted, seconds
from harness.history.memory import memory_samples
from harness.history.promises import Loss, losses_of

_MEGABYTE = 2**20
_FIFTHS = 5
# Before it, a process opens its connections, and prepares what it needs for each kind of task.
_EARLY, _LATE = 1, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class _Life:
    """The samples of one process, in order: the times (nanoseconds) and the memory (bytes)."""

    name: str
    times: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return seconds(self.times[-1] - self.times[0])

    def fifth(self, number: int) -> float:
        """The median memory in one fifth of its life, from 0 on."""
        start, end = (len(self.sizes) * one // _FIFTHS for one in (number, number + 1))
        return median(self.sizes[start:end])

    @property
    def grown(self) -> float:
        return self.fifth(_LATE) - self.fifth(_EARLY)


@keeps_settings
def memory(*, share: float = 0.05, megabytes: float = 2.0, lives_seconds: float = 60.0) -> Checker:
    """No process of a pool that lives for `lives_seconds` needs more memory late in its life than early in it.

    Early is the second fifth of its life and late the last one; the medians of both are compared. INVALID if one grew
    by more than `share` of what it had and `megabytes` more. The life of a process ends here with the first fault that
    kills it, or that lets its handler leak. UNKNOWN if no process lived so long.
    """

    def check(history: History) -> CheckResult:
        lives = [one for one in _lives(history) if one.seconds >= lives_seconds and len(one.sizes) >= _FIFTHS]
        bounds = [life.fifth(_EARLY) * share + megabytes * _MEGABYTE for life in lives]
        grown = [life for life, bound in zip(lives, bounds, strict=True) if life.grown > bound]
        most = max((life.grown for life in lives), default=None)
        return CheckResult(
            verdict=Verdict.of(wrong=bool(grown), unsure=not lives),
            summary=_summary(lives, grown, lives_seconds),
            figures={
                "processes": len(lives),
                "longest": max((life.seconds for life in lives), default=None),
                "grown_most_bytes": most,
                "grown_median_bytes": median(life.grown for life in lives) if lives else None,
                "largest_bytes": max((life.fifth(_LATE) for life in lives), default=None),
            },
            counterexamples=tuple({"kind": "grew", "why": _text(life)} for life in grown),
        )

    return check


def _lives(history: History) -> Collection[_Life]:
    ends = _ends(history)
    found: dict[tuple[str, int], _Life] = {}
    for sample in memory_samples(history):
        if sample.time < ends.get(sample.pid, sample.time + 1):
            name = f"process {sample.pid} of {sample.pool}"
            life = found.setdefault((sample.pool, sample.pid), _Life(name=name))
            life.times.append(sample.time)
            life.sizes.append(sample.size)
    return found.values()


def _ends(history: History) -> Mapping[int, int]:
    """By process, when a fault first killed it or let its handler leak."""
    found: dict[int, int] = {}
    for fault in injected_faults(history):
        if fault.kind is InjectionKind.KILL or Loss.WORKER_OUT_OF_MEMORY in losses_of(fault):
            for pid in fault.pids:
                found.setdefault(pid, fault.start)
    return found


def _summary(lives: Sequence[_Life], grown: Sequence[_Life], lives_seconds: float) -> str:
    if not lives:
        return f"no process of a pool was seen for {lives_seconds:g} s"
    most = max(lives, key=lambda life: life.grown)
    found = (
        f"{len(grown)} of {counted(len(lives), 'process')} that lived for {lives_seconds:g} s or more grew"
    )
    return f"{found}; most: {_text(most)}"


def _text(life: _Life) -> str:
    sizes = " to ".join(f"{life.fifth(number) / _MEGABYTE:.1f}" for number in (_EARLY, _LATE))
    return f"{life.name}, {sizes} MiB in {life.seconds:.0f} s"
