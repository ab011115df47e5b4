"""What a planted defect is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tests.planted.edits import Edit, applied

QUEUE_MACHINE, ACTIVITY_MACHINE, SIMULATION, TEST, CHAOS = (
    "queue machine",
    "activity machine",
    "simulation",
    "a test",
    "chaos run",
)
MEANS = (QUEUE_MACHINE, ACTIVITY_MACHINE, SIMULATION, TEST, CHAOS)
"""The means of finding a defect, the fast ones first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Defect:
    """A realistic mistake, as edits of the implementation in every layer that it concerns.

    `imitates`: where it was found. `breaks`: its effect on a user. `part`: what of the protocol it breaks
    (`tests.planted.parts`). `scenario`: the chaos run of `tests.planted.chaos_runs` in which it can show. `also`:
    further chaos runs that have to find it. `test`: a test that has to fail. `blind`: the means that cannot find it,
    each with the reason; all other means have to find it, a test only where one is named. `rare`: why the simulation
    may miss it within its budget.
    """

    name: str
    imitates: str
    breaks: str
    part: str
    edits: tuple[Edit, ...]
    scenario: str = ""
    test: str = ""
    also: tuple[str, ...] = ()
    blind: Mapping[str, str] = field(default_factory=dict)
    rare: str = ""

    def able(self, means: Sequence[str]) -> list[str]:
        """Those of the means that have to find it."""
        possible = [one for one in self.tried(means) if one != SIMULATION or not self.rare]
        return [one for one in possible if one != TEST or self.test]

    def tried(self, means: Sequence[str]) -> list[str]:
        """Those of the means that can find it."""
        return [one for one in means if one not in self.blind]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Run a block, and every thread that it starts, with the defect in force; blocks may overlap in any order."""
        with _LOCK:
            times, edits = _PLANTED.get(self.name, (0, ExitStack()))
            if not times:
                edits.enter_context(applied(self.edits))
            _PLANTED[self.name] = (times + 1, edits)
        try:
            yield
        finally:
            with _LOCK:
                times, edits = _PLANTED.pop(self.name)
                if times > 1:
                    _PLANTED[self.name] = (times - 1, edits)
                else:
                    edits.close()


# The defects in force in this process: how many blocks want each, and its edits.
_PLANTED: dict[str, tuple[int, ExitStack]] = {}
_LOCK = threading.Lock()
