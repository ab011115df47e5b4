"""Runs that had to end: since when, and which of them this machine slowed down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.history import History
from harness.history.figures import seconds
from harness.history.machine import bound_lost_to_machine
from harness.history.runs import Run


class OverdueRun(NamedTuple):
    """A run that had to end from `since` on and went on until `until`; both are nanoseconds."""

    run: Run
    since: int
    until: int

    @property
    def seconds(self) -> float:
        """How long it went on."""
        return seconds(max(self.until - self.since, 0))


def lost_to_machine(history: History, late: Iterable[OverdueRun], *, bound: float) -> Sequence[str]:
    """Why some of these runs are not judged: this machine took the time that they exceed `bound` (seconds) by."""
    found = (bound_lost_to_machine(history, one.since, one.until, bound=bound) for one in late)
    return [text for text in found if text is not None]
