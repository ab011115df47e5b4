"""What a planted defect is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests.planted.edits import Edit, applied

QUEUE_MACHINE, ACTIVITY_MACHINE, SIMULATION, CHAOS = (
    "queue machine",
    "activity machine",
    "simulation",
    "chaos run",
)
MEANS = (QUEUE_MACHINE, ACTIVITY_MACHINE, SIMULATION, CHAOS)
"""The means of finding a defect, the fast ones first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Defect:
    """A realistic mistake, as edits of the implementation in every layer that it concerns.

    `imitates`: where it was found. `breaks`: its effect on a user. `scenario`: the chaos run of
    `tests.planted.chaos_runs` in which it can show. `also`: further chaos runs that have to find it. `blind`: the means
    that cannot find it, each with the reason; all other means have to find it.
    """

    name: str
    imitates: str
    breaks: str
    edits: tuple[Edit, ...]
    scenario: str
    also: tuple[str, ...] = ()
    blind: Mapping[str, str] = field(default_factory=dict)

    def planted(self) -> AbstractContextManager[None]:
        """Run a block, and every thread that it starts, with the defect in force."""
        return applied(self.edits)
