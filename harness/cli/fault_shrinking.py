"""The fewest faults of an INVALID run that still break the same promise, found by runs of the same schedule."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from harness.checkers.base import Verdict
from harness.command_line import read_json
from harness.errors import UsageError
from harness.history.faults import fault_windows
from harness.history.figures import counted
from harness.scenario import ScenarioRun
from harness.shrinking import cut

MOST_TRIES = 24
_VERSION = 1
_REMEDY = "name replay-….json of a report folder."


class FaultShrinker:
    """Repeats a failing run with fewer of its faults; `again` runs the schedule with the faults of these numbers."""

    def __init__(self, failing: ScenarioRun, again: Callable[[Collection[int]], ScenarioRun | None]) -> None:
        """`again` returns None if there is no time for another run."""
        self._failing = failing
        self._again = again
        self._broken = _broken(failing)
        self.tries = 0

    def shrink(self) -> tuple[int, ...]:
        """The numbers of the faults that are left, all of them if none can be left out."""
        injected = (window.number for window in fault_windows(self._failing.history) if not window.failed)
        return cut([number for number in injected if number is not None], self._still_fails)

    def _still_fails(self, kept: Sequence[int]) -> bool:
        if self.tries >= MOST_TRIES:
            return False
        run = self._again(kept)
        self.tries += run is not None
        return run is not None and not self._broken.isdisjoint(_broken(run))


def shrunk_note(left: Sequence[int], tries: int, file: Path) -> str:
    """A sentence for the report about what is left."""
    several = f"the faults {', '.join(map(str, left))} are enough" if left else "no fault is needed"
    faults = f"fault {left[0]} is enough" if len(left) == 1 else several
    again = shlex.join(["harness", "chaos", "replay", str(file)])
    return f"{faults} to break it ({counted(tries, 'try')}): {again}"


def write_replay(file: Path, arguments: Sequence[str]) -> None:
    """Write a run of `harness chaos run` for `replayed`; `arguments` are those of the command."""
    file.write_text(json.dumps({"version": _VERSION, "arguments": list(arguments)}, indent=2) + "\n", "utf-8")


def replayed(file: Path) -> list[str]:
    """The arguments of the run in a file; raises `UsageError` if it is none."""
    match read_json(file, _REMEDY):
        case {"version": 1, "arguments": [*words]} if all(isinstance(word, str) for word in words):
            return words
    raise UsageError(f"{file} is not the file of a --shrink of this version; {_REMEDY}")


def _broken(run: ScenarioRun) -> frozenset[str]:
    return frozenset(name for name, result in run.results.items() if result.verdict is Verdict.INVALID)
